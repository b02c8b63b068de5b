"""Writes the model, tokenizer and generation options of an exported folder, and checks each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from rlkit.rlhf.data.codec import TextCodec
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.exporting import adapters, checking
from rlkit.rlhf.exporting.card import Exported
from rlkit.rlhf.exporting.models import causal_model, classifier, generation_options
from rlkit.rlhf.exporting.tokenizers import write_tokenizer
from rlkit.rlhf.models.huggingface.classifier import SCORE_OFFSET
from rlkit.rlhf.models.huggingface.folder import (
    import_optional,
    read_config,
    silenced_transformers,
)
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.stages.loading import (
    load_parent_policy,
    load_policy,
    load_reward_model,
    task_codec,
)
from rlkit.rlhf.stages.sources import load_sources, stored_parent
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.runs.progress import warn

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Request(NamedTuple):
    """What to export."""

    run: StageRun
    run_seed: int
    at: int | None  # updates of the checkpoint; None = the end
    dtype: str | None  # None = that of the pretrained model's folder

    @property
    def source(self) -> Path | None:
        """The folder of the pretrained model, if there is one."""
        path = load_sources(self.run)[1].path
        return None if path is None else Path(path)

    def describe(self, kind: str, dtype: str, task: LanguageTask, notes: Sequence[str]) -> Exported:
        """Return what the card says."""
        (prompt,), codec = task.sample_prompts(np.random.default_rng(0), 1), task_codec(task)
        ids = [int(i) for i in prompt if i != task.pad]
        text = codec.decode(ids)
        return Exported(
            kind=kind,
            run=self.run,
            run_seed=self.run_seed,
            at=self.at,
            dtype=dtype,
            prompt=text,
            # Text without the special tokens that a template writes has other ids.
            is_templated=codec.encode(text, prompt=True) != ids,
            notes=[
                *notes,
                *(f"The run falls short: {failure}." for failure in self.run.failures.values()),
            ],
        )


def write_policy(request: Request, folder: Path) -> Exported:
    """Write a policy as a causal language model."""
    run, source = request.run, request.source
    task, policy = load_policy(run, request.run_seed, at=request.at)
    codec, rows = task_codec(task), checking.example_rows(task, policy.eval())
    expected = checking.logits_of(policy, rows)
    original = None if source is None else int(read_config(source).get_text_config().vocab_size)
    model = causal_model(policy, codec, rows=original)
    checking.require_equal(folder, expected, checking.loaded_logits(model, rows))
    num_rows = len(model.get_input_embeddings().weight)
    model.generation_config, notes = _generation(run, policy, task, num_rows)
    model.generation_config.bos_token_id = model.config.get_text_config().bos_token_id
    write_tokenizer(codec, folder, source, needs_pad=False)
    dtype = request.dtype or _dtype_of(source)
    notes += _save(model, "AutoModelForCausalLM", folder, dtype, rows)
    _check_tokenizer(folder, source, task, codec)
    return request.describe("policy", dtype, task, notes)


def write_classifier(request: Request, folder: Path) -> Exported:
    """Write a reward model as a sequence classifier with one label."""
    run, source = request.run, request.source
    reward = load_reward_model(run, request.run_seed)
    task, policy = load_parent_policy(stored_parent(run, "policy"), request.run_seed)
    if load_sources(run)[1].adapter_rank is not None:
        reward.trunk.fold_adapters()
    codec, rows = task_codec(task), checking.example_rows(task, policy.eval())
    expected = checking.scores_of(reward.eval(), rows)
    model, offset = classifier(reward, codec)
    read = [logit + offset for logit in checking.loaded_logits(model, rows)]
    checking.require_equal(folder, expected, read)
    write_tokenizer(codec, folder, source, needs_pad=True)
    dtype = request.dtype or _dtype_of(source)
    notes = [
        "It reads a prompt, a response and the token that ends the sequence, in this order.",
        f"The score of the run is the logit plus {offset:.6g} (`{SCORE_OFFSET}` in config.json), "
        "for the last layer of such a classifier has no bias. Only differences of scores matter.",
        *_save(model, "AutoModelForSequenceClassification", folder, dtype, rows),
    ]
    _check_tokenizer(folder, source, task, codec)
    return request.describe("classifier", dtype, task, notes)


def write_adapters(request: Request, folder: Path) -> Exported:
    """Write the adapters of a policy, and of those that it started from, as a folder of peft."""
    stages = adapters.chain_of(request.run, request.run_seed, request.at)
    source = request.source
    assert source is not None
    task, policy = load_policy(request.run, request.run_seed, at=request.at)
    rows = checking.example_rows(task, policy.eval())
    expected = checking.logits_of(policy, rows)
    base = _base(source)
    num_rows = len(base.get_input_embeddings().weight)
    generation_config, notes = _generation(request.run, policy, task, num_rows)
    adapted = adapters.peft_model(base, adapters.read_adapters(stages), source)
    with silenced_transformers():
        adapted.save_pretrained(folder, safe_serialization=True)
        generation_config.save_pretrained(folder)
        loaded = import_optional("peft").PeftModel.from_pretrained(_base(source), str(folder))
    checking.require_equal(folder, expected, checking.loaded_logits(loaded.eval(), rows))
    write_tokenizer(task_codec(task), folder, source, needs_pad=False)
    notes = [
        f"The base is the folder {source.name}, which adapter_config.json names by its place on "
        "the machine of the training.",
        *notes,
        *([f"They are the sum of the adapters of {len(stages)} stages."] if stages[1:] else []),
    ]
    return request.describe("adapter", "float32", task, notes)


def _base(source: Path) -> Any:
    auto = import_optional("transformers").AutoModelForCausalLM
    options = {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True}
    with silenced_transformers():
        return auto.from_pretrained(source, dtype=torch.float32, **options).eval()


def _generation(
    run: StageRun, policy: LanguageModel, task: LanguageTask, num_rows: int
) -> tuple[Any, list[str]]:
    """Return the configuration by which `generate` samples as training did, and what to know.

    Args:
        run: of the policy.
        policy: the policy.
        task: of its texts.
        num_rows: ids that the exported model has logits for.
    """
    temperature = float(run.content["config"].get("temperature", 1.0))
    options = generation_options(policy, task, num_rows, temperature)
    notes = [
        f"It was trained on responses of at most {task.max_new_tokens} tokens, sampled at "
        f"temperature {temperature:g} without top-k or top-p."
    ]
    if num_suppressed := len(options.get("suppress_tokens", ())):
        notes.append(
            f"{num_suppressed} of the {num_rows} ids, such as padding, are never generated: "
            "generation_config.json suppresses them, and their logits mean nothing."
        )
    return import_optional("transformers").GenerationConfig(**options), notes


def _dtype_of(source: Path | None) -> str:
    """Return the precision of the weights in the folder of a pretrained model."""
    if source is None:
        return "float32"
    dtype = str(getattr(read_config(source), "dtype", None)).removeprefix("torch.")
    return dtype if dtype in DTYPES else "float32"


def _save(
    model: Any, auto: str, folder: Path, dtype: str, rows: Sequence[Sequence[int]]
) -> list[str]:
    """Write a model, and read it again; return what to know about its rounding."""
    before = checking.loaded_logits(model, rows)
    # Parameters only: buffers such as those of rotary positions are computed in float32.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(DTYPES[dtype])
    with silenced_transformers():
        model.save_pretrained(folder, safe_serialization=True)
    for parameter in model.parameters():
        parameter.data = parameter.data.float()
    rounded = checking.loaded_logits(model, rows)
    options = {"local_files_only": True, "trust_remote_code": False, "use_safetensors": True}
    with silenced_transformers():
        load = getattr(import_optional("transformers"), auto).from_pretrained
        read = load(folder, dtype=torch.float32, **options).eval()
    checking.require_equal(folder, rounded, checking.loaded_logits(read, rows))
    if dtype == "float32":
        return []
    largest = max(float((a - b).abs().max()) for a, b in zip(before, rounded, strict=True))
    text = f"It was trained in float32; rounding to {dtype} changes logits by up to {largest:.2g}"
    warn(f"{text}. With dtype float32 (--dtype float32) they stay as they are.")
    return [f"{text}."]


def _check_tokenizer(
    folder: Path, source: Path | None, task: LanguageTask, codec: TextCodec
) -> None:
    """Compare the ids of some texts, unless the tokenizer was copied."""
    if source is None:
        ids = task.sample_prompts(np.random.default_rng(0), 16).tolist()
        ids += task.demonstrations(np.random.default_rng(0), 16)[1].tolist()
        special = (codec.pad, codec.eos)
        texts = [codec.decode([i for i in row if i not in special]) for row in ids]
        checking.require_same_ids(folder, codec, texts)
