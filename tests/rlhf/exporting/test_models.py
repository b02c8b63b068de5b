"""GPTs of our own as GPT-2s of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import rlkit.rlhf as rlhf
from rlkit.errors import UsageError
from rlkit.rlhf.stages.loading import load_policy
from rlkit.rlhf.stages.stage_run import StageRun

transformers = pytest.importorskip("transformers")

from rlkit.rlhf.exporting.models import classifier  # noqa: E402

KINDS: list[dict[str, Any]] = [
    {"positions": "learned", "activation": "gelu", "tied": False},
    {"positions": "sinusoidal", "activation": "relu", "tied": True},
    {"positions": "learned", "activation": "gelu_tanh", "tied": True},
]


def train(texts: dict[str, Path], out: Path, **kind: Any) -> StageRun:
    size = rlhf.ModelSource(width=16, num_layers=2, init_std=0.3, **kind)
    options = {"tokenizer": "word", "min_updates": 0, "held_out": 0.0, "num_epochs": 1}
    return rlhf.sft(**texts, model=size, out=out, **options)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_a_gpt_of_any_kind_is_a_gpt2_with_the_same_logits_and_greedy_text(
    kind: dict[str, Any], texts: dict[str, Path], tmp_path: Path
) -> None:
    run = train(texts, tmp_path / "runs", **kind)
    folder = rlhf.export(run, tmp_path / "gpt2")
    read = transformers.AutoModelForCausalLM.from_pretrained(folder)
    assert type(read).__name__ == "GPT2LMHeadModel"
    task, policy = load_policy(run)
    ids = torch.tensor([task.parse("a b c d")])
    with torch.no_grad():
        expected = policy.unembed(policy(ids))
        logits = read(input_ids=ids).logits[..., : policy.num_actions]
        torch.testing.assert_close(logits, expected, rtol=0.0, atol=1e-5)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("b a c", return_tensors="pt")
    output = read.generate(**inputs, do_sample=False)[0, 3:]
    (row,) = rlhf.sample_run(run, num=1, prompts=["b a c"], greedy=True)
    assert tokenizer.decode(output, skip_special_tokens=True) == row["response"]


def test_the_reward_model_of_a_gpt_is_a_classifier_and_one_of_a_built_in_task_too(
    texts: dict[str, Path], tmp_path: Path
) -> None:
    sft = train(texts, tmp_path / "runs")
    options = {"num_epochs": 1, "min_updates": 1, "num_calibration": 8, "out": tmp_path / "runs"}
    reward = rlhf.reward(sft, **options)
    folder = rlhf.export(reward, tmp_path / "reward")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([[*tokenizer("a b c d").input_ids, tokenizer.eos_token_id]])
    with torch.no_grad():
        score = float(model.eval()(input_ids=ids).logits[0, 0]) + model.config.rlkit_score_offset
    expected = rlhf.score(reward, [{"prompt": "a b", "response": "c d"}])[0]
    assert score == pytest.approx(expected, abs=1e-5)


def test_a_family_without_a_classifier_is_named(
    monkeypatch: pytest.MonkeyPatch, texts: dict[str, Path], tmp_path: Path
) -> None:
    sft = train(texts, tmp_path / "runs")
    options = {"num_epochs": 1, "min_updates": 1, "num_calibration": 8, "out": tmp_path / "runs"}
    reward = rlhf.load_reward_model(rlhf.reward(sft, **options))

    def none(config: Any) -> Any:
        raise ValueError("Unrecognized configuration class")

    monkeypatch.setattr(transformers.AutoModelForSequenceClassification, "from_config", none)
    task, _ = load_policy(sft)
    with pytest.raises(UsageError, match="no sequence classifier of the type 'gpt2'"):
        classifier(reward, task.codec)
