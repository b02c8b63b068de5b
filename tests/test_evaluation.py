"""How good a policy is: exactly, or by whole episodes."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlkit.agent import Task
from rlkit.agents.ppo import PPO, PPOConfig
from rlkit.agents.random import Random, RandomConfig
from rlkit.agents.reinforce import Reinforce, ReinforceConfig
from rlkit.agents.tabular.q_learning import QLearning, QLearningConfig
from rlkit.environments.environment import Environment
from rlkit.environments.resolve import find_environment
from rlkit.environments.table import TabularBatchEnv
from rlkit.evaluation import (
    ENDLESS_STEPS,
    PATIENT_STEPS,
    Evaluator,
    RepeatedReturns,
    evaluation_limits,
    exact_returns,
    play_many,
)
from rlkit.fingerprint import fingerprint
from rlkit.loop import interact, play
from rlkit.seeding import SeedStreams
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.returns import total_return
from tests.faulty_envs import Counter, Recorder

STREAMS = tuple(SeedStreams(0, index) for index in range(3))

# 0.0139397960: the hundredth power of the random policy's matrix on FrozenLake-v1, 100 steps.
RANDOM_ON_FROZEN_LAKE = 0.0139397960


def frozen_lake() -> Environment:
    return find_environment("FrozenLake-v1")


def trained(name: str, mdp: TabularMDP, num_steps: int = 300) -> Any:
    env = TabularBatchEnv(mdp, STREAMS, 4)
    task = Task(env.observation_space, env.action_space, STREAMS, 4, 4 * num_steps, mdp)
    agent: Any = {
        "ppo": lambda: PPO(task, PPOConfig(rollout_length=25, learning_rate=3e-3)),
        "reinforce": lambda: Reinforce(task, ReinforceConfig()),
        "q-learning": lambda: QLearning(task, QLearningConfig(epsilon_end=0.3, epsilon_steps=500)),
        "random": lambda: Random(task, RandomConfig()),
    }[name]()
    for _ in interact(agent, env, num_steps):
        pass
    return agent


def by_recursion(mdp: TabularMDP, probabilities: Any, limit: int) -> float:
    """The expected return of one policy, written out as v_{n+1}(s) = E[R + v_n(S')]."""
    values = np.zeros(mdp.num_states)
    for _ in range(limit):
        future = np.where(mdp.padded().terminated, 0.0, values[mdp.padded().next_state])
        q = (mdp.padded().probability * (mdp.padded().reward + future)).sum(axis=-1)
        values = (probabilities * q).sum(axis=-1)
    return float(values @ mdp.initial_distribution)


@pytest.mark.slow
@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("name", ["ppo", "reinforce", "q-learning", "random"])
def test_exact_returns_are_those_of_the_actors_probabilities(name: str, greedy: bool) -> None:
    mdp = frozen_lake().mdp
    assert mdp is not None
    actor = trained(name, mdp).actor(greedy=greedy)
    probabilities = actor.probabilities(np.tile(np.arange(16), (3, 1)))
    assert probabilities.shape == (3, 16, 4)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1.0, rtol=1e-12)
    exact = exact_returns(actor, mdp, 3)
    assert exact is not None
    assert not exact.endless.any()
    expected = [by_recursion(mdp, p, 100) for p in probabilities]
    np.testing.assert_allclose(exact.returns, expected, rtol=1e-9, atol=1e-15)


@pytest.fixture(scope="module", params=["ppo", "q-learning"])
def long_trained(request: pytest.FixtureRequest) -> Any:
    mdp = frozen_lake().mdp
    assert mdp is not None
    return trained(request.param, mdp, 2000)


@pytest.mark.long
@pytest.mark.parametrize("greedy", [True, False])
def test_exact_returns_agree_with_played_episodes(long_trained: Any, greedy: bool) -> None:
    mdp, agent = frozen_lake().mdp, long_trained
    assert mdp is not None
    calculated = exact_returns(agent.actor(greedy=greedy), mdp, 3)
    assert calculated is not None
    exact = calculated.returns
    grid = TabularBatchEnv(mdp, STREAMS, 4000, purpose="evaluation", autoreset=False)
    returns = play(agent.actor(greedy=greedy), grid, max_steps=100).returns
    # Returns are 0 or 1: 5 standard errors of 4000 episodes, at least those of 1 success.
    error = np.sqrt(np.maximum(exact * (1 - exact), 1 / 4000) / 4000)
    assert (np.abs(returns.mean(axis=1) - exact) < 5 * error).all()
    assert exact.max() > 0.02  # the comparison is not one of zeros


def test_the_random_agent_earns_the_known_return_of_frozen_lake() -> None:
    mdp = frozen_lake().mdp
    assert mdp is not None
    exact = exact_returns(trained("random", mdp, 1).actor(), mdp, 3)
    assert exact is not None
    np.testing.assert_allclose(exact.returns, RANDOM_ON_FROZEN_LAKE, atol=5e-11)  # its last digit


class Fixed:
    """The same action probabilities in every state, for each seed its own, [S, A]."""

    def __init__(self, *probabilities: list[float]) -> None:
        self.given = np.array(probabilities)

    def act(self, obs: Any) -> Any:
        raise NotImplementedError

    def probabilities(self, obs: Any) -> Any:
        return np.broadcast_to(self.given[:, None], (*obs.shape, self.given.shape[1]))


UNIFORM, UP = [0.25] * 4, [1.0, 0.0, 0.0, 0.0]


def test_without_a_time_limit_returns_are_those_of_whole_episodes() -> None:
    mdp = find_environment("CliffWalking-v1").mdp
    assert mdp is not None
    exact = exact_returns(Fixed(UNIFORM, UP, UNIFORM), mdp, 3)
    assert exact is not None
    # Random play: a dense linear solve (tests/tabular/test_returns.py). Always up: -1 for ever.
    np.testing.assert_allclose(exact.returns, [-65_375.0, -1000.0, -65_375.0], atol=0.5)
    assert exact.endless.tolist() == [False, True, False]
    limited = find_environment("CliffWalking-v1", {"max_episode_steps": 30}).mdp
    assert limited is not None
    exact = exact_returns(Fixed(UP), limited, 1)
    assert exact is not None
    assert exact.returns.tolist() == [-30.0]
    assert not exact.endless.any()


def test_a_seeds_exact_return_has_the_same_bytes_in_any_batch() -> None:
    mdp = find_environment("CliffWalking-v1").mdp
    assert mdp is not None
    policies = [*np.random.default_rng(0).dirichlet(np.ones(4), size=5).tolist(), UP]
    together = exact_returns(Fixed(*policies), mdp, 6)
    assert together is not None
    for s, policy in enumerate(policies):
        alone = exact_returns(Fixed(policy), mdp, 1)
        assert alone is not None
        assert alone.returns.tobytes() == together.returns[s : s + 1].tobytes()


def test_returns_are_computed_again_only_for_changed_policies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mdp = find_environment("CliffWalking-v1").mdp
    assert mdp is not None
    others = np.random.default_rng(0).dirichlet(np.ones(4), size=2).tolist()
    computed = []

    def counted(model: Any, policy: Any) -> Any:
        computed.append(policy)
        return total_return(model, policy)

    monkeypatch.setattr("rlkit.evaluation.total_return", counted)
    returns = RepeatedReturns()
    rows = [(UNIFORM, UP), (UNIFORM, UP), (UP, UNIFORM), (others[0], UP), (*others,)]
    for row, number in zip(rows, (2, 0, 2, 2, 1), strict=True):
        computed.clear()
        repeated = returns(Fixed(*row), mdp, 2)
        assert len(computed) == number
        expected = exact_returns(Fixed(*row), mdp, 2)
        assert repeated is not None
        assert expected is not None
        np.testing.assert_array_equal(repeated, expected)
    assert returns._policies is not None
    assert len(returns._policies) == 2


def test_the_exact_probabilities_of_an_exploring_table_include_its_epsilon() -> None:
    mdp = frozen_lake().mdp
    assert mdp is not None
    probabilities = (
        trained("q-learning", mdp).actor(greedy=False).probabilities(np.zeros((3, 1), int))
    )
    # 1200 environment steps: epsilon is at its end of 0.3, a quarter of it for each action.
    np.testing.assert_allclose(np.sort(probabilities[:, 0]), [[0.075] * 3 + [0.775]] * 3)


def test_an_evaluator_is_exact_where_the_model_is_known_and_says_so() -> None:
    environment = frozen_lake()
    assert environment.mdp is not None
    agent = trained("ppo", environment.mdp)
    evaluator = Evaluator(environment, STREAMS, 10, kind="tabular")
    evaluation = evaluator(agent.actor())
    expected = exact_returns(agent.actor(), environment.mdp, 3)
    assert expected is not None
    assert evaluation.mean.tobytes() == expected.returns.tobytes()
    assert np.isnan(evaluation.std).all()
    evaluator.close()


class NoProbabilities:
    def act(self, obs: Any) -> Any:
        return np.zeros(obs.shape[:2], dtype=np.int64)


def test_an_actor_without_probabilities_is_evaluated_by_episodes() -> None:
    environment = frozen_lake()
    assert environment.mdp is not None
    assert exact_returns(NoProbabilities(), environment.mdp, 3) is None
    evaluator = Evaluator(environment, STREAMS, 50, kind="tabular")
    evaluation = evaluator(NoProbabilities())
    assert np.isfinite(evaluation.std).all()
    evaluator.close()


@pytest.mark.trap("T53")
def test_episode_returns_are_averaged_over_the_episodes_of_each_seed() -> None:
    made = Recorder(lambda: TimedCounter(len(made.made)))
    environment = Environment("here:Counter", {}, made, fingerprint(Counter))
    evaluator = Evaluator(environment, STREAMS, 2, kind="gymnasium")
    evaluation = evaluator(NoProbabilities())
    lengths = np.array([single.length for single in made.made[:6]]).reshape(3, 2)
    returns = lengths * (lengths + 1) / 2
    np.testing.assert_allclose(evaluation.mean, returns.mean(axis=1))
    np.testing.assert_allclose(evaluation.std, returns.std(axis=1))
    evaluator.close()
    evaluator.close()
    assert [single.num_closed for single in made.made] == [1] * len(made.made)


class TimedCounter(Counter):
    def __init__(self, number: int) -> None:
        super().__init__(1 + number % 7)


def test_every_evaluation_plays_the_same_episodes() -> None:
    environment = find_environment("CartPole-v1")
    env = environment.grid(STREAMS, 2, kind="native")
    task = Task(env.observation_space, env.action_space, STREAMS, 2, 1000)
    actor = PPO(task, PPOConfig()).actor()
    evaluator = Evaluator(environment, STREAMS, 5, kind="native")
    first, second = evaluator(actor), evaluator(actor)
    evaluator.close()
    own = Evaluator(environment, STREAMS, 5, kind="gymnasium")
    third = own(actor)
    own.close()
    for other in (second, third):
        assert other.mean.tobytes() == first.mean.tobytes()
        assert other.std.tobytes() == first.std.tobytes()


# --- limits ---------------------------------------------------------------------------------------


def limit_of(environment: Environment, longest: int = 0) -> int:
    limits = evaluation_limits(environment, np.array([longest, longest]))
    assert limits[0] == limits[1]
    return int(limits[0])


def test_the_limit_is_the_environments_own_where_it_has_one() -> None:
    assert limit_of(find_environment("CartPole-v1")) == 500
    assert limit_of(find_environment("CartPole-v1"), longest=30) == 500
    assert limit_of(find_environment("FrozenLake-v1")) == 100
    assert limit_of(find_environment("FrozenLake-v1", {"max_episode_steps": 37})) == 37
    assert limit_of(find_environment("FrozenLake8x8-v1")) == 200
    long = find_environment(lambda: gym.wrappers.TimeLimit(Counter(), 5_000))
    assert limit_of(long) == 5_000  # a wrapper around a class of one's own


def test_without_a_limit_episodes_are_played_as_long_as_training_suggests() -> None:
    environment = find_environment(Counter)
    assert limit_of(environment) == ENDLESS_STEPS
    assert limit_of(environment, longest=7) == PATIENT_STEPS
    assert limit_of(environment, longest=8_000) == 16_000


def test_the_limit_of_a_seed_does_not_depend_on_the_others() -> None:
    environment = find_environment(Counter)
    limits = evaluation_limits(environment, np.array([0, 12_000, 5]))
    assert list(limits) == [ENDLESS_STEPS, 24_000, PATIENT_STEPS]


def test_an_endless_environment_is_evaluated_up_to_the_default_limit() -> None:
    environment = find_environment(lambda: Counter(10**9))
    evaluator = Evaluator(environment, STREAMS[:1], 1, kind="gymnasium")
    n = ENDLESS_STEPS
    assert evaluator(NoProbabilities()).mean[0] == n * (n + 1) / 2
    evaluator.close()


# --- evaluation changes nothing in training -------------------------------------------------------


def snapshot(agent: Any) -> dict[str, list[bytes]]:
    return {
        name: [np.asarray(part).tobytes() for part in value]
        for name, value in agent.state_dict().items()
    }


@pytest.mark.trap("T48")
@pytest.mark.slow
@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("name", ["ppo", "reinforce", "random"])
def test_evaluating_changes_nothing_in_training(name: str, greedy: bool) -> None:
    environment = find_environment("CartPole-v1")

    def run(*, evaluate: bool) -> tuple[list[bytes], dict[str, list[bytes]]]:
        env = environment.grid(STREAMS, 2, kind="native")
        task = Task(env.observation_space, env.action_space, STREAMS, 2, 1000)
        agent: Any
        if name == "ppo":
            config = PPOConfig(
                rollout_length=16,
                normalise_observations=True,
                scale_rewards=True,
                hidden_sizes=(8,),
                minibatch_size=10,
            )
            agent = PPO(task, config)
        elif name == "reinforce":
            agent = Reinforce(task, ReinforceConfig(episodes_per_update=2, hidden_sizes=(8,)))
        else:
            agent = Random(task, RandomConfig())
        evaluator = Evaluator(environment, STREAMS, 3, kind="native")
        record = []
        for t, (transition, _) in enumerate(interact(agent, env, 90)):
            record += [np.asarray(part).tobytes() for part in transition]
            if evaluate and t % 10 == 5:
                before = snapshot(agent)
                evaluator(agent.actor(greedy=greedy))
                assert snapshot(agent) == before
        evaluator.close()
        return record, snapshot(agent)

    assert run(evaluate=True) == run(evaluate=False)


def test_an_actor_does_not_follow_what_the_agent_learns_later() -> None:
    environment = find_environment("CartPole-v1")
    env = environment.grid(STREAMS, 2, kind="native")
    task = Task(env.observation_space, env.action_space, STREAMS, 2, 1000)
    agent = PPO(task, PPOConfig(rollout_length=8, normalise_observations=True, learning_rate=0.1))
    stream = interact(agent, env, 40)
    for _ in range(10):
        next(stream)
    obs = np.random.default_rng(0).standard_normal((3, 5, 4)).astype(np.float32)
    actor = agent.actor(greedy=False)
    before = actor.probabilities(obs).tobytes()
    for _ in stream:
        pass
    assert actor.probabilities(obs).tobytes() == before
    assert agent.actor(greedy=False).probabilities(obs).tobytes() != before


@pytest.mark.slow
def test_gymnasiums_and_the_tables_frozen_lake_are_evaluated_alike() -> None:
    environment = frozen_lake()
    assert environment.mdp is not None
    for kind in ("tabular", "gymnasium"):
        grid = environment.grid(STREAMS[:1], 400, kind=kind, purpose="evaluation", autoreset=False)
        returns = play(trained_policy(), grid, max_steps=100).returns
        # The best stationary policy for 100 steps succeeds with 0.740; 5 errors of 400 episodes.
        assert abs(returns.mean() - 0.7402) < 5 * np.sqrt(0.74 * 0.26 / 400)
        grid.close()


class FixedPolicy:
    def __init__(self, actions: Any) -> None:
        self.actions = np.asarray(actions)

    def act(self, obs: Any) -> Any:
        return self.actions[obs]


def trained_policy() -> FixedPolicy:
    # The greedy policy of value iteration at discount 1 with the lowest index among equals, as
    # tutorials print it: left, up, up, up; left, -, left, -; up, down, left, -; -, right, down, -.
    return FixedPolicy([0, 3, 3, 3, 0, 0, 0, 0, 3, 1, 0, 0, 0, 2, 1, 0])


def test_evaluation_works_on_environments_that_gymnasium_does_not_know() -> None:
    assert isinstance(find_environment(Counter).make(), gym.Env)


def test_episodes_played_in_parts_are_those_played_at_once() -> None:
    """Of a policy that draws nothing: the parts of one that explores have streams of their own."""
    environment = find_environment("CartPole-v1")

    class Alternating:
        def act(self, obs: Any) -> Any:
            return (obs[..., 2] > 0).astype(np.int64)

    at_once, in_parts = (
        play_many(Alternating(), environment, STREAMS, 7, kind="gymnasium", at_once=n)
        for n in (7, 3)
    )
    for one, other in zip(at_once, in_parts, strict=True):
        assert one.tobytes() == other.tobytes()
    assert len(np.unique(at_once.lengths)) > 3


@pytest.mark.parametrize("name", ["ppo", "reinforce", "random", "q-learning"])
def test_long_evaluations_of_exploring_policies_do_not_depend_on_the_other_seeds(name: str) -> None:
    env_id = "FrozenLake-v1" if name == "q-learning" else "CartPole-v1"
    environment = find_environment(env_id)

    def played(streams: tuple[SeedStreams, ...]) -> Any:
        probe = environment.probe
        task = Task(probe.observation_space, probe.action_space, streams, 1, 1000)
        agents: dict[str, Any] = {
            "ppo": lambda: PPO(task, PPOConfig(hidden_sizes=(4,))),
            "reinforce": lambda: Reinforce(task, ReinforceConfig(hidden_sizes=(4,))),
            "random": lambda: Random(task, RandomConfig()),
            "q-learning": lambda: QLearning(task, QLearningConfig(epsilon_start=0.5)),
        }
        actor = agents[name]().actor(greedy=False)
        return play_many(actor, environment, streams, 9, kind="gymnasium", at_once=3)

    together, alone = played(STREAMS), played(STREAMS[1:2])
    np.testing.assert_array_equal(together.lengths[1], alone.lengths[0])
    # Parts have streams of their own: their episodes are not copies of each other.
    assert len({tuple(row) for row in alone.lengths.reshape(3, 3)}) == 3
