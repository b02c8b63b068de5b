"""Resamples of few scores, always the same: the studentised bootstrap, and Student's t."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SEED = 20_240_229
FEWEST_TO_RESAMPLE = 5  # with 4 seeds there are only 35 distinct resamples
_NUM_RESAMPLES = 4000
_SMALLEST_ERROR_RATIO = 0.1  # of a resample's standard error to the sample's
_MOST_OF_ONE_THREAD = 2**18  # multiplications of a product up to which OpenBLAS starts no threads
_FEWEST_AT_ONCE = 64


def bootstrap(centred: Floats, *, stream: int) -> tuple[Floats, Floats]:
    """Return means and standard errors `[K, B]` of resamples of the columns of `centred [n, K]`."""
    n = len(centred)
    weights = _weights(n, stream).T
    means = _product(centred.T, weights)
    variances = np.maximum(_product((centred * centred).T, weights) - means * means, 0.0)
    return means, np.sqrt(variances / (n - 1))


def _product(rows: Floats, weights: Floats) -> Floats:
    """Return `rows @ weights`, in parts that are small enough for one thread if there are few.

    The bytes are the same. Beside training, the threads of a product of a fifth of a millisecond
    took ten: they wait for processors that are busy, and keep those that they have busy.
    """
    number = weights.shape[1]
    size = _MOST_OF_ONE_THREAD // rows.size // _FEWEST_AT_ONCE * _FEWEST_AT_ONCE
    if not size or size >= number or len(rows) == 1:
        return np.asarray(rows @ weights)
    parts = [rows @ weights[:, start : start + size] for start in range(0, number, size)]
    return np.concatenate(parts, axis=1)


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


# What `student_quantile` returns at 95 % for 1, 2, ... degrees of freedom. Importing scipy.special
# takes longer than to draw the figure of a run.
_AT_95_PERCENT = (
    12.706204736174694, 4.302652729749462, 3.1824463052837078, 2.7764451051977934,
    2.5705818356363146, 2.4469118511449786, 2.364624251592784, 2.306004135204166,
    2.262157162798205, 2.228138851986274, 2.200985160091639, 2.1788128296672284,
    2.1603686564627913, 2.144786687917804, 2.131449545559776, 2.1199052992212546,
    2.1098155778333156, 2.1009220402410382, 2.0930240544083087, 2.085963447265864,
    2.0796138447276795, 2.0738730679040254, 2.0686576104190486, 2.0638985616280245,
    2.0595385527532972, 2.0555294386428735, 2.0518305164802846, 2.0484071417952454,
    2.045229642132703,
)  # fmt: skip


def student_quantile(confidence: float, freedom: float) -> float:
    """Return the quantile of Student's distribution at (1 + confidence) / 2."""
    if confidence == 0.95 and freedom in range(1, len(_AT_95_PERCENT) + 1):
        return _AT_95_PERCENT[int(freedom) - 1]
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + confidence) / 2))
