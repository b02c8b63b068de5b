"""Small runs, what they leave behind, and processes that can be killed."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rlkit.runs import checkpoints
from rlkit.runs.record import write_record
from rlkit.training.run import Run, load
from rlkit.training.specification import RunSpec, make_spec
from rlkit.training.train import train

HERE = Path(__file__).parent

# Each takes a fraction of a second; 600 is a multiple of no rollout, so that checkpoints lie in the
# middle of rollouts, batches and episodes.
_PPO = {
    "agent": "ppo",
    "steps": 600,
    "evaluate_every": 200,
    "rollout_length": 18,
    "minibatch_size": 24,
    "num_epochs": 2,
    "hidden_sizes": (8, 8),
    "learning_rate": 0.01,
    "learning_rate_schedule": "constant",
    "clip_schedule": "constant",
    "evaluation_episodes": 1,
}
SMALL: dict[str, dict[str, Any]] = {
    "ppo": _PPO | {"environment": "CartPole-v1", "envs": 4},
    "ppo-normalised": _PPO
    | {
        "environment": "Pendulum-v1",
        "envs": 2,
        "normalise_observations": True,
        "scale_rewards": True,
    },
    "reinforce": {
        "agent": "reinforce",
        "environment": "CartPole-v1",
        "steps": 600,
        "evaluate_every": 200,
        "envs": 2,
        "episodes_per_update": 4,
        "hidden_sizes": (8, 8),
        "evaluation_episodes": 1,
    },
    "q-learning": {
        "agent": "q-learning",
        "environment": "FrozenLake-v1",
        "steps": 600,
        "evaluate_every": 100,
        "envs": 2,
        "epsilon_steps": 500,
        "compiled": False,
    },
    "q-learning-compiled": {
        "agent": "q-learning",
        "environment": "FrozenLake-v1",
        "steps": 600,
        "evaluate_every": 40,
        "envs": 2,
        "epsilon_steps": 500,
    },
    **{
        name: {
            "agent": name,
            "environment": "FrozenLake-v1",
            "steps": 600,
            "evaluate_every": 100,
            "epsilon_steps": 500,
            **options,
        }
        for name, options in {
            "sarsa": {"trace_decay": 0.8},
            "expected-sarsa": {"exploration": "boltzmann"},
            "double-q-learning": {},
            "n-step-sarsa": {},
            "monte-carlo": {},
            "dyna-q": {},
        }.items()
    },
    "random": {
        "agent": "random",
        "environment": "FrozenLake-v1",
        "steps": 300,
        "evaluate_every": 100,
    },
    "value-iteration": {
        "agent": "value-iteration",
        "environment": "FrozenLake-v1",
        "steps": 100,
    },
    "q-learning-gymnasium": {
        "agent": "q-learning",
        "environment": "FrozenLake-v1",
        "native": False,
        "steps": 300,
        "evaluate_every": 100,
        "envs": 2,
    },
    "lspi": {
        "agent": "lspi",
        "environment": "CartPole-v1",
        "steps": 600,
        "evaluate_every": 200,
        "envs": 2,
        "steps_per_update": 90,
        "capacity": 150,
        "epsilon_steps": 400,
        "evaluation_episodes": 1,
    },
    "reinforce-linear": {
        "agent": "reinforce",
        "environment": "CartPole-v1",
        "steps": 600,
        "evaluate_every": 200,
        "envs": 2,
        "episodes_per_update": 4,
        "hidden_sizes": (8, 8),
        "baseline": "linear",
        "evaluation_episodes": 1,
    },
    "q-learning-bins": {
        "agent": "q-learning",
        "environment": "CartPole-v1",
        "steps": 600,
        "evaluate_every": 200,
        "envs": 2,
        "epsilon_steps": 500,
        "evaluation_episodes": 1,
        "bins": (3, 2, 4, 5),
        "bin_low": (-2.4, -2.0, -0.2, -2.0),
        "bin_high": (2.4, 2.0, 0.2, 2.0),
    },
    "ppo-probe": _PPO | {"environment": f"{HERE / 'probe_envs.py'}:Probe", "envs": 2},
    # Its processes start in a third of the time: they need no torch.
    "random-probe": {
        "agent": "random",
        "environment": f"{HERE / 'probe_envs.py'}:Probe",
        "envs": 2,
        "steps": 600,
        "evaluate_every": 200,
        "evaluation_episodes": 1,
    },
}

Results = dict[int, tuple[bytes, str, bytes]]


@pytest.fixture
def figures() -> None:
    """Have the figures drawn."""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where runs go."""
    return tmp_path / "runs"


@pytest.fixture
def small(out: Path) -> Callable[..., Run]:
    """Train one of the small runs, with some arguments changed."""

    def small(name: str, **changes: Any) -> Run:
        return train(**(SMALL[name] | {"out": out} | changes))

    return small


def _results(folder: Path) -> Results:
    known = {}
    for path in sorted(folder.glob("seed-*.csv")):
        seed = int(path.stem.removeprefix("seed-"))
        _, checkpoint = checkpoints.list_checkpoints(folder, seed)[0]
        known[seed] = (path.read_bytes(), checkpoint.name, checkpoint.read_bytes())
    return known


@pytest.fixture(scope="session")
def results() -> Callable[[Path], Results]:
    """Of each seed of a folder: the bytes of its csv, and the name and bytes of its checkpoint."""
    return _results


@pytest.fixture(scope="session")
def _trained_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    known: dict[str, Path] = {}

    def trained_once(name: str, **changes: Any) -> Path:
        key = f"{name} {sorted(changes.items())}"
        if key not in known:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Run, "plot", lambda self, path=None: None)
                run = train(**(SMALL[name] | {"out": tmp_path_factory.mktemp("trained")} | changes))
            assert run.status == "finished"
            known[key] = run.folder
        return known[key]

    return trained_once


@pytest.fixture(scope="session")
def reference(_trained_once: Callable[..., Path]) -> Callable[..., Results]:
    """The results of a small run that nothing disturbed."""
    known: dict[str, Results] = {}

    def reference(name: str, **changes: Any) -> Results:
        key = f"{name} {sorted(changes.items())}"
        if key not in known:
            known[key] = _results(_trained_once(name, **changes))
        return known[key]

    return reference


@pytest.fixture
def trained_folder(_trained_once: Callable[..., Path], out: Path) -> Callable[..., Path]:
    """A folder in `out` with a small run, some arguments changed: a copy of one trained once."""

    def trained_folder(name: str, **changes: Any) -> Path:
        folder = _trained_once(name, **changes)
        shutil.copytree(folder, out / folder.name, dirs_exist_ok=True)
        return out / folder.name

    return trained_folder


@pytest.fixture
def trained(trained_folder: Callable[..., Path]) -> Callable[..., Run]:
    """Open a small run with some arguments changed that was trained once for all tests."""
    return lambda name, **changes: load(trained_folder(name, **changes))


@pytest.fixture
def damaged(trained_folder: Callable[..., Path]) -> Callable[..., Path]:
    """The folder of a finished run, one key of whose record is changed; ... removes it."""
    folder = trained_folder("q-learning", seeds=2)

    def damaged(**changes: Any) -> Path:
        path = folder / "run.json"
        record = json.loads(path.read_text())
        for key, value in changes.items():
            if value is ...:
                del record[key]
            else:
                record[key] = value
        write_record(folder, record)
        return folder

    return damaged


class Child:
    """A process that runs a script or a command line."""

    def __init__(self, forks: Forks, pid: int, stdout: Path, stderr: Path) -> None:
        self._forks, self.pid, self.stdout, self.stderr = forks, pid, stdout, stderr
        self._code: int | None = None

    @property
    def output(self) -> str:
        """What it has printed so far; of a command line, without its errors."""
        return self.stdout.read_text() if self.stdout.is_file() else ""

    @property
    def errors(self) -> str:
        return self.stderr.read_text() if self.stderr.is_file() else ""

    def poll(self) -> int | None:
        if self._code is None:
            answer = self._forks.ask({"poll": self.pid})
            self._code = int(answer) if answer else None
        return self._code

    def wait(self, seconds: float = 60.0) -> int:
        """The exit code, negative for the signal that killed it."""
        end = time.monotonic() + seconds
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                self.kill(signal.SIGUSR1)  # writes where it is to its errors
                time.sleep(0.5)
                self.kill()
                raise AssertionError(f"still running after {seconds} s: {self.output}{self.errors}")
            time.sleep(0.005)
        return code

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def group_is_gone(self, seconds: float = 30.0) -> bool:
        """Whether neither it nor a process that it started is alive, at the latest then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                os.killpg(self.pid, 0)
            except ProcessLookupError:
                return True
            time.sleep(0.01)
        return False


class Forks:
    """Starts children in milliseconds; see forks.py."""

    def __init__(self, folder: Path, environ: dict[str, str]) -> None:
        self._folder, self._number = folder, 0
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "forks.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **environ},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def ask(self, request: dict[str, Any]) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def prepare(self, *modules: str) -> None:
        """Import modules once for all children to come."""
        assert self.ask({"import": modules}) == "imported"

    def _file(self, what: str) -> Path:
        self._number += 1
        return self._folder / f"{what}-{self._number}"

    def _child(self, stdin: Path | str, stdout: Path, stderr: Path, **request: Any) -> Child:
        streams = [str(path) for path in (stdin, stdout, stderr)]
        return Child(self, int(self.ask({**request, "streams": streams})), stdout, stderr)

    def start(self, script: str, *, figures: bool = False) -> Child:
        """Run a script that finds the names of `run_script` in forks.py; one output for all."""
        output = self._file("output")
        return self._child(os.devnull, output, output, script=script, figures=figures)

    def train(self, name: str, *, before: str = "", figures: bool = False, **changes: Any) -> Child:
        """Train one of the small runs in a child, after some lines of Python."""
        settings = {**SMALL[name], **changes}
        settings = {k: str(v) if isinstance(v, Path) else v for k, v in settings.items()}
        return self.start(f"{before}\ntrain(**{settings!r})", figures=figures)

    def start_python(
        self,
        *argv: str,
        cwd: Path,
        stdin: str = "",
        stdout: Path | None = None,
        env: dict[str, str] | None = None,
    ) -> Child:
        """Start `python *argv` in a folder, with some variables added to those of this process.

        For what a new interpreter does before its first line, it takes a new interpreter.
        """
        given = self._file("stdin")
        given.write_text(stdin)
        return self._child(
            given,
            stdout or self._file("stdout"),
            self._file("stderr"),
            argv=[*argv],
            cwd=str(cwd),
            environ={**os.environ, **(env or {})},
        )

    def python(self, *argv: str, seconds: float = 60.0, **options: Any) -> Done:
        """Run `python *argv` to its end; the options are those of `start_python`."""
        child = self.start_python(*argv, **options)
        code = child.wait(seconds)
        return Done(code, child.output, child.errors)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


@dataclasses.dataclass(frozen=True)
class Done:
    """A program that has ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Where children come from."""
    forks = Forks(tmp_path_factory.mktemp("children"), {})
    yield forks
    forks.close()


@pytest.fixture(scope="session")
def start_forks(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Forks]:
    """Start a source of children with environment variables of its own; the caller closes it."""

    def start(**environ: str) -> Forks:
        return Forks(tmp_path_factory.mktemp("children"), environ)

    return start


def _wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"nothing happened for {seconds} s"
        time.sleep(0.005)


@pytest.fixture(scope="session")
def wait_for() -> Callable[..., None]:
    """Wait until a condition holds."""
    return _wait_for


@pytest.fixture(scope="session")
def spec_of() -> Callable[..., RunSpec]:
    """The specification of a small run, with some arguments changed."""

    def spec_of(name: str, **changes: Any) -> RunSpec:
        settings = SMALL[name] | changes
        known = inspect.signature(make_spec).parameters
        options = {key: value for key, value in settings.items() if key not in known}
        return make_spec(**{k: v for k, v in settings.items() if k in known}, options=options)

    return spec_of
