"""The model that an environment publishes: read, and believed only if `step` follows it."""

import functools
import re
import time
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv
from gymnasium.spaces import Box, Discrete

from rlkit.tabular import probe, verdict
from rlkit.tabular.from_env import Model, UnknownModel, examine, find_mdp, mdp_from_env


def frozen_lake(**options: Any) -> gym.Env[Any, Any]:
    return gym.make("FrozenLake-v1", **options)


class Corridor(gym.Env[Any, Any]):
    """Cells 0..3: action 0 goes left, 1 right; leaving cell 3 to the right ends with reward 1."""

    def __init__(self, first_state: int = 0, first_action: int = 0, starts: tuple[int, ...] = (0,)):
        self.observation_space = Discrete(4, start=first_state)
        self.action_space = Discrete(2, start=first_action)
        self.starts = starts
        self.P: Any = {
            first_state + s: {
                first_action: [(1.0, first_state + max(s - 1, 0), 0.0, False)],
                first_action + 1: [(1.0, first_state + min(s + 1, 3), float(s == 3), s == 3)],
            }
            for s in range(4)
        }
        self.closed = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.state = int(self.observation_space.start + self.np_random.choice(self.starts))
        return self.state, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        first, s = int(self.observation_space.start), self.state - int(self.observation_space.start)
        right = action - int(self.action_space.start) == 1
        self.state = first + (min(s + 1, 3) if right else max(s - 1, 0))
        ends = right and s == 3
        return self.state, float(ends), ends, False, {}

    def close(self) -> None:
        self.closed += 1


def changed(change: Callable[[Corridor], None], **options: Any) -> Callable[[], Corridor]:
    def make() -> Corridor:
        env = Corridor(**options)
        change(env)
        return env

    return make


# --- environments -------------------------------------------------------------------------------


def test_frozen_lakes_table_is_kept_entry_by_entry_in_its_order() -> None:
    mdp = mdp_from_env(frozen_lake)
    table = FrozenLakeEnv().P
    assert mdp.probability.shape == (16, 4, 3)
    for s in range(16):
        for a in range(4):
            for k, (probability, next_state, reward, terminated) in enumerate(table[s][a]):
                assert mdp.probability[s, a, k] == probability
                assert mdp.next_state[s, a, k] == next_state
                assert mdp.reward[s, a, k] == reward
                assert mdp.terminated[s, a, k] == terminated
    # Sums of three rounded thirds.
    np.testing.assert_allclose(mdp.probability.sum(axis=-1), 1, atol=1e-15)
    assert mdp.initial_distribution.tolist() == [1.0] + [0.0] * 15


@pytest.mark.parametrize(
    ("make", "limit"),
    [
        (frozen_lake, 100),
        (lambda: frozen_lake(map_name="8x8"), 100),
        (lambda: gym.make("FrozenLake8x8-v1"), 200),
        (lambda: frozen_lake(max_episode_steps=7), 7),
        (lambda: frozen_lake(max_episode_steps=-1), None),
        (lambda: gym.make("CliffWalking-v1"), None),
        (lambda: gym.make("CliffWalking-v1", max_episode_steps=30), 30),
        (FrozenLakeEnv, None),
        (lambda: wrappers.TimeLimit(FrozenLakeEnv(), 12), 12),
        (lambda: wrappers.TimeLimit(frozen_lake(), 12), 12),
        (lambda: wrappers.TimeLimit(frozen_lake(max_episode_steps=5), 12), 5),
        (lambda: wrappers.RecordEpisodeStatistics(frozen_lake()), 100),
        (lambda: wrappers.Autoreset(frozen_lake()), 100),
    ],
)
def test_the_time_limit_is_that_of_the_wrapper_around_the_environment(
    make: Callable[[], gym.Env[Any, Any]], limit: int | None
) -> None:
    assert mdp_from_env(make).time_limit == limit


@pytest.mark.parametrize("first_state", [-2, 0, 5])
@pytest.mark.parametrize("first_action", [-1, 0, 3])
def test_spaces_may_start_anywhere(first_state: int, first_action: int) -> None:
    here = mdp_from_env(lambda: Corridor(first_state, first_action))
    reference = mdp_from_env(Corridor)
    for name in ("probability", "next_state", "reward", "terminated", "initial_distribution"):
        np.testing.assert_array_equal(getattr(here, name), getattr(reference, name))


def test_tables_may_be_lists_counted_from_zero_whatever_the_space() -> None:
    def relist(env: Corridor) -> None:
        env.P = [[env.P[s][a] for a in range(2)] for s in range(4)]
        env.observation_space = Discrete(4, start=1)

    mdp = mdp_from_env(changed(relist))
    np.testing.assert_array_equal(mdp.next_state, mdp_from_env(Corridor).next_state)


def test_a_state_without_successors_is_one_where_nothing_happens_any_more() -> None:
    def empty(env: Corridor) -> None:
        env.observation_space = Discrete(5)
        env.P = {**env.P, 4: {0: [], 1: []}}

    mdp = mdp_from_env(changed(empty))
    assert mdp.terminated[4].all()
    assert (mdp.next_state[4] == 4).all()
    assert (mdp.reward[4] == 0).all()


def test_a_random_start_needs_a_stated_distribution() -> None:
    with pytest.raises(UnknownModel, match=r"2 different states.*attribute initial_state_distrib"):
        mdp_from_env(lambda: Corridor(starts=(0, 2)))

    def state(env: Corridor) -> None:
        env.initial_state_distrib = [0.5, 0, 0.5, 0]

    mdp = mdp_from_env(changed(state, starts=(0, 2)))
    assert mdp.initial_distribution.tolist() == [0.5, 0, 0.5, 0]
    with pytest.raises(UnknownModel, match="started in state 3, which the initial distribution"):
        mdp_from_env(changed(state, starts=(0, 2, 3)))


def _wrong_reward(env: Corridor) -> None:
    env.P[3][1] = [(1.0, 3, 2.0, True)]


def _wrong_successor(env: Corridor) -> None:
    env.P[1][0] = [(1.0, 1, 0.0, False)]


def _wrong_end(env: Corridor) -> None:
    env.P[3][1] = [(1.0, 3, 1.0, False)]


def _impossible(env: Corridor) -> None:
    env.P[1][0] = [(0.0, 0, 0.0, False), (1.0, 1, 0.0, False)]


@pytest.mark.parametrize("lie", [_wrong_reward, _wrong_successor, _wrong_end, _impossible])
def test_a_table_that_does_not_describe_the_environment_is_refused(
    lie: Callable[[Corridor], None],
) -> None:
    with pytest.raises(UnknownModel, match=r"model of Corridor.*P does not describe it.*correct P"):
        mdp_from_env(changed(lie))


def test_taxi_with_a_fickle_passenger_has_no_known_model_but_plain_and_rainy_taxi_have() -> None:
    assert find_mdp(lambda: gym.make("Taxi-v4", fickle_passenger=True)) is None
    for options in ({}, {"is_rainy": True}):
        mdp = find_mdp(lambda options=options: gym.make("Taxi-v4", **options))
        assert mdp is not None
        assert (mdp.n_states, mdp.n_actions, mdp.time_limit) == (500, 6, 200)


class OwnLimit(Corridor):
    """Cuts its episodes off by itself."""

    def reset(self, **options: Any) -> tuple[int, dict[str, Any]]:
        self.steps = 0
        return super().reset(**options)

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        observation, reward, terminated, _, info = super().step(action)
        return observation, reward, terminated, self.steps >= 9, info


def _no_table(env: Corridor) -> None:
    del env.P


def _more_observations(env: Corridor) -> None:
    env.observation_space = Discrete(6)


def _missing_action(env: Corridor) -> None:
    del env.P[2][1]


def _three_columns(env: Corridor) -> None:
    env.P[2][1] = [(1.0, 3, 0.0)]


def _bad_sum(env: Corridor) -> None:
    env.P[2][1] = [(0.5, 3, 0.0, False)]


def _matrix(env: Corridor) -> None:
    env.P = np.ones((4, 2, 4)) / 4


def _box(env: Corridor) -> None:
    env.observation_space = Box(0, 1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: gym.make("CartPole-v1"), "expected Discrete observation and action spaces"),
        (lambda: gym.make("Blackjack-v1"), "expected Discrete"),
        (changed(_box), "got Box and Discrete"),
        (changed(_no_table), "has no attribute P; give it"),
        (changed(_more_observations), "states of P to be 0 to 5"),
        (changed(_missing_action), r"actions of P\[2\] to be 0 to 1"),
        (changed(_three_columns), r"P\[2\]\[1\].*got an entry"),
        (changed(_bad_sum), "sum to 1, got 0.5 at state 2, action 1"),
        (changed(_matrix), "expected a list of"),
        (
            OwnLimit,
            "step 9 of an episode returned truncated=True, with a TimeLimit wrapper of None",
        ),
        (lambda: wrappers.TransformReward(frozen_lake(), lambda r: 2 * r), "TransformReward may"),
    ],
)
def test_environments_without_a_known_model_say_why(
    make: Callable[[], gym.Env[Any, Any]], reason: str
) -> None:
    assert find_mdp(make) is None
    with pytest.raises(UnknownModel, match=reason):
        mdp_from_env(make)


@pytest.mark.parametrize("lie", [lambda env: None, _wrong_reward])
def test_two_environments_are_made_for_reading_and_closed_again(
    lie: Callable[[Corridor], None],
) -> None:
    made = []

    def make() -> Corridor:
        made.append(changed(lie)())
        return made[-1]

    find_mdp(make)
    assert [env.closed for env in made] == [1, 1]


# --- whatever a user's code does ----------------------------------------------------------------


class Unspeakable(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no words")


class Fatal(BaseException):
    pass


def raising(error: BaseException) -> Callable[..., Any]:
    def function(*args: Any, **options: Any) -> Any:
        raise error

    return function


class RaisingTable(dict[int, Any]):
    def __getitem__(self, key: int) -> Any:
        raise OSError("no table today")


class RaisingProperty(Corridor):
    @property
    def P(self) -> Any:
        raise RuntimeError("not loaded")

    @P.setter
    def P(self, value: Any) -> None:
        pass


class LazyTable(Corridor):
    """Its spaces are known after a reset only."""

    @property
    def observation_space(self) -> Any:
        raise AttributeError("reset first")

    @observation_space.setter
    def observation_space(self, value: Any) -> None:
        self.reset = raising(AttributeError("reset first"))  # type: ignore[method-assign]


def setting(name: str, value: Any) -> Callable[[], Corridor]:
    """Corridors in which an attribute or a method is replaced."""
    return changed(lambda env: setattr(env, name, value))


def stepping(**parts: Any) -> Callable[[], Corridor]:
    """Corridors in which parts of what `step` returns are replaced."""

    def change(env: Corridor) -> None:
        step = env.step

        def other(action: int) -> Any:
            names = ("observation", "reward", "terminated", "truncated", "info")
            return tuple((dict(zip(names, step(action), strict=True)) | parts).values())

        env.step = other  # type: ignore[method-assign]

    return changed(change)


def _no_seed(env: Corridor) -> None:
    reset = env.reset
    env.reset = lambda: reset(seed=0)  # type: ignore[assignment,misc]


def _old_reset(env: Corridor) -> None:
    reset = env.reset
    env.reset = lambda **options: reset(**options)[0]  # type: ignore[assignment,misc,return-value]


def _old_step(env: Corridor) -> None:
    step = env.step
    env.step = lambda action: (*step(action)[:3], {})  # type: ignore[assignment,misc,return-value]


def _one_then_failure() -> Callable[[], Corridor]:
    made: list[Corridor] = []

    def make() -> Corridor:
        if len(made) % 2:
            made.append(made[0])
            raise RuntimeError("one licence only")
        made.append(Corridor())
        return made[-1]

    return make


def _bandit() -> Any:
    return np.random.default_rng(0).random((4, 2))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        # the table
        (setting("P", _bandit()), r"P\[0\]\[0\] .*expected a list of .*got (np.float64\()?0.63"),
        (setting("P", _bandit().tolist()), r"expected a list of .*got 0.63"),
        (setting("P", np.zeros((3, 5))), "states of P to be 0 to 3"),
        (setting("P", lambda s, a: []), "states of P to be 0 to 3.*got <function"),
        (setting("P", 0.5), "states of P to be 0 to 3.*got 0.5"),
        (setting("P", "table"), "states of P to be 0 to 3"),
        (setting("P", ["ab"] * 4), r"expected a list of .*got 'a'"),
        (setting("P", RaisingTable(Corridor().P)), "OSError.*no table today"),
        (RaisingProperty, "RuntimeError.*not loaded"),
        (setting("P", [[[(float("nan"), 0, 0.0, False)]] * 2] * 4), "must be >= 0, got nan"),
        (
            setting("P", [[[(1.0, 9, 0.0, False)]] * 2] * 4),
            r"next_state must be in \[0, 4\), got 9",
        ),
        (setting("P", [[[(1.0, 0, None, False)]] * 2] * 4), "got an entry"),
        (setting("P", [[[]] * 2] * 4), "which P gives probability 0"),
        (setting("initial_state_distrib", [1.0]), r"initial_state_distrib must have shape \(4,\)"),
        (setting("initial_state_distrib", "uniform"), "could not convert string"),
        (setting("initial_state_distrib", [0.5, 0, 0, 0]), "initial_distribution must be >= 0 and"),
        # reset
        (changed(_no_seed), "reset.* raised TypeError.*seed"),
        (changed(_old_reset), "reset returned 0, expected the pair"),
        (setting("reset", raising(SystemExit(3))), r"reset\(seed=.*\) raised SystemExit"),
        (setting("reset", lambda seed: None), "reset returned None, expected the pair"),
        (setting("reset", lambda seed: (None, {})), "reset returned the observation None"),
        # step
        (changed(_old_step), r"step returned \(.*, expected \(observation, reward, terminated"),
        (setting("step", raising(ZeroDivisionError("pole"))), "step.* raised ZeroDivisionError"),
        (setting("step", raising(SystemExit(0))), "step.* raised SystemExit"),
        (setting("step", raising(Fatal())), "step.* raised Fatal"),
        (setting("step", raising(Unspeakable())), "step.* raised an object of type Unspeakable"),
        (setting("step", lambda action: None), "step returned None"),
        (setting("step", lambda: None), "step.* raised TypeError"),
        (stepping(observation=np.array([1])), "step returned the observation array"),
        (stepping(observation=0.5), "step returned the observation 0.5, expected an integer"),
        (stepping(observation=float("nan")), "step returned the observation nan"),
        (stepping(observation="left"), "step returned the observation 'left'"),
        (stepping(observation=4), "step returned the observation 4, which is not in"),
        (stepping(observation=-1), "step returned the observation -1, which is not in"),
        (stepping(reward=None), "step returned the reward None, expected a number"),
        (stepping(reward=[0.0]), r"step returned the reward \[0.0\], expected a number"),
        (stepping(reward=float("nan")), "P does not describe it.*nan"),
        (stepping(terminated=None), "step returned terminated=None, expected a bool"),
        (stepping(truncated="no"), "step returned truncated='no', expected a bool"),
        # the rest
        (setting("close", raising(NotImplementedError())), "close.* raised NotImplementedError"),
        (setting("close", raising(SystemExit())), "close.* raised SystemExit"),
        (LazyTable, "AttributeError.*reset first"),
        (raising(RuntimeError("no licence")), "making an environment.* raised RuntimeError"),
        (raising(SystemExit(1)), "making an environment.* raised SystemExit"),
        (_one_then_failure(), "making a second environment.* raised RuntimeError"),
        (lambda: wrappers.TransformReward(Corridor(), lambda r: 2 * r), "wrapper TransformReward"),
        (lambda: wrappers.TransformObservation(Corridor(), abs, Discrete(4)), "TransformObserv"),
    ],
)
def test_a_table_that_cannot_be_tried_becomes_one_sentence(
    make: Callable[[], gym.Env[Any, Any]], reason: str
) -> None:
    model = examine(make)
    assert model.mdp is None
    assert model.problem is not None
    assert "\n" not in model.problem
    assert re.search(reason, model.problem), model.problem
    with pytest.raises(UnknownModel):
        mdp_from_env(make)


@pytest.mark.parametrize("method", ["step", "reset", "close"])
def test_a_key_that_is_pressed_is_obeyed(method: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        examine(setting(method, raising(KeyboardInterrupt())))
    with pytest.raises(KeyboardInterrupt):
        examine(raising(KeyboardInterrupt()))


def test_warnings_of_an_environment_are_left_to_its_use() -> None:
    def warn(env: Corridor) -> None:
        env.close = lambda: warnings.warn("closing", stacklevel=1)  # type: ignore[method-assign]

    assert examine(changed(warn)).problem is None


@pytest.mark.parametrize(
    "make",
    [
        lambda: gym.make("CartPole-v1"),
        lambda: gym.make("Blackjack-v1"),
        changed(_no_table),
        setting("P", None),
        lambda: wrappers.TransformReward(changed(_no_table)(), lambda r: 2 * r),
    ],
)
def test_an_environment_without_a_table_has_no_problem(make: Callable[[], Any]) -> None:
    assert examine(make) == Model(None, None)
    with pytest.raises(UnknownModel, match="looking for the exact model of"):
        mdp_from_env(make)


def test_observations_rewards_and_flags_may_be_numpys() -> None:
    def change(env: Corridor) -> None:
        step = env.step

        def other(action: int) -> Any:
            s, r, terminated, truncated, info = step(action)
            return np.array(s), np.float32(r), np.int64(terminated), np.array(truncated), info

        env.step = other  # type: ignore[method-assign]

    assert examine(changed(change)).problem is None


# --- tables that step does not follow -----------------------------------------------------------


class SlipperyLake(FrozenLakeEnv):
    """Slips with other chances than its table says, perhaps only after some steps or resets."""

    def __init__(
        self,
        slip: tuple[float, float, float],
        *,
        after: int = 0,
        resets: int = 0,
        memory: bool = False,
    ) -> None:
        super().__init__()
        self.slip, self.after, self.resets, self.memory = slip, after, resets, memory
        self.num_resets = 0

    def reset(self, **options: Any) -> Any:
        self.elapsed, self.last = 0, None
        self.num_resets += 1
        return super().reset(**options)

    def step(self, a: int) -> Any:
        successors = self.P[self.s][a]
        k = 0
        if len(successors) == 3:
            true = self.elapsed >= self.after and self.num_resets > self.resets
            true &= self.last is not None or not self.memory
            slip = self.slip if true else (1 / 3, 1 / 3, 1 / 3)
            turn = self.last if self.memory and self.last is not None else 0
            k = int(self.np_random.choice(3, p=np.roll(slip, turn)))
            self.last = k
        _, self.s, reward, terminated = successors[k]
        self.elapsed += 1
        return int(self.s), reward, terminated, False, {}


def lake_slipping(*slip: float, **options: Any) -> Callable[[], gym.Env[Any, Any]]:
    return lambda: wrappers.TimeLimit(SlipperyLake(slip, **options), 100)  # type: ignore[arg-type]


def test_the_same_environment_with_the_chances_of_its_table_is_believed() -> None:
    assert examine(lake_slipping(1 / 3, 1 / 3, 1 / 3)).problem is None


@pytest.mark.parametrize(
    ("id_", "options"),
    [
        ("FrozenLake-v1", {"success_rate": 0.8}),
        ("FrozenLake-v1", {"is_slippery": False}),
        ("FrozenLake-v1", {"desc": ["SFSF", "FHFH", "SFFF", "HFFG"]}),
        ("CliffWalking-v1", {}),
        ("CliffWalkingSlippery-v1", {}),
        ("Taxi-v4", {}),
        ("Taxi-v4", {"is_rainy": True}),
    ],
)
def test_gymnasiums_tables_are_believed(id_: str, options: dict[str, Any]) -> None:
    make = functools.partial(gym.make, id_, disable_env_checker=True, **options)
    assert examine(make).problem is None


@pytest.mark.parametrize(
    "make",
    [
        lake_slipping(0.05, 0.9, 0.05),
        lake_slipping(0.25, 0.5, 0.25),
        lake_slipping(0.3, 0.4, 0.3),
        lake_slipping(0.05, 0.9, 0.05, after=50),
        lake_slipping(0.0, 1.0, 0.0, resets=1900),
        lake_slipping(0.6, 0.2, 0.2, memory=True),  # the same as the table's, on average
        lambda: gym.make("Taxi-v4", fickle_passenger=True),
        lambda: gym.make("Taxi-v4", fickle_passenger=True, is_rainy=True),
    ],
)
def test_a_table_with_other_chances_is_refused(make: Callable[[], gym.Env[Any, Any]]) -> None:
    model = examine(make)
    assert model.mdp is None
    assert model.problem is not None
    assert "P does not describe it: after state" in model.problem


def test_the_refusal_names_the_worst_pair_and_what_to_do() -> None:
    problem = examine(lake_slipping(0.05, 0.9, 0.05)).problem
    assert problem is not None
    pattern = (
        r"after state (\d+) and action (\d) comes \(next_state, reward, terminated\) = "
        r"\((\d+), 0, \w+\) with probability (0\.\d+) by the table, and it came ([\d,]+) of "
        r"([\d,]+) times.*correct P, or take it away"
    )
    match = re.search(pattern, problem)
    assert match, problem
    s, a, to, count, total = (int(match[i].replace(",", "")) for i in (1, 2, 3, 5, 6))
    leads = np.array([next_state == to for _, next_state, _, _ in FrozenLakeEnv().P[s][a]])
    assert float(match[4]) == pytest.approx(leads.sum() / 3, abs=1e-4)
    in_step = float(leads @ (0.05, 0.9, 0.05))
    # Five standard errors of the frequency.
    assert abs(count / total - in_step) < 5 * np.sqrt(in_step * (1 - in_step) / total) + 1e-9


class Starts(Corridor):
    """Says with what chances it starts where, and starts with others."""

    def __init__(self, stated: Any, true: Any, other: Any = None, resets: int = 0) -> None:
        super().__init__()
        self.initial_state_distrib = stated
        self.true, self.other, self.resets, self.num_resets = true, other, resets, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self.num_resets += 1
        late = self.other is not None and self.num_resets > self.resets
        self.state = int(self.np_random.choice(4, p=self.other if late else self.true))
        return self.state, {}


UNIFORM = [0.25] * 4


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Starts(UNIFORM, [0.4, 0.2, 0.2, 0.2]), r"state 0 with probability 0\.25 by the"),
        (lambda: Starts(UNIFORM, [0.3, 0.2, 0.3, 0.2]), "initial_state_distrib does not describe"),
        (lambda: Starts(UNIFORM, [0.5, 0.5, 0, 0]), "initial_state_distrib does not describe"),
        (lambda: Starts(UNIFORM, UNIFORM, [1, 0, 0, 0], 3000), "state 0 .* of the probe"),
        (
            lambda: Starts([1, 0, 0, 0], [0.997, 0, 0, 0.003]),
            "started in state 3, which the initial",
        ),
        (lambda: Starts(None, [0.997, 0, 0, 0.003]), "2 different states, state 3 among them"),
    ],
)
def test_a_start_that_is_not_as_stated_is_noticed(make: Callable[[], Any], reason: str) -> None:
    model = examine(make)
    assert model.problem is not None
    assert re.search(reason, model.problem), model.problem


def test_a_map_drawn_by_the_constructor_is_no_one_table() -> None:
    problem = examine(lambda: gym.make("FrozenLake-v1", map_name=None)).problem
    assert problem is not None
    assert "publish different tables" in problem


def test_a_table_that_only_the_first_copy_follows_is_refused() -> None:
    made: list[Any] = []

    def make() -> Any:
        made.append(lake_slipping(*((1 / 3,) * 3 if len(made) % 2 == 0 else (0.2, 0.6, 0.2)))())
        return made[-1]

    problem = examine(make).problem
    assert problem is not None
    assert "in part 4 of 4 of the probe" in problem


class Grid(gym.Env[Any, Any]):
    """300 x 300 cells; moves slip aside with chance 0.2 by the table; the last cell ends it."""

    side = 300

    def __init__(self, slip: float = 0.2) -> None:
        self.observation_space, self.action_space = Discrete(self.side**2), Discrete(4)
        self.slip = slip
        cells = range(self.side**2)
        self.P = [
            [
                [
                    (p, self.to(s, (a + turn) % 4), -1.0, self.to(s, (a + turn) % 4) == cells[-1])
                    for turn, p in ((0, 0.8), (1, 0.1), (3, 0.1))
                ]
                for a in range(4)
            ]
            for s in cells
        ]

    def to(self, s: int, a: int) -> int:
        row, column = divmod(s, self.side)
        down, right = ((0, 1), (1, 0), (0, -1), (-1, 0))[a]
        row, column = row + down, column + right
        return (
            s if min(row, column) < 0 or max(row, column) >= self.side else row * self.side + column
        )

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.s = self.side**2 // 2 + self.side // 2
        return self.s, {}

    def step(self, action: int) -> Any:
        turn = int(self.np_random.choice(3, p=[1 - self.slip, self.slip / 2, self.slip / 2]))
        self.s = self.to(self.s, (action + (0, 1, 3)[turn]) % 4)
        return self.s, -1.0, self.s == self.side**2 - 1, False, {}


def test_tables_are_read_and_tried_without_squares_of_their_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Grid, "side", 80)
    tracemalloc.start()
    problem = examine(Grid).problem
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert problem is None
    assert peak < 80**4  # bytes: less than one for each pair of states


@pytest.mark.slow  # about ten seconds
def test_a_table_of_90000_states_is_tried_although_pairs_are_seldom_visited() -> None:
    """Only the sum over pairs shows that a chance of 0.2 is 0.25."""
    problem = examine(functools.partial(Grid, slip=0.25)).problem
    assert problem is not None
    assert "this outcome of rows with the same probabilities came" in problem


# --- every part of the test is needed -----------------------------------------------------------


def _in_part_four() -> Callable[[], Any]:
    made: list[Any] = []

    def make() -> Any:
        made.append(lake_slipping(*((1 / 3,) * 3 if len(made) % 2 == 0 else (0.3, 0.4, 0.3)))())
        return made[-1]

    return make


@pytest.mark.parametrize(
    ("named", "make"),
    [
        ("of the probe", _in_part_four()),
        ("of episodes", lake_slipping(0.2, 0.6, 0.2, after=60)),
        ("after a step", lake_slipping(0.4, 0.3, 0.3, memory=True)),
    ],
)
def test_each_kind_of_subset_sees_a_fault_that_the_others_miss(
    named: str, make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = examine(make).problem
    assert problem is not None
    assert named in problem
    subsets = verdict.subsets
    monkeypatch.setattr(
        verdict,
        "subsets",
        lambda *given: {name: m for name, m in subsets(*given).items() if named not in name},
    )
    assert examine(make).problem is None


def test_a_rare_start_is_seen_thanks_to_the_further_resets(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> Corridor:
        return Starts(None, [0.997, 0, 0, 0.003])

    assert examine(make).problem is not None
    monkeypatch.setattr(probe, "RESETS", probe.RESET_TRIAL)
    monkeypatch.setattr(probe, "STEPS", probe.STEP_TRIAL)
    assert examine(make).problem is None


def test_the_best_policys_steps_see_what_random_ones_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    """Far from the start, where random play never comes, a certain table is wrong."""
    far = ["S" + "F" * 15 + "G"]

    class Ending(FrozenLakeEnv):
        def __init__(self) -> None:
            super().__init__(desc=far, is_slippery=False)

        def step(self, a: int) -> Any:
            s, reward, terminated, truncated, info = super().step(a)
            return s, 2 * reward, terminated, truncated, info

    make = functools.partial(wrappers.TimeLimit, max_episode_steps=40)
    problem = examine(lambda: make(Ending())).problem
    assert problem is not None
    assert "(16, 2, True), which P gives probability 0" in problem
    monkeypatch.setattr(probe, "EXPLORATION", 1.0)
    assert examine(lambda: make(Ending())).problem is None


# --- the probe ----------------------------------------------------------------------------------


class Recorded(Corridor):
    """Notes its resets and steps; may take its time over them."""

    seeds: ClassVar[list[Any]] = []
    num_steps: ClassVar[list[int]] = [0]
    pause = 0.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        self.seeds.append(seed)
        time.sleep(10 * self.pause)
        return super().reset(seed=seed)

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        self.num_steps[0] += 1
        time.sleep(self.pause)
        return super().step(action)


def test_every_reset_of_the_probe_has_a_seed_of_its_own_that_old_generators_take() -> None:
    Recorded.seeds.clear()
    Recorded.num_steps[0] = 0
    assert examine(Recorded).problem is None
    assert Recorded.num_steps[0] == 20_000
    first = list(Recorded.seeds)
    drawn = first[2:]  # one reset each reads where the two environments start
    assert len(drawn) > 2_000
    assert all(isinstance(seed, int) and 0 <= seed < 2**31 for seed in drawn)
    assert len(set(drawn)) > 0.999 * len(drawn)
    Recorded.seeds.clear()
    examine(Recorded)
    assert Recorded.seeds == first


def test_a_slow_environment_has_a_short_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    Recorded.seeds.clear()
    Recorded.num_steps[0] = 0
    monkeypatch.setattr(probe, "SLOW_STEP", 1e-5)
    monkeypatch.setattr(probe, "SLOW_RESET", 1e-4)
    monkeypatch.setattr(Recorded, "pause", 2e-5)
    assert examine(Recorded).problem is None
    assert Recorded.num_steps[0] == 2_000


def test_a_trap_does_not_hold_the_probe() -> None:
    """Half of the cells lead to one that is never left."""

    class Trap(Corridor):
        def __init__(self) -> None:
            super().__init__()
            for s, row in self.P.items():
                row[0] = [(1.0, 0, 0.0, False)]
                row[1] = [(1.0, 0 if s == 0 else min(s + 1, 3), float(s == 3), s == 3)]
            self.initial_state_distrib = [0, 0.5, 0.5, 0]
            self.starts = (1, 2)

        def step(self, action: int) -> Any:
            s = self.state
            self.state = 0 if s == 0 or action == 0 else min(s + 1, 3)
            ends = s == 3 and action == 1
            return self.state, float(ends), ends, False, {}

    made: list[Trap] = []

    def make() -> Trap:
        made.append(Trap())
        return made[-1]

    mdp = find_mdp(make)
    assert mdp is not None
    record = probe.play([make()], mdp)
    assert np.bincount(record.state).min() > 100  # of 5,000 steps
