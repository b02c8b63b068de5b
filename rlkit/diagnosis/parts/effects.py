"""Checks of the actions: their bounds, and whether they make a difference."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.diagnosis.playing.outcomes import Episode, Outcome, same_bytes
from rlkit.diagnosis.playing.patient import Patient
from rlkit.diagnosis.playing.subject import Subject
from rlkit.environments.views.leaves import leaves

Array = NDArray[Any]

AFTER = 8  # steps after an action in which it may show an effect
_BEFORE = 20  # steps of an episode before it, at most
_FEW, _SOME, _MANY, _MOST = 8, 30, 60, 150  # places
_MOST_COLUMNS = 12
_WIDE, _NARROW = 10.0, 0.1  # bounds of actions


def check_range(patient: Patient) -> None:
    """Look at the bounds of real actions."""
    with patient.copy() as subject:
        source, space = subject.source, subject.action_space
    assert source is not None
    low, high = source.layout.bounds
    if (source.layout.sizes == 1).all():
        patient.findings.add("no-choice", f"The action space is {space}.")
    is_number = source.layout.sizes == 0
    if not is_number.any():
        return
    unbounded = is_number & ~(np.isfinite(low) & np.isfinite(high))
    if unbounded.any():
        patient.findings.add(
            "actions-unbounded",
            f"{unbounded.sum()} of {len(low)} numbers of the action have no bounds.",
        )
    half = (high - low)[is_number & ~unbounded] / 2
    if len(half) and (half.max() > _WIDE or half.min() < _NARROW):
        boxes = [leaf.space for leaf in leaves(space) if isinstance(leaf.space, spaces.Box)]
        patient.findings.add("action-range", f"The action space has {boxes[0]}.")


def check_effects(patient: Patient) -> None:
    """Take different actions in the same places and compare what follows."""
    with patient.copy() as subject:
        assert subject.source is not None
        subject.reset(0)
        if subject.offers_masks:  # other actions may be forbidden
            return
        columns = list(range(len(subject.source.layout.columns)))[:_MOST_COLUMNS]
        for column in columns:
            _check_column(patient, subject, column, patient.until(0.3 / len(columns)))


def _check_column(patient: Patient, subject: Subject, column: int, until: float) -> None:
    source = subject.source
    assert source is not None
    values = source.values_of(column)
    if len(values) < 2:
        return
    alike = np.ones((len(values), len(values)), dtype=bool)  # in all places so far
    rng, places = np.random.default_rng(column), 0
    while places < _MOST and time.perf_counter() < until:
        episode = patient.episodes[int(rng.integers(len(patient.episodes)))]
        if not episode.length:
            break
        at = int(rng.integers(min(episode.length, _BEFORE)))
        effects = [_effect(subject, episode, at, column, value) for value in values]
        alike &= np.array([[a == b for b in effects] for a in effects])
        places += 1
        if places >= _FEW and alike.sum() == len(values):
            return  # all of them differ
        if places >= _SOME and (alike.all() or not source.layout.sizes[column]):
            break
    if places < _FEW:
        return
    tried = f"in {places} places tried, within {AFTER} steps"
    name = source.name_of(column)
    if alike.all():
        patient.findings.add(
            "action-without-effect", f"{name[0].upper()}{name[1:]} made no difference {tried}."
        )
    elif not source.layout.sizes[column]:
        _note_clipping(patient, values, alike, name, tried)
    elif places >= _MANY:
        pairs = np.argwhere(np.triu(alike, 1)).tolist()
        if pairs:
            a, b = (int(values[k]) for k in pairs[0])
            patient.findings.add(
                "actions-alike", f"{a} and {b} as {name} had the same effects {tried}."
            )


def _note_clipping(patient: Patient, values: Array, alike: Array, name: str, tried: str) -> None:
    for inner, outer in ((-2, -1), (1, 0)):
        if alike[inner, outer]:
            patient.findings.add(
                "action-clipped",
                f"{values[outer]:.4g} and {values[inner]:.4g} as {name} had the same effects "
                f"{tried}, while its bounds are {values[0]:.4g} and {values[-1]:.4g}.",
            )


def _effect(subject: Subject, episode: Episode, at: int, column: int, value: float) -> bytes:
    """Return what follows when one number of one action of an episode is replaced."""
    assert subject.source is not None
    subject.reset(episode.seed)
    outcomes: list[Outcome] = []
    for number, row in enumerate(episode.rows[: at + 1 + AFTER]):
        changed = subject.source.changed(row, column, value) if number == at else row
        outcome = subject.step(changed, number + 1)
        if number >= at:
            outcomes.append(outcome)
        if outcome.is_last:
            break
    return same_bytes(outcomes)
