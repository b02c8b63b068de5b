"""KL penalties, which keep a policy near its reference.

    J = E_π[ score(x, y) - β log(π(y|x) / π_ref(y|x)) ]

The same holds for any agent, with the steps of an episode in place of the tokens of a response and
the environment's reward in place of the score. The expectation of log(π/π_ref) over whole responses
is D_KL(π‖π_ref): per-token differences are *summed* over a response, never averaged. There are two
places for the penalty:

* in the reward, r_t = -β k1_t with the score added at the last token. Its policy gradient is that
  of J, and rlkit.rlhf.exact.optimum and rlkit.tabular.planning.soft have its optimum. This is the
  default.
* in the loss, β times k2 or the full divergence of each token's distribution. Its gradient is that
  of the divergence in each visited state, but omits that an action also decides which states are
  visited. So its optimum differs from that of J, though not by much.

The other combinations have a different gradient than their name says; `KLPenalty` rejects them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rlkit.errors import UsageError
from rlkit.maths.divergences import full_kl, kl_k2
from rlkit.maths.masking import fill_masked
from rlkit.options import require_choice, require_range

Placement = Literal["reward", "loss"]
Estimator = Literal["k1", "k2", "k3", "full"]

_REJECTED = {
    ("reward", "k2"): "the expectation of k2 is not the KL, so another objective would be trained",
    ("reward", "k3"): "its policy gradient is that of D_KL(π‖π_ref) less that of D_KL(π_ref‖π)",
    ("reward", "full"): (
        "the full KL of a state is the same for every action taken there, so it cancels in the "
        "advantage and its gradient in that state is lost"
    ),
    ("loss", "k1"): "the expected gradient of k1 is exactly zero, so it would penalise nothing",
    ("loss", "k3"): "its expected gradient is that of the reverse divergence D_KL(π_ref‖π)",
}


@dataclass(frozen=True, kw_only=True)
class KLPenalty:
    """How the divergence from the reference enters the objective."""

    coef: float  # β, score units per nat, >= 0; the initial value if there is a target
    placement: Placement = "reward"
    estimator: Estimator = "k1"  # reward: k1; loss: k2 or full
    target: float | None = None  # nats per response, > 0; β adapts to reach it; None = fixed
    horizon: float = 10_000.0  # responses over which β changes by up to a fifth, > 0

    def __post_init__(self) -> None:
        require_range(self, "coef", low=0)
        require_range(self, "target", "horizon", low=0, open_low=True)
        require_choice(self, "placement", among=Placement)
        require_choice(self, "estimator", among=Estimator)
        reason = _REJECTED.get((self.placement, self.estimator))
        if reason is not None:
            raise UsageError(
                f"options placement and estimator (--kl-placement, --kl-estimator): "
                f"{self.estimator} in the {self.placement} is rejected: {reason}; use k1 in the "
                "reward, or k2 or full in the loss"
            )
        if self.target is not None and self.coef == 0.0:
            raise UsageError(
                "option coef (--kl-coef): expected a number above 0 with a target, got 0"
            )


class AdaptiveCoefficient:
    """The coefficient β of a penalty, adapted to reach `target` nats of KL if there is one.

        e = clip(KL / target - 1, -0.2, 0.2),    β <- β (1 + e n / horizon)

    with n the number of responses that the KL was measured on. Its only fixed point is KL = target.

    Source: Ziegler et al. (2019), arXiv 1909.08593, section 2.2.
    """

    def __init__(self, penalty: KLPenalty) -> None:
        self.penalty = penalty
        self.value = float(penalty.coef)  # β

    def update(self, kl: float, num_sequences: int) -> float:
        """Change β after a batch and return it.

        Args:
            kl: mean over the responses of the summed log-ratio, nats; an estimate may be negative.
            num_sequences: the number n of responses in the batch.

        Raises:
            ValueError: kl is not finite, or the batch is so large that β could fall to 0.
        """
        target, horizon = self.penalty.target, self.penalty.horizon
        if target is None:
            return self.value
        if not math.isfinite(kl):
            raise ValueError(f"AdaptiveCoefficient: expected a finite KL, got {kl}")
        if not 0.2 * num_sequences < horizon:
            raise ValueError(
                f"AdaptiveCoefficient: {num_sequences} responses per batch need a horizon above "
                f"{0.2 * num_sequences:g}, got {horizon:g}; otherwise the coefficient could fall "
                "to 0 in one update"
            )
        error = min(max(kl / target - 1.0, -0.2), 0.2)
        self.value *= 1.0 + error * num_sequences / horizon
        return self.value

    def state_dict(self) -> dict[str, NDArray[Any]]:
        return {"kl_coef": np.array(self.value)}

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        self.value = float(state["kl_coef"])


def loss_penalty(
    penalty: KLPenalty,
    *,
    log_prob: Tensor,
    reference_log_prob: Tensor,
    log_probs: Tensor | None = None,
    reference_log_probs: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Return the divergence of each token, differentiable, as a term of the loss, without β.

    Args:
        penalty: one whose placement is the loss.
        log_prob: log π of each token under the policy being trained, nats, shape [B, T].
        reference_log_prob: the same under the reference, constant.
        log_probs: log π of every action, shape [B, T, A]; needed by the full divergence.
        reference_log_probs: the same under the reference, constant.
        mask: True = a decision of the policy, boolean, shape [B, T]. Needed where the arrays hold
            anything but numbers elsewhere: a NaN would come back in the gradient.

    Returns:
        Nats, shape [B, T], 0 outside the mask if there is one.

    Raises:
        ValueError: the penalty is in the reward, shapes differ, or distributions are missing.
    """
    if penalty.placement != "loss":
        raise ValueError(f"loss_penalty: the penalty is in the {penalty.placement}")
    if penalty.estimator == "k2":
        if mask is not None:
            log_prob, reference_log_prob = fill_masked(mask, log_prob, reference_log_prob)
        return kl_k2(log_prob, reference_log_prob)
    if penalty.estimator != "full":
        raise ValueError(f"loss_penalty: unknown estimator {penalty.estimator!r}")
    if log_probs is None or reference_log_probs is None:
        raise ValueError("loss_penalty: the full divergence needs log_probs of every action")
    if mask is not None:
        whole = mask.unsqueeze(-1).expand(log_probs.shape)
        log_probs, reference_log_probs = fill_masked(whole, log_probs, reference_log_probs)
    return full_kl(log_probs, reference_log_probs)
