"""Pairs of segments made of given rewards, for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rlkit.agents.preferences.segments import Segments


def pairs_of(rewards: Sequence[tuple[Sequence[float], Sequence[float]]], length: int) -> Segments:
    """Pairs [P, 2] with these rewards of their steps; the observation of a step is its number."""
    shape = (len(rewards), 2, length)
    made = Segments(
        np.zeros((*shape, 1), np.float32),
        np.zeros(shape, np.int64),
        np.zeros(shape),
        np.array([[len(own) for own in pair] for pair in rewards]),
    )
    for p, pair in enumerate(rewards):
        for i, own in enumerate(pair):
            made.rewards[p, i, : len(own)] = own
            made.obs[p, i, : len(own), 0] = np.arange(len(own))
            made.actions[p, i, : len(own)] = np.arange(len(own)) % 2
    return made
