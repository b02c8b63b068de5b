"""Whether a probe fits the model, and a sentence that says where it does not."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Discrete

from rlkit.tabular.mdp import BoolArray, TabularMDP
from rlkit.tabular.reading.fit import Misfit, Rows, find_misfit
from rlkit.tabular.reading.outcomes import IMPOSSIBLE, Outcomes, tally
from rlkit.tabular.reading.parts import states_of
from rlkit.tabular.reading.probe import NUM_PARTS, Record
from rlkit.tabular.reading.published import publishes_start

_REMEDY = (
    "correct P, or remove it (P = None) if the next outcome depends on more than state and action"
)


class Indexing:
    """The first state and action of an environment, and whether it publishes where it starts."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        states, actions = states_of(env.observation_space), env.action_space
        assert states is not None
        assert isinstance(actions, Discrete)
        self.first_state, self.first_action = int(states.start), int(actions.start)
        self.publishes_start = publishes_start(env)


def disagreement(mdp: TabularMDP, record: Record, indexing: Indexing) -> str | None:
    """Return why a probe does not fit a model, or None where it does."""
    outcomes = tally(mdp, record)
    impossible = np.flatnonzero(outcomes.cell == IMPOSSIBLE)
    num_steps = record.state.size
    if impossible.size and impossible[0] < num_steps:
        return _impossible_step(record, int(impossible[0]), indexing)
    if impossible.size:
        return _impossible_start(record, int(impossible[0]) - num_steps, mdp, indexing)
    off_limit = np.flatnonzero(record.truncated != (record.elapsed + 1 == mdp.time_limit))
    if off_limit.size:
        at = int(off_limit[0])
        return (
            f"step {record.elapsed[at] + 1} of an episode returned truncated="
            f"{record.truncated[at]}, with a TimeLimit wrapper of {mdp.time_limit} steps; leave "
            "truncation to TimeLimit"
        )
    table = Rows(outcomes.first, outcomes.probability)
    misfit = find_misfit(table, outcomes.cell, subsets(outcomes, record))
    return None if misfit is None else _misfit(misfit, mdp, outcomes, indexing)


def subsets(outcomes: Outcomes, record: Record) -> dict[str, BoolArray]:
    """Return masks `[E]` of the events of a probe: all, and by facts known before their outcome."""
    num_steps, num_resets = record.state.size, record.start.size
    chosen = {"": np.ones(num_steps + num_resets, dtype=np.bool_)}
    part = np.append(record.part, record.start_part)
    for i in range(NUM_PARTS):
        chosen[f" in part {i + 1} of {NUM_PARTS} of the probe"] = part == i
    # Steps 1, 2, 3, 4 to 5, 6 to 7, 8 to 11, 12 to 15, 16 to 22, ... of an episode.
    stretch = np.append(np.floor(2 * np.log2(record.elapsed + 1)), np.full(num_resets, -1.0))
    for i in np.unique(stretch[:num_steps]).astype(int):
        begin, end = math.ceil(2 ** (i / 2)), math.ceil(2 ** ((i + 1) / 2))
        chosen[f" in steps {begin} to {end - 1} of episodes"] = stretch == i
    # Where the previous step had several possible outcomes: the position of its own in their list.
    table = Rows(outcomes.first, outcomes.probability)
    rank = np.minimum(outcomes.cell - table.first[table.row[outcomes.cell]], 3)
    rank[~table.uncertain[outcomes.cell]] = -1
    before = np.full(num_steps + num_resets, -1)
    before[1:num_steps] = np.where(record.elapsed[1:] > 0, rank[: num_steps - 1], -1)
    for i in range(int(before.max()) + 1):
        which = ("first", "second", "third", "fourth or a later")[i]
        chosen[f" after a step that took the {which} outcome in its list"] = before == i
    return chosen


def _impossible_step(record: Record, at: int, indexing: Indexing) -> str:
    return (
        f"P does not describe it: state {record.state[at] + indexing.first_state} and action "
        f"{record.action[at] + indexing.first_action} led to (next_state, reward, terminated) = "
        f"({record.next_state[at] + indexing.first_state}, {record.reward[at]:g}, "
        f"{record.terminated[at]}), which P gives probability 0; {_REMEDY}"
    )


def _impossible_start(record: Record, at: int, mdp: TabularMDP, indexing: Indexing) -> str:
    state = record.start[at] + indexing.first_state
    if indexing.publishes_start:
        return (
            f"an episode started in state {state}, which the initial distribution gives "
            "probability 0; correct initial_state_distrib"
        )
    return (
        f"{record.start.size:,} resets started in {np.unique(record.start).size} different "
        f"states, state {state} among them, with unknown probabilities; give the environment an "
        f"attribute initial_state_distrib, an array of {mdp.num_states} probabilities"
    )


def _misfit(misfit: Misfit, mdp: TabularMDP, outcomes: Outcomes, indexing: Indexing) -> str:
    probability = float(outcomes.probability[misfit.cell])
    observed = f"it occurred {misfit.count:,} of {misfit.total:,} times{misfit.subset}"
    row = int(np.searchsorted(outcomes.first, misfit.cell, side="right")) - 1
    entry = int(outcomes.entry[misfit.cell])
    if row == outcomes.pair.size:
        return (
            f"initial_state_distrib does not describe it: episodes start in state "
            f"{entry + indexing.first_state} with probability {probability:.4g} by the table, and "
            f"{observed}; correct initial_state_distrib, or remove P (P = None) if the start "
            "depends on earlier episodes"
        )
    s, a = divmod(int(outcomes.pair[row]), mdp.num_actions)
    k = int(mdp.row_start[outcomes.pair[row]]) + entry
    text = (
        f"P does not describe it: state {s + indexing.first_state} and action "
        f"{a + indexing.first_action} lead to (next_state, reward, terminated) = "
        f"({mdp.next_state[k] + indexing.first_state}, {mdp.reward[k]:g}, "
        f"{mdp.terminated[k]}) with probability {probability:.4g} by the table, and "
        f"{observed}"
    )
    if misfit.added_up is not None:
        share, count, total = misfit.added_up
        kind = (
            "the likeliest outcome"
            if misfit.test == "likeliest"
            else "this outcome of rows with the same probabilities"
        )
        text += (
            f" ({kind} occurred {count:,} of {total:,} times, with probability {share:.4g} by the "
            "table)"
        )
    return f"{text}; {_REMEDY}"
