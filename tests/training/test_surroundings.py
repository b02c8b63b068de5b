"""Neither the process around a run nor an environment that disturbs it changes the results."""

from __future__ import annotations

import itertools
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlkit.errors import RlkitWarning
from rlkit.runs.reports import Reports
from rlkit.training import seed_batch
from rlkit.training.run import Run
from rlkit.training.train import train
from tests.faulty_envs import Counter
from tests.run_fixtures import SMALL
from tests.settings import SETTINGS, restored, snapshot


def curves(run: Run) -> list[bytes]:
    return [(run.folder / f"seed-{seed:03d}.csv").read_bytes() for seed in run.seeds]


# An environment closes a context that it leaves open, and no agent looks at the last two.
OF_ENVIRONMENTS = [
    name for name in SETTINGS if name not in ("within-device", "warnings", "print-options")
]
TINY = {"seeds": 2, "steps": 80}  # two updates


@pytest.fixture
def everything_restored() -> Iterator[None]:
    with restored():
        yield


def outcome(run: Run) -> list[Any]:
    """What the run is used for afterwards."""
    actor = run.actor(1, greedy=False)
    obs = np.linspace(-1, 1, 2 * 40, dtype=np.float32).reshape(40, 2)
    return [run.evaluate(3)["seeds"], actor.predict(obs)[0].tolist(), actor.value(obs).tolist()]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, results: Any) -> Any:
    run = train(**SMALL["ppo-probe"] | TINY | {"out": tmp_path_factory.mktemp("undisturbed")})
    return results(run.folder), outcome(run)


@pytest.mark.trap("T56")
@pytest.mark.usefixtures("everything_restored")
@pytest.mark.parametrize("setting", SETTINGS)
def test_no_setting_of_the_user_changes_a_result_and_all_are_restored(
    setting: str, small: Callable[..., Run], results: Any, undisturbed: Any
) -> None:
    SETTINGS[setting]()
    before = snapshot()
    run = small("ppo-probe", **TINY)
    assert snapshot() == before
    of_run = outcome(run)
    assert snapshot() == before
    assert (results(run.folder), of_run) == undisturbed


@pytest.mark.trap("F50")
@pytest.mark.usefixtures("everything_restored")
@pytest.mark.parametrize("side_effect", [*OF_ENVIRONMENTS, "chdir", "print"])
def test_an_environment_that_disturbs_the_process_changes_no_result(
    side_effect: str,
    small: Callable[..., Run],
    results: Any,
    undisturbed: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """In every step, and in those of the evaluations."""
    monkeypatch.chdir(tmp_path)  # also brings the working directory back
    before = snapshot()
    settings = {**TINY, "env_args": {"side_effect": side_effect}, "out": "relative"}
    run = small("ppo-probe", **settings)
    of_run = outcome(run)
    assert run.folder.parent == tmp_path / "relative"
    assert (results(run.folder), of_run) == undisturbed
    if side_effect != "seed":  # which an environment may do, and no agent takes notice
        assert snapshot() == before
    if side_effect == "chdir":
        monkeypatch.chdir(tmp_path)
        with pytest.warns(RlkitWarning, match="already finished"):
            small("ppo-probe", **settings)


@pytest.mark.trap("T22", "T58")
@pytest.mark.slow
def test_a_run_neither_uses_nor_moves_the_global_generators(
    small: Callable[..., Run], results: Any, reference: Any
) -> None:
    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    torch.manual_seed(1)
    before = (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state())  # noqa: NPY002
    expected = reference("ppo-normalised", seeds=10)
    run = small("ppo-normalised", seeds=2)
    assert results(run.folder) == {seed: expected[seed] for seed in range(2)}
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tobytes() == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


@pytest.mark.trap("T55", "T59")
@pytest.mark.long
@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_another_order_of_hashes_gives_the_same_bytes(
    hash_seed: str, start_forks: Any, out: Path, results: Any, reference: Any
) -> None:
    forks = start_forks(PYTHONHASHSEED=hash_seed)
    try:
        for name in ("ppo-normalised", "reinforce", "q-learning"):
            child = forks.train(name, seeds=2, out=out / name)
            assert child.wait() == 0, child.output
            (folder,) = (out / name).iterdir()
            expected = reference(name, seeds=10)
            assert results(folder) == {seed: expected[seed] for seed in range(2)}
    finally:
        forks.close()


@pytest.mark.trap("T60", "F14")
@pytest.mark.slow
def test_a_clock_that_runs_backwards_changes_nothing_and_no_duration_is_negative(
    small: Callable[..., Run], results: Any, reference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(time, "time", lambda: 2e9 - 3600.0 * next(ticks))
    run = small("ppo", seeds=2, steps=200)
    run = small("ppo", seeds=2)
    expected = reference("ppo", seeds=10)
    assert results(run.folder) == {seed: expected[seed] for seed in range(2)}
    assert len(run.record["timing"]) == 2
    assert all(part["seconds"] >= 0 for part in run.record["timing"])
    assert [part["env_steps"] for part in run.record["timing"]] == [400, 800]
    assert 0 < run.env_steps_per_second < np.inf


def test_the_working_directory_is_where_it_was(small: Callable[..., Run]) -> None:
    before = os.getcwd()
    small("q-learning", seeds=1, steps=100)
    assert os.getcwd() == before


class Shallow(Counter):
    """Leaves hardly any depth to calls."""

    def reset(self, **arguments: Any) -> Any:
        result = super().reset(**arguments)
        sys.setrecursionlimit(inspect_depth() + 40)
        return result


def inspect_depth() -> int:
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    return depth


def test_an_environment_that_lowers_the_depth_of_calls_changes_no_result(
    small: Callable[..., Run],
) -> None:
    before = sys.getrecursionlimit()
    run = small("random-probe", environment=Shallow, seeds=1, steps=60, evaluate_every=20)
    plain = small("random-probe", environment=Counter, seeds=1, steps=60, evaluate_every=20)
    assert np.array_equal(run.curve, plain.curve)
    assert sys.getrecursionlimit() == before


def test_an_episode_that_does_not_end_is_noted_once(
    small: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seed_batch, "LONG_REPLAY", 15)
    notes: list[str] = []
    options = {"seeds": 1, "steps": 120, "evaluate_every": 20, "env_args": {"length": 10**6}}
    options["reports"] = Reports(note=notes.append)
    small("random-probe", environment=Counter, **options, evaluation_episodes=0)
    (note,) = [note for note in notes if "resuming plays them again" in note]
    assert "Counter has run for" in note
    assert "TimeLimit" in note
