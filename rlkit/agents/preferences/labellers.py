"""Labellers: who says which of two segments is better, and how good a reward can be at that.

truth            the environment's own reward with the noise of Bradley and Terry (1952):
                 P(first > second) = sigmoid(rationality (R_first - R_second)), R the sum
FILE:function    a function of two segments that returns how far the first is preferred
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from rlkit.agents.preferences.segments import Segments
from rlkit.errors import UsageError
from rlkit.user_code import content_digest, load_function, place_of

Array = NDArray[Any]

TRUTH = "truth"
UNKNOWN = -1.0  # stands for a probability that is not known


class Labels(NamedTuple):
    """Answers to P questions."""

    preferred: Array  # how far the first is preferred, in [0, 1]: 1 = it is better, 1/2 = equal
    probability: Array  # P(the first is preferred), or UNKNOWN


class Labeller(Protocol):
    """Answers which of two segments is better."""

    def __call__(self, pairs: Segments, rng: np.random.Generator) -> Labels:
        """Label pairs [P, 2]; `rng` is the labeller's noise."""


class Segment(NamedTuple):
    """One segment, as the function of a user sees it."""

    obs: Array  # [n, ...], n = its steps
    actions: Array  # [n, ...]
    rewards: Array  # [n], of the environment
    terminated: bool  # whether the episode terminated before the segment was complete


class TruthLabeller:
    """Prefers the segment of the higher true return, with the noise of Bradley and Terry.

    Args:
        rationality: multiplies the difference of the returns, >= 0; 0 = coin flips.
    """

    def __init__(self, rationality: float) -> None:
        self._rationality = rationality

    def __call__(self, pairs: Segments, rng: np.random.Generator) -> Labels:
        returns = pairs.rewards.sum(-1)
        probability = expit(self._rationality * (returns[:, 0] - returns[:, 1]))
        preferred = (rng.random(len(returns)) < probability).astype(np.float64)
        return Labels(preferred, probability)


class FunctionLabeller:
    """Asks a function of the user, (first, second) -> a number in [0, 1].

    Args:
        function: takes two `Segment`.
        name: for messages.
    """

    def __init__(self, function: Callable[[Segment, Segment], Any], name: str) -> None:
        self._function, self._name = function, name

    def __call__(self, pairs: Segments, rng: np.random.Generator) -> Labels:
        answers = [
            self._answer(segment_of(pairs, (p, 0)), segment_of(pairs, (p, 1)), p)
            for p in range(len(pairs.lengths))
        ]
        return Labels(np.array(answers, dtype=np.float64), np.full(len(answers), UNKNOWN))

    def _answer(self, first: Segment, second: Segment, question: int) -> float:
        asked = f"labeller {self._name!r}, question {question}"
        try:
            answer = self._function(first, second)
        except Exception as error:
            file = self._function.__code__.co_filename if _is_plain(self._function) else None
            raise UsageError(f"{asked}: it raised {error!r}{place_of(error, file)}") from error
        try:
            number = float(answer)
        except (TypeError, ValueError):
            number = math.nan
        if not 0.0 <= number <= 1.0:
            raise UsageError(
                f"{asked}: expected a number from 0 (the second segment is better) to 1 (the "
                f"first), got {answer!r:.80}"
            )
        return number


def segment_of(segments: Segments, index: Any) -> Segment:
    """Return one segment, without the steps after its end."""
    one = segments.at(index)
    n = int(one.lengths)
    return Segment(one.obs[:n], one.actions[:n], one.rewards[:n], n < one.rewards.shape[-1])


def make_labeller(name: str, rationality: float) -> Labeller:
    """Return the labeller of an option's value, as `identified` returned it.

    Raises:
        UsageError: there is no such function, or the file has changed.
    """
    if name == TRUTH:
        return TruthLabeller(rationality)
    reference, digest = split_digest(name)
    require_digest(_file(reference), digest, f"option labeller (--labeller) {reference!r}")
    function, _ = load_function(reference, "labeller")
    return FunctionLabeller(function, reference)


def require_labeller(name: str) -> None:
    """Require the form of the option `labeller`."""
    if name != TRUTH:
        _file(split_digest(name)[0])


def identified(name: str) -> str:
    """Return the value of the option `labeller` with the sha256 of the file that it names.

    Raises:
        UsageError: it is neither "truth" nor FILE:function, or there is no such file.
    """
    if name == TRUTH:
        return name
    reference, _ = split_digest(name)
    return with_digest(name, f"option labeller (--labeller) {reference!r}", _file(reference))


def split_digest(value: str) -> tuple[str, str]:
    """Return a value of `with_digest` without the sha256, and the sha256; "" if it has none."""
    match = re.fullmatch(r"(.*)#([0-9a-f]{64})", value, re.DOTALL)
    return (match[1], match[2]) if match else (value, "")


def with_digest(value: str, wanted_by: str, file: str = "") -> str:
    """Return VALUE#SHA256, with the sum of a file, by default of the one that the value names.

    Raises:
        UsageError: the file cannot be read.
    """
    if split_digest(value)[1]:
        return value
    digest = content_digest(file or value)
    if digest is None:
        raise UsageError(f"{wanted_by}: there is no file {file or value} that can be read")
    return f"{value}#{digest}"


def require_digest(file: str, digest: str, wanted_by: str) -> None:
    """Require a file to have the content that it had when the run began, if that is known."""
    if digest and split_digest(with_digest(file, wanted_by))[1] != digest:
        raise UsageError(
            f"{wanted_by}: {file} has changed since the run began, so its results would be others; "
            "restore the file, or begin another run"
        )


def _file(reference: str) -> str:
    file, _, attribute = reference.rpartition(":")
    if not (file.endswith(".py") and attribute.isidentifier()):
        raise UsageError(
            "option labeller (--labeller): expected truth or path/to/file.py:function, got "
            f"{reference!r}"
        )
    return file


def _is_plain(function: Any) -> bool:
    return hasattr(function, "__code__")


# --- how good a reward can be ---------------------------------------------------------------------


def agreement(differences: Array, preferred: Array) -> Array:
    """Return how far predicted preferences agree with labels, per question.

        a = y if d > 0,    1 - y if d < 0,    1/2 if d = 0

    Args:
        differences: d, the predicted return of the first segment minus that of the second.
        preferred: y in [0, 1], how far the first is preferred, same shape.
    """
    agreed: Array = 0.5 + np.sign(differences) * (preferred - 0.5)
    return agreed


class Ceiling(NamedTuple):
    """The accuracy on P labels that no prediction exceeds on average; NaN where it is unknown."""

    accuracy: float  # mean of max(p, 1 - p)
    standard_error: float  # of the accuracy of the best prediction on as many labels


def bayes_ceiling(probability: Array) -> Ceiling:
    """Return the expected accuracy of the best prediction of labels, from their probabilities.

        E[a*] = mean max(p, 1 - p),    Var[a*] = sum p (1 - p) / P^2

    Args:
        probability: p of each label, [P], or UNKNOWN.
    """
    if not len(probability) or (probability == UNKNOWN).any():
        return Ceiling(math.nan, math.nan)
    variance = float((probability * (1.0 - probability)).sum()) / len(probability) ** 2
    return Ceiling(float(np.maximum(probability, 1.0 - probability).mean()), math.sqrt(variance))
