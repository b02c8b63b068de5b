"""A published table is believed only if `step` follows it, and whatever the code does."""

import functools
import re
import tracemalloc
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.spaces import Discrete

from rlkit.tabular.reading.model import Model, UnknownModel, examine, mdp_from_env
from tests.tabular.table_envs import Corridor, Grid, Starts, changed, lake_slipping


def _no_table(env: Corridor) -> None:
    del env.P


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_same_environment_with_the_chances_of_its_table_is_believed() -> None:
    assert examine(lake_slipping(1 / 3, 1 / 3, 1 / 3)).problem is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("id_", "options"),
    [
        ("FrozenLake-v1", {}),
        ("FrozenLake-v1", {"success_rate": 0.8}),
        ("FrozenLake-v1", {"is_slippery": False}),
        ("FrozenLake-v1", {"desc": ["SFSF", "FHFH", "SFFF", "HFFG"]}),
        ("CliffWalking-v1", {}),
        ("CliffWalkingSlippery-v1", {}),
        ("Taxi-v4", {}),
        ("Taxi-v4", {"is_rainy": True}),
    ],
)
def test_gymnasiums_tables_fit_a_probe(
    id_: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rlkit.tabular.reading.model.follows_table", lambda env: False)
    make = functools.partial(gym.make, id_, disable_env_checker=True, **options)
    assert examine(make).problem is None


@pytest.mark.slow
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
def test_a_table_with_other_chances_is_rejected(make: Callable[[], gym.Env[Any, Any]]) -> None:
    model = examine(make)
    assert model.mdp is None
    assert model.problem is not None
    assert "P does not describe it: state" in model.problem


UNIFORM = [0.25] * 4


@pytest.mark.slow
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


def test_a_table_that_only_one_of_two_copies_publishes_is_rejected() -> None:
    made: list[Any] = []

    def make() -> Corridor:
        made.append(Corridor() if len(made) % 2 == 0 else changed(_no_table)())
        return made[-1]

    problem = examine(make).problem
    assert problem is not None
    assert "publish different tables (the second has none)" in problem


@pytest.mark.slow
def test_a_table_that_only_the_first_copy_follows_is_rejected() -> None:
    made: list[Any] = []

    def make() -> Any:
        made.append(lake_slipping(*((1 / 3,) * 3 if len(made) % 2 == 0 else (0.2, 0.6, 0.2)))())
        return made[-1]

    problem = examine(make).problem
    assert problem is not None
    assert "in part 4 of 4 of the probe" in problem


@pytest.mark.long
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


@pytest.mark.slow
@pytest.mark.parametrize("side", [150, pytest.param(300, marks=pytest.mark.torture)])
def test_a_large_table_is_tried_although_pairs_are_seldom_visited(
    side: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the sum over pairs shows that a chance of 0.2 is 0.25."""
    monkeypatch.setattr(Grid, "side", side)
    problem = examine(functools.partial(Grid, slip=0.25)).problem
    assert problem is not None
    assert "this outcome of rows with the same probabilities occurred" in problem


@pytest.mark.parametrize("given", ["FrozenLake-v1", gym.make("FrozenLake-v1")])
def test_a_name_or_an_environment_in_place_of_its_maker_is_rejected(given: Any) -> None:
    with pytest.raises(UnknownModel, match="expected a function that makes the environment, as la"):
        mdp_from_env(given)
