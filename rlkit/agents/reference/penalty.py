"""The penalty of a policy for leaving its reference: one KL per step, and its coefficient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.agent import Task
from rlkit.agents.heads import Head
from rlkit.agents.reference.policy import ReferenceOutputs
from rlkit.errors import UsageError
from rlkit.maths.divergences import kl_k1, kl_k2
from rlkit.maths.kl_penalty import AdaptiveCoefficient, Estimator, KLPenalty, Placement
from rlkit.options import require_range, require_whole

Array = NDArray[Any]


class PenaltyOptions(Protocol):
    """The options of an agent that can be kept near a reference."""

    @property
    def kl_coef(self) -> float | None: ...
    @property
    def kl_target(self) -> float | None: ...
    @property
    def kl_horizon(self) -> int: ...
    @property
    def kl_placement(self) -> Placement: ...
    @property
    def kl_estimator(self) -> Estimator: ...


def kl_penalty(options: PenaltyOptions) -> KLPenalty | None:
    """Return the penalty that the options describe, None where they describe none.

    Raises:
        UsageError: an option is out of range, or has no meaning without kl_coef.
    """
    require_whole(options, "kl_horizon", at_least=1)
    if options.kl_coef is None:
        if options.kl_target is not None:
            raise UsageError(
                f"option kl_target (--kl-target): got {options.kl_target} without kl_coef, which "
                "it adapts; give the first value, as --kl-coef 0.1"
            )
        return None
    require_range(options, "kl_coef", low=0)
    require_range(options, "kl_target", low=0, open_low=True)
    for name in ("standardise_advantages", "scale_rewards"):
        if options.kl_placement == "loss" and getattr(options, name, False):
            raise UsageError(
                f"option {name}: it rescales what is maximised and not a penalty in the loss, so "
                "kl_coef would not be in units of reward; with kl_placement='loss' add "
                f"--no-{name.replace('_', '-')} ({name}=False)"
            )
    return KLPenalty(
        coef=options.kl_coef,
        placement=options.kl_placement,
        estimator=options.kl_estimator,
        target=options.kl_target,
        horizon=float(options.kl_horizon),
    )


class StepPenalty:
    """The KL penalty of each step of S seeds.

    With the default placement the reward of a step is R - beta (log pi(a|s) - log pi_ref(a|s)),
    whose expectation is R - beta KL(pi(.|s) || pi_ref(.|s)); the exact KL of each visited state is
    what is reported, and what the coefficient adapts to.

    Args:
        penalty: what is penalised.
        task: has the reference; without one only policies that were trained already can be played.
        head: the distribution that the outputs parametrise.
        num_copies: seeds whose observations are given together; the outputs have as many.
    """

    METRICS = ("kl", "kl_coef")

    def __init__(self, penalty: KLPenalty, task: Task, head: Head, num_copies: int) -> None:
        self.penalty, self._head = penalty, head
        self._coefficients = [AdaptiveCoefficient(penalty) for _ in task.streams]
        self._reference = None
        if task.reference is not None:
            self._reference = ReferenceOutputs(
                task.reference, task.observation_space, head, num_copies
            )

    @property
    def in_loss(self) -> bool:
        """Whether the penalty is a term of the loss, not of the reward."""
        return self.penalty.placement == "loss"

    @property
    def coefficients(self) -> Array:
        """The present beta of each seed, [S]."""
        return np.array([one.value for one in self._coefficients])

    def outputs(self, obs: Array, action_masks: Array | None = None) -> Tensor:
        """Return the reference's outputs for raw observations [S, M, ...]."""
        assert self._reference is not None, "training needs the reference"
        return self._reference(obs, action_masks)

    @torch.no_grad()
    def measure(
        self, outputs: Tensor, extra: Sequence[Tensor], reference: Tensor, actions: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the estimate k1 of the actions and the exact KL of each state, both [S, M].

        Args:
            outputs: of the policy, [S, M, A].
            extra: further parameters of its head.
            reference: the reference's outputs, [S, M, A].
            actions: as sampled from the policy, [S, M, ...].
        """
        log_prob, _ = self._head.log_prob_and_entropy(outputs, extra, actions)
        reference_log_prob, _ = self._head.log_prob_and_entropy(
            reference, self._reference_extra, actions
        )
        kl = self._head.kl(outputs, extra, reference, self._reference_extra)
        return kl_k1(log_prob, reference_log_prob), kl

    def rewards(self, rewards: Array, k1: Array, s: int | None = None) -> Array:
        """Return rewards less the penalty, if it is in the reward.

        Args:
            rewards: [S, N], or [D] of one seed.
            k1: of the same shape.
            s: the seed.
        """
        if self.in_loss:
            return rewards
        coefficients = self.coefficients[:, None] if s is None else self.coefficients[s]
        penalised: Array = rewards - coefficients * k1
        return penalised

    def losses(
        self,
        outputs: Tensor,
        extra: Sequence[Tensor],
        reference: Tensor,
        actions: Tensor,
        s: int | None = None,
    ) -> Tensor:
        """Return beta times the differentiable divergence of each decision, a term of the loss.

        Args, shapes: as `measure`; `s` is the seed where the arrays are of one only.
        """
        extra_of_reference = self._reference_extra
        if self.penalty.estimator == "full":
            kl = self._head.kl(outputs, extra, reference, extra_of_reference)
        else:
            log_prob, _ = self._head.log_prob_and_entropy(outputs, extra, actions)
            other, _ = self._head.log_prob_and_entropy(reference, extra_of_reference, actions)
            kl = kl_k2(log_prob, other)
        coefficients = self.coefficients if s is None else self.coefficients[s : s + 1]
        return torch.from_numpy(coefficients.astype(np.float32))[:, None] * kl

    @property
    def _reference_extra(self) -> list[Tensor]:
        assert self._reference is not None, "training needs the reference"
        return self._reference.extra

    def update(self, s: int, kl: float, num_steps: int) -> dict[str, float]:
        """Adapt the coefficient of a seed to a batch, and return the metrics of the batch."""
        one = self._coefficients[s]
        before = one.value
        one.update(kl, min(num_steps, int(self.penalty.horizon)))
        return {"kl": kl, "kl_coef": before}

    def state_dict(self) -> dict[str, Array]:
        return {"kl_coef": self.coefficients}

    def load_state_dict(self, state: Any) -> None:
        for one, value in zip(self._coefficients, np.asarray(state["kl_coef"]), strict=True):
            one.value = float(value)
