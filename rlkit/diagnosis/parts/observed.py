"""Checks of what random actions observe and earn, and of how episodes end."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.diagnosis.playing.patient import Patient
from rlkit.environments.views.leaves import bounds_of, leaves
from rlkit.environments.views.observations import ObservationEncoder

Array = NDArray[Any]

LARGE, TINY = 1_000.0, 1e-3  # of rewards
FAR, APART = 100.0, 1_000.0  # of an observation's numbers, and between their scales
_RARELY = 0.2  # the share of episodes with a reward below which rewards are rare
_ENOUGH_STEPS, _ENOUGH_EPISODES = 100, 5
_MOST_NAMED = 6
_MOST_BYTES = 50_000_000


def check_observations(patient: Patient) -> None:
    """Look at the numbers of all observations."""
    with patient.copy() as subject:
        space, encode = subject.observation_space, ObservationEncoder(subject.observation_space)
    _note_bounds(patient, space)
    if patient.num_steps < _ENOUGH_STEPS:
        return
    outcomes = [outcome for episode in patient.episodes for outcome in episode.outcomes]
    size = max(int(np.prod(encode.shape)), 1)
    step = max(1, len(outcomes) * size * 8 // _MOST_BYTES)
    rows = []
    for outcome in outcomes[::step]:
        try:
            rows.append(np.ravel(encode(outcome.obs)).astype(np.float64))
        except ValueError:
            return
    numbers = np.stack(rows)
    if not np.isfinite(numbers).all():
        return
    low, high = numbers.min(axis=0), numbers.max(axis=0)
    constant = low == high
    if constant.all():
        if not (isinstance(encode.space, spaces.Discrete) and encode.space.n == 1):
            patient.findings.add(
                "observation-constant",
                f"All {len(outcomes):,} observations were {_values(numbers[0])}.",
            )
        return
    if isinstance(encode.space, spaces.Discrete):
        return
    if constant.any() and constant.sum() <= max(16, 0.1 * size):
        patient.findings.add(
            "observation-part-constant",
            f"{constant.sum()} of {size} numbers of the observation were the same in all "
            f"{len(outcomes):,} observations: {_entries(constant)}.",
        )
    _note_scales(patient, numbers[:, ~constant], np.flatnonzero(~constant), low, high)


def _note_bounds(patient: Patient, space: spaces.Space[Any]) -> None:
    without = [
        int(np.isinf(np.stack(bounds_of(leaf.space))).any(axis=0).sum())
        for leaf in leaves(space)
        if isinstance(leaf.space, spaces.Box) and np.dtype(leaf.space.dtype).kind == "f"
    ]
    if sum(without):
        patient.findings.add(
            "observation-unbounded",
            f"{sum(without)} of {spaces.flatdim(space)} numbers of an observation have no bounds.",
        )


def _note_scales(patient: Patient, numbers: Array, entries: Array, low: Array, high: Array) -> None:
    std = numbers.std(axis=0)
    size = np.maximum(np.abs(numbers).max(axis=0), std)
    largest, widest, narrowest = (
        int(size.argmax()),
        int(std.argmax()),
        int(std.argmin()),
    )
    if size[largest] > FAR:
        entry = entries[largest]
        patient.findings.add(
            "observation-badly-scaled",
            f"Entry {entry} of the observation went from {low[entry]:.4g} to {high[entry]:.4g}.",
        )
    elif std[widest] > APART * std[narrowest]:
        patient.findings.add(
            "observation-badly-scaled",
            f"The standard deviation of entry {entries[narrowest]} of the observation was "
            f"{std[narrowest]:.2g}, that of entry {entries[widest]} {std[widest]:.2g}.",
        )


def _entries(mask: Array) -> str:
    places = np.flatnonzero(mask).tolist()
    more = ", ..." if len(places) > _MOST_NAMED else ""
    return (
        f"entr{'y' if len(places) == 1 else 'ies'} "
        + ", ".join(map(str, places[:_MOST_NAMED]))
        + more
    )


def _values(row: Array) -> str:
    return " ".join(np.array2string(row, precision=4, threshold=8, edgeitems=2).split())


def check_rewards(patient: Patient) -> None:
    """Look at the scale and the frequency of rewards."""
    if patient.num_steps < _ENOUGH_STEPS:
        return
    rewards = np.array([o.reward for e in patient.episodes for o in e.outcomes[1:]])
    if not np.isfinite(rewards).all():
        return
    sizes, steps = np.abs(rewards), f"{len(rewards):,} steps with random actions"
    returns = np.array([episode.total for episode in patient.ended])
    if not sizes.any():
        patient.findings.add("reward-always-zero", f"The reward was 0 in all {steps}.")
        return
    share = float((rewards != np.median(rewards)).mean())
    alike = len(returns) >= _ENOUGH_EPISODES and np.ptp(returns) == 0
    lengths = [episode.length for episode in patient.ended]
    if alike and max(lengths) > min(lengths):
        patient.findings.add(
            "only-length-varies",
            f"All {len(returns)} episodes with random actions had the return {returns[0]:g}, "
            f"after {min(lengths):,} to {max(lengths):,} steps.",
        )
    elif alike and max(lengths) > 1:
        patient.findings.add(
            "return-never-varies",
            f"All {len(returns)} episodes with random actions had the return {returns[0]:g}.",
        )
    elif (
        share < 0.01 and np.median(rewards) == 0 and (returns != 0).sum() <= _RARELY * len(returns)
    ):
        patient.findings.add(
            "reward-sparse",
            f"Only {100 * share:.2g} % of {steps} had a reward other than 0, in "
            f"{int((returns != 0).sum())} of {len(returns)} episodes.",
        )
    if sizes.max() > LARGE:
        patient.findings.add(
            "reward-large", f"Rewards went from {rewards.min():.4g} to {rewards.max():.4g}."
        )
    elif sizes.max() < TINY:
        patient.findings.add(
            "reward-tiny", f"Rewards went from {rewards.min():.2g} to {rewards.max():.2g}."
        )


def check_episodes(patient: Patient) -> None:
    """Look at how episodes end."""
    limit, ended = patient.environment.probe.time_limit, patient.ended
    steps = patient.num_steps
    if not ended:
        if limit is None and steps >= 1000:
            patient.findings.add("never-ends", f"No episode ended in {steps:,} steps.")
        return
    lengths = [episode.length for episode in ended]
    terminated = sum(episode.outcomes[-1].terminated for episode in ended)
    if min(lengths) == max(lengths) > 1 and terminated == len(ended) >= _ENOUGH_EPISODES:
        patient.findings.add(
            "time-limit-as-termination",
            f"All {len(ended)} episodes ended with terminated=True after exactly {lengths[0]} "
            "steps.",
        )
    elif limit is None and terminated == len(ended) and max(lengths) > 1:
        patient.findings.add(
            "no-time-limit",
            f"Of {len(ended):,} episodes the longest had {max(lengths):,} steps; all ended with "
            "terminated=True, and no wrapper limits them.",
        )
