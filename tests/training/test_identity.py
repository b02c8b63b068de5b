"""A run's folder knows what it was made of: another environment or agent is another run."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import linecache
import os
import shutil
import socket
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import rlkit
from rlkit.errors import RlkitWarning, UsageError

FIXTURES = Path(__file__).parents[1] / "runs" / "fixtures"
pytestmark = pytest.mark.filterwarnings("ignore::rlkit.errors.RlkitWarning")


@pytest.fixture(autouse=True)
def no_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python takes a file for unchanged that is edited within a second to the same length."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


class Gain(gym.Env[Any, Any]):
    """Five steps with the same reward."""

    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return np.zeros(1, np.float32), self.gain, self.steps == 5, False, {}


GAIN = 1.0
TABLE = {"gain": 1.0}


def from_global() -> Gain:
    return Gain(GAIN)


def through_helper() -> Gain:
    return from_global()


def from_table() -> Gain:
    return Gain(TABLE["gain"])


class Factory:
    """Makes environments in a method and by being called."""

    def __init__(self, gain: float) -> None:
        self.gain = gain

    def make(self) -> Gain:
        return Gain(self.gain)

    def __call__(self) -> Gain:
        return Gain(self.gain)


def closure(gain: float) -> Callable[[], Gain]:
    return lambda: Gain(gain)


def with_default(gain: float) -> Callable[[], Gain]:
    def make(gain: float = gain) -> Gain:
        return Gain(gain)

    return make


def wrapped(gain: float) -> Callable[[], gym.Env[Any, Any]]:
    return lambda: gym.wrappers.TransformReward(Gain(), lambda reward: gain * float(reward))


def class_of(gain: float) -> type[gym.Env[Any, Any]]:
    class Own(Gain):
        def __init__(self) -> None:
            super().__init__(gain)

    return Own


WAYS: dict[str, Callable[[float], Any]] = {
    "closure": closure,
    "default": with_default,
    "partial": lambda gain: functools.partial(Gain, gain=gain),
    "partial of a positional argument": lambda gain: functools.partial(Gain, gain),
    "bound method": lambda gain: Factory(gain).make,
    "callable object": Factory,
    "wrapper's function": wrapped,
    "class of a factory": class_of,
}


def train(env: Any, out: Path, **options: Any) -> rlkit.Run:
    defaults = {"seeds": 1, "steps": 10, "evaluate_every": 10, "evaluation_episodes": 2}
    return rlkit.train("random", env, out=out, **(defaults | options))


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_environments_that_differ_in_what_they_hold_are_different_runs(
    way: str, tmp_path: Path
) -> None:
    runs = [train(WAYS[way](gain), tmp_path) for gain in (1.0, 2.0)]
    assert [run.scores[0] for run in runs] == [5.0, 10.0]
    assert runs[0].folder != runs[1].folder
    again = train(WAYS[way](1.0), tmp_path, steps=20)  # the second is not continued either
    assert again.folder == runs[0].folder
    assert set(again.curve[0]) == {5.0}


@pytest.mark.slow
@pytest.mark.parametrize("make", [from_global, through_helper])
def test_module_globals_that_the_code_names_are_part_of_a_run(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train(make, tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "GAIN", 2.0)
    assert train(make, tmp_path).scores[0] == 10.0
    monkeypatch.undo()
    assert train(make, tmp_path).folder == first.folder


def test_a_changed_entry_of_a_global_dictionary_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(from_table, tmp_path)
    monkeypatch.setitem(TABLE, "gain", 2.0)
    assert train(from_table, tmp_path).scores[0] == 10.0


def test_lambdas_of_a_loop_are_distinguished(tmp_path: Path) -> None:
    scores = []
    for limit in (50, 10):
        run = train(
            lambda limit=limit: gym.make("CartPole-v1", max_episode_steps=limit), tmp_path, steps=60
        )
        scores.append(run.scores[0])
    assert scores[1] <= 10.0 < scores[0]


CELL = """
import gymnasium as gym, numpy as np
class Cell(gym.Env):
    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}
    def step(self, action):
        return np.zeros(1, np.float32), REWARD, True, False, {}
"""


def run_cell(source: str, number: int) -> Any:
    """Run source as a notebook does: in __main__, from a file that only linecache knows."""
    name = f"<ipython-input-{number}>"
    lines = source.splitlines(keepends=True)
    linecache.cache[name] = (len(source), None, lines, name)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), namespace)
    return namespace["Cell"]


def test_a_class_that_is_edited_in_a_notebook_is_another_run(tmp_path: Path) -> None:
    cells = [run_cell(CELL.replace("REWARD", reward), k) for k, reward in enumerate(("1.0", "9.0"))]
    runs = [train(cell, tmp_path) for cell in cells]
    assert [run.scores[0] for run in runs] == [1.0, 9.0]
    same = run_cell("# a comment\n" + CELL.replace("REWARD", "1.0"), 2)
    assert train(same, tmp_path).folder == runs[0].folder


SCRIPT = (
    CELL
    + """
import rlkit
run = rlkit.train("random", Cell, seeds=1, steps=10, evaluate_every=10, evaluation_episodes=2)
print(run.scores[0])
"""
)


@pytest.mark.slow
def test_a_script_on_standard_input_is_known_by_its_code(tmp_path: Path, forks: Any) -> None:
    printed = [
        forks.python("-", stdin=SCRIPT.replace("REWARD", reward), cwd=tmp_path).stdout.strip()
        for reward in ("1.0", "9.0")
    ]
    assert printed == ["1.0", "9.0"]


def module_with(reward: str) -> str:
    return CELL.replace("REWARD", reward) + "\ndef make():\n    return Cell()\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "own_env.py:Cell",
        *(pytest.param(n, marks=pytest.mark.torture) for n in ("own_env:Cell", "own_env:make")),
    ],
)
def test_an_edited_source_is_another_run_and_evaluate_says_so(
    name: str, tmp_path: Path, forks: Any
) -> None:
    def rlkit_command(*words: str) -> Any:
        """Run the command as a console script does, which has its own folder on the path."""
        code = "import sys; sys.path.pop(0); import rlkit.cli; sys.exit(rlkit.cli.main())"
        return forks.python("-c", code, *words, cwd=tmp_path)

    words = ("--seeds", "1", "--steps", "10", "--evaluation-episodes", "2", "--json")
    folders = []
    for reward in ("1.0", "100.0"):
        (tmp_path / "own_env.py").write_text(module_with(reward))
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        done = rlkit_command("train", "random", name, *words)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        assert answer["final"] == [float(reward)]
        folders.append(answer["run"])
    assert folders[0] != folders[1]
    evaluated = rlkit_command("evaluate", folders[0], "--episodes", "2", "--json")
    assert evaluated.returncode == 2
    assert f"{tmp_path}/own_env.py: expected the sha256" in evaluated.stderr
    evaluated = rlkit_command("evaluate", folders[0], "--episodes", "2", "--json", "--trust")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "changed since" in evaluated.stderr
    unchanged = rlkit_command("evaluate", folders[1], "--episodes", "2", "--json")
    assert "changed" not in unchanged.stderr


@pytest.mark.slow
def test_load_says_when_the_source_changed(tmp_path: Path) -> None:
    file = tmp_path / "own.py"
    file.write_text(CELL.replace("REWARD", "1.0"))
    run = train(f"{file}:Cell", tmp_path)
    rlkit.load(run.folder)  # says nothing: warnings of this test are errors
    file.write_text(CELL.replace("REWARD", "9.0"))
    with pytest.warns(RlkitWarning, match="changed since the run"):
        loaded = rlkit.load(run.folder)
    with pytest.raises(rlkit.UsageError, match="is not the code that the run"):
        loaded.evaluate(2)
    with pytest.warns(RlkitWarning, match="changed since the run"):
        trusted = rlkit.load(run.folder, trust=True)
    assert trusted.evaluate(2)["mean"] == 9.0  # it was reported already


test_load_says_when_the_source_changed.pytestmark = [  # type: ignore[attr-defined]
    pytest.mark.filterwarnings("error::rlkit.errors.RlkitWarning"),
    pytest.mark.filterwarnings("ignore:.*no time limit:rlkit.errors.RlkitWarning"),
]


@pytest.mark.slow
def test_a_registration_with_other_content_is_another_run(tmp_path: Path) -> None:
    scores = []
    for limit in (50, 10):
        gym.register("OwnPole-v0", "gymnasium.envs.classic_control:CartPoleEnv", limit)
        try:
            gym.registry["OwnPole-v0"].max_episode_steps = limit
            scores.append(train("OwnPole-v0", tmp_path, steps=60).scores[0])
        finally:
            del gym.registry["OwnPole-v0"]
    assert scores[1] <= 10.0 < scores[0]


def test_a_file_that_registers_an_id_can_be_named_by_it(tmp_path: Path) -> None:
    source = CELL.replace("REWARD", "1.0")
    (tmp_path / "own.py").write_text(
        source + "\ngym.register('OwnWalk-v0', lambda **kwargs: Cell(**kwargs))\n"
    )
    try:
        assert train(f"{tmp_path}/own.py:OwnWalk-v0", tmp_path).scores[0] == 1.0
    finally:
        del gym.registry["OwnWalk-v0"]
    with pytest.raises(UsageError, match=r"own\.py neither registers nor defines 'Wlak'"):
        train(f"{tmp_path}/own.py:Wlak", tmp_path)
    del gym.registry["OwnWalk-v0"]


@pytest.mark.slow
def test_objects_that_cannot_be_identified_are_never_reused(tmp_path: Path) -> None:
    with socket.socket() as held:

        def make() -> Gain:
            assert held
            return Gain()

        with pytest.warns(RlkitWarning, match="never reused"):
            first = train(make, tmp_path)
        second = train(make, tmp_path, steps=20)
    assert first.folder != second.folder
    assert list(first.steps) == [0, 10]
    assert rlkit.load(second.folder).scores[0] == 5.0


def agent(bias: int) -> type[Any]:
    class Constant:
        def __init__(self, task: Any) -> None:
            self.task = task

        def act(self, obs: Any) -> Any:
            return np.full(obs.shape[:2], bias)

        def learn(self, transition: Any) -> dict[str, Any]:
            return {}

        def actor(self, *, greedy: bool = True) -> Any:
            return self

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: Any) -> None:
            pass

    return Constant


@pytest.mark.slow
def test_agents_of_one_name_are_distinguished(tmp_path: Path) -> None:
    class Count(Gain):
        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            self.gain = float(action)
            return super().step(action)

    zero, one, named = agent(0), agent(1), agent(1)
    named.__name__ = "random"
    options: dict[str, Any] = {"seeds": 2, "steps": 10, "evaluation_episodes": 2, "out": tmp_path}
    compared = rlkit.compare([zero, one, "random", named], Count, **options)
    assert list(compared.runs) == ["Constant", "Constant (2)", "random", "random (2)"]
    assert [float(scores.mean()) for scores in compared.scores.values()][:2] == [0.0, 5.0]
    assert compared.scores["random (2)"].mean() == 5.0
    assert len({run.folder for run in compared.runs.values()}) == 4
    assert set(compared.summary()["agents"]) == set(compared.runs)


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an environment's file and runs that rlkit made in format 1."""
    shutil.copytree(FIXTURES / "format-1", tmp_path / "runs")
    shutil.copy(FIXTURES / "walk.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


OLDER: list[tuple[str, str, dict[str, Any]]] = [
    ("q-learning", "FrozenLake-v1", {"steps": 200, "evaluate_every": 100}),
    ("random", "CartPole-v1", {"steps": 64, "evaluate_every": 32}),
    (
        "ppo",
        "walk.py:Walk",
        {
            "steps": 64,
            "evaluate_every": 64,
            "envs": 2,
            "rollout_length": 16,
            "evaluation_episodes": 2,
            "hidden_sizes": (4,),
        },
    ),
]


@pytest.mark.trap("F66")
@pytest.mark.parametrize(("name", "env", "options"), OLDER)
def test_runs_of_an_older_format_are_found_and_not_continued(
    name: str, env: str, options: dict[str, Any], older: Path
) -> None:
    before = {path: path.read_bytes() for path in older.rglob("*.csv")}
    with pytest.warns(RlkitWarning, match="older rlkit"):
        run = rlkit.train(name, env, seeds=2, out=older, **options)
    assert run.folder in set(older.iterdir())
    assert run.record["format"] == 1
    assert np.isfinite(run.scores).all()
    run.plot(older / "curve.png")
    assert np.isfinite(run.evaluate(episodes=3)["mean"])
    for more in ({"seeds": 3}, {"seeds": 2, "steps": 1000}):
        with pytest.raises(UsageError, match=r"format 1.*cannot be continued"):
            rlkit.train(name, env, out=older, **(options | more))
    assert {path: path.read_bytes() for path in older.rglob("*.csv")} == before


@pytest.mark.slow
def test_workers_do_not_change_what_a_run_is(tmp_path: Path) -> None:
    module = types.ModuleType("unused")
    assert module
    names = {
        train("FrozenLake-v1", tmp_path / str(n), workers=n, seeds=2).folder.name for n in (1, 2)
    }
    assert len(names) == 1


@pytest.mark.slow
def test_a_generator_made_from_a_seed_is_part_of_a_run(tmp_path: Path) -> None:
    def make(seed: int) -> Callable[[], Gain]:
        rng = np.random.default_rng(seed)
        gain = float(rng.integers(100))
        return lambda: Gain(gain)

    first, second = (train(make(seed), tmp_path) for seed in (0, 1))
    assert first.folder != second.folder
    assert list(itertools.chain(first.scores, second.scores)) == [
        5 * float(np.random.default_rng(seed).integers(100)) for seed in (0, 1)
    ]


# --- what an environment reads, what an id leads to, what its own running changes ----------------


class Level(Gain):
    """Reads its gain from a file, in the constructor or at the first reset."""

    def __init__(self, path: str, late: bool = False) -> None:
        super().__init__()
        self.path, self.late = path, late
        if not late:
            self.read()

    def read(self) -> None:
        self.gain = float(json.loads(Path(self.path).read_text())["gain"])

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        if self.late:
            self.read()
        return super().reset(seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
def test_data_files_that_an_environment_reads_are_part_of_the_run(
    late: bool, tmp_path: Path
) -> None:
    file = tmp_path / "level.json"
    runs = []
    for gain, steps in ((1, 10), (2, 20), (1, 20)):
        file.write_text(json.dumps({"gain": gain}))
        args = {"path": str(file), "late": late}
        runs.append(train(Level, tmp_path / "runs", env_args=args, steps=steps))
    assert [list(run.curve[0]) for run in runs] == [[5, 5], [10, 10, 10], [5, 5, 5]]
    assert runs[0].folder == runs[2].folder != runs[1].folder


class LevelInFolder(Level):
    """Enters the folder of its file to read it by its name alone, and leaves it again."""

    def __init__(self, folder: str, late: bool) -> None:
        self.folder = folder
        super().__init__("level.json", late)

    def read(self) -> None:
        before = os.getcwd()
        os.chdir(self.folder)
        super().read()
        os.chdir(before)


@pytest.mark.slow
@pytest.mark.parametrize("late", [False, True])
def test_data_files_are_seen_in_a_folder_that_is_entered_and_left(
    late: bool, tmp_path: Path
) -> None:
    runs = []
    for gain in (1, 2):
        (tmp_path / "level.json").write_text(json.dumps({"gain": gain}))
        args = {"folder": str(tmp_path), "late": late}
        runs.append(train(LevelInFolder, tmp_path / "runs", env_args=args, steps=10))
    assert [run.scores[0] for run in runs] == [5.0, 10.0]


@pytest.mark.parametrize("way", ["a composed id", "gym.make with the id as an argument"])
def test_an_id_is_known_by_what_it_leads_to_however_it_is_named(way: str, tmp_path: Path) -> None:
    version = 0
    scores = []
    for gain in (1.0, 2.0):
        gym.register("Told-v0", class_of(gain))
        try:
            if way == "a composed id":
                run = train(lambda: gym.make(f"Told-v{version}"), tmp_path)
            else:
                run = train(gym.make, tmp_path, env_args={"id": "Told-v0"})
        finally:
            del gym.registry["Told-v0"]
        scores.append(run.scores[0])
    assert scores == [5.0, 10.0]


COUNTING = """
import gymnasium as gym, numpy as np, rlkit, warnings, sys
warnings.simplefilter("ignore")
LOG = []
class Counting(gym.Env):
    made = 0
    observation_space = gym.spaces.Discrete(3); action_space = gym.spaces.Discrete(2)
    def __init__(self):
        Counting.made += 1
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed); self.t = 0; return 0, {}
    def step(self, a):
        self.t += 1; LOG.append(self.t); return self.t % 3, 1.0, self.t >= 5, False, {}
runs = [rlkit.train("q-learning", Counting, seeds=1, steps=10 * int(sys.argv[1]), step_size=size,
                    evaluate_every=10, evaluation_episodes=1, out="runs") for size in (.1, .2, .3)]
rlkit.compare(runs, out="compared")
warnings.simplefilter("error")
rlkit.load(runs[0].folder, env=Counting).evaluate(2)
"""


@pytest.mark.slow
def test_what_running_changes_in_the_codes_own_globals_is_no_other_run(
    tmp_path: Path, forks: Any
) -> None:
    for times in ("1", "2"):  # the second time a longer sweep, in another process
        done = forks.python("-c", COUNTING, times, cwd=tmp_path)
        assert "states no time limit" in done.stderr or not done.returncode, done.stderr
        assert len(list((tmp_path / "runs").iterdir())) == 3


def test_changes_by_the_user_in_between_are_another_run_all_the_same(tmp_path: Path) -> None:
    class Counted(Gain):
        made = 0

        def __init__(self) -> None:
            super().__init__()
            Counted.made += 1

    first = train(Counted, tmp_path)
    assert train(Counted, tmp_path).folder == first.folder
    Counted.step = lambda self, action: (np.zeros(1, np.float32), 9.0, True, False, {})  # type: ignore[method-assign,assignment,return-value]
    assert train(Counted, tmp_path).scores[0] == 9.0


def test_a_lock_has_no_meaning_of_its_own(tmp_path: Path) -> None:
    lock, local = threading.Lock(), threading.local()

    def make() -> Gain:
        with lock:
            assert local
            return Gain()

    assert train(make, tmp_path).folder == train(make, tmp_path).folder


def test_a_file_that_registers_an_id_by_its_own_module_name_is_found(tmp_path: Path) -> None:
    source = CELL.replace("REWARD", "1.0")
    (tmp_path / "own_walk.py").write_text(
        source + "\ngym.register('OwnWalk-v0', 'own_walk:Cell', max_episode_steps=3)\n"
    )
    try:
        assert train(f"{tmp_path}/own_walk.py:OwnWalk-v0", tmp_path / "runs").scores[0] == 1.0
    finally:
        del gym.registry["OwnWalk-v0"]


@pytest.mark.slow
def test_replaced_methods_of_agents_and_of_twins_originals_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gymnasium.envs.classic_control.cartpole import CartPoleEnv

    from rlkit.agents.random import Random

    before = train("CartPole-v1", tmp_path)
    assert before.record["stepped_as"] == "native"
    monkeypatch.setattr(Random, "learn", lambda self, transition: {})
    assert train("CartPole-v1", tmp_path).folder != before.folder
    monkeypatch.undo()
    assert train("CartPole-v1", tmp_path).folder == before.folder
    step = CartPoleEnv.step

    def tenfold(self: Any, action: Any) -> Any:
        obs, reward, *rest = step(self, action)
        return obs, 10 * reward, *rest

    monkeypatch.setattr(CartPoleEnv, "step", tenfold)
    after = train("CartPole-v1", tmp_path)
    assert after.record["stepped_as"] == "gymnasium"
    assert after.scores[0] == 10 * before.scores[0]


def test_an_agent_that_draws_elsewhere_is_marked(tmp_path: Path) -> None:
    class Careless:
        def __init__(self, task: Any) -> None:
            self.task = task

        def act(self, obs: Any) -> Any:
            return np.random.randint(0, 2, obs.shape[:2])  # noqa: NPY002

        def learn(self, transition: Any) -> dict[str, Any]:
            return {}

        def actor(self, *, greedy: bool = True) -> Any:
            return self

        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: Any) -> None:
            pass

    options: dict[str, Any] = {"seeds": 1, "steps": 20, "evaluation_episodes": 1}
    with pytest.warns(RlkitWarning, match=r"numpy\.random.*task\.streams"):
        run = rlkit.train(Careless, "CartPole-v1", out=tmp_path, **options)
    assert run.record["reproducible"] is False
    assert rlkit.train(agent(1), "CartPole-v1", out=tmp_path, **options).record["reproducible"]


@pytest.mark.parametrize("wrong", [functools.partial(agent, 1), agent(1)(None), None, 3])
def test_an_object_that_is_not_an_agent_is_rejected_in_one_sentence(
    wrong: Any, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="expected an agent's name or a class"):
        rlkit.train(wrong, "CartPole-v1", out=tmp_path)
    with pytest.raises(UsageError, match="expected an agent's name or a class"):
        rlkit.compare([wrong], "CartPole-v1", out=tmp_path)


# --- worker processes, arguments, configurations --------------------------------------------------

CHANGED_AFTERWARDS = """
import sys, gymnasium as gym, rlkit, warnings
warnings.simplefilter("ignore")
class Env(gym.Env):
    gain = 1.0
    observation_space = gym.spaces.Discrete(2); action_space = gym.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed); return 0, {}
    def step(self, a):
        return 0, self.gain, True, False, {}
if __name__ == "__main__":
    Env.gain = 5.0
    for workers in (1, 2):
        try:
            run = rlkit.train("random", Env, seeds=2 * workers, steps=10, workers=workers, out="o")
            print(list(run.scores))
        except rlkit.UsageError as error:
            print(error)
"""


@pytest.mark.slow
def test_a_worker_that_would_train_another_environment_raises_an_error(
    tmp_path: Path, forks: Any
) -> None:
    (tmp_path / "script.py").write_text(CHANGED_AFTERWARDS)
    done = forks.python("script.py", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first.count("5.0") == 2
    assert "differs in a worker process" in second


class Goal(Gain):
    """Rewards a goal that equals a tuple."""

    def __init__(self, goal: Any = (0, 3)) -> None:
        super().__init__(1.0 if goal == (0, 3) else 0.0)


def test_a_tuple_is_no_list_in_arguments_and_comes_back_as_a_tuple(tmp_path: Path) -> None:
    run = train(Goal, tmp_path, env_args={"goal": (0, 3)})
    assert run.scores[0] == 5.0
    assert train(Goal, tmp_path, env_args={"goal": [0, 3]}).scores[0] == 0.0
    assert rlkit.load(run.folder, env=Goal).evaluate(2)["mean"] == 5.0


@dataclasses.dataclass(frozen=True)
class Left:
    size: int = 1

    def __call__(self) -> int:
        return 0


@dataclasses.dataclass(frozen=True)
class Right(Left):
    def __call__(self) -> int:
        return 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuleConfig:
    rule: Any = None


class FollowsRule(agent(0)):  # type: ignore[misc]
    Config = RuleConfig

    def __init__(self, task: Any, config: RuleConfig) -> None:
        super().__init__(task)
        self.rule = config.rule

    def act(self, obs: Any) -> Any:
        return np.full(obs.shape[:2], self.rule())


def test_options_of_other_classes_with_equal_fields_are_distinguished(tmp_path: Path) -> None:
    folders = {
        rlkit.train(
            FollowsRule, "CartPole-v1", rule=rule, seeds=1, steps=10, out=tmp_path,
            evaluation_episodes=1,
        ).folder
        for rule in (Left(), Right(), Left(2), Left())
    }  # fmt: skip
    assert len(folders) == 3
