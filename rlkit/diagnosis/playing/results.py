"""Checks of everything that one reset or step returned."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.diagnosis.findings import Fault, Findings
from rlkit.diagnosis.playing.outcomes import Outcome, frozen, kept, short
from rlkit.environments.copies import describe
from rlkit.environments.stepping.checked import Problem, checked_flags
from rlkit.environments.views.leaves import AnySpace, leaves
from rlkit.environments.views.observations import ObservationEncoder

Array = NDArray[Any]

HUGE_INFO = 100_000  # bytes
_INFO_EVERY = 50  # steps between two looks at the size of info


class ResultCheck:
    """Checks results, reports what is wrong and converts what can be used.

    Args:
        findings: where to report.
        space: of the observations.
    """

    def __init__(self, findings: Findings, space: AnySpace) -> None:
        self._findings, self._space = findings, space
        self.encode = ObservationEncoder(space)
        self._returned: list[tuple[Any, bytes, object]] = []  # objects, as they were, and when
        self._count = 0

    def reset(self, result: Any, place: object) -> tuple[Outcome, Any]:
        """Return the outcome and the info of a reset.

        Raises:
            Fault: it is not a pair.
        """
        if not (isinstance(result, tuple) and len(result) == 2):
            raise Fault(
                "reset-result",
                f"{place} returned {describe(result)}, expected the pair (observation, info).",
            )
        return Outcome(self._observation(result[0], place)), self._info(result[1], place)

    def step(self, result: Any, place: object) -> tuple[Outcome, Any]:
        """Return the outcome and the info of a step.

        Raises:
            Fault: it is not five values, or a reward or a flag cannot be used.
        """
        if not (isinstance(result, tuple) and len(result) == 5):
            raise Fault(
                "step-result",
                f"{place} returned {describe(result)}, expected (observation, reward, "
                "terminated, truncated, info).",
            )
        try:
            reward, terminated, truncated = checked_flags(*result[1:4])
        except Problem as problem:
            code = "reward-type" if problem.text.startswith("the reward") else "flag-type"
            raise Fault(code, f"{place}: {problem.text}.") from problem
        if not np.isfinite(reward):
            self._findings.add("reward-not-finite", f"{place} returned the reward {reward}.")
        obs = self._observation(result[0], place)
        return Outcome(obs, reward, terminated, truncated), self._info(result[4], place)

    def _observation(self, obs: Any, place: object) -> Any:
        self._compare_earlier(place)
        infinite = first_not_finite(self._space, obs)
        if infinite:
            self._findings.add("observation-not-finite", f"{place} returned {infinite}.")
        else:
            self._check_space(obs, place)
        copy = kept(obs)
        self._returned = [*self._returned[-2:], (obs, frozen(copy), place)]
        return copy

    def _compare_earlier(self, place: object) -> None:
        """Report an observation that has changed since it was returned."""
        for obs, before, when in self._returned:
            if frozen(obs) != before:
                after = str(place).rstrip(",")  # other sentences continue after it
                self._findings.add(
                    "arrays-change-later",
                    f"The observation that {when} returned had changed after {after}.",
                )
                self._returned = []
                return

    def _check_space(self, obs: Any, place: object) -> None:
        try:
            self.encode(obs)
        except ValueError as error:
            self._findings.add("observation-invalid", f"{place}: the observation{error}.")
            return
        outside = _outside(self._space, obs)
        if outside is None and self._space.contains(obs):
            return
        code = outside[0] if outside else "observation-type"
        text = outside[1] if outside else f"the observation {describe(obs)}"
        self._findings.add(code, f"{place} returned {text}, which is not in {_named(self._space)}.")

    def _info(self, info: Any, place: object) -> Any:
        if not isinstance(info, dict):
            self._findings.add("info-type", f"{place} returned the info {describe(info)}.")
        elif self._count % _INFO_EVERY == 1 and (size := _size(info)) > HUGE_INFO:
            self._findings.add(
                "info-huge", f"The info that {place} returned has {size:,} bytes when pickled."
            )
        self._count += 1
        return info


def _named(space: AnySpace) -> str:
    text = str(space)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _size(info: Mapping[Any, Any]) -> int:
    try:
        return len(pickle.dumps(info))
    except Exception:
        return 0


def _values(space: AnySpace, value: Any) -> list[tuple[AnySpace, str, Any]]:
    """Return each leaf of a space with its name and its value; nothing where they do not fit."""
    parts = []
    for leaf in leaves(space):
        part = value
        try:
            for key in leaf.keys:
                part = part[key]
        except (KeyError, IndexError, TypeError):
            return []
        parts.append((leaf.space, leaf.name, part))
    return parts


def first_not_finite(space: AnySpace, obs: Any) -> str:
    """Return in words the first number of an observation that is NaN or infinite, or ""."""
    for part, name, value in _values(space, obs):
        if not isinstance(part, spaces.Box):
            continue
        try:
            numbers = np.asarray(value)
        except ValueError:
            continue
        if numbers.dtype.kind != "f":
            continue
        wrong = np.argwhere(~np.isfinite(numbers))
        if len(wrong):
            entry = f", entry {wrong[0].tolist()}" if numbers.ndim else ""
            return f"{numbers[tuple(wrong[0])]} in the observation{name}{entry}"
    return ""


def _outside(space: AnySpace, obs: Any) -> tuple[str, str] | None:
    """Return the code and the text of the first part of an observation that is not in its space."""
    for part, name, value in _values(space, obs):
        is_array = isinstance(value, (np.ndarray, np.generic))
        what = f"an observation{name}"
        if not is_array and not isinstance(part, spaces.Discrete):
            return "observation-type", f"{what} of type {type(value).__name__}"
        if part.contains(value):
            continue
        if not is_array:
            return "observation-type", f"{what} {short(value)} of type {type(value).__name__}"
        array = np.asarray(value)
        if not np.can_cast(array.dtype, np.dtype(part.dtype)):
            return "observation-dtype", f"{what} of {array.dtype}"
        if isinstance(part, spaces.Box) and array.shape == part.shape:
            beyond = np.argwhere((array < part.low) | (array > part.high))
            if len(beyond):
                entry = f" in entry {beyond[0].tolist()}" if array.ndim else ""
                number = array[tuple(beyond[0])]
                return "observation-outside-space", f"{what} with {number}{entry}"
        return "observation-type", f"{what} {short(value)} of {array.dtype}"
    return None
