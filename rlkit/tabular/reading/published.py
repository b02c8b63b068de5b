"""Read the transition table that a Gymnasium environment publishes into a model.

Gymnasium's toy-text environments, and many modelled on them, have

    env.unwrapped.P[s][a] = [(probability, next_state, reward, terminated), ...]

and often `initial_state_distrib`, the distribution of the first state. Where observations are made
of several discrete parts, s is the index of `parts`. Only the form of the table
is checked here; `model` checks whether the environment behaves accordingly.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Discrete

from rlkit.processes.calls import (
    CALLS,
    CLOSE,
    CONSTRUCTOR,
    RESET,
    STEP,
    Abandoned,
    describe,
    describe_abandoned,
)
from rlkit.tabular.mdp import FloatArray, Successor, TabularMDP
from rlkit.tabular.reading.parts import PartsIndex, states_of
from rlkit.tabular.reading.wrappers import TRANSPARENT, layers_of, time_limit

# The numbering of the states: as in a Discrete space, or of combinations of discrete parts.
States = Discrete | PartsIndex


_KINDS = {"reset": RESET, "step": STEP, "close": CLOSE}


class UnknownModel(ValueError):
    """The environment has no transition table that can be trusted."""


class NoTable(UnknownModel):
    """The environment publishes no table at all."""


def call(name: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a user's function and raise whatever it raises, even SystemExit, as UnknownModel.

    Whoever watches the calls can abandon one that does not return.
    """
    CALLS.begin(_KINDS.get(name, CONSTRUCTOR))
    try:
        return function(*args, **options)
    except UnknownModel:
        raise
    except BaseException as error:
        if CALLS.is_interrupt(error):
            raise
        given = [describe(value) for value in args]
        given += [f"{key}={describe(value)}" for key, value in options.items()]
        made = f"{name}({', '.join(given)})"
        text = describe_abandoned(error, made)
        if not isinstance(error, Abandoned):
            text = f"{made} raised {text}"
        raise UnknownModel(text) from error
    finally:
        CALLS.end()


def name_of(env: Any) -> str:
    """Return the name of an environment for messages: its id, or the name of its class."""
    inner = getattr(env, "unwrapped", env)
    registered = getattr(getattr(inner, "spec", None), "id", None)
    return registered if isinstance(registered, str) else type(inner).__name__


def read_table(
    env: gym.Env[Any, Any], *, before: tuple[Any, TabularMDP] | None = None
) -> TabularMDP:
    """Return the model that an environment claims to follow.

    The time limit is that of the TimeLimit wrappers around the environment. Without an attribute
    `initial_state_distrib` the state after one reset is assumed to be the only first state.

    Args:
        before: a table and the model read from it; an equal table is not read again.

    Raises:
        NoTable: there is no attribute P, or it is None.
        ValueError: the table has another form (UnknownModel), or does not describe an MDP.
    """
    states, actions = states_of(env.observation_space), env.action_space
    table = published_table(env)
    if states is None or not isinstance(actions, Discrete):
        kind = NoTable if table is None else UnknownModel
        raise kind(
            "expected Discrete observation and action spaces, got "
            f"{type(env.observation_space).__name__} and {type(actions).__name__}"
        )
    if table is None:
        raise NoTable(
            "it has no attribute P; give it P[s][a] = [(probability, next_state, reward, "
            "terminated), ...] if its transitions are known"
        )
    limit = time_limit(_transparent_layers(env))
    if before is not None and _equal(table, before[0]) and before[1].num_states == int(states.n):
        start = _initial_distribution(env, states)
        return dataclasses.replace(before[1], initial_distribution=start, time_limit=limit)
    first_state, rows = _entries(table, states, "states of P")
    successors = []
    for s, row in enumerate(rows):
        _, cells = _entries(row, actions, f"actions of P[{s + first_state}]")
        entries = [_successors(cell, s, a, first_state) for a, cell in enumerate(cells)]
        # Some tables have empty lists for the states in which episodes have ended.
        successors.append([[(1.0, s, 0.0, True)]] * len(cells) if not any(entries) else entries)
    return TabularMDP.from_successors(
        successors,
        initial_distribution=_initial_distribution(env, states),
        time_limit=limit,
    )


def publishes_start(env: gym.Env[Any, Any]) -> bool:
    """Return whether the environment publishes the distribution of the first state."""
    return _published_start(env) is not None


def published_table(env: gym.Env[Any, Any]) -> Any:
    """Return the attribute P of the innermost environment, or None."""
    return getattr(env.unwrapped, "P", None)


def _published_start(env: gym.Env[Any, Any]) -> Any:
    return getattr(env.unwrapped, "initial_state_distrib", None)


def reset(env: gym.Env[Any, Any], seed: int, states: States) -> int:
    """Start an episode and return its first state as an index from 0."""
    result = call("reset", env.reset, seed=seed)
    if not (isinstance(result, tuple) and len(result) == 2):
        raise UnknownModel(
            f"reset returned {describe(result)}, expected the pair (observation, info)"
        )
    return index(result[0], states, "reset")


def index(observation: Any, states: States, source: str) -> int:
    """Return an observation as an index from 0, or raise UnknownModel."""
    if isinstance(states, PartsIndex):
        try:
            return states(observation)
        except ValueError as error:
            raise UnknownModel(f"{source} returned the observation {error}") from error
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
    """Return whether two tables of plain containers are equal; False where that is uncertain."""
    if type(one) not in (list, tuple, dict) or type(one) is not type(other):
        return False
    try:
        return bool(one == other)
    except ValueError:  # arrays inside
        return False


def _transparent_layers(env: gym.Env[Any, Any]) -> list[Any]:
    """Return the layers of an environment; UnknownModel where one may change what is seen."""
    layers = layers_of(env)
    for layer in layers[:-1]:
        if type(layer) not in TRANSPARENT:
            raise UnknownModel(
                f"the wrapper {type(layer).__name__} may change observations, actions or rewards, "
                "which the table of the wrapped environment does not describe"
            )
    return layers


def _entries(table: Any, space: States, level: str) -> tuple[int, list[Any]]:
    """Return the first index of one level of the table, and its entries in order.

    Indices are those of the space, or start at 0 where those of the space do not.
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
        f"expected the {level} to be {start} to {start + size - 1}, as in {space}, got {got}; a "
        "state in which episodes end needs an entry too, such as [(1.0, state, 0.0, True)] for "
        "each action"
    )


def _successors(cell: Any, s: int, a: int, first_state: int) -> list[Successor]:
    place = f"P[{s + first_state}][{a}] (actions indexed from 0)"
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


def _initial_distribution(env: gym.Env[Any, Any], states: States) -> FloatArray:
    size = int(states.n)
    if not publishes_start(env):
        distribution = np.zeros(size)
        distribution[reset(env, 0, states)] = 1.0
        return distribution
    published = np.asarray(_published_start(env), dtype=np.float64)
    if published.shape != (size,):
        raise UnknownModel(
            f"initial_state_distrib must have shape {(size,)}, got {published.shape}"
        )
    return np.asarray(published)
