"""A search gives the same trials whatever interrupts it, and confirms its best on fresh seeds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlkit
from rlkit.errors import RlkitError, UsageError
from rlkit.runs import checkpoints
from rlkit.training.run import load
from rlkit.training.tuning.racing import FEWEST_FINISHED, TrialCurve, step_of_stop
from rlkit.training.tuning.study import Study
from rlkit.training.tuning.trials import Trial
from tests.training.tuning.conftest import SMALL, search

pytestmark = pytest.mark.filterwarnings("ignore::rlkit.errors.RlkitWarning")

STEADY = str(Path(__file__).parents[2] / "steady_agent.py") + ":Steady"
Unconfirmed = Callable[..., list[Trial]]


def written(study: Study) -> dict[str, bytes]:
    return {name: (study.folder / name).read_bytes() for name in ("trials.csv", "study.json")}


def test_trials_race_and_the_best_is_confirmed(searched: Study) -> None:
    states = [trial.state for trial in searched.trials]
    assert len(states) == 12
    assert states[:FEWEST_FINISHED] == ["finished"] * FEWEST_FINISHED
    assert "stopped" in states
    ranked = sorted((t for t in searched.trials if t.state == "finished"), key=lambda t: -t.rank[0])
    assert {one.number for one in searched.finals} == {one.number for one in ranked[:4]}
    assert searched.best == searched.trials[searched.finals[0].number]
    assert searched.comparison is not None
    assert list(searched.comparison.runs) == ["tuned", "preset"]


def test_stopped_trials_are_those_that_the_rule_stops_by_the_curves_in_their_folders(
    searched: Study,
) -> None:
    finished: list[TrialCurve] = []
    for trial in searched.trials:
        if trial.same_as is not None:
            continue
        assert trial.folder is not None
        run = load(trial.folder)
        # Rows after the stop are there only where the loop looks less often.
        curve = TrialCurve(run.steps, run.curve)
        stop = step_of_stop(curve, finished, budget=4000, every=400)
        assert (trial.state == "stopped") == (stop is not None)
        if stop is None:
            assert trial.scores == tuple(run.scores)
            finished.append(curve)
        else:
            assert trial.steps == stop == run.steps[-1]


def test_fresh_seeds_are_of_another_experiment(searched: Study) -> None:
    assert searched.comparison is not None
    seeds = {run.record["experiment_seed"] for run in searched.comparison.runs.values()}
    assert len(seeds) == 1
    assert seeds.isdisjoint({1})
    assert searched.summary()["confirmation"]["seed"] == seeds.pop()


def test_an_interrupted_search_continues_to_the_same_bytes(
    searched: Study, begun: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, out = 0, begun(7)
    save = checkpoints.save_checkpoint

    def stopping(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        return save(*args, **kwargs)

    monkeypatch.setattr(checkpoints, "save_checkpoint", stopping)
    with pytest.raises(KeyboardInterrupt):
        search(out)
    (folder,) = out.iterdir()
    kept = len((folder / "trials.csv").read_text().splitlines()) - 1
    assert 7 <= kept < 12
    assert written(search(out)) == written(searched)


@pytest.mark.long
@pytest.mark.parametrize(
    "moment",
    [
        "die_at(checkpoints, 'save_checkpoint', 14)",
        "die_at(curves.CurveFile, 'append', 100)",
        "die_at(proposals, 'write_proposal', 4, after=True)",
        "die_at(study.Study, 'write', 6)",
    ],
)
def test_a_killed_search_continues_to_the_same_bytes(
    moment: str, searched: Study, tmp_path: Path, forks: Any
) -> None:
    lines = [
        "from rlkit.training.tuning import proposals, study, tune",
        moment.replace("proposals, 'write", "tune, 'write"),
        f"tune.tune(**{SMALL!r}, out={str(tmp_path)!r})",
    ]
    child = forks.start("\n".join(lines))
    assert child.wait() == -9, child.output
    assert written(search(tmp_path)) == written(searched)


def test_more_trials_extend_the_same_search(
    searched: Study, tmp_path: Path, unconfirmed: Unconfirmed
) -> None:
    few = unconfirmed(tmp_path, trials=2)
    more = unconfirmed(tmp_path, trials=4)
    assert more[:2] == few
    known = [(t.params, t.state, t.scores) for t in searched.trials]
    assert [(t.params, t.state, t.scores) for t in more] == known[:4]
    assert len(list(tmp_path.iterdir())) == 1


def test_fewer_trials_are_the_first_of_them_which_is_noted(
    searched: Study, begun: Callable[[int], Path], unconfirmed: Unconfirmed
) -> None:
    with pytest.warns(rlkit.RlkitWarning, match="has more than 3 trials; the first 3 are used"):
        trials = unconfirmed(begun(12), trials=3)
    known = [(t.params, t.interval) for t in searched.trials[:3]]
    assert [(t.params, t.interval) for t in trials] == known


def test_a_search_of_other_seeds_or_ranges_is_another(
    tmp_path: Path, unconfirmed: Unconfirmed
) -> None:
    for changes in ({}, {"seed": 2}, {"seeds": 2}, {"space": {"discount": [0.5, 0.9]}}):
        unconfirmed(tmp_path, trials=1, **changes)
    assert len(list(tmp_path.iterdir())) == 4


def test_the_first_trial_is_where_the_search_starts(
    tmp_path: Path, unconfirmed: Unconfirmed
) -> None:
    (trial,) = unconfirmed(tmp_path, trials=1, config={"step_size": 0.25, "initial_value": 0.1})
    assert (trial.origin, trial.params) == ("start", {"step_size": 0.25, "initial_value": 0.1})
    # None is no number of the range.
    (trial,) = unconfirmed(tmp_path, trials=1)
    assert trial.origin == "proposed"


def test_a_setting_that_was_tried_is_not_trained_again(
    tmp_path: Path, unconfirmed: Unconfirmed
) -> None:
    trials = unconfirmed(tmp_path, trials=4, space={"discount": [0.5, 0.99]})
    again = [trial for trial in trials if trial.same_as is not None]
    assert len(again) == 2
    for trial in again:
        first = trials[trial.same_as or 0]
        assert (first.params, first.scores) == (trial.params, trial.scores)
        assert first.same_as is None


def test_options_that_are_given_are_fixed(tmp_path: Path, unconfirmed: Unconfirmed) -> None:
    (trial,) = unconfirmed(tmp_path, trials=1, step_size=0.25)
    assert trial.params.keys() == {"initial_value"}
    assert trial.folder is not None
    assert load(trial.folder).record["config"]["step_size"] == 0.25


PICKY = """
import gymnasium as gym


class Picky(gym.Env):
    observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(3)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return 0, {}

    def step(self, action):
        self.steps += 1
        return 0, float("nan") if action == 2 else float(action), self.steps == 5, False, {}
"""


@pytest.fixture
def picky(tmp_path: Path) -> dict[str, Any]:
    """Arguments of a search on an environment that fails by the action 2."""
    (tmp_path / "picky.py").write_text(PICKY)
    return {
        **{"agent": STEADY, "environment": f"{tmp_path / 'picky.py'}:Picky", "chance": 0.0},
        **{"seeds": 2, "confirm_seeds": 2, "steps": 50, "evaluate_every": 25},
        "out": tmp_path / "out",
    }


def test_failed_trials_are_shown_and_another_wins(picky: dict[str, Any]) -> None:
    study = rlkit.tune(**picky, space={"first": [2, 0, 1]}, trials=6)
    by_value = {trial.params["first"]: trial for trial in study.trials}
    assert {value: trial.state for value, trial in by_value.items()} == {
        **{0: "finished", 1: "finished"},
        2: "failed",
    }
    assert "seed 0: " in by_value[2].message
    assert "nan" in by_value[2].message
    assert by_value[2].interval is None
    assert study.best is not None
    assert study.best.params == {"first": 1}
    assert rlkit.tune(**picky, space={"first": [2, 0, 1]}, trials=6).trials == study.trials


def test_where_all_trials_fail_it_is_an_error_that_names_the_first(
    picky: dict[str, Any],
) -> None:
    with pytest.raises(RlkitError, match="all 2 trials failed, the first because seed 0: "):
        rlkit.tune(**picky, space={"first": [2]}, trials=2)
    (folder,) = picky["out"].iterdir()
    table = (folder / "trials.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in table] == ["state", "failed", "failed"]


def test_a_setting_that_the_agent_rejects_has_failed(
    tmp_path: Path, unconfirmed: Unconfirmed
) -> None:
    space = {"step_size": ["None", 0.5], "step_size_end": ["None", 0.1]}
    config = {"step_size": 0.5}
    trials = unconfirmed(tmp_path, trials=8, space=space, config=config)
    rejected = [t for t in trials if t.params == {"step_size": None, "step_size_end": 0.1}]
    assert rejected
    assert rejected[0].state == "failed"
    assert "step_size_end" in rejected[0].message
    assert rejected[0].folder is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": 1}, r"option seeds .* >= 2, got 1"),
        ({"trials": 0}, r"option trials .* >= 1, got 0"),
        ({"confirm_seeds": 1}, r"option confirm_seeds .* >= 2, got 1"),
        ({"preset": "no"}, r"option preset .* True or False, got 'no'"),
        ({"agent": "random", "epsilon_steps": None}, r"agent random has no option"),
        ({"stepsize": 0.1}, r"agent q-learning has no option 'stepsize'"),
        ({"space": {"lr": [0.1]}}, r"the search space: agent q-learning has no option 'lr'"),
        ({"environment": "FrozenLake-v77"}, r"FrozenLake-v77"),
    ],
)
def test_bad_requests_are_rejected_before_anything_is_written(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        search(tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_an_agent_of_ones_own_is_tuned(tmp_path: Path) -> None:
    study = rlkit.tune(
        *(STEADY, "FrozenLake-v1"),
        space={"first": [0, 1, 2, 3]},
        trials=3,
        seeds=2,
        confirm_seeds=2,
        steps=200,
        evaluate_every=100,
        out=tmp_path,
    )
    assert study.command.startswith(f"rlkit train {STEADY} FrozenLake-v1 --steps 200")
    assert study.comparison is not None
    assert list(study.comparison.runs) == ["tuned", "defaults"]
    np.testing.assert_array_equal(study.comparison.scores["tuned"].shape, (2,))
    assert json.loads((study.folder / "study.json").read_text())["agent"] == "Steady"
