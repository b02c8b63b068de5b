"""What becomes of a trial is read from its folder, and what is decided is not trained again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.runs.curves import curve_path, read_curve
from rlkit.training.tuning import trials as trying
from rlkit.training.tuning.study import Study
from rlkit.training.tuning.trials import Racing, Trial
from tests.training.tuning.conftest import search

pytestmark = pytest.mark.filterwarnings("ignore::rlkit.errors.RlkitWarning")


def test_a_second_search_trains_nothing(
    searched: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*args: Any, **kwargs: Any) -> None:
        assert args[0].folder not in stopped

    stopped = [trial.folder for trial in searched.trials if trial.state == "stopped"]
    assert stopped
    monkeypatch.setattr(trying, "train_prepared", train)
    again = search(searched.folder.parent)
    assert again.trials == searched.trials


@pytest.mark.long
def test_workers_change_nothing(
    searched: Study, tmp_path: Path, unconfirmed: Callable[..., list[Trial]]
) -> None:
    # A worker looks at its signals now and then only: it may train on after the stop.
    few = unconfirmed(tmp_path, trials=6, workers=2)
    known = [(t.params, t.state, t.steps, t.scores) for t in searched.trials[:6]]
    assert [(t.params, t.state, t.steps, t.scores) for t in few] == known
    assert few[5].state == "stopped"


def test_rows_that_only_some_seeds_have_are_not_looked_at() -> None:
    racing = Racing(finished=(), num_seeds=2, budget=100, every=10, column="eval_return")
    steps = [np.arange(0, 50, 10.0), np.arange(0, 30, 10.0)]
    curve = racing.curve(lambda s: {"num_env_steps": steps[s], "eval_return": s + steps[s]})
    assert curve.steps.tolist() == [0.0, 10.0, 20.0]
    assert curve.returns.tolist() == [[0.0, 10.0, 20.0], [1.0, 11.0, 21.0]]
    assert racing.curve(lambda s: {}).returns.shape == (2, 0)


def test_the_stored_rows_of_a_stopped_trial_end_where_it_was_stopped(searched: Study) -> None:
    for trial in searched.trials:
        if trial.state == "stopped" and trial.same_as is None:
            assert trial.folder is not None
            for seed in range(3):
                rows = read_curve(curve_path(trial.folder, seed))
                assert rows["num_env_steps"][-1] == trial.steps
