"""Several processes give the bytes of one, stop together, and leave nobody behind."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.errors import RlkitError
from rlkit.runs import checkpoints
from rlkit.runs.reports import Reports
from rlkit.seeding import SeedStreams
from rlkit.training.run import Run

pytestmark = pytest.mark.slow

# With a pause, long enough to be signalled in the middle: 250 times two steps in each worker.
SLOW_PROBE = {
    "seeds": 2,
    "workers": 2,
    "steps": 500,
    "evaluate_every": 50,
    "evaluation_episodes": 0,
}


@pytest.fixture
def started(forks: Any, out: Path, wait_for: Any) -> Callable[..., Any]:
    """A run with two workers that both have saved something."""

    def started(pause: float = 0.0025, **changes: Any) -> Any:
        before = f"os.environ['PROBE_PAUSE'] = '{pause}'"
        child = forks.train("random-probe", out=out, before=before, **SLOW_PROBE | changes)

        def both_saved() -> bool:
            assert child.poll() is None, child.output
            return len({path.parent for path in out.glob("*/checkpoints/*/step-*.npz")}) == 2

        wait_for(both_saved)
        return child

    return started


@pytest.mark.trap("T57")
def test_two_workers_give_the_bytes_of_one_process(
    small: Callable[..., Run], results: Any, reference: Any
) -> None:
    reported: list[tuple[int, ...]] = []
    reports = Reports(progress=lambda seeds, steps: reported.append((*seeds, steps)))
    run = small("ppo-normalised", seeds=10, workers=2, reports=reports)
    assert results(run.folder) == reference("ppo-normalised", seeds=10)
    assert {(0, 2, 4, 6, 8, 600), (1, 3, 5, 7, 9, 600)} <= set(reported)


@pytest.mark.trap("T21", "T22", "T57", "F72")
@pytest.mark.parametrize(
    "name",
    [
        "ppo",
        "q-learning",
        *(pytest.param(n, marks=pytest.mark.torture) for n in ("reinforce", "random")),
    ],
)
def test_any_number_of_workers_gives_the_bytes_of_one_process(
    name: str, small: Callable[..., Run], results: Any, reference: Any
) -> None:
    small(name, seeds=2)
    run = small(name, seeds=10, workers=3)  # eight seeds are left
    assert results(run.folder) == reference(name, seeds=10)


@pytest.mark.trap("F77")
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGHUP, 129, marks=pytest.mark.torture)],
)
def test_a_signal_reaches_all_processes_and_all_save(
    number: int, code: int, started: Any, out: Path
) -> None:
    # So slow that a worker looks for signals less often than the first process sends them.
    child = started(0.05, evaluate_every=20)
    os.killpg(child.pid, number)  # as a terminal or a batch system does
    assert child.wait(30) == code, child.output
    assert "Traceback" not in child.output
    # A worker that has saved reports this, and nothing reports it for one that was killed.
    assert "environment steps per seed; everything is saved" in child.output
    assert child.group_is_gone(10)
    (folder,) = out.iterdir()
    assert [checkpoints.newest_checkpoint(folder, seed)[2] for seed in range(2)] == [[], []]


def test_sigterm_to_the_first_process_lets_the_workers_save(
    started: Any, out: Path, small: Callable[..., Run], results: Any, reference: Any
) -> None:
    child = started()
    child.kill(signal.SIGTERM)
    assert child.wait(30) == 143, child.output
    assert child.group_is_gone(10)
    (folder,) = out.iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    assert "environment steps per seed; everything is saved" in child.output
    undisturbed = {**SLOW_PROBE, "workers": 1}
    assert results(small("random-probe", **undisturbed).folder) == reference(
        "random-probe", **undisturbed
    )


@pytest.mark.long
def test_a_signal_while_the_workers_start_is_an_interruption(
    forks: Any, out: Path, wait_for: Any, small: Callable[..., Run]
) -> None:
    before = "os.environ['PROBE_PAUSE'] = '0.0025'"
    child = forks.train("random-probe", out=out, before=before, **SLOW_PROBE)
    wait_for(lambda: bool(list(out.glob("*/run.json"))))
    child.kill(signal.SIGTERM)
    assert child.wait(30) == 143, child.output
    assert child.group_is_gone(10)


@pytest.mark.long
@pytest.mark.trap("F8")
@pytest.mark.parametrize(
    ("first", "second", "code"),
    [(signal.SIGTERM, signal.SIGHUP, 129), (signal.SIGINT, signal.SIGINT, 130)],
)
def test_a_second_signal_ends_all_at_once(
    first: int, second: int, code: int, started: Any, out: Path
) -> None:
    """Even a worker that no signal reaches, for which the first one has some seconds."""
    misbehaves = f"{Path(__file__).parents[1] / 'faulty_envs.py'}:Misbehaves"
    bad = SeedStreams(0, 1).episode_seed("env", 0, 60)  # later than the checks before training play
    args = {"fault": "deaf", "bad_seed": bad}
    child = started(environment=misbehaves, env_args=args, steps=2_000)
    time.sleep(0.5)
    began = time.monotonic()
    child.kill(first)
    time.sleep(0.1)
    child.kill(second)
    assert child.wait(15) == code, child.output
    assert child.group_is_gone(10)
    assert time.monotonic() - began < 3.5
    (folder,) = out.iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    for seed in range(2):
        steps, _, problems = checkpoints.newest_checkpoint(folder, seed)
        assert steps > 0
        assert not problems


@pytest.mark.long
@pytest.mark.trap("F74")
def test_workers_end_when_the_first_process_is_killed(started: Any, out: Path) -> None:
    child = started(0.05, evaluate_every=20)  # half a minute for the whole run
    child.kill(signal.SIGKILL)
    child.wait()
    assert child.group_is_gone(5)
    (folder,) = out.iterdir()
    for seed in range(2):
        steps, _, problems = checkpoints.newest_checkpoint(folder, seed)
        assert 0 < steps < 500
        assert not problems


@pytest.mark.trap("F32", "F75")
@pytest.mark.parametrize(
    "fault", ["unpicklable", "die", pytest.param("vanish", marks=pytest.mark.torture)]
)
def test_a_seed_that_fails_in_a_worker_does_not_keep_the_others_from_the_end(
    fault: str, small: Callable[..., Run], results: Any
) -> None:
    bad = SeedStreams(0, 2).episode_seed("env", 0, 1)
    run = small("random-probe", seeds=4, workers=2, env_args={"fault": fault, "bad_seed": bad})
    assert run.status == "failed"
    assert list(run.failures) == [2]
    ends = {
        "die": "ended with exit code 3 in step of the environment",
        "vanish": "ended with exit code 0 in step of the environment",
    }
    assert ends.get(fault, "Unpicklable") in run.failures[2]
    assert np.isnan(run.scores).tolist() == [False, False, True, False]
    sound = small("random-probe", seeds=4)
    (run.folder / "seed-002.csv").unlink()
    left = results(run.folder)
    assert left == {seed: results(sound.folder)[seed] for seed in (0, 1, 3)}


@pytest.mark.trap("F73")
def test_a_killed_worker_is_replaced_and_the_results_are_the_same(
    started: Any, out: Path, wait_for: Any, results: Any, reference: Any
) -> None:
    child = started()
    workers = [
        int(pid)
        for pid in os.listdir("/proc")
        if pid.isdigit() and is_worker_of(int(pid), child.pid)
    ]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    assert child.wait() == 0, child.output
    (folder,) = out.iterdir()
    record = json.loads((folder / "run.json").read_text())
    assert any(
        "signal 9 (SIGKILL)" in note and "tried once more" in note for note in record["notes"]
    )
    assert results(folder) == reference("random-probe", **{**SLOW_PROBE, "workers": 1})


def is_worker_of(pid: int, driver: int) -> bool:
    """Whether a process was forked from the one that the driver keeps for that."""
    try:
        server = parent_of(pid)
        command = Path(f"/proc/{pid}/cmdline").read_text()
        return parent_of(server) == driver and "forkserver" in command
    except OSError:
        return False


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_an_error_in_a_worker_is_reported_with_its_trace(
    small: Callable[..., Run], tmp_path: Path
) -> None:
    module = tmp_path / "broken.py"
    module.write_text(
        "import multiprocessing\n"
        "import gymnasium as gym\n"
        "def make():\n"
        "    if multiprocessing.parent_process() is not None:\n"
        "        raise ZeroDivisionError('only in workers')\n"
        "    return gym.make('CartPole-v1')\n"
    )
    with pytest.raises(RlkitError, match="only in workers"):
        small("ppo", environment=f"{module}:make", seeds=2, workers=2)
