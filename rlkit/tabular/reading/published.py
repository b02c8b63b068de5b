"""The transition table that a Gymnasium environment publishes, read into a model.

Gymnasium's toy-text environments, and many written after them, have

    env.unwrapped.P[s][a] = [(probability, next_state, reward, terminated), ...]

and often `initial_state_distrib`, the law of the first state. Only the form of the table is checked
here. Whether the environment does what it says is another question: see `table_fit`.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import wrappers
from gymnasium.spaces import Discrete

from rlkit.tabular.mdp import FloatArray, Successor, TabularMDP

# These change neither observation, action nor reward. Compared by exact type: a subclass may.
TRANSPARENT = (
    wrappers.TimeLimit,
    wrappers.OrderEnforcing,
    wrappers.PassiveEnvChecker,
    wrappers.Autoreset,
    wrappers.RecordEpisodeStatistics,
)


class UnknownModel(ValueError):
    """The environment has no transition table that can be trusted."""


class NoTable(UnknownModel):
    """The environment publishes no table at all."""


def describe(value: Any) -> str:
    """The `repr` of a user's object on one line of at most 200 characters, whatever it raises."""
    try:
        text = " ".join(repr(value).split())
    except KeyboardInterrupt:
        raise
    except BaseException:
        text = f"an object of type {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:197]}..."


def call(name: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a user's function; whatever it raises, even SystemExit, becomes an UnknownModel."""
    try:
        return function(*args, **options)
    except (KeyboardInterrupt, UnknownModel):
        raise
    except BaseException as error:
        given = [describe(value) for value in args]
        given += [f"{key}={describe(value)}" for key, value in options.items()]
        raise UnknownModel(f"{name}({', '.join(given)}) raised {describe(error)}") from error


def name_of(env: Any) -> str:
    """What messages call an environment: its id, or the name of its class."""
    inner = getattr(env, "unwrapped", env)
    spec = getattr(inner, "spec", None)
    return str(spec.id) if spec is not None else type(inner).__name__


def read_table(
    env: gym.Env[Any, Any], *, before: tuple[Any, TabularMDP] | None = None
) -> TabularMDP:
    """The model that an environment claims to be, unproven.

    The time limit is that of the TimeLimit wrappers around the environment. Without an attribute
    `initial_state_distrib` the state after one reset is taken for the only first state.

    Args:
        before: a table and what was read from it; an equal one is not read again.

    Raises:
        NoTable: there is no attribute P, or it is None.
        ValueError: the table has another form, or does not describe an MDP (UnknownModel is one).
    """
    states, actions = env.observation_space, env.action_space
    table = getattr(env.unwrapped, "P", None)
    if not isinstance(states, Discrete) or not isinstance(actions, Discrete):
        kind = NoTable if table is None else UnknownModel
        raise kind(
            "expected Discrete observation and action spaces, got "
            f"{type(states).__name__} and {type(actions).__name__}"
        )
    if table is None:
        raise NoTable(
            "it has no attribute P; give it P[s][a] = [(probability, next_state, reward, "
            "terminated), ...] if its transitions are known"
        )
    limit = _time_limit(env)
    if before is not None and _equal(table, before[0]) and before[1].num_states == int(states.n):
        start = _initial_distribution(env, states)
        return dataclasses.replace(before[1], initial_distribution=start, time_limit=limit)
    first_state, rows = _entries(table, states, "states of P")
    successors = []
    for s, row in enumerate(rows):
        _, cells = _entries(row, actions, f"actions of P[{s + first_state}]")
        entries = [_successors(cell, s, a, first_state) for a, cell in enumerate(cells)]
        # Nothing happens after the end, and some tables say so with an empty list.
        successors.append([[(1.0, s, 0.0, True)]] * len(cells) if not any(entries) else entries)
    return TabularMDP.from_successors(
        successors,
        initial_distribution=_initial_distribution(env, states),
        time_limit=limit,
    )


def states_its_start(env: gym.Env[Any, Any]) -> bool:
    """Whether the environment states the law of the first state."""
    return getattr(env.unwrapped, "initial_state_distrib", None) is not None


def reset(env: gym.Env[Any, Any], seed: int, states: Discrete) -> int:
    """Start an episode and return its first state, counted from 0."""
    result = call("reset", env.reset, seed=seed)
    if not (isinstance(result, tuple) and len(result) == 2):
        raise UnknownModel(
            f"reset returned {describe(result)}, expected the pair (observation, info)"
        )
    return index(result[0], states, "reset")


def index(observation: Any, states: Discrete, source: str) -> int:
    """An observation as an index from 0; UnknownModel where it is none."""
    value = observation
    if type(value) is not int:
        array = np.asarray(value)
        if array.shape != () or array.dtype.kind not in "biuf" or array.item() % 1 != 0:
            raise UnknownModel(
                f"{source} returned the observation {describe(observation)}, expected an integer "
                f"as in {states}"
            )
        value = int(array)
    position = int(value - int(states.start))
    if not 0 <= position < int(states.n):
        raise UnknownModel(f"{source} returned the observation {value}, which is not in {states}")
    return position


def _equal(one: Any, other: Any) -> bool:
    """Whether two tables of plain containers are equal; False wherever that is hard to tell."""
    if type(one) not in (list, tuple, dict) or type(one) is not type(other):
        return False
    try:
        return bool(one == other)
    except ValueError:  # arrays inside
        return False


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
    got = f"{len(table)} entries or others" if hasattr(table, "__len__") else describe(table)
    raise UnknownModel(
        f"expected the {what} to be {start} to {start + size - 1}, as in {space}, got {got}; a "
        "state in which episodes end needs an entry too, such as [(1.0, state, 0.0, True)] for "
        "each action"
    )


def _successors(cell: Any, s: int, a: int, first_state: int) -> list[Successor]:
    place = f"P[{s + first_state}][{a}] (action counted from 0)"
    expected = f"{place}: expected a list of (probability, next_state, reward, terminated), got"
    if not hasattr(cell, "__iter__") or isinstance(cell, str | Mapping):
        raise UnknownModel(f"{expected} {describe(cell)}")
    successors = []
    for entry in cell:
        try:
            probability, next_state, reward, terminated = entry
            state = operator.index(next_state) - first_state
            successors.append((float(probability), state, float(reward), bool(terminated)))
        except (TypeError, ValueError) as error:
            raise UnknownModel(f"{expected} an entry {describe(entry)}") from error
    return successors


def _initial_distribution(env: gym.Env[Any, Any], states: Discrete) -> FloatArray:
    size = int(states.n)
    if not states_its_start(env):
        distribution = np.zeros(size)
        distribution[reset(env, 0, states)] = 1.0
        return distribution
    given = np.asarray(env.unwrapped.initial_state_distrib, dtype=np.float64)  # type: ignore[attr-defined]
    if given.shape != (size,):
        raise UnknownModel(f"initial_state_distrib must have shape {(size,)}, got {given.shape}")
    return np.asarray(given)
