"""What is loaded from the folder of a run is what was trained in it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rlkit.rlhf as rlhf
from rlkit.errors import UsageError
from rlkit.rlhf.stages.stage_run import StageRun
from tests.rlhf.stages.small_runs import UPDATES, log_probs_of
from tests.settings import SETTINGS, restored, snapshot

SCORE = "def f(prompts, responses):\n    return [{} * len(text) for text in responses]\n"


@pytest.mark.parametrize("adapter_rank", [None, 2])
def test_the_policy_that_is_loaded_is_the_one_that_was_trained(
    adapter_rank: int | None, run: Callable[..., StageRun], out: Path, finished: list[Any]
) -> None:
    done = run("rloo", out=out, adapter_rank=adapter_rank)
    task, loaded = rlhf.load_policy(done, 0)
    trained = finished[-1].policy
    # The adapters are folded into the weights as the forward pass does it: the same bits.
    assert np.array_equal(log_probs_of(loaded, task), log_probs_of(trained, task))
    assert not [name for name, _ in loaded.named_parameters() if "base" in name]


def test_a_reward_model_has_mean_0_and_deviation_1_under_its_reference(
    parents: dict[str, StageRun],
) -> None:
    model = rlhf.load_reward_model(parents["reward"], 0)
    task, policy = rlhf.load_policy(parents["sft"], 0)
    key = rlhf.AnswerKey(task, policy)
    table, law = key.tabulate(model.score), np.exp(key.reference_log_prob)
    mean = (law * table).sum(1).mean()
    # Set from 4096 samples: the mean has a standard error of 1/64; five of them.
    assert abs(mean) < 5 / 64
    assert (law * (table - mean) ** 2).sum(1).mean() == pytest.approx(1.0, abs=0.15)


def test_models_are_loaded_alike_whatever_the_user_has_set(parents: dict[str, StageRun]) -> None:
    def load() -> list[torch.Tensor]:
        _, policy = rlhf.load_policy(parents["sft"], 0)
        return [*policy.parameters(), *rlhf.load_reward_model(parents["reward"], 0).parameters()]

    expected = load()
    for name in ("float64", "no-grad", "inference", "device", "within-device"):
        with restored():
            SETTINGS[name]()
            before = snapshot()
            loaded = load()
            assert snapshot() == before, name
        for one, same in zip(loaded, expected, strict=True):
            assert one.dtype is torch.float32, name
            assert torch.equal(one, same), name
            assert one.is_inference() is False, name


@pytest.mark.slow
@pytest.mark.parametrize("by_file", [True, False])
def test_a_score_function_that_changed_is_another_run_and_not_judged_by(
    by_file: bool, parents: dict[str, StageRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / f"my_score_{by_file}.py"
    file.write_text(SCORE.format(1.0))
    monkeypatch.syspath_prepend(tmp_path)
    score = f"{file}:f" if by_file else f"{file.stem}:f"
    first = rlhf.ppo(parents["sft"], score=score, out=tmp_path / "runs", **UPDATES)
    assert rlhf.evaluate_run(first, num_samples=16)["scores"]
    file.write_text(SCORE.format(-2.5))
    for name in [name for name in sys.modules if name == file.stem]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(UsageError, match="has changed since the run was trained"):
        rlhf.evaluate_run(first, num_samples=16)
    second = rlhf.ppo(parents["sft"], score=score, out=tmp_path / "runs", **UPDATES)
    assert second.folder != first.folder
