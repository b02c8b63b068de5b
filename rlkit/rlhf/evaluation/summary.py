"""Summaries of scores, lengths and log-probabilities of many responses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    pass


def kl_estimate(log_ratio_sums: ArrayLike) -> tuple[float, float]:
    """KL(policy || reference) from the policy's own samples, with its standard error, in nats.

        KL = E_policy[ sum_t log policy(a_t|s_t) - log reference(a_t|s_t) ]

    The sum goes over a whole sequence, EOS included; the estimate may be negative by chance and is
    not clamped.

    Args:
        log_ratio_sums: that sum for each sequence, [n].
    """
    sums = _numbers("kl_estimate", log_ratio_sums)
    return float(sums.mean()), standard_error(sums)


def standard_error(values: ArrayLike) -> float:
    """Of the mean of n independent values: their deviation (n - 1) / sqrt(n); nan if n is 1."""
    numbers = _numbers("standard_error", values)
    if len(numbers) < 2:
        return math.nan
    return float(numbers.std(ddof=1)) / math.sqrt(len(numbers))


def win_rate(scores: ArrayLike, reference_scores: ArrayLike) -> tuple[float, float]:
    """How often a response scores above the reference's to the same prompt, with standard error.

    Args:
        scores: [n].
        reference_scores: of the other response to each prompt, [n]; a tie is half a win.
    """
    ours = _numbers("win_rate", scores)
    theirs = _numbers("win_rate", reference_scores)
    if ours.shape != theirs.shape:
        raise ValueError(f"win_rate: got {len(ours)} scores and {len(theirs)} reference scores")
    wins = 0.5 + 0.5 * np.sign(np.subtract(ours > theirs, ours < theirs, dtype=np.float64))
    return float(wins.mean()), standard_error(wins)


class Summary(NamedTuple):
    """What a plot or a table needs of many numbers."""

    num: int
    mean: float
    standard_error: float  # of the mean; nan for one number
    standard_deviation: float  # with n - 1; nan for one number
    quantiles: dict[float, float]  # probability -> value, linear between order statistics


def summarise(
    values: ArrayLike, probabilities: Sequence[float] = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
) -> Summary:
    """Summarise scores, or lengths, of n responses, [n] with n >= 1."""
    numbers = _numbers("summarise", values)
    quantiles = np.quantile(numbers, list(probabilities))
    error = standard_error(numbers)
    return Summary(
        len(numbers),
        float(numbers.mean()),
        error,
        error * math.sqrt(len(numbers)),
        dict(zip(map(float, probabilities), map(float, quantiles), strict=True)),
    )


class Lengths(NamedTuple):
    """How long responses are, in tokens, EOS included."""

    summary: Summary
    ended_share: float  # of responses that ended by EOS, not by the length limit


def length_statistics(lengths: ArrayLike, ended: ArrayLike) -> Lengths:
    """Summarise the lengths [n] of responses, of which `ended` [n] says whether EOS ended them."""
    numbers, ends = _numbers("length_statistics", lengths), np.asarray(ended, dtype=bool)
    if numbers.shape != ends.shape:
        raise ValueError(f"length_statistics: got shapes {numbers.shape} and {ends.shape}")
    return Lengths(summarise(numbers), float(ends.mean()))


def _numbers(function: str, values: ArrayLike) -> NDArray[np.float64]:
    numbers: NDArray[Any] = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError(
            f"{function}: expected finite numbers of shape [n] with n >= 1, got shape "
            f"{numbers.shape}, {int((~np.isfinite(numbers)).sum())} of them not finite"
        )
    return numbers
