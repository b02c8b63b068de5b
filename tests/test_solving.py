"""What `rlkit.solve` takes."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import rlkit
from rlkit import tabular
from rlkit.errors import RlkitError, UsageError
from rlkit.solving import model_of
from rlkit.tabular.mdp import TabularMDP
from rlkit.training.playing.film import watch
from rlkit_envs.bandit import BernoulliBandit


def leave_or_stay() -> TabularMDP:
    table = [[[(1.0, 0, 1.0, False)], [(1.0, 0, 3.0, True)]]]
    return TabularMDP.from_successors(table, initial_distribution=[1.0], time_limit=4)


def test_a_model_is_solved() -> None:
    solution = rlkit.solve(leave_or_stay(), discount=0.5)
    assert solution.policy.tolist() == [1]
    assert solution.start_value == pytest.approx(3, abs=1e-9)
    assert solution.optimal_return_under_limit == 6  # stay three times, then leave


def test_a_model_takes_no_arguments_of_an_environment() -> None:
    with pytest.raises(UsageError, match=r"solving a TabularMDP: it has no env_args, got .*map"):
        rlkit.solve(leave_or_stay(), env_args={"map_name": "8x8"})


@pytest.mark.parametrize("other", [3, None, {"P": 1}, [[0.5, 0.5]], gym.make("FrozenLake-v1")])
def test_anything_else_is_rejected_with_the_accepted_forms(other: Any) -> None:
    with pytest.raises(UsageError, match="solve: expected a TabularMDP, or an environment's id"):
        rlkit.solve(other)


def test_a_model_without_a_finite_optimum_is_named() -> None:
    forever = TabularMDP.from_arrays([[[1.0]]], [[1.0]])
    with pytest.raises(UsageError, match="solving a TabularMDP of 1 states: planning at discount"):
        rlkit.solve(forever, discount=1.0)


@pytest.mark.slow
def test_a_table_that_step_does_not_follow_is_rejected_with_the_reason() -> None:
    with pytest.raises(UsageError, match=r"solving Taxi-v4: .* table P is not used"):
        rlkit.solve("Taxi-v4", env_args={"fickle_passenger": True})


@pytest.mark.parametrize(("horizon", "optimum"), [(1, 1 / 2), (2, 13 / 12), (10, 6.0217857143)])
def test_a_drawn_bandit_is_solved_as_its_belief(horizon: int, optimum: float) -> None:
    solution = rlkit.solve("BernoulliBandit-v0", horizon=horizon)
    assert solution.optimal_return_under_limit == pytest.approx(optimum, abs=1e-9)
    assert solution.time_limit == horizon


def test_the_horizon_of_a_drawn_bandit_is_its_time_limit_unless_one_is_given() -> None:
    args = {"max_episode_steps": 7, "prior": [[2, 1], [1, 1]]}
    solution = rlkit.solve("BernoulliBandit-v0", env_args=args)
    expected = tabular.bayes_optimal_return([[2, 1], [1, 1]], 7)
    assert solution.optimal_return_under_limit == pytest.approx(expected, abs=1e-9)


def test_a_given_bandit_is_solved_by_its_table() -> None:
    solution = rlkit.solve(
        "BernoulliBandit-v0", env_args={"means": [0.4, 0.7], "max_episode_steps": 10}
    )
    assert solution.num_states == 1
    assert solution.policy.tolist() == [1]
    assert solution.optimal_return_under_limit == pytest.approx(7, abs=1e-9)


def test_a_drawn_bandit_without_a_horizon_is_rejected() -> None:
    with pytest.raises(
        UsageError, match=r"BernoulliBandit-v0: its means are drawn anew .* horizon"
    ):
        rlkit.solve("BernoulliBandit-v0", horizon=None)


def test_a_bandit_without_arms_is_rejected() -> None:
    with pytest.raises(UsageError, match="expected means of at least one arm"):
        rlkit.solve("BernoulliBandit-v0", env_args={"means": []})


class Cheat(BernoulliBandit):
    """Claims uniform priors, and pays always."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._means = np.ones(2)
        return 0, {}


def test_priors_that_the_rewards_do_not_follow_are_rejected_with_the_reason() -> None:
    with pytest.raises(UsageError, match=r"solving .*Cheat: its beta_priors are not used: arm \d"):
        rlkit.solve(Cheat, horizon=3)


def test_the_model_of_whatever_can_be_solved_is_found() -> None:
    lake = model_of("FrozenLake-v1", {"is_slippery": False})
    assert lake.num_entries == 64
    assert model_of(lake) is lake
    with pytest.raises(UsageError, match="solving CartPole-v1: looking for the exact model"):
        model_of("CartPole-v1")


class Hangs(gym.Env[int, int]):
    """Two states in turn, until `hang` is set: then a step does not return."""

    observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)
    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    hang = False

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        self.state = 0
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        if Hangs.hang:
            time.sleep(60)
        self.state = 1 - self.state
        return self.state, 1.0, self.state == 0, False, {}

    def render(self) -> Any:
        return np.zeros((8, 8, 3), np.uint8)


class HangsWithTable(Hangs):
    P = {s: {a: [(1.0, 1 - s, 1.0, s == 1)] for a in range(2)} for s in range(2)}  # noqa: RUF012


@pytest.mark.parametrize("what", ["solve", "evaluate", "watch"])
def test_no_command_waits_for_an_environment_that_hangs(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = rlkit.train("random", Hangs, seeds=1, steps=4, evaluation_episodes=0, out=tmp_path)
    monkeypatch.setattr(Hangs, "hang", True)
    calls: dict[str, Callable[[], object]] = {
        "solve": lambda: rlkit.solve(HangsWithTable, env_timeout=0.2),
        "evaluate": lambda: run.evaluate(2, env_timeout=0.2),
        "watch": lambda: watch(run, tmp_path / "film.gif", env_timeout=0.2),
    }
    began = time.monotonic()
    with pytest.raises(RlkitError, match=r"did not return within 0\.2 s"):
        calls[what]()
    assert time.monotonic() - began < 10


def test_solve_also_computes_the_optimum_near_a_reference(
    trained_folder: Callable[..., Path],
) -> None:
    plain = rlkit.solve("FrozenLake-v1")
    assert plain.near_reference is None
    uniform = rlkit.solve("FrozenLake-v1", reference="uniform", kl_coef=0.01)
    assert uniform.start_value == plain.start_value
    table = np.full((16, 4), 0.25)
    given = rlkit.solve(model_of("FrozenLake-v1"), reference=table, kl_coef=0.01)
    folder = trained_folder("q-learning")
    of_run = rlkit.solve("FrozenLake-v1", reference=folder, kl_coef=0.01)
    assert uniform.near_reference is not None
    assert given.near_reference is not None
    assert of_run.near_reference is not None
    assert given.near_reference.of_plan == uniform.near_reference.of_plan
    actor: Any = rlkit.load(folder).batch_actor([0], greedy=False)  # its epsilon is not 0
    table = actor.probabilities(np.arange(16)[None])[0]
    same = rlkit.solve("FrozenLake-v1", reference=table, kl_coef=0.01).near_reference
    assert same is not None
    np.testing.assert_allclose(of_run.near_reference.plan.values, same.plan.values, rtol=1e-5)
    tiny = rlkit.solve("FrozenLake-v1", reference="uniform", kl_coef=1e-9).near_reference
    assert tiny is not None
    assert tiny.plan.start_value == pytest.approx(plain.start_value, abs=1e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"reference": "uniform"}, "belong together"),
        ({"kl_coef": 0.1}, "belong together"),
        ({"reference": "uniform", "kl_coef": -1.0}, "kl_coef must be > 0"),
        ({"reference": "nowhere", "kl_coef": 1.0}, "nowhere is not the folder of a run"),
        ({"reference": np.ones((3, 4)), "kl_coef": 1.0}, "policy"),
        ({"reference": "uniform", "kl_coef": 1.0, "discount": 1.0}, "discount below 1"),
    ],
)
def test_a_reference_that_cannot_be_used_is_rejected(arguments: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        rlkit.solve("FrozenLake-v1", **arguments)
    with pytest.raises(UsageError, match="its environment; give the name"):
        rlkit.solve(model_of("FrozenLake-v1"), reference="runs/ppo", kl_coef=1.0)
