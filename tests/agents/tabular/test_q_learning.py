"""Tabular Q-learning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rlkit.agent import Task, Transition
from rlkit.agents.tabular.q_learning import QLearning, QLearningConfig
from rlkit.agents.tabular.tables import greedy_actions
from rlkit.environments.table import TabularBatchEnv
from rlkit.loop import interact
from rlkit.tabular.mdp import TabularMDP
from tests.agents.tabular import textbook
from tests.agents.tabular.worlds import (
    largest_difference,
    make,
    optimal_q,
    random_mdp,
    streams,
    transition,
)


def agent(
    num_states: int = 3, num_actions: int = 2, num_seeds: int = 2, num_envs: int = 1, **options: Any
) -> QLearning:
    task = Task(
        spaces.Discrete(num_states),
        spaces.Discrete(num_actions),
        streams(num_seeds),
        num_envs,
        10**6,
    )
    return QLearning(task, QLearningConfig(**options))


# --- the update -----------------------------------------------------------------------------------


def test_the_update_moves_towards_reward_plus_discounted_best_value() -> None:
    learner = agent(discount=0.9, step_size=0.5, initial_value=2.0)
    state = learner.state_dict()
    state["q"][:, 1] = [3.0, 5.0]
    learner.load_state_dict(state)
    metrics = learner.learn(transition([0], [1], [1.0], [1]))
    # 2 + 0.5 (1 + 0.9 * 5 - 2) = 3.75
    q = learner.state_dict()["q"]
    assert (q[:, 0] == [2.0, 3.75]).all()
    assert (q[:, 1] == [3.0, 5.0]).all()
    assert (q[:, 2] == 2.0).all()
    assert (metrics["td_error"] == 3.5).all()


@pytest.mark.trap("T43")
@pytest.mark.parametrize(
    ("terminated", "truncated", "target"),
    [(False, False, 5.5), (False, True, 5.5), (True, False, 1.0), (True, True, 1.0)],
)
def test_a_termination_stops_the_bootstrap_and_a_truncation_does_not(
    terminated: bool, truncated: bool, target: float
) -> None:
    learner = agent(discount=0.9, step_size=1.0, initial_value=5.0)
    learner.learn(transition([0], [1], [1.0], [2], [terminated], [truncated]))
    np.testing.assert_allclose(learner.state_dict()["q"][:, 0, 1], target, rtol=1e-15)


@pytest.mark.trap("T3")
def test_the_bootstrap_is_of_the_true_successor_and_not_of_the_next_episode() -> None:
    learner = agent(discount=1.0, step_size=1.0)
    state = learner.state_dict()
    state["q"][:, 1], state["q"][:, 2] = 7.0, 1e6
    learner.load_state_dict(state)
    step = transition([0], [0], [0.0], [1], truncated=[True])
    learner.learn(step._replace(following_obs=np.full((2, 1), 2)))
    assert (learner.state_dict()["q"][:, 0, 0] == 7.0).all()


@pytest.mark.trap("T5")
def test_a_nan_in_the_value_of_a_terminal_state_does_not_spread() -> None:
    learner = agent(step_size=1.0)
    state = learner.state_dict()
    state["q"][:, 2] = np.nan
    learner.load_state_dict(state)
    learner.learn(transition([0], [0], [1.0], [2], terminated=[True]))
    assert (learner.state_dict()["q"][:, 0, 0] == 1.0).all()


@pytest.mark.parametrize("power", [0.0, 0.6, 1.0, 1, 0])
def test_the_decaying_step_size_is_a_power_of_the_visits_of_the_pair(power: float) -> None:
    learner = agent(step_size_power=power)
    rewards, q = [3.0, -1.0, 4.0, 1.0], 0.0
    for n, reward in enumerate(rewards, start=1):
        learner.learn(transition([0], [1], [reward], [2], terminated=[True]))
        q += n**-power * (reward - q)
        learner.learn(transition([1], [0], [9.0], [2], terminated=[True]))  # counts for itself
    np.testing.assert_allclose(learner.state_dict()["q"][:, 0, 1], q, rtol=1e-12)
    if power == 1:
        np.testing.assert_allclose(q, np.mean(rewards))


def test_environments_that_share_a_pair_are_applied_one_after_another() -> None:
    learner = agent(num_envs=3, step_size=0.5, discount=0.9)
    learner.learn(transition([0, 0, 1], [1, 1, 0], [1.0, 2.0, 0.0], [2, 2, 0], [True, True, False]))
    q = learner.state_dict()["q"]
    # 0 -> 0.5 -> 1.25; the third then sees max Q(0) = 1.25. All at once would give 1 or 0.5.
    assert (q[:, 0, 1] == 1.25).all()
    np.testing.assert_allclose(q[:, 1, 0], 0.5 * 0.9 * 1.25)
    assert (learner.state_dict()["visits"][:, 0, 1] == 2).all()


def test_each_seed_learns_from_its_own_rewards() -> None:
    learner = agent(step_size=1.0)
    step = transition([0], [0], [0.0], [2], [True])
    learner.learn(step._replace(reward=np.array([[1.0], [2.0]])))
    assert learner.state_dict()["q"][:, 0, 0].tolist() == [1.0, 2.0]


# --- truncation -----------------------------------------------------------------------------------


def loop_mdp() -> TabularMDP:
    """Four states in a ring, reward 1 for ever; episodes are cut after 8 steps. V = 1/(1-0.98)."""
    table = [[[(1.0, (s + 1) % 4, 1.0, False)]] for s in range(4)]
    return TabularMDP.from_successors(
        table, initial_distribution=[1.0, 0.0, 0.0, 0.0], time_limit=8
    )


class TreatsCutsAsEnds(QLearning):
    """The classical mistake."""

    def learn(self, transition: Transition) -> Any:
        done = transition.terminated | transition.truncated
        return super().learn(transition._replace(terminated=done))


def learned_value(kind: type[QLearning]) -> Any:
    env = TabularBatchEnv(loop_mdp(), streams(2), 1)
    task = Task(env.observation_space, env.action_space, streams(2), 1, 10_000)
    learner = kind(task, QLearningConfig(discount=0.98, step_size=0.5))
    for _ in interact(learner, env, 4000):
        pass
    return learner.state_dict()["q"][:, 0, 0]


@pytest.mark.slow
def test_a_time_limit_does_not_change_what_is_learned() -> None:
    # 4000 steps are 1000 visits of each state: the error falls below 0.98^1000 of 50.
    assert (np.abs(learned_value(QLearning) - 50.0) < 1.0).all()


@pytest.mark.trap("T1")
@pytest.mark.slow
def test_an_agent_that_takes_truncation_for_termination_would_learn_another_value() -> None:
    # The last state ends the episode every other time: V = 1 + g + g^2 + g^3 (1 + g V / 2) = 7.2,
    # and the constant step size leaves it going up and down by a few tenths.
    assert (np.abs(learned_value(TreatsCutsAsEnds) - 7.2) < 1.0).all()


# --- exploration ----------------------------------------------------------------------------------


@pytest.mark.trap("T41")
def test_equal_values_are_chosen_evenly() -> None:
    learner = agent(1, 4, 2, 8, epsilon_start=0.0, epsilon_end=0.0)
    obs = np.zeros((2, 8), dtype=int)
    counts = np.bincount(np.concatenate([learner.act(obs).ravel() for _ in range(2500)]))
    # 40000 choices of probability 1/4: a standard deviation of 86.6; 5 of them.
    assert np.abs(counts - 10_000).max() < 433


def test_a_random_action_is_uniform_and_taken_with_probability_epsilon() -> None:
    learner = agent(1, 4, 2, 8, epsilon_start=0.4, epsilon_end=0.4)
    state = learner.state_dict()
    state["q"][:, 0, 2] = 1.0
    learner.load_state_dict(state)
    obs = np.zeros((2, 8), dtype=int)
    counts = np.bincount(np.concatenate([learner.act(obs).ravel() for _ in range(2500)]))
    expected = 40_000 * np.array([0.1, 0.1, 0.7, 0.1])
    # Standard deviations sqrt(40000 p (1-p)) are 60 and 92; 5 of them.
    assert (np.abs(counts - expected) < [300, 300, 460, 300]).all()


@pytest.mark.trap("T42")
@pytest.mark.parametrize("num_envs", [1, 8])
def test_epsilon_falls_with_the_environment_steps_of_a_seed(num_envs: int) -> None:
    learner = agent(
        num_envs=num_envs, epsilon_start=0.9, epsilon_end=0.1, epsilon_steps=80, num_seeds=2
    )
    zero = np.zeros((2, num_envs))
    step = Transition(
        zero.astype(int), zero.astype(int), zero, zero > 0, zero > 0, zero.astype(int), zero
    )
    seen = {}
    for k in range(0, 120, num_envs):
        metrics = learner.learn(step._replace(terminated=np.full((2, num_envs), k % 3 == 0)))
        seen[k] = metrics["epsilon"][0]
    for k, epsilon in seen.items():
        np.testing.assert_allclose(epsilon, 0.9 - 0.8 * min(1.0, k / 80), rtol=1e-12)


@pytest.mark.trap("T42")
def test_epsilon_continues_after_a_load() -> None:
    learner = agent(epsilon_start=1.0, epsilon_end=0.0, epsilon_steps=10)
    for _ in range(4):
        learner.learn(transition([0], [0], [0.0], [1]))
    other = agent(epsilon_start=1.0, epsilon_end=0.0, epsilon_steps=10)
    other.load_state_dict(learner.state_dict())
    assert other.epsilon == pytest.approx(0.6)


# --- twins ----------------------------------------------------------------------------------------


class InNumPy:
    """One-step Q-learning with epsilon-greedy exploration, for all seeds at once."""

    def __init__(self, like: QLearning, num_seeds: int, **options: Any) -> None:
        self._config = QLearningConfig(**options)
        state = like.state_dict()
        self._q, self._visits = np.array(state["q"]), np.array(state["visits"])
        self._rows, self._steps, self.noise = np.arange(num_seeds), 0, like.noise

    @property
    def epsilon(self) -> float:
        config = self._config
        progress = min(1.0, self._steps / config.epsilon_steps)
        return config.epsilon_start + progress * (config.epsilon_end - config.epsilon_start)

    def act(self, obs: Any) -> Any:
        explore, choose = np.moveaxis(self.noise.next(), 1, 0)
        greedy = greedy_actions(self._q[self._rows[:, None], obs], choose)
        random = (choose * self._q.shape[-1]).astype(np.int64)
        return np.where(explore < self.epsilon, random, greedy)

    def learn(self, transition: Transition) -> dict[str, Any]:
        config, rows = self._config, self._rows
        epsilon, errors = self.epsilon, np.zeros(len(rows))
        for n in range(transition.obs.shape[1]):
            s, a = transition.obs[:, n], transition.action[:, n]
            best_next = self._q[rows, transition.next_obs[:, n]].max(axis=-1)
            future = np.where(transition.terminated[:, n], 0.0, config.discount * best_next)
            self._visits[rows, s, a] += 1
            visits = self._visits[rows, s, a]
            constant = config.step_size
            alpha = visits ** -float(config.step_size_power) if constant is None else constant
            error = transition.reward[:, n] + future - self._q[rows, s, a]
            self._q[rows, s, a] += alpha * error
            errors += np.abs(error)
        self._steps += transition.obs.shape[1]
        return {
            "epsilon": np.full(len(rows), epsilon),
            "td_error": errors / transition.obs.shape[1],
        }


@pytest.mark.parametrize(
    ("num_envs", "options"),
    [
        (1, {"epsilon_steps": 600}),
        (3, {"epsilon_steps": 1500, "step_size": 0.1}),
        (2, {"epsilon_end": 0.3, "epsilon_steps": 300, "step_size_power": 1.0, "discount": 1.0}),
    ],
)
def test_a_run_has_the_bytes_of_the_algorithm_in_numpy(
    num_envs: int, options: dict[str, Any]
) -> None:
    (learner, env), (other, other_env) = (
        make("q-learning", small_mdp(), num_envs=num_envs, **options) for _ in range(2)
    )
    twin: Any = InNumPy(other, 2, **options)
    pairs = zip(
        interact(learner, env, 700, obs=env.obs),
        interact(twin, other_env, 700, obs=other_env.obs),
        strict=True,
    )
    for (one, metrics), (two, twin_metrics) in pairs:
        assert one.action.tolist() == two.action.tolist()
        for name, value in twin_metrics.items():
            assert metrics[name].tobytes() == value.tobytes()
    assert learner.state_dict()["q"].tobytes() == twin._q.tobytes()
    assert learner.state_dict()["visits"].tobytes() == twin._visits.tobytes()


@pytest.mark.parametrize("num_envs", [1, 3])
@pytest.mark.parametrize(
    "options",
    [
        {"epsilon_start": 0.5, "epsilon_steps": 200, "trace_decay": 0.8},
        {"trace_decay": 1.0, "step_size": 0.1, "traces": "accumulating", "epsilon_start": 0.2},
        {"exploration": "boltzmann", "temperature_end": 0.1, "temperature_steps": 300},
        {"step_size": 0.5, "step_size_end": 0.1, "step_size_steps": 300, "initial_value": 3.0},
    ],
    ids=str,
)
def test_the_table_is_that_of_the_textbook_at_every_step(
    options: dict[str, Any], num_envs: int
) -> None:
    difference = largest_difference(
        "q-learning", textbook.QLearning, random_mdp(), 400, num_envs, **options
    )
    assert difference < 1e-11  # sums of some hundred terms in another order


def test_traces_are_cut_before_an_action_that_is_not_greedy() -> None:
    learner, _ = make("q-learning", random_mdp(), step_size=0.5, discount=0.9, trace_decay=1.0)
    state = learner.state_dict()
    state["q"][:, 1] = [0.0, 2.0, 2.0]
    learner.load_state_dict(state)
    for action, carried in ((2, True), (0, False)):  # equally good as the best; worse
        learner.load_state_dict(state)
        learner.learn(transition([0], [0], [-1.8], [1]))  # without an error
        assert (learner.state_dict()["q"][:, 0, 0] == 0.0).all()
        learner.learn(transition([1], [action], [10.0], [2], [True]))
        error = 10.0 - state["q"][0, 1, action]
        expected = 0.5 * 0.9 * error if carried else 0.0
        np.testing.assert_allclose(learner.state_dict()["q"][:, 0, 0], expected, rtol=1e-14)


# --- convergence ----------------------------------------------------------------------------------


def small_mdp() -> TabularMDP:
    rng = np.random.default_rng(3)
    shape = (4, 2, 3)
    return TabularMDP.from_padded(
        probability=rng.dirichlet(np.ones(3), size=shape[:2]),
        next_state=rng.integers(4, size=shape),
        reward=rng.normal(size=shape),
        terminated=rng.random(shape) < 0.3,
        initial_distribution=np.full(4, 0.25),
        time_limit=10,
    )


@pytest.mark.slow
def test_the_table_converges_to_the_optimal_values() -> None:
    mdp = small_mdp()
    seeds = 20
    env = TabularBatchEnv(mdp, streams(seeds), 4)
    task = Task(env.observation_space, env.action_space, streams(seeds), 4, 10**6)
    config = QLearningConfig(discount=0.9, step_size_power=0.75, epsilon_end=1.0)
    learner = QLearning(task, config)
    errors = []
    for t, _ in enumerate(interact(learner, env, 4000), start=1):
        if t in (40, 400, 4000):
            error = np.abs(learner.state_dict()["q"] - optimal_q(mdp, 0.9))
            errors.append(error.max(axis=(1, 2)).mean())
    # A step size alpha leaves noise of sqrt(alpha / 2) deviations of a target, which are about 1.3
    # here: with alpha = n^-0.75 about 0.05 after the 2000 visits that each pair has had by then,
    # twice that for the largest of 8 and half as much again through the bootstrap. Tenfold steps
    # shrink it by 10^0.375 = 2.4.
    assert errors[2] < 0.25
    assert errors[0] / errors[1] > 1.5
    assert errors[1] / errors[2] > 1.5
