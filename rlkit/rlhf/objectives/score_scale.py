"""The scale of scores: an affine map that gives them mean 0 and variance 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import NDArray
from torch import Tensor

Scores = TypeVar("Scores", Tensor, NDArray[Any])


@dataclass(frozen=True)
class ScoreScale:
    """The map gain r + bias.

    A reward model's zero and unit are arbitrary, while β is a price in units of score: so the
    scale is set once, before the policy is trained, on responses of the reference.

    Source: Ziegler et al. (2019), arXiv 1909.08593, section 2.2; Stiennon et al. (2020).
    """

    gain: float
    bias: float

    @classmethod
    def from_moments(cls, mean: float, std: float) -> ScoreScale:
        """Return the scale under which scores with this mean and standard deviation have 0 and 1.

        gain = 1 / std,    bias = -mean / std
        """
        return cls(1.0 / std, -mean / std)

    @classmethod
    def from_scores(cls, scores: Tensor) -> ScoreScale:
        """Return the scale under which these scores, n >= 2, have mean 0 and variance 1.

        Raises:
            ValueError: fewer than two scores, a score is not finite, or all are equal.
        """
        raw = scores.detach().double().flatten()
        if len(raw) < 2 or not bool(raw.isfinite().all()):
            raise ValueError(
                f"ScoreScale: expected at least two finite scores, got {len(raw)}, "
                f"{int((~raw.isfinite()).sum())} of them not finite"
            )
        mean, std = float(raw.mean()), float(raw.std())
        if not std > 1e-12 * max(1.0, abs(mean)):
            raise ValueError(
                f"ScoreScale: all {len(raw)} scores are {mean:g}; a reward that does not "
                "distinguish responses has no scale"
            )
        return cls.from_moments(mean, std)

    def apply(self, scores: Scores) -> Scores:
        """Return gain r + bias for scores of any shape."""
        return self.gain * scores + self.bias
