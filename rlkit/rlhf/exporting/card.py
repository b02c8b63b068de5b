"""The README.md of an exported folder: what was trained, how to use it, and what to know first."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rlkit.rlhf.stages.sources import stored_parent
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.training.exporting.card import markdown_table

_SNIPPETS = {
    "policy": """\
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "."  # this folder
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
{inputs}
output = model.generate(**inputs)  # samples as in training; do_sample=False for the likeliest
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))""",
    "adapter": """\
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer, GenerationConfig

folder = "."  # this folder, which names that of its base
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoPeftModelForCausalLM.from_pretrained(folder)
{inputs}
sampling = GenerationConfig.from_pretrained(folder)
output = model.generate(**inputs, generation_config=sampling)  # samples as in training
print(tokenizer.decode(output[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))""",
    "classifier": """\
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "."  # this folder
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder)
{inputs}
prompt = inputs["input_ids"][0].tolist()
response = tokenizer("a response", add_special_tokens=False)["input_ids"]
ids = torch.tensor([[*prompt, *response, tokenizer.eos_token_id]])
score = model(input_ids=ids).logits[0, 0] + model.config.rlkit_score_offset""",
}
_TASKS = {
    "policy": "text-generation",
    "adapter": "text-generation",
    "classifier": "text-classification",
}


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What a card describes."""

    kind: str  # "policy", "adapter" or "classifier"
    run: StageRun
    run_seed: int
    at: int | None  # updates of the checkpoint; None = the end
    dtype: str
    prompt: str  # an example
    is_templated: bool  # whether prompts are written by the tokenizer's chat template
    notes: Sequence[str]  # sentences that a user should know


def model_card(exported: Exported) -> str:
    """Return the card in Markdown, with the header that a model hub reads."""
    run = exported.run
    library = "peft" if exported.kind == "adapter" else "transformers"
    version = run.record["versions"].get("rlkit", "")
    snippet = _SNIPPETS[exported.kind].format(inputs=_inputs(exported))
    what = {"policy": "A policy", "adapter": "Adapters of a policy", "classifier": "A reward model"}
    parts = [
        "---\n"
        f"library_name: {library}\n"
        f"pipeline_tag: {_TASKS[exported.kind]}\n"
        f"tags: [rlkit, {json.dumps(run.stage)}]\n"
        "---",
        f"# {run.stage} on {run.label}",
        f"{what[exported.kind]}, trained with rlkit {version}; the weights are {exported.dtype}.",
        f"## Use\n\n```python\n{snippet}\n```",
        "## Before using it\n\n" + "\n".join(f"- {note}" for note in exported.notes)
        if exported.notes
        else "",
        "## Training",
        markdown_table(("stage", "run", "seed", "updates"), _stages(exported)),
        markdown_table(("metric of the last row", "value"), _measurements(exported)),
        markdown_table(("option", "value"), _options(run)),
        "## Versions",
        markdown_table(("package", "version"), sorted(run.record["versions"].items())),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _inputs(exported: Exported) -> str:
    """Return the lines of Python that encode a prompt."""
    if not exported.is_templated:
        return f'inputs = tokenizer({json.dumps(exported.prompt)}, return_tensors="pt")'
    return """\
messages = [{"role": "user", "content": "..."}]
options = {"return_tensors": "pt", "return_dict": True}
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, **options)"""


def _stages(exported: Exported) -> list[tuple[str, str, int, int]]:
    """Return one row per stage, from the first one on."""
    run, seed = exported.run, exported.run_seed
    rows = [(run.stage, run.folder.name, seed, exported.at or run.num_updates)]
    while "policy" in run.record["sources"]["parents"]:
        parent = stored_parent(run, "policy")
        run, seed = parent.open(), parent.seed_for(seed)
        rows.insert(0, (run.stage, run.folder.name, seed, run.num_updates))
    return rows


def _measurements(exported: Exported) -> list[tuple[str, str]]:
    curve = exported.run.curve(exported.run_seed)
    counts = curve["num_updates"]
    until = int((counts <= (exported.at or counts[-1])).sum())
    rows = []
    for name, column in curve.items():
        values = [x for x in column[:until] if not math.isnan(x)]
        if values:
            rows.append((name, f"{values[-1]:.5g}"))
    return rows


def _options(run: StageRun) -> list[tuple[str, str]]:
    config: Mapping[str, Any] = run.content["config"]
    return [(name, f"`{json.dumps(value)}`") for name, value in config.items()]
