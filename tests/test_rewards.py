"""Agents learn from a reward of the user's own, and everything else stays the environment's."""

from __future__ import annotations

import csv
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import rlkit
from rlkit.agent import Transition
from rlkit.environments.resolve import find_environment
from rlkit.environments.views.view import View
from rlkit.errors import AllSeedsFailed, RewardFault, RlkitWarning, SeedsError, UsageError
from rlkit.rewards import BatchReward, load_reward, try_reward
from rlkit.runs.checkpoints import newest_checkpoint
from rlkit.runs.record import read_record, write_record
from rlkit.runs.reports import Reports
from rlkit.training.kind import AGENT_RUN
from rlkit.training.run import Run
from rlkit.training.specification import RunSpec, make_spec

LAKE: dict[str, Any] = {
    "agent": "q-learning",
    "environment": "FrozenLake-v1",
    "steps": 400,
    "evaluate_every": 100,
    "envs": 2,
    "epsilon_steps": 300,
    "compiled": False,
}


def to_the_right(observations: Any, actions: Any, next_observations: Any, terminated: Any) -> Any:
    return (next_observations % 4) / 3 - terminated


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "plot", lambda self, path=None: None)


def trained(out: Path, **changes: Any) -> Run:
    return rlkit.train(
        **{**LAKE, "reward": to_the_right, "reports": Reports(), "out": out} | changes
    )


def bytes_of(folder: Path, seed: int) -> tuple[bytes, list[Any]]:
    """The csv of a seed, and what its newest checkpoint holds."""
    _, state, _ = newest_checkpoint(folder, seed)
    held = [(name, value.tobytes()) for name, value in sorted(state.items())]
    return (folder / f"seed-{seed:03d}.csv").read_bytes(), held


def rows_of(folder: Path, seed: int = 0) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / f"seed-{seed:03d}.csv").read_text().splitlines()))


class Walk(gym.Env[Any, Any]):
    """Shows where a throw landed, and ends after three of them."""

    def __init__(self, start: int = 0, *, boxed: bool = False) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
        self.action_space = spaces.Discrete(3, start=start)
        if boxed:
            self.action_space = spaces.Box(np.float32([0, 0]), np.float32([1, 4]))
        self.place = 0

    def reset(self, **options: Any) -> Any:
        super().reset(**options)
        self.place = 0
        return np.zeros(1), {}

    def step(self, action: Any) -> Any:
        self.place += 1
        return np.full(1, self.place), 10.0 * self.place, self.place == 3, False, {}


def step_of(action: Any, obs: float = 0.0, reward: float = 0.0, num_seeds: int = 1) -> Transition:
    """One step of one or two seeds with two environments each."""
    grid = (num_seeds, 2)
    actions = np.broadcast_to(action, (*grid, *np.shape(action)))
    flags = np.zeros(grid, dtype=bool)
    seen = np.full((*grid, 1), obs)
    return Transition(seen, actions, np.full(grid, reward), flags, flags, seen + 1, seen)


# --- what the function gets -----------------------------------------------------------------------


def test_the_function_gets_the_steps_of_one_seed_with_true_successors(tmp_path: Path) -> None:
    calls: list[tuple[Any, ...]] = []

    def reward(obs: Any, actions: Any, after: Any, terminated: Any, rewards: Any) -> Any:
        calls.append((obs, actions, after, terminated, rewards))
        assert not any(x.flags.writeable for x in calls[-1])
        return after[:, 0] - obs[:, 0]

    run = rlkit.train(
        "random",
        lambda: Walk(start=5),
        steps=12,
        seeds=2,
        envs=2,
        evaluate_every=6,
        evaluation_episodes=1,
        reward=reward,
        out=tmp_path,
        reports=Reports(),
    )
    later = calls[-12:]  # those before are of the check
    for i, (obs, actions, after, terminated, rewards) in enumerate(later):
        t = i // 2 % 3  # two seeds in turn
        assert obs.tolist() == [[t], [t]]
        assert after.tolist() == [[t + 1], [t + 1]]
        assert terminated.tolist() == [t == 2] * 2
        assert rewards.tolist() == [10.0 * (t + 1)] * 2
        assert set(actions.tolist()) <= {5, 6, 7}
    for row in rows_of(run.folder)[1:]:  # true returns beside those of the function
        assert (float(row["train_return"]), float(row["own_return"])) == (60.0, 3.0)
        assert float(row["eval_return"]) == 60.0
    for row in run.evaluate(episodes=4)["seeds"]:
        assert (row["mean_return"], row["mean_own_return"]) == (60.0, 3.0)


@pytest.mark.parametrize(
    ("rescaled", "action", "expected"),
    [(False, [3.0, 2.0], [1.0, 2.0]), (True, [3.0, 0.5], [1.0, 3.0])],
    ids=["clipped", "rescaled"],
)
def test_actions_are_those_that_the_environment_took(
    rescaled: bool, action: list[float], expected: list[float]
) -> None:
    environment = find_environment(lambda: Walk(boxed=True))
    environment = environment.seen_as(View(rescaled_actions=rescaled))
    seen: list[Any] = []

    def reward(obs: Any, actions: Any, after: Any, terminated: Any) -> Any:
        seen.append(actions)
        return np.zeros(len(obs))

    BatchReward(load_reward(reward), environment, [0])(step_of(np.array(action)))
    assert seen[0].tolist() == [expected] * 2


def test_the_environments_own_reward_given_as_a_function_changes_no_byte(tmp_path: Path) -> None:
    plain = trained(tmp_path, reward=None)
    own = trained(tmp_path, reward=lambda o, a, n, t, rewards: rewards)
    assert own.folder != plain.folder
    for expected, row in zip(rows_of(plain.folder), rows_of(own.folder), strict=True):
        assert row.pop("own_return") == row["train_return"]
        assert row == expected
    states = [newest_checkpoint(run.folder, 0)[1] for run in (plain, own)]
    assert states[1].keys() - states[0].keys() == {"tracker/own_return", "tracker/own_returns"}
    entries = [name for name in states[0] if name not in ("curve_bytes",)]
    assert all(states[0][name].tobytes() == states[1][name].tobytes() for name in entries)


# --- seeds ----------------------------------------------------------------------------------------


def test_a_seeds_bytes_depend_on_neither_batch_nor_interruption(tmp_path: Path) -> None:
    together = trained(tmp_path / "together", seeds=3).folder
    trained(tmp_path / "parts", seeds=1, steps=200)
    trained(tmp_path / "parts", seeds=2)
    apart = trained(tmp_path / "parts", seeds=3).folder
    assert [bytes_of(apart, s) for s in range(3)] == [bytes_of(together, s) for s in range(3)]
    assert bytes_of(together, 0) != bytes_of(together, 1)


def test_a_worker_finds_the_function_under_its_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def one(o, a, n, t):\n    return 1.0 + 0.0 * t\n")
    own = load_reward(f"{file}:one")
    again = pickle.loads(pickle.dumps(own))
    assert (again.reference, again.source.digest) == (own.reference, own.source.digest)
    sent = pickle.dumps(own)
    file.write_text("def one(o, a, n, t):\n    return 2.0 + 0.0 * t\n")
    with pytest.raises(UsageError, match="differs in a worker process"):
        pickle.loads(sent)


class Counting:
    """A reward that knows its seeds and counts the steps of each, in a state of its own."""

    identity = "counting"

    def __init__(self) -> None:
        self.seeds: Any = None

    def for_seeds(self, seeds: Sequence[int]) -> Any:
        one = Counting()
        one.seeds, one.steps = np.array(seeds), np.zeros(len(seeds))  # type: ignore[attr-defined]
        return one

    def __call__(self, obs: Any, actions: Any, after: Any, terminated: Any) -> Any:
        self.steps = self.steps + 1
        return (self.seeds + 0.001 * self.steps)[:, None] + 0.0 * after

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps.copy()}

    def load_state_dict(self, state: Any) -> None:
        self.steps = np.array(state["steps"])


def test_a_reward_with_seeds_and_a_state_continues_to_the_same_bytes(tmp_path: Path) -> None:
    together = trained(tmp_path / "together", seeds=3, reward=Counting()).folder
    trained(tmp_path / "parts", seeds=2, steps=200, reward=Counting())
    apart = trained(tmp_path / "parts", seeds=3, reward=Counting()).folder
    assert [bytes_of(apart, s) for s in range(3)] == [bytes_of(together, s) for s in range(3)]
    assert newest_checkpoint(apart, 2)[1]["reward/steps"] == 200
    ended = [row for row in rows_of(apart, 2) if row["own_return"]]
    each = [float(row["own_return"]) / float(row["train_length"]) for row in ended]
    assert ended
    assert all(2.0 < reward < 2.3 for reward in each)


# --- mistakes -------------------------------------------------------------------------------------


def late_nan(o: Any, a: Any, after: Any, t: Any) -> Any:
    return np.where(after == 6, np.nan, 1.0)


def changes_its_input(obs: Any, a: Any, n: Any, t: Any) -> Any:
    obs += 1
    return t


WRONG: dict[str, tuple[Callable[..., Any], str]] = {
    "a column": (lambda o, a, n, t: n[:, None] * 1.0, r"of shape \[2, 1\].*reshape"),
    "one number": (lambda o, a, n, t: 1.0, r"of shape \[\].*arrays of several environments"),
    "nothing": (lambda o, a, n, t: None, r"returned None, expected finite numbers of shape \[2\]"),
    "text": (lambda o, a, n, t: np.array(["1", "2"]), "returned <U1 of shape"),
    "ragged": (lambda o, a, n, t: [[1], [2, 3]], "expected finite numbers"),
    "masked": (
        lambda o, a, n, t: np.ma.masked_array(np.ones(2), [False, True]),
        "returned an array of which some are masked, expected finite numbers",
    ),
    "infinity": (lambda o, a, n, t: np.array([1, np.inf]), "returned inf for environment copy 1"),
    "an exception": (lambda o, a, n, t: {}["x"], r"raised KeyError\('x'\) \(in .*test_rewards.py"),
    "in place": (changes_its_input, "read-only"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_result_names_function_step_and_seed_before_training(
    name: str, tmp_path: Path
) -> None:
    function, message = WRONG[name]
    with pytest.raises(UsageError, match=r"(?s)seed 0: the reward function .*step 2: .*" + message):
        trained(tmp_path, reward=function)
    assert not tmp_path.joinpath("runs").exists()


def test_a_seed_that_gets_nan_later_fails_alone_and_with_its_step(tmp_path: Path) -> None:
    with pytest.raises(AllSeedsFailed) as caught:
        rlkit.train(**{**LAKE, "reward": late_nan, "seeds": 2, "out": tmp_path})
    run: Any = caught.value.run
    for seed in range(2):
        assert "late_nan, environment step " in run.failures[seed]
        assert "returned nan for environment copy" in run.failures[seed]
    assert caught.value.exit_code == 2


def test_a_fault_names_the_seed_of_the_experiment() -> None:
    environment, reward = find_environment(Walk), load_reward(lambda o, a, n, t: n[:, 0] * np.nan)
    with pytest.raises(RewardFault, match=r"seed 7: .*environment step 42: it returned nan"):
        BatchReward(reward, environment, [7], lambda: 40)(step_of(1))

    class Together:
        def for_seeds(self, seeds: Any) -> Any:
            return lambda o, a, n, t: (
                np.full((2, 2), [[0.0], [np.nan]]) if t.shape[0] == 2 else 1 / 0
            )

    both = BatchReward(load_reward(Together()), environment, [3, 5])
    with pytest.raises(RewardFault, match="seed 5"):
        both(step_of(1, num_seeds=2))
    with pytest.raises(RewardFault, match=r"seed 3: .*ZeroDivisionError"):
        BatchReward(load_reward(Together()), environment, [3])(step_of(1))
    with pytest.raises(SeedsError, match="ZeroDivisionError"):  # nobody knows whose fault it is
        both(step_of(1))


def test_a_reward_that_is_random_is_reported(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def noisy(o: Any, a: Any, n: Any, t: Any) -> Any:
        return rng.random(len(t))

    remark = try_reward(load_reward(noisy), find_environment(Walk), [step_of(1)])
    assert remark is not None
    assert "not determined by its arguments" in remark
    assert try_reward(load_reward(to_the_right_of), find_environment(Walk), [step_of(1)]) is None


def to_the_right_of(o: Any, a: Any, n: Any, t: Any) -> Any:
    return n[:, 0]


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (3, r"option reward \(--reward\): expected a function, path/to/file.py:function"),
        (lambda obs: obs, r"\(obs\): expected the parameters \(observations, actions, next_obs"),
        (lambda o, a, n, t, extra: o, "missing a required argument: 'extra'"),
        ("nowhere", "reward 'nowhere': expected path/to/file.py:function"),
        ("nowhere.py:f", "cannot read nowhere.py"),
        ("math:bogus", "math has no 'bogus'"),
    ],
)
def test_what_is_no_reward_function_is_rejected(reward: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_reward(reward)


@pytest.mark.parametrize("agent", ["value-iteration", "thompson"])
def test_an_agent_that_knows_the_rewards_is_rejected(agent: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{agent} reads the rewards off the model"):
        rlkit.train(agent, "FrozenLake-v1", reward=to_the_right, out=tmp_path)


# --- identity -------------------------------------------------------------------------------------


def spec_of(reward: Any) -> RunSpec:
    return make_spec("q-learning", "FrozenLake-v1", reward=reward)


def name_of(reward: Any) -> str:
    spec = spec_of(reward)
    return spec.folder_name(spec.resolve())


def scaled(factor: float) -> Callable[..., Any]:
    return lambda o, a, n, t: factor * n


def test_code_and_what_it_refers_to_name_the_run(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    names = [name_of(None), name_of(scaled(1.0)), name_of(scaled(2.0)), name_of(Counting())]
    for text in ("1.0 + n", "2.0 + n"):
        file.write_text(f"def f(o, a, n, t):\n    return {text}\n")
        names.append(name_of(f"{file}:f"))
    assert len(set(names)) == len(names)
    assert name_of(scaled(2.0)) == names[2]
    assert name_of(Counting()) == names[3]  # by its `identity`


def test_a_run_is_opened_without_its_reward_and_continued_only_with_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def f(o, a, n, t):\n    return n % 4 / 3 - t\n")
    run = trained(tmp_path, reward=f"{file}:f", seeds=2)
    before = [bytes_of(run.folder, s) for s in range(2)]
    record = read_record(run.folder, AGENT_RUN)
    assert record["reward"]["name"] == f"{file}:f"
    assert str(file) in record["sources"]
    write_record(run.folder, {**record, "status": "running"})
    (run.folder / "seed-001.csv").unlink()
    for path in (run.folder / "checkpoints" / "seed-001").iterdir():
        path.unlink()
    (outcome,) = rlkit.resume(tmp_path, reports=Reports())
    assert outcome.state == "finished"
    assert [bytes_of(run.folder, s) for s in range(2)] == before

    assert "mean_own_return" in rlkit.load(run.folder).evaluate(episodes=2)["seeds"][0]
    file.write_text("def f(o, a, n, t):\n    return n % 4 / 2 - t\n")
    opened = Run(run.folder)
    with pytest.warns(RlkitWarning, match="are not shown: the reward .* changed since training"):
        assert "mean_own_return" not in opened.evaluate(episodes=2)["seeds"][0]
    file.unlink()
    with pytest.warns(RlkitWarning, match="are not shown: .*cannot read"):
        assert len(rlkit.load(run.folder).evaluate(episodes=2)["seeds"]) == 2
    write_record(run.folder, {**read_record(run.folder, AGENT_RUN), "status": "running"})
    changed = read_record(run.folder, AGENT_RUN)
    changed["reward"] = {**changed["reward"], "name": "os:abort"}
    write_record(run.folder, changed)
    (run.folder / "seed-001.csv").unlink()
    for path in (run.folder / "checkpoints" / "seed-001").iterdir():
        path.unlink()
    (outcome,) = rlkit.resume(tmp_path, reports=Reports())  # runs nothing that somebody put there
    assert "the reward function os:abort" in outcome.message
    assert "--trust" in outcome.message


def test_an_object_that_cannot_be_identified_gets_a_folder_of_its_own(tmp_path: Path) -> None:
    opened = (tmp_path / "x").open("w")
    with opened, pytest.warns(RlkitWarning, match="cannot identify"):
        rlkit.train(
            **{**LAKE, "steps": 2, "seeds": 1, "evaluation_episodes": 0, "out": tmp_path},
            reward=lambda o, a, n, t: n * 1.0 if opened else n,
        )
