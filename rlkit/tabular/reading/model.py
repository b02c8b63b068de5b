"""The exact model of a Gymnasium environment that publishes its transition table.

The table is a claim. It is used only if two environments made by the same function publish equal
tables, and if their behaviour in a probe of 20,000 steps and 2,000 resets fits it. Gymnasium's own
environments need no probe (see `known`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from rlkit.processes.calls import describe
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.reading.known import follows_table
from rlkit.tabular.reading.probe import NUM_PARTS, Record, play
from rlkit.tabular.reading.published import (
    NoTable,
    UnknownModel,
    call,
    name_of,
    published_table,
    read_table,
)
from rlkit.tabular.reading.verdict import Indexing, disagreement

__all__ = ["Model", "UnknownModel", "examine", "find_mdp", "mdp_from_env"]


@dataclass(frozen=True)
class Model:
    """The model of an environment, or why there is none.

    Args:
        mdp: the exact model, where one is known.
        problem: one sentence that says why the published table is not used; None where it is used,
            or where there is no table (no attribute P, or P is None).
    """

    mdp: TabularMDP | None
    problem: str | None


def examine(make_env: Callable[[], gym.Env[Any, Any]]) -> Model:
    """Look for the exact model of an environment; errors in a user's code are not raised.

    Args:
        make_env: returns an environment; it is called twice, and both are closed again.
    """
    try:
        return Model(mdp_from_env(make_env), None)
    except NoTable:
        return Model(None, None)
    except UnknownModel as error:
        return Model(None, str(error))


def find_mdp(make_env: Callable[[], gym.Env[Any, Any]]) -> TabularMDP | None:
    """Return the exact model of an environment, or None where none is known."""
    return examine(make_env).mdp


def mdp_from_env(make_env: Callable[[], gym.Env[Any, Any]]) -> TabularMDP:
    """Return the exact model of an environment that publishes its transition table `P`.

    The time limit is that of the TimeLimit wrappers around the environment. The frequencies of
    successors and first states are compared with the table: overall, in each quarter of the probe
    (the last is played in the second environment), by the number of steps since the reset, and
    after each kind of step (see `fit`). A true table is rejected for fewer than one environment in
    10,000.

    Args:
        make_env: returns an environment; it is called twice, and both are closed again.

    Raises:
        UnknownModel: with the reason why no model is known, and the remedy. Anything that a user's
            code raises is the cause of this error, except KeyboardInterrupt.
    """
    if not callable(make_env):
        raise UnknownModel(
            "reading a model: expected a function that makes the environment, as lambda: "
            f'gym.make("FrozenLake-v1"), got {describe(make_env)}'
        )
    envs: list[gym.Env[Any, Any]] = []
    fault: BaseException | None = None
    with warnings.catch_warnings():
        # Whatever warns here will warn again where the environment is used.
        warnings.simplefilter("ignore")
        try:
            mdp, record = _read_and_play(make_env, envs)
            indexing = Indexing(envs[0])
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            fault = error
        finally:
            closing = _close(envs)
    fault = fault or closing
    if fault is None:
        reason = None if record is None else disagreement(mdp, record, indexing)
        if reason is None:
            return mdp
        fault = UnknownModel(reason)
    raise _unknown_model(envs, fault) from fault


def _read_and_play(
    make_env: Callable[[], gym.Env[Any, Any]], envs: list[gym.Env[Any, Any]]
) -> tuple[TabularMDP, Record | None]:
    """Return the model of two environments and their probe; append them to `envs` when made.

    There is no probe of environments that are known to follow their table.
    """
    envs.append(call("making an environment", make_env))
    mdp = read_table(envs[0])
    table = published_table(envs[0])
    envs.append(call("making a second environment", make_env))
    try:
        difference = _difference(mdp, read_table(envs[1], before=(table, mdp)))
    except NoTable:
        difference = "the second has none"
    if difference is not None:
        raise UnknownModel(
            f"two environments made by the same function publish different tables ({difference}), "
            "so no single table describes both; draw what differs in reset and include it in the "
            "state, or remove P (P = None)"
        )
    if all(map(follows_table, envs)):
        return mdp, None
    return mdp, play([envs[0]] * (NUM_PARTS - 1) + [envs[1]], mdp)


def _difference(one: TabularMDP, other: TabularMDP) -> str | None:
    """Return where two models differ, in words, or None."""
    if not np.array_equal(one.row_start, other.row_start):
        return "of different sizes"
    for name in ("probability", "next_state", "reward", "terminated"):
        a, b = getattr(one, name), getattr(other, name)
        if (a != b).any():
            at = int((a != b).argmax())
            row = int(np.searchsorted(one.row_start, at, side="right")) - 1
            state, action = divmod(row, one.num_actions)
            place = f"state {state} and action {action}, indexed from 0"
            return f"{name} after {place}: {a[at]} and {b[at]}"
    if (one.initial_distribution != other.initial_distribution).any():
        s = int(np.flatnonzero(one.initial_distribution != other.initial_distribution)[0])
        a, b = one.initial_distribution[s], other.initial_distribution[s]
        return f"probability of starting in state {s}: {a} and {b}"
    if one.time_limit != other.time_limit:
        return f"time limits {one.time_limit} and {other.time_limit}"
    return None


def _close(envs: list[gym.Env[Any, Any]]) -> UnknownModel | None:
    fault = None
    for env in envs:
        try:
            call("close", lambda env=env: env.close())
        except UnknownModel as error:
            fault = fault or error
    return fault


def _unknown_model(envs: list[gym.Env[Any, Any]], fault: BaseException) -> UnknownModel:
    """Return the error that reports a fault of these environments."""
    try:
        name = call("its name", name_of, envs[0]) if envs else "the environment"
    except UnknownModel:
        name = "the environment"
    if isinstance(fault, NoTable):
        return NoTable(f"looking for the exact model of {name}: {fault}")
    reason = str(fault) if isinstance(fault, UnknownModel) else ""
    if isinstance(fault, ValueError) and str(fault).startswith("building a TabularMDP"):
        reason = str(fault)
    reason = reason or f"reading it raised {describe(fault)}"
    return UnknownModel(f"looking for the exact model of {name}: its table P is not used: {reason}")
