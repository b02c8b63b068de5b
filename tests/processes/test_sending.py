"""What can be sent to worker processes, and what is rejected before they start."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlkit.errors import UsageError
from rlkit.training.run import Run

PROGRAM = """
import gymnasium as gym
import rlkit
from rlkit.agents.random import Random

class Lake(gym.Wrapper):
    def __init__(self):
        super().__init__(gym.make("FrozenLake-v1"))

class Mine(Random):
    pass

gym.register("Lake-v0", Lake)
run = rlkit.train({agent}, {environment}, seeds=2, steps=100, workers={workers}, out={out!r})
print(run.status, sorted(run.failures))
"""


def without_file(forks: Any, way: str, cwd: Path, **parts: Any) -> Any:
    """Run the program on standard input, or as an argument."""
    program = PROGRAM.format(**parts)
    argv = {"pipe": [], "-": ["-"], "-c": ["-c", program]}[way]
    return forks.python(*argv, stdin="" if way == "-c" else program, cwd=cwd)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["pipe", "-c", "-"])
def test_a_program_without_a_file_trains_named_things_in_workers(
    way: str, out: Path, tmp_path: Path, forks: Any
) -> None:
    names = {"agent": "'random'", "environment": "'FrozenLake-v1'"}
    done = without_file(forks, way, tmp_path, **names, workers=2, out=str(out))
    assert (done.stdout, done.stderr) == ("finished []\n", "")


@pytest.mark.parametrize("way", ["pipe", "-c"])
@pytest.mark.parametrize(
    ("agent", "environment", "name"),
    [
        ("'random'", "Lake", "Lake"),
        ("'random'", "'Lake-v0'", "Lake-v0"),
        ("Mine", "'FrozenLake-v1'", "Mine"),
    ],
)
def test_definitions_that_no_worker_can_import_are_rejected(
    way: str, agent: str, environment: str, name: str, out: Path, tmp_path: Path, forks: Any
) -> None:
    done = without_file(
        forks, way, tmp_path, agent=agent, environment=environment, workers=2, out=str(out)
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert f"{name} is defined in a notebook or on standard input" in last
    assert "file.py:Class" in last
    assert "workers=1" in last


def test_a_daemonic_process_may_not_have_workers(
    small: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As that of a process of multiprocessing.Pool is.
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"a daemonic process.* workers=1"):
        small("random", seeds=2, workers=2)
    assert small("random", seeds=2, workers=1).status == "finished"


@pytest.mark.trap("F76")
def test_objects_that_cannot_be_sent_to_another_process_are_rejected(
    small: Callable[..., Run],
) -> None:
    import gymnasium as gym

    with pytest.raises(UsageError, match="--workers 1"):
        small("ppo", environment=lambda: gym.make("CartPole-v1"), seeds=2, workers=2)


@pytest.mark.trap("T76", "F48")
@pytest.mark.slow
def test_definitions_without_a_file_can_be_trained_by_one_process(
    out: Path, tmp_path: Path, forks: Any
) -> None:
    done = without_file(
        forks, "pipe", tmp_path, agent="Mine", environment="Lake", workers=1, out=str(out)
    )
    assert (done.stdout, done.stderr) == ("finished []\n", "")


@pytest.mark.slow
def test_a_script_without_a_main_guard_gets_an_error_that_says_so(
    tmp_path: Path, forks: Any
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import rlkit\n"
        "run = rlkit.train('random', 'CartPole-v1', seeds=2, steps=50, workers=2, out='runs')\n"
        "print(run.failures)\n"
    )
    done = forks.python(str(script), cwd=tmp_path)
    assert done.returncode == 1
    assert 'under `if __name__ == "__main__":`' in done.stderr
