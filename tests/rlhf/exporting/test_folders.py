"""What plain transformers and peft read from an exported folder; the oracle is the run itself."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import rlkit.rlhf as rlhf
from rlkit.rlhf.stages.loading import load_policy
from tests.rlhf.exporting.conftest import Runs

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from tests.rlhf.exporting.families import FAMILIES, save_family  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers")  # peft's calls

# float32 sums in another order: 1e-6 is usual for logits of order 1.
CLOSE = {"rtol": 0.0, "atol": 1e-5}
ORDINARY = ("GPT2", "Llama")
CASES = [
    pytest.param(name, marks=[] if name in ORDINARY else [pytest.mark.long]) for name in FAMILIES
]
PROMPTS = ["a b", "b", "b a c"]
EOS, NUM_WORDS = 6, 6


def logits_of(run: Any) -> torch.Tensor:
    """Logits of words and the end after each token of one text."""
    _, policy = load_policy(run)
    with torch.no_grad():
        return policy.unembed(policy(torch.tensor([[0, 1, 2, 5, EOS]])))[..., : NUM_WORDS + 1]


def read_logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        ids = torch.tensor([[0, 1, 2, 5, EOS]])
        logits: torch.Tensor = model.eval()(input_ids=ids).logits[..., : NUM_WORDS + 1]
    return logits


def greedy(folder: Path, model: Any) -> list[str]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    sampling = transformers.GenerationConfig.from_pretrained(folder)
    texts = []
    for prompt in PROMPTS:
        inputs = tokenizer(prompt, return_tensors="pt")
        length = inputs["input_ids"].shape[1]
        output = model.generate(**inputs, generation_config=sampling, do_sample=False)
        texts.append(tokenizer.decode(output[0, length:], skip_special_tokens=True))
    return texts


def joined(text: str) -> str:
    """Return words of one letter each without spaces between them."""
    return text.replace(" ", "")


def expected_texts(run: Any) -> list[str]:
    rows = rlhf.sample_run(run, num=1, prompts=PROMPTS, greedy=True)
    return [row["response"] for row in rows]


@pytest.mark.parametrize("family", CASES)
class TestFamilies:
    def test_a_policy_has_the_logits_and_the_greedy_text_of_its_run(
        self, runs_of: Callable[[str], Runs], family: str, tmp_path: Path
    ) -> None:
        runs = runs_of(family)
        folder = rlhf.export(runs.rloo, tmp_path / "new" / "policy")
        read = transformers.AutoModelForCausalLM.from_pretrained(folder)
        expected = logits_of(runs.rloo)
        torch.testing.assert_close(read_logits(read), expected, **CLOSE)
        assert greedy(folder, read) == expected_texts(runs.rloo)
        # The adapters of both stages are in it.
        base = transformers.AutoModelForCausalLM.from_pretrained(runs.folder)
        steps = [read_logits(base), logits_of(runs.sft), expected]
        assert all((a - b).abs().max() > 1e-3 for a, b in itertools.pairwise(steps))

    def test_adapters_have_the_logits_and_the_greedy_text_of_their_run(
        self, runs_of: Callable[[str], Runs], family: str, tmp_path: Path
    ) -> None:
        runs = runs_of(family)
        folder = rlhf.export(runs.rloo, tmp_path / "adapters", adapter=True)
        assert not list(folder.glob("model*"))
        read = peft.AutoPeftModelForCausalLM.from_pretrained(folder)
        torch.testing.assert_close(read_logits(read), logits_of(runs.rloo), **CLOSE)
        # By the config.json of Qwen2, which adapters have not, transformers joins words otherwise.
        texts, expected = greedy(folder, read), expected_texts(runs.rloo)
        assert [joined(text) for text in texts] == [joined(text) for text in expected]

    def test_a_classifier_has_the_scores_of_its_run_in_any_batch(
        self, runs_of: Callable[[str], Runs], family: str, tmp_path: Path
    ) -> None:
        runs = runs_of(family)
        folder = rlhf.export(runs.reward, tmp_path / "reward")
        rows = [{"prompt": "a b", "response": "c d e"}, {"prompt": "b", "response": "d"}]
        expected = torch.from_numpy(rlhf.score(runs.reward, rows)).float()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
        whole = [f"{row['prompt']} {row['response']}" for row in rows]
        ids = [[*tokenizer(text).input_ids, tokenizer.eos_token_id] for text in whole]
        inputs = tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits
            alone = model(input_ids=torch.tensor([ids[1]])).logits
        assert logits.shape == (2, 1)
        assert abs(expected[0] - expected[1]) > 1e-3
        scores = logits[:, 0] + model.config.rlkit_score_offset
        torch.testing.assert_close(scores, expected, **CLOSE)
        torch.testing.assert_close(alone[0], logits[1], **CLOSE)


def test_weights_are_in_the_precision_of_the_pretrained_model_or_in_the_one_that_is_named(
    texts: dict[str, Path], tmp_path: Path
) -> None:
    model = save_family(tmp_path / "model", "Llama", dtype="bfloat16")
    run = rlhf.sft(**texts, model=model, num_epochs=1, batch_size=2, out=tmp_path / "runs")
    with pytest.warns(UserWarning, match="rounding to bfloat16 changes logits by up to"):
        folder = rlhf.export(run, tmp_path / "as it came")
    read = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert {p.dtype for p in read.parameters()} == {torch.bfloat16}
    assert "rounding to bfloat16 changes logits" in (folder / "README.md").read_text()
    whole = rlhf.export(run, tmp_path / "whole", dtype="float32")
    read = transformers.AutoModelForCausalLM.from_pretrained(whole)
    torch.testing.assert_close(read_logits(read), logits_of(run), **CLOSE)


def test_a_row_that_was_added_for_padding_is_only_in_a_classifier(
    runs_of: Callable[[str], Runs], tmp_path: Path
) -> None:
    runs = runs_of("Llama")
    policy = rlhf.export(runs.sft, tmp_path / "policy")
    reward = rlhf.export(runs.reward, tmp_path / "reward")
    rows = [json.loads((f / "config.json").read_text())["vocab_size"] for f in (policy, reward)]
    assert rows == [8, 9]
    original = (runs.folder / "tokenizer.json").read_bytes()
    assert (policy / "tokenizer.json").read_bytes() == original
    tokenizer = transformers.AutoTokenizer.from_pretrained(reward)
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (8, EOS)
