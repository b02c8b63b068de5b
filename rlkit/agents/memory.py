"""Whether the arrays of an agent fit into memory, estimated before they are allocated."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal

from rlkit.agent import Task
from rlkit.errors import UsageError
from rlkit.tabular.memory import available_bytes

# By kind: the arrays, the share of its estimate that copies add, and what helps.
_KINDS = {
    "tables": (
        "its tables and the steps that it stores",
        2,
        "Use fewer states, bins or stored steps, or reinforce or ppo",
    ),
    "networks": (
        "its networks and what they learn from",
        1,
        "Use smaller layers (--hidden-sizes), shorter rollouts or fewer seeds",
    ),
}


def require_room(
    agent: str, task: Task, num_bytes: int, kind: Literal["tables", "networks"] = "tables"
) -> None:
    """Raise UsageError where the arrays of all seeds, and copies of them, do not fit into memory.

    Args:
        agent: its name, for the message.
        task: whose seeds share the memory.
        num_bytes: of the arrays of one seed.
        kind: of arrays.
    """
    arrays, copies, advice = _KINDS[kind]
    num_seeds = max(task.num_seeds, task.planned_seeds)
    needed, available = copies * num_bytes * num_seeds, available_bytes()
    if available is not None and needed > available:
        seeds = "1 seed" if num_seeds == 1 else f"{num_seeds:,} seeds"
        raise UsageError(
            f"{agent}: {arrays} need about {needed / 1e9:,.2g} GB of memory for {seeds}, and "
            f"{available / 1e9:,.2g} GB are available. {advice}"
        )


def network_bytes(*networks: Sequence[int]) -> int:
    """Return the bytes of one seed's perceptrons with their gradients and two moments of each.

    Args:
        networks: widths from input to output.
    """
    layers = itertools.chain.from_iterable(map(itertools.pairwise, networks))
    return sum(16 * (num_in + 1) * num_out for num_in, num_out in layers)
