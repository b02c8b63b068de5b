"""The best state of a seed is that of its earliest best evaluation, however the run came about."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlkit
from rlkit.errors import RlkitError, RlkitWarning, UsageError
from rlkit.runs import checkpoints
from rlkit.runs.integrity.sums import LineSums
from rlkit.runs.reports import Reports
from rlkit.seeding import SeedStreams
from rlkit.training.run import Run
from rlkit.training.train import Interrupted
from rlkit.training.watching.best import BestStates, best_state
from tests.training.watching.conftest import LAKE, NAME

Lake = Callable[..., Run]


def states(run: Run) -> list[tuple[str, bytes]]:
    """The name and bytes of the one best state of each seed."""
    known = [checkpoints.list_best(run.folder, seed) for seed in run.seeds]
    assert [len(one) for one in known] == [1] * len(run.seeds)
    return [(path.name, path.read_bytes()) for ((_, path),) in known]


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A whole run that kept its best states."""
    from tests.run_fixtures import SMALL

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "plot", lambda self, path=None: None)
        out = tmp_path_factory.mktemp("best")
        return rlkit.train(**SMALL[NAME] | LAKE | {"keep_best": True, "out": out})


def test_it_is_kept_at_the_earliest_best_evaluation_of_each_seed(
    best: Run, whole: Any, results: Any, reference: Any
) -> None:
    assert results(best.folder) == whole
    expected = [int(best.steps[np.argmax(curve)]) for curve in best.curve]
    assert len(set(expected)) > 1
    assert [best_state(best.folder, seed)[0] for seed in best.seeds] == expected
    for seed, steps in enumerate(expected):
        _, state = best_state(best.folder, seed)
        reference(NAME, **LAKE | {"steps": steps})
        assert state["tracker/num_env_steps"] == steps


def test_it_is_the_state_that_training_was_in(best: Run, lake: Lake) -> None:
    steps, state = best_state(best.folder, 2)
    run = lake(steps=steps)
    final = checkpoints.newest_checkpoint(run.folder, 2)[1]
    assert {name.partition("/")[0] for name in state} == {"agent", "tracker"}
    for name, value in state.items():
        np.testing.assert_array_equal(value, final[name], err_msg=name)


def test_a_stopped_run_has_the_best_states_of_one_that_was_not_as_far_as_it_got(
    lake: Lake, best: Run
) -> None:
    run = lake(keep_best=True, until_return=0.02)
    for seed, (name, content) in enumerate(states(run)):
        curve = best.curve[seed, best.steps <= run.num_env_steps]
        assert name.startswith(f"best-{int(best.steps[np.argmax(curve)]):012d}-")
        whole_name, whole_content = states(best)[seed]
        if best_state(best.folder, seed)[0] <= run.num_env_steps:
            assert (name, content) == (whole_name, whole_content)


@pytest.mark.parametrize("looks", [3, 7])
def test_interruptions_do_not_change_it(looks: int, lake: Lake, best: Run) -> None:
    for _ in itertools.count():
        left = iter(range(looks))
        reports = Reports(stop=lambda left=left: next(left, None) is None)  # type: ignore[misc]
        try:
            run = lake(keep_best=True, reports=reports)
            break
        except Interrupted:
            continue
    assert states(run) == states(best)


@pytest.mark.parametrize("number", [3, 6, 9, 14])
def test_a_kill_between_its_files_does_not_change_it(
    number: int, lake: Lake, best: Run, forks: Any, out: Path
) -> None:
    before = f"die_at(checkpoints, 'write_atomically', {number})"
    child = forks.train(NAME, before=before, **LAKE | {"keep_best": True, "out": out})
    assert child.wait() == -signal.SIGKILL, child.output
    run = lake(keep_best=True)
    assert states(run) == states(best)
    assert rlkit.verify(out)[0].problems == ()


def test_a_longer_run_keeps_a_better_one(lake: Lake, best: Run) -> None:
    short = lake(keep_best=True, steps=1500)
    first = states(short)
    assert states(lake(keep_best=True)) == states(best) != first


def test_damage_is_noticed(lake: Lake) -> None:
    run = lake(keep_best=True, seeds=2, steps=1000)
    ((_, path),) = checkpoints.list_best(run.folder, 0)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert "is damaged" in rlkit.verify(run.folder)[0].problems[0]
    path.unlink()
    (problem,) = rlkit.verify(run.folder)[0].problems
    assert problem == f"the best checkpoint {path} is missing"
    path.with_name(f"best-{500:012d}-{'0' * 64}.npz").write_bytes(content)
    assert rlkit.verify(run.folder)[0].problems


def test_without_evaluations_there_is_none(lake: Lake) -> None:
    with pytest.raises(UsageError, match=r"keep_best.*without evaluations there is no best one"):
        lake(keep_best=True, evaluation_episodes=0)


def test_a_better_state_that_comes_while_one_is_written_is_kept(tmp_path: Path) -> None:
    best = BestStates(tmp_path, [0])
    (tmp_path / "checkpoints").mkdir()
    for steps, value in ((10, 1.0), (20, 2.0)):
        state = {"agent/x": np.array([value])}
        best.add(steps, np.array([value]), lambda state=state: state, [LineSums(b"x")])  # type: ignore[misc]
        if steps == 10:
            write = best.take()  # which begins to write, and training goes on
    write(0, LineSums(b"x"))
    assert best_state(tmp_path, 0)[1]["agent/x"] == 1.0
    best.take()(0, LineSums(b"x"))
    assert best_state(tmp_path, 0)[1]["agent/x"] == 2.0


def test_a_seed_that_failed_before_its_first_checkpoint_is_said_to(
    small: Callable[..., Run],
) -> None:
    bad_seed = SeedStreams(0, 1).episode_seed("evaluation", 0, 0)
    env_args = {"fault": "raise", "bad_seed": bad_seed}
    run = small("random-probe", seeds=3, env_args=env_args, keep_best=True, reports=Reports())
    assert list(run.failures) == [1]
    for which in ("best", "final"):
        with pytest.raises(
            RlkitError, match=r"seed 1 of the run .*: it failed: .*the walk fell over"
        ):
            run.actor(1, which=which)  # type: ignore[arg-type]
    of_which = {"best": "those of the best evaluations until then", "final": "last checkpoints"}
    for which, words in of_which.items():
        with pytest.warns(RlkitWarning, match=words):
            run.evaluate(2, which=which)  # type: ignore[arg-type]
