"""Devices: which are there, and that nothing assumes the processor, on a second one with values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import rlkit.rlhf as rlhf
from rlkit.errors import UsageError
from rlkit.rlhf.models.device import current_device, device_of, placing, require_device
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.rlhf.training import configs
from tests.rlhf.elsewhere import AWAY, AwayTensor, elsewhere
from tests.rlhf.stages.small_runs import MODEL, TASK, lines

PAIRS = [
    {"prompt": "hi" + "y" * (i % 12), "chosen": "yes" * (1 + i // 12), "rejected": "no"}
    for i in range(24)
]
SHOWN = [{"prompt": pair["prompt"], "response": pair["chosen"]} for pair in PAIRS]


@pytest.mark.parametrize("name", ["cuda", "mps"])
def test_a_device_that_is_not_there_is_rejected(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    message = rf"option device \(--device\): {name} is not available: torch .* sees no GPU of"
    with pytest.raises(UsageError, match=message):
        rlhf.sft(TASK, device=name, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UsageError, match="expected one of cpu, cuda, mps, got 'gpu'"):
        require_device("gpu")


def test_the_device_of_new_models_is_that_of_the_block() -> None:
    assert require_device("cpu") == "cpu"
    assert current_device() == torch.device("cpu")
    with placing("cuda"):
        assert current_device() == torch.device("cuda")
    assert current_device() == torch.device("cpu")


def test_the_other_device_of_these_tests_rejects_tensors_of_the_processor() -> None:
    with elsewhere():
        layer = torch.nn.Linear(2, 2).to(AWAY)
        assert isinstance(layer.weight, AwayTensor)
        with pytest.raises(RuntimeError, match="expected all tensors to be on the same device"):
            layer(torch.ones(1, 2))
        assert layer(torch.ones(1, 2).to(AWAY)).device == AWAY


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let `device="cuda"` mean the other device, and no optimiser be fused, which is for GPUs."""
    for room in ("launch", "evaluation.loaded_policy", "evaluation.evaluate_policy"):
        monkeypatch.setattr(
            f"rlkit.rlhf.stages.{room}.require_device",
            lambda name: AWAY.type if name == "cuda" else name,
        )
    original = configs.optimiser_class

    def optimiser_class(decay: Any) -> Any:
        return lambda parameters, fused, **options: original(decay)(parameters, **options)

    for room in ("example_trainer", "token_update"):
        monkeypatch.setattr(f"rlkit.rlhf.training.{room}.optimiser_class", optimiser_class)


def _stages(folder: Path, device: str) -> dict[str, StageRun]:
    """Run every stage on a task and on texts."""
    common: dict[str, Any] = {"out": folder / device, "device": device}
    runs = {"sft": rlhf.sft(TASK, model=MODEL, num_demonstrations=16, num_epochs=1, **common)}
    reward = {"num_pairs": 10, "num_calibration": 8, "min_updates": 1, "num_epochs": 1}
    runs["reward"] = rlhf.reward(runs["sft"], **reward, **common)
    policy = {"num_updates": 2, "batch_size": 8, "minibatch_size": 4, "num_epochs": 1}
    runs["ppo"] = rlhf.ppo(runs["sft"], reward=runs["reward"], **policy, **common)
    full = {"kl_placement": "loss", "kl_estimator": "full"}
    runs["grpo"] = rlhf.grpo(runs["sft"], **full, **policy, **common)
    texts = {
        "demonstrations": lines(folder / "shown.jsonl", *SHOWN),
        "preferences": lines(folder / "pairs.jsonl", *PAIRS),
    }
    few = {"num_epochs": 1, "batch_size": 12}
    model = rlhf.ModelSource(width=8, num_layers=1, positions="sinusoidal", tied=True)
    runs["texts"] = rlhf.sft(**texts, model=model, **few, **common)
    runs["dpo"] = rlhf.dpo(runs["texts"], **few, **common)
    judge = rlhf.reward(runs["texts"], num_calibration=8, min_updates=1, **few, **common)
    runs["adapted"] = rlhf.rloo(runs["texts"], reward=judge, adapter_rank=2, **policy, **common)
    return runs


def test_every_stage_runs_on_another_device_with_the_same_results(
    away: Any, tmp_path: Path
) -> None:
    here = _stages(tmp_path, "cpu")
    with elsewhere():
        there = _stages(tmp_path, "cuda")
        _, policy = rlhf.load_policy(there["ppo"])
        assert device_of(policy).type == "cpu"
        for name in ("ppo", "adapted"):
            (row,) = rlhf.sample_run(there[name], num=1, device="cuda")
            (expected,) = rlhf.sample_run(here[name], num=1)
            assert row["response"] == expected["response"]
            assert row["scores"] == pytest.approx(expected["scores"], abs=1e-5)
        assert rlhf.evaluate_run(there["dpo"], num_samples=4, device="cuda")["num_samples"] == 4
    for name, run in here.items():
        other = there[name]
        assert other.folder.name == run.folder.name  # no part of what the results depend on
        assert other.record["device"] == AWAY.type
        assert "device" not in run.record
        assert (run.record["reproducible"], other.record["reproducible"]) == (True, False)
        assert any("rounded differently each time" in note for note in other.record["notes"])
        assert list(run.curve()) == list(other.curve())
        for column, values in run.curve().items():
            theirs = other.curve()[column]
            assert theirs == pytest.approx(values, rel=1e-5, abs=1e-6, nan_ok=True), (name, column)


def test_a_run_that_is_continued_on_another_device_says_so(away: Any, tmp_path: Path) -> None:
    common: dict[str, Any] = {"model": MODEL, "num_demonstrations": 16, "num_epochs": 1}
    common["out"] = tmp_path
    begun = rlhf.sft(TASK, **common)
    assert begun.record["reproducible"]
    with elsewhere():
        run = rlhf.sft(TASK, **common, seeds=2, device="cuda")
    assert run.record["device"] == AWAY.type
    assert not run.record["reproducible"]
    assert any("begun on cpu and continued on meta" in note for note in run.record["notes"])
    again = rlhf.sft(TASK, **common, seeds=3)
    assert again.record["device"] == "cpu"
    assert any("begun on meta and continued on cpu" in note for note in again.record["notes"])
