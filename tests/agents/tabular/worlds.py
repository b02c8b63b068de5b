"""Small finite MDPs and what the tests of learners do in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from rlkit.agent import Task, Transition
from rlkit.agents import find_agent
from rlkit.environments.table import TabularBatchEnv
from rlkit.loop import interact
from rlkit.seeding import SeedStreams
from rlkit.tabular.mdp import TabularMDP
from tests.agents.tabular.textbook import Step


def streams(num_seeds: int) -> tuple[SeedStreams, ...]:
    return tuple(SeedStreams(0, index) for index in range(num_seeds))


def random_mdp(num_states: int = 5, num_actions: int = 3, time_limit: int = 9) -> TabularMDP:
    """Terminates now and then; other episodes are truncated."""
    rng = np.random.default_rng(0)
    shape = (num_states, num_actions, 4)
    return TabularMDP.from_padded(
        probability=rng.dirichlet(np.ones(4), size=shape[:2]),
        next_state=rng.integers(num_states, size=shape),
        reward=rng.normal(size=shape),
        terminated=rng.random(shape) < 0.1,
        initial_distribution=np.eye(num_states)[0],
        time_limit=time_limit,
    )


def chain(length: int, reward: float = 1.0) -> TabularMDP:
    """States 0, 1, ... in a row, one action, a reward at the end, where it terminates."""
    table = [
        [[(1.0, min(s + 1, length - 1), reward * (s == length - 1), s == length - 1)]]
        for s in range(length)
    ]
    return TabularMDP.from_successors(
        table, initial_distribution=np.eye(length)[0], time_limit=None
    )


def make(
    name: str, mdp: TabularMDP, *, num_seeds: int = 2, num_envs: int = 1, **options: Any
) -> tuple[Any, TabularBatchEnv]:
    """Return an agent and its environments, reset."""
    env = TabularBatchEnv(mdp, streams(num_seeds), num_envs)
    env.reset()
    space = env.observation_space, env.action_space
    kind = find_agent(name)
    return kind(Task(*space, streams(num_seeds), num_envs, 10**6, mdp), kind.Config(**options)), env


def steps_of(transition: Any, s: int) -> list[Step]:
    """Return the steps of the environments of seed s."""
    parts = (*transition[:3], *transition[3:5], transition.next_obs)
    return [
        Step(int(o), int(a), float(r), bool(done), bool(cut), int(after))
        for o, a, r, done, cut, after in zip(*(part[s] for part in parts), strict=True)
    ]


def largest_difference(
    name: str, textbook: Any, mdp: TabularMDP, num_steps: int, num_envs: int, **options: Any
) -> float:
    """Return by how much the tables of an agent and of a textbook's differ at most at any step."""
    agent, env = make(name, mdp, num_envs=num_envs, **options)
    shape = (mdp.num_states, mdp.num_actions)
    twins = [textbook(options, shape, num_envs) for _ in range(2)]
    worst = 0.0
    for transition, _ in interact(agent, env, num_steps, obs=env.obs):
        table = agent.actor().action_values(np.tile(np.arange(shape[0]), (2, 1)))
        for s, twin in enumerate(twins):
            twin.coins = agent._entries.get("_coins", [None] * 2)[s]
            twin.draws = agent._entries.get("_draws", [None] * 2)[s]
            twin.learn(steps_of(transition, s))
            worst = max(worst, float(np.abs(twin.q - table[s]).max()))
    return worst


def transition(
    obs: Any,
    action: Any,
    reward: Any,
    next_obs: Any,
    terminated: Any = False,
    truncated: Any = False,
) -> Transition:
    """Return a transition that two seeds share; lists are the environments of each."""

    def array(x: Any, dtype: Any) -> Any:
        return np.broadcast_to(np.asarray(x, dtype=dtype), (2, np.size(x))).copy()

    return Transition(
        array(obs, int),
        array(action, int),
        array(reward, float),
        array(terminated, bool),
        array(truncated, bool),
        array(next_obs, int),
        array(next_obs, int),
    )


def errors_on_the_way(
    agent: Any, env: TabularBatchEnv, expected: Any, *, at: Sequence[int] = (100, 1000, 10_000)
) -> list[float]:
    """Return the largest error of an agent's table after some steps, as means over its seeds."""
    errors = []
    for t, _ in enumerate(interact(agent, env, at[-1], obs=env.obs), start=1):
        if t in at:
            difference = np.abs(agent.state_dict()["q"] - expected)
            errors.append(float(difference.reshape(len(difference), -1).max(axis=1).mean()))
    return errors


def tables_after(num_steps: int, *agents: tuple[str, dict[str, Any]]) -> list[Any]:
    """Return the tables of agents that are named with options, after steps in one random MDP."""
    tables = []
    for name, options in agents:
        agent, env = make(name, random_mdp(), num_envs=2, epsilon_steps=500, **options)
        for _ in interact(agent, env, num_steps, obs=env.obs):
            pass
        tables.append(agent.state_dict()["q"].tolist())
    return tables


def fixed_point(mdp: TabularMDP, discount: float, value: Callable[[Any], Any]) -> Any:
    """Return Q = r + gamma P value(Q), with 0 after a termination."""
    padded = mdp.padded()
    q = np.zeros((mdp.num_states, mdp.num_actions))
    for _ in range(1000):
        future = np.where(padded.terminated, 0.0, value(q)[padded.next_state])
        q = (padded.probability * (padded.reward + discount * future)).sum(axis=-1)
    return q


def policy_q(mdp: TabularMDP, policy: Any, discount: float) -> Any:
    """Return the action values of a policy [states, actions]."""
    return fixed_point(mdp, discount, lambda q: (policy * q).sum(axis=-1))


def optimal_q(mdp: TabularMDP, discount: float) -> Any:
    """Return Q*."""
    return fixed_point(mdp, discount, lambda q: q.max(axis=-1))


def soft_optimal_q(mdp: TabularMDP, discount: float, epsilon: float) -> Any:
    """Return the action values of the policy that is epsilon-greedy in them."""
    return fixed_point(
        mdp, discount, lambda q: (1 - epsilon) * q.max(axis=-1) + epsilon * q.mean(axis=-1)
    )
