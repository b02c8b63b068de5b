"""Resamples of few scores, always the same: the studentised bootstrap, and Student's t."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SEED = 20_240_229
FEWEST_TO_RESAMPLE = 5  # with 4 seeds there are only 35 distinct resamples
_NUM_RESAMPLES = 4000
_SMALLEST_ERROR_RATIO = 0.1  # of a resample's standard error to the sample's


def bootstrap(centred: Floats, *, stream: int) -> tuple[Floats, Floats]:
    """Return means and standard errors `[K, B]` of resamples of the columns of `centred [n, K]`."""
    n = len(centred)
    weights = _weights(n, stream).T
    means = centred.T @ weights
    variances = np.maximum((centred * centred).T @ weights - means * means, 0.0)
    return means, np.sqrt(variances / (n - 1))


def studentised_limits(
    estimate: Floats, error: Floats, shift: Floats, resampled_error: Floats, confidence: float
) -> tuple[Floats, Floats]:
    """Return the limits `[K]` of estimates `[K]`.

    Args:
        estimate: of the sample.
        error: its standard error.
        shift: each resample's estimate minus the sample's, `[K, B]`.
        resampled_error: each resample's standard error, `[K, B]`.
        confidence: in (0, 1).
    """
    safe = np.where(error > 0, error, 1.0)[:, None]
    t = shift / np.maximum(resampled_error, _SMALLEST_ERROR_RATIO * safe)
    q_low, q_high = np.quantile(t, [(1 - confidence) / 2, (1 + confidence) / 2], axis=1)
    # With a low confidence and few distinct scores both quantiles can have the same sign.
    return estimate - np.maximum(q_high, 0) * error, estimate - np.minimum(q_low, 0) * error


@lru_cache(maxsize=64)
def resamples(n: int, stream: int = 0) -> NDArray[np.int64]:
    """Return indices `[B, n]` into n sorted scores, rows ascending, second half mirrored.

    They are the same in every call with the same n, so results do not depend on earlier calls.
    """
    drawn = np.random.default_rng([SEED, n, stream]).integers(0, n, (_NUM_RESAMPLES // 2, n))
    drawn.sort(axis=1)
    return np.concatenate([drawn, n - 1 - drawn[:, ::-1]])


@lru_cache(maxsize=64)
def _weights(n: int, stream: int) -> Floats:
    """Return the share of each of n scores in each resample, `[B, n]`."""
    index = resamples(n, stream) + n * np.arange(_NUM_RESAMPLES)[:, None]
    counts = np.bincount(index.ravel(), minlength=_NUM_RESAMPLES * n)
    return counts.reshape(_NUM_RESAMPLES, n) / n


def power_of_two(x: Floats) -> Floats:
    """Return the power of two just below each column's largest |x|.

    Dividing by it is exact, and afterwards squares neither overflow nor underflow.
    """
    exponent = np.frexp(np.abs(x).max(axis=0))[1] - 1
    return np.asarray(np.ldexp(1.0, np.maximum(exponent, -1022)))


def student_quantile(confidence: float, freedom: float) -> float:
    from scipy.special import stdtrit  # lighter than scipy.stats

    return float(stdtrit(freedom, (1 + confidence) / 2))
