"""How an agent sees an environment, where that is a choice of the run."""

from __future__ import annotations

from dataclasses import dataclass

from rlkit.environments.bins import Binning


@dataclass(frozen=True, kw_only=True)
class View:
    """The choices of a run.

    Args:
        binning: how observations of a Box are divided into bins, or None.
        numbered_actions: whether combinations of discrete actions are one Discrete space.
        rescaled_actions: whether bounded actions of a Box are in [-1, 1].
        action_masks: whether agents get the masks that the environment offers.
    """

    binning: Binning | None = None
    numbered_actions: bool = False
    rescaled_actions: bool = False
    action_masks: bool = False
