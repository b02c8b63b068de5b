"""What becomes of a trial is read from its folder, and what is decided is not trained again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import rlkit
from rlkit.runs.curves import curve_path, read_curve
from rlkit.training.run import load
from rlkit.training.tuning import trials as trying
from rlkit.training.tuning.study import Study
from rlkit.training.tuning.trials import Racing, Trial
from tests.training.tuning.conftest import search

pytestmark = pytest.mark.filterwarnings("ignore::rlkit.errors.RlkitWarning")


def bytes_of(study: Study) -> dict[Path, bytes]:
    folder = study.folder / "trials"
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_search_trains_nothing(searched: Study) -> None:
    before = bytes_of(searched)
    assert search(searched.folder.parent).trials == searched.trials
    assert bytes_of(searched) == before


def test_a_stopped_trial_is_a_finished_run_that_says_what_stopped_it(searched: Study) -> None:
    for trial in searched.trials:
        if trial.state == "stopped" and trial.same_as is None:
            assert trial.folder is not None
            run = load(trial.folder)
            assert run.status == "finished"
            assert run.stopped == "callback race of rlkit tune: it returned 'stop'"
            assert run.num_env_steps == trial.steps < 4000


def test_resuming_all_runs_trains_no_stopped_trial_on(searched: Study) -> None:
    before = bytes_of(searched)
    assert {one.state for one in rlkit.resume(searched.folder / "trials")} == {"complete"}
    assert bytes_of(searched) == before


def test_a_trial_that_was_trained_past_its_stop_is_stopped_where_it_was(
    searched: Study, begun: Callable[[int], Path], unconfirmed: Callable[..., list[Trial]]
) -> None:
    """As by `rlkit resume` after a kill, which knows of no race."""
    number = next(trial.number for trial in searched.trials if trial.state == "stopped")
    out = begun(number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trying.Racing, "callback", lambda self: lambda progress: None)
        trials = unconfirmed(out, trials=number + 1)
    (trial,) = trials[number:]
    assert trial.folder is not None
    assert load(trial.folder).num_env_steps == 4000
    known = searched.trials[number]
    assert (trial.state, trial.steps) == ("stopped", known.steps)
    assert trial.interval == known.interval
    assert unconfirmed(out, trials=number + 1) == trials


@pytest.mark.long
def test_workers_change_nothing(
    searched: Study, begun: Callable[[int], Path], unconfirmed: Callable[..., list[Trial]]
) -> None:
    few = unconfirmed(begun(5), trials=6, workers=2)
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
