"""Neither the process around a run nor an environment that disturbs it changes the results."""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlkit.training.run import Run


def curves(run: Run) -> list[bytes]:
    return [(run.folder / f"seed-{seed:03d}.csv").read_bytes() for seed in run.seeds]


@pytest.mark.slow
@pytest.mark.parametrize("side_effect", ["reseed", "chdir", "print", "threads"])
def test_an_environment_that_disturbs_the_process_changes_no_result(
    side_effect: str,
    small: Callable[..., Run],
    results: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)  # also brings the working directory back
    states = np.random.get_state(), random.getstate(), torch.get_rng_state()  # noqa: NPY002
    undisturbed = small("ppo-probe", seeds=2, steps=200)
    settings = {
        "seeds": 2,
        "steps": 200,
        "env_args": {"side_effect": side_effect},
        "out": "relative",
    }
    disturbed = small("ppo-probe", **settings)
    assert disturbed.folder.parent == tmp_path / "relative"
    assert results(disturbed.folder) == results(undisturbed.folder)
    monkeypatch.chdir(tmp_path)
    assert small("ppo-probe", **settings).status == "finished"
    np.random.set_state(states[0])  # noqa: NPY002
    random.setstate(states[1])
    torch.set_rng_state(states[2])
    torch.set_num_threads(1)


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


@pytest.mark.slow
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
