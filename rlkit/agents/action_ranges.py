"""Remarks on ranges of actions that a Gaussian policy hardly explores."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from scipy import special

from rlkit.environments.views.actions import ActionLayout

Array = NDArray[Any]

# A policy that starts as a Gaussian around 0 can explore a range of actions of which two standard
# deviations cover at least this share (all of [-2, 2], 0.2 of [-10, 10]), and which holds at least
# this share of its samples, so that not nearly all are clipped (0.31 fall into [-0.4, 0.4], 0.16
# into [-0.2, 0.2]).
_LEAST_COVERED, _LEAST_INSIDE = 0.25, 0.2


def action_range_remarks(
    agent: str, space: spaces.Space[Any], initial_std: float = 1.0
) -> list[str]:
    """Return remarks on real numbers in actions that a Gaussian hardly explores, or without bounds.

    Args:
        agent: its name, for the remarks.
        space: of the actions.
        initial_std: the standard deviation before training.

    Returns:
        at most one sentence on each.
    """
    layout = ActionLayout(space)
    low, high = (side[layout.sizes == 0] for side in layout.bounds)
    name = str(space) if len(str(space)) < 80 else _named(space)
    unbounded = int((np.isinf(low) | np.isinf(high)).sum())
    remarks = _hardly_explored(agent, name, low, high, initial_std)
    if unbounded:
        which = f"{unbounded} of {low.size} dimensions" if low.size > 1 else "its dimension"
        remarks.append(
            f"the action space is {name}, which lacks a bound in {which}: {agent} starts there "
            f"with actions of mean 0 and standard deviation {initial_std:g}. If actions of another "
            "size are needed, set --initial-std (initial_std=)"
        )
    return remarks


def _hardly_explored(
    agent: str, name: str, low: Array, high: Array, initial_std: float
) -> list[str]:
    size = low.size
    bounded = np.isfinite(low) & np.isfinite(high) & (high > low)
    low, high, reach = low[bounded], high[bounded], 2.0 * initial_std
    covered = np.clip(np.minimum(high, reach) - np.maximum(low, -reach), 0.0, None) / (high - low)
    inside = special.ndtr(high / initial_std) - special.ndtr(low / initial_std)
    wrong = (covered < _LEAST_COVERED) | (inside < _LEAST_INSIDE)
    if not wrong.any():
        return []
    k = int(wrong.argmax())
    what = (
        f"two standard deviations reach {100 * covered[k]:.2g} % of [{low[k]:g}, {high[k]:g}]"
        if covered[k] < _LEAST_COVERED
        else f"{100 * (1 - inside[k]):.3g} % of them are clipped to [{low[k]:g}, {high[k]:g}]"
    )
    several = f" (so in {wrong.sum()} of {size} dimensions)" if size > 1 else ""
    return [
        f"{agent} starts with actions of mean 0 and standard deviation {initial_std:g}, but the "
        f"action space is {name}: {what}{several}. It may not learn; train with --rescale-actions "
        "(rescale_actions=True), which scales the range to [-1, 1]"
    ]


def _named(space: spaces.Space[Any]) -> str:
    if isinstance(space, spaces.Box):
        return f"a Box of shape {space.shape}"
    return f"a {type(space).__name__} with real numbers"
