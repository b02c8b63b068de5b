"""Summaries of scores, lengths and log-probabilities of many responses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rlkit.analysis.statistics import finite_numbers, standard_error


def kl_estimate(log_ratio_sums: ArrayLike) -> tuple[float, float]:
    """Estimate KL(policy || reference) from the policy's samples, with standard error, in nats.

        KL = E_policy[ sum_t log policy(a_t|s_t) - log reference(a_t|s_t) ]

    The sum covers the whole response, EOS included. The estimate may be negative by chance and is
    not clamped.

    Args:
        log_ratio_sums: that sum for each response, [n].
    """
    sums = finite_numbers("kl_estimate", log_ratio_sums)
    return float(sums.mean()), standard_error(sums)


def win_rate(scores: ArrayLike, reference_scores: ArrayLike) -> tuple[float, float]:
    """Return how often a response scores above the reference's response, with standard error.

    Args:
        scores: [n].
        reference_scores: of the other response to the same prompt, [n]; a tie is half a win.
    """
    ours = finite_numbers("win_rate", scores)
    theirs = finite_numbers("win_rate", reference_scores)
    if ours.shape != theirs.shape:
        raise ValueError(f"win_rate: got {len(ours)} scores and {len(theirs)} reference scores")
    wins = 0.5 + 0.5 * np.sign(np.subtract(ours > theirs, ours < theirs, dtype=np.float64))
    return float(wins.mean()), standard_error(wins)


class Summary(NamedTuple):
    """Moments and quantiles of n numbers."""

    num: int
    mean: float
    standard_error: float  # of the mean; nan for one number
    standard_deviation: float  # with divisor n - 1; nan for one number
    quantiles: dict[float, float]  # probability -> value, linear between order statistics


def summarise(
    values: ArrayLike, probabilities: Sequence[float] = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
) -> Summary:
    """Summarise numbers [n], such as the scores or lengths of n >= 1 responses."""
    numbers = finite_numbers("summarise", values)
    quantiles = np.quantile(numbers, list(probabilities))
    error = standard_error(numbers)
    return Summary(
        len(numbers),
        float(numbers.mean()),
        error,
        error * math.sqrt(len(numbers)),
        dict(zip(map(float, probabilities), map(float, quantiles), strict=True)),
    )
