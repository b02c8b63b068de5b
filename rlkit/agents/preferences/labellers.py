"""Labellers that need no person, and how good a reward can be at predicting labels.

TruthLabeller       the environment's own reward with the noise of Bradley and Terry (1952):
                    P(first > second) = sigmoid(rationality (R_first - R_second)), R the sum
FunctionLabeller    a function of two segments that returns how far the first is preferred
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from rlkit.agents.preferences.segments import Segments
from rlkit.errors import UsageError
from rlkit.user_code import place_of

Array = NDArray[Any]

UNKNOWN = -1.0  # stands for a probability that is not known


class Labels(NamedTuple):
    """Answers to P questions."""

    preferred: Array  # how far the first is preferred, in [0, 1]: 1 = it is better, 1/2 = equal
    probability: Array  # P(the first is preferred), or UNKNOWN


class Labeller(Protocol):
    """Answers which of two segments is better."""

    def __call__(
        self, pairs: Segments, rng: np.random.Generator, ends: Array | None = None
    ) -> Labels:
        """Label pairs.

        Args:
            pairs: [P, 2]
            rng: the labeller's noise.
            ends: the observations after the last steps, [P, 2, *observation]; for a person only.
        """


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

    def __call__(
        self, pairs: Segments, rng: np.random.Generator, ends: Array | None = None
    ) -> Labels:
        returns = pairs.rewards.sum(-1)
        probability = expit(self._rationality * (returns[:, 0] - returns[:, 1]))
        preferred = (rng.random(len(returns)) < probability).astype(np.float64)
        return Labels(preferred, probability)


class FunctionLabeller:
    """Asks a function of the user, (first, second) -> a number in [0, 1].

    Args:
        function: takes two `Segment`, whose arrays are read-only.
        name: for messages.

    Raises:
        UsageError: it does not take two arguments.
    """

    def __init__(self, function: Callable[[Segment, Segment], Any], name: str) -> None:
        _require_two_parameters(function, name)
        self._function, self._name = function, name

    def __call__(
        self, pairs: Segments, rng: np.random.Generator, ends: Array | None = None
    ) -> Labels:
        answers = [
            self._answer(segment_of(pairs, (p, 0)), segment_of(pairs, (p, 1)), p)
            for p in range(len(pairs.lengths))
        ]
        return Labels(np.array(answers, dtype=np.float64), np.full(len(answers), UNKNOWN))

    def _answer(self, first: Segment, second: Segment, question: int) -> float:
        asked = f"labeller {self._name!r}, question {question}"
        try:
            answer = self._function(first, second)
        except (Exception, SystemExit) as error:
            code = getattr(self._function, "__code__", None)
            file = getattr(code, "co_filename", None)
            raise UsageError(f"{asked}: it raised {error!r}{place_of(error, file)}") from error
        try:
            number = math.nan if isinstance(answer, str | bytes) else float(answer)
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
    obs, actions, rewards = (x[:n].view() for x in (one.obs, one.actions, one.rewards))
    for array in (obs, actions, rewards):
        array.flags.writeable = False  # the reward is learned from them
    return Segment(obs, actions, rewards, n < one.rewards.shape[-1])


def _require_two_parameters(function: Any, name: str) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of compiled code
        return
    try:
        signature.bind(None, None)
    except TypeError as error:
        raise UsageError(
            f"labeller {name!r}: the function has the parameters {signature}, expected (first, "
            f"second), two segments: {error}"
        ) from error


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
