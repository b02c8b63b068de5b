"""The exact model of a Gymnasium environment that publishes its transition table.

Gymnasium's toy-text environments, and many written after them, have

    env.unwrapped.P[s][a] = [(probability, next_state, reward, terminated), ...]

and often `initial_state_distrib`, the law of the first state. The table is a claim, so it is
tried on the environment itself before anyone computes with it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import wrappers
from gymnasium.spaces import Discrete

from rlkit.tabular.mdp import FloatArray, Successor, TabularMDP
from rlkit.tabular.planning import bellman_optimality, greedy

# These change neither observation, action nor reward. Compared by exact type: a subclass may.
TRANSPARENT = (
    wrappers.TimeLimit,
    wrappers.OrderEnforcing,
    wrappers.PassiveEnvChecker,
    wrappers.Autoreset,
    wrappers.RecordEpisodeStatistics,
)
PROBE_STEPS = 1000
NUM_RESETS = 100


class UnknownModel(ValueError):
    """The environment has no transition table that can be trusted."""


def find_mdp(make_env: Callable[[], gym.Env[Any, Any]]) -> TabularMDP | None:
    """The exact model of an environment, or None where none is known.

    Args:
        make_env: makes an environment; it is called once, and that instance is closed again.
    """
    try:
        return mdp_from_env(make_env)
    except UnknownModel:
        return None


def mdp_from_env(make_env: Callable[[], gym.Env[Any, Any]]) -> TabularMDP:
    """The exact model of an environment that publishes its transition table `P`.

    The time limit is that of the TimeLimit wrappers actually around the environment. The table is
    compared with 1000 real steps, half of them random and half near the best policy of the table.
    This finds successors, rewards and endings that are missing from the table; it does not
    measure the probabilities.

    Args:
        make_env: makes an environment; it is called once, and that instance is closed again.

    Raises:
        UnknownModel: saying why no model is known, and what would make it known.
    """
    env = make_env()
    try:
        name = env.unwrapped.spec.id if env.unwrapped.spec else type(env.unwrapped).__name__
        try:
            mdp = _read(env)
            _probe(env, mdp)
        except ValueError as error:
            raise UnknownModel(f"looking for the exact model of {name}: {error}") from error
    finally:
        env.close()
    return mdp


def _read(env: gym.Env[Any, Any]) -> TabularMDP:
    limit = _time_limit(env)
    states, actions = env.observation_space, env.action_space
    if not isinstance(states, Discrete) or not isinstance(actions, Discrete):
        raise UnknownModel(
            "expected Discrete observation and action spaces, got "
            f"{type(states).__name__} and {type(actions).__name__}"
        )
    table = getattr(env.unwrapped, "P", None)
    if table is None:
        raise UnknownModel(
            "it has no attribute P; give it P[s][a] = [(probability, next_state, reward, "
            "terminated), ...] if its transitions are known"
        )
    first_state, rows = _entries(table, states, "states of P")
    successors = []
    for s, row in enumerate(rows):
        _, cells = _entries(row, actions, f"actions of P[{s + first_state}]")
        entries = [
            [_successor(entry, s, a, first_state) for entry in cell] for a, cell in enumerate(cells)
        ]
        # Nothing happens after the end, and some tables say so with an empty list.
        successors.append([[(1.0, s, 0.0, True)]] * len(cells) if not any(entries) else entries)
    return TabularMDP.from_successors(
        successors,
        initial_distribution=_initial_distribution(env, states),
        time_limit=limit,
    )


def _time_limit(env: gym.Env[Any, Any]) -> int | None:
    limits = []
    layer = env
    while isinstance(layer, gym.Wrapper):
        if type(layer) not in TRANSPARENT:
            raise UnknownModel(
                f"the wrapper {type(layer).__name__} may change observations, actions or rewards, "
                "which the table of the environment inside does not know"
            )
        if isinstance(layer, wrappers.TimeLimit):
            limits.append(layer._max_episode_steps)
        layer = layer.env
    return min(limits, default=None)


def _entries(table: Any, space: Discrete, what: str) -> tuple[int, list[Any]]:
    """The first index of one level of the table, and its entries in order.

    Indices are those of the space, or count from 0 where the space does not.
    """
    size, start = int(space.n), int(space.start)
    if isinstance(table, Mapping):
        for first in (start, 0):
            if set(table) == set(range(first, first + size)):
                return first, [table[first + i] for i in range(size)]
    elif hasattr(table, "__len__") and len(table) == size:
        return 0, list(table)
    found = len(table) if hasattr(table, "__len__") else type(table).__name__
    raise UnknownModel(
        f"expected the {what} to be {start} to {start + size - 1}, as in {space}, got {found} "
        "entries or others; a state in which episodes end needs an entry too, such as "
        "[(1.0, state, 0.0, True)] for each action"
    )


def _successor(entry: Any, s: int, a: int, first_state: int) -> Successor:
    try:
        probability, next_state, reward, terminated = entry
        index = operator.index(next_state) - first_state
        return float(probability), index, float(reward), bool(terminated)
    except (TypeError, ValueError) as error:
        raise UnknownModel(
            f"P[{s + first_state}][{a}] (action counted from 0): expected a list of (probability, "
            f"next_state, reward, terminated), got an entry {entry!r}"
        ) from error


def _initial_distribution(env: gym.Env[Any, Any], states: Discrete) -> FloatArray:
    given = getattr(env.unwrapped, "initial_state_distrib", None)
    if given is not None:
        distribution = np.asarray(given, dtype=np.float64)
        if distribution.shape != (int(states.n),):
            raise UnknownModel(
                f"initial_state_distrib must have shape {(int(states.n),)}, got "
                f"{distribution.shape}"
            )
        return np.asarray(distribution)
    starts = {_index(env.reset(seed=seed)[0], states) for seed in range(NUM_RESETS)}
    if len(starts) > 1:
        raise UnknownModel(
            f"{NUM_RESETS} resets started in {len(starts)} different states, with unknown "
            "probabilities; give the environment an attribute initial_state_distrib, an array of "
            f"{int(states.n)} probabilities"
        )
    return np.asarray(np.eye(int(states.n))[starts.pop()])


def _index(observation: Any, states: Discrete) -> int:
    return int(observation) - int(states.start)


def _probe(env: gym.Env[Any, Any], mdp: TabularMDP) -> None:
    """Step the environment, and refuse the table at the first transition that is not in it."""
    rng = np.random.default_rng(0)
    values = np.zeros(mdp.n_states)
    for _ in range(100):  # near enough to the best policy to visit what it visits
        values = bellman_optimality(mdp, values, 0.99)
    best = greedy(mdp, values, 0.99)

    states, actions = env.observation_space, env.action_space
    assert isinstance(states, Discrete)
    assert isinstance(actions, Discrete)
    seed: int | None = 0
    s, elapsed, is_last = 0, 0, True
    for step in range(PROBE_STEPS):
        explores = step < PROBE_STEPS // 2 or rng.random() < 0.1
        if is_last or step == PROBE_STEPS // 2:
            s, elapsed, seed = _index(env.reset(seed=seed)[0], states), 0, None
            if not (0 <= s < mdp.n_states and mdp.initial_distribution[s] > 0):
                raise UnknownModel(
                    f"an episode started in state {s + states.start}, which the initial "
                    "distribution gives probability 0"
                )
        a = int(rng.integers(mdp.n_actions)) if explores else int(best[s])
        observation, reward, terminated, truncated, _ = env.step(a + int(actions.start))
        elapsed, successor = elapsed + 1, _index(observation, states)
        if not _in_table(mdp, s, a, successor, float(reward), bool(terminated)):
            raise UnknownModel(
                f"its table P does not describe it: after state {s + states.start} and action "
                f"{a + actions.start} came (next_state, reward, terminated) = "
                f"({observation}, {reward}, {terminated}), which the table gives probability 0; "
                "correct P, or take P away if the next state depends on more than these two"
            )
        if bool(truncated) != (elapsed == mdp.time_limit):
            raise UnknownModel(
                f"step {elapsed} of an episode returned truncated={truncated}, with a TimeLimit "
                f"wrapper of {mdp.time_limit} steps; leave cutting episodes off to TimeLimit"
            )
        s, is_last = successor, bool(terminated or truncated)


def _in_table(
    mdp: TabularMDP, s: int, a: int, successor: int, reward: float, terminated: bool
) -> bool:
    # Rewards agree to single precision, in which many environments compute them.
    same = np.isclose(mdp.reward[s, a], reward, rtol=1e-6, atol=1e-9)
    same &= (mdp.next_state[s, a] == successor) & (mdp.terminated[s, a] == terminated)
    return bool((same & (mdp.probability[s, a] > 0)).any())
