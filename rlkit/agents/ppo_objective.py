"""The objective of PPO on one minibatch: its decisions, their weights, the losses and the metrics.

A batch consists of units that are kept whole: for Gymnasium a unit is one transition and the arrays
are [S, U]; for a language model a unit is a sequence and the arrays are [S, U, T], with a mask that
is True where the policy made a decision.

A minibatch can go through the network in parts whose gradients add up to that of the minibatch:
every mean is then a sum with the weights of the whole minibatch, never a mean of means.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from rlkit.errors import UsageError
from rlkit.maths.divergences import kl_k3
from rlkit.maths.losses import clipped_value_loss, ppo_clip_loss, value_loss
from rlkit.maths.masking import fill_masked, masked_mean
from rlkit.maths.returns import standardise
from rlkit.options import require_choice, require_range

Aggregation = Literal["token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "constant-norm"]


class Batch(NamedTuple):
    """The decisions of a rollout; every tensor starts with [S, U]."""

    inputs: tuple[Tensor, ...]  # for `evaluate`, opaque here
    behaviour_log_prob: Tensor  # of each action under the policy that chose it
    behaviour_values: Tensor  # estimated when the actions were chosen
    advantages: Tensor
    value_targets: Tensor
    mask: Tensor | None = None  # True = a decision of the policy; None = all are

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Return the batch with `function` applied to each tensor."""
        return Batch(
            tuple(map(function, self.inputs)),
            function(self.behaviour_log_prob),
            function(self.behaviour_values),
            function(self.advantages),
            function(self.value_targets),
            None if self.mask is None else function(self.mask),
        )

    def select(self, index: Tensor) -> Batch:
        """Return the units [S, B] given by `index` [S, B], each seed its own."""
        rows = torch.arange(len(index)).unsqueeze(1)
        return self.map(lambda x: x[rows, index])


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The constants of the PPO objective for one update.

    With w the weight of a decision, each term of the objective is a sum Σ w x over the decisions of
    a minibatch:

        token-mean              w = 1 / decisions of the minibatch
        seq-mean-token-sum      w = 1 / units
        seq-mean-token-mean     w = 1 / (units * decisions of the unit)
        constant-norm           w = 1 / (units * norm_length)

    where units are those of the minibatch that hold a decision (the names are verl's). If a unit is
    one transition, the first three are the same. Metrics other than losses are token-means.
    """

    clip_epsilon: float  # half-width of the interval around a ratio of 1
    value_coef: float
    entropy_coef: float
    value_clip: float | None = None  # half-width around the old value; None = no clipping
    standardise_advantages: bool = True  # within each minibatch
    target_kl: float | None = None  # a seed stops for this batch beyond 1.5 times this
    aggregation: Aggregation = "token-mean"
    norm_length: float | None = None  # decisions, > 0; for "constant-norm", and only for it

    def __post_init__(self) -> None:
        require_choice(self, "aggregation", among=Aggregation)
        require_range(self, "norm_length", low=0, open_low=True)
        if (self.aggregation == "constant-norm") != (self.norm_length is not None):
            raise UsageError(
                "option norm_length: expected a number with aggregation 'constant-norm' and None "
                f"otherwise, got {self.norm_length} with {self.aggregation!r}"
            )


# (inputs) -> log-probability of the actions taken, entropy, value, and optionally a penalty that is
# added to the loss of each decision; each in the shape of behaviour_log_prob
Evaluate = Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]]


class Part(NamedTuple):
    """Units that go through the network together: a minibatch, or a part of one."""

    batch: Batch
    # Weights of the decisions in the losses and in the other metrics; None = a mean over this part.
    loss_weights: Tensor | None = None
    metric_weights: Tensor | None = None


def split_minibatch(batch: Batch, objective: Objective, microbatch_size: int | None) -> list[Part]:
    """Prepare a minibatch as a whole, then split it."""
    batch = _prepared(batch, objective)
    num_units = batch.advantages.shape[1]
    size = num_units if microbatch_size is None else microbatch_size
    if objective.aggregation == "token-mean" and size >= num_units:
        return [Part(batch)]
    weights = _weights(batch, objective.aggregation, objective.norm_length)
    by_decision = _weights(batch, "token-mean", None)
    parts = []
    for start in range(0, num_units, size):
        units = itemgetter((slice(None), slice(start, start + size)))
        parts.append(Part(batch.map(units), units(weights), units(by_decision)))
    return parts


def _prepared(batch: Batch, objective: Objective) -> Batch:
    """Return a minibatch with 0 in masked slots, and with standardised advantages."""
    if batch.mask is not None:
        # The content of a slot without a decision must not reach a gradient, not even as NaN.
        old_log_prob, old_values, advantages, targets = fill_masked(batch.mask, *batch[1:5])
        batch = Batch(batch.inputs, old_log_prob, old_values, advantages, targets, batch.mask)
    if not objective.standardise_advantages:
        return batch
    axes = tuple(range(1, batch.advantages.ndim))
    return batch._replace(advantages=standardise(batch.advantages, mask=batch.mask, dim=axes))


def _weights(batch: Batch, aggregation: Aggregation, norm_length: float | None) -> Tensor:
    """Return the weight of each decision in the loss of its minibatch; see `Objective`."""
    x = batch.advantages
    mask = torch.ones_like(x, dtype=torch.bool) if batch.mask is None else batch.mask
    decisions = mask.flatten(2).sum(2) if mask.ndim > 2 else mask.long()  # of each unit, [S, B]
    if aggregation == "token-mean":
        divisor = decisions.sum(1, keepdim=True).expand(decisions.shape).to(x.dtype)
    else:
        divisor = (decisions > 0).sum(1, keepdim=True).expand(decisions.shape).to(x.dtype)
        if aggregation == "seq-mean-token-mean":
            divisor = divisor * decisions
        elif norm_length is not None:
            divisor = divisor * norm_length
    weights = (1.0 / divisor).view(*decisions.shape, *[1] * (x.ndim - 2)).expand(x.shape)
    return weights.masked_fill(~mask, 0.0)


def evaluate_decisions(batch: Batch, evaluate: Evaluate) -> tuple[Tensor, ...]:
    evaluated = evaluate(batch.inputs)
    return evaluated if batch.mask is None else fill_masked(batch.mask, *evaluated)


def losses_and_metrics(
    part: Part, objective: Objective, evaluated: tuple[Tensor, ...], measured: bool
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the losses of a part of a minibatch, and if `measured` its share of each metric."""
    log_prob, entropy, values, *penalty = evaluated
    batch, mask = part.batch, part.batch.mask
    axes = tuple(range(1, log_prob.ndim))

    def mean(x: Tensor, weights: Tensor | None) -> Tensor:
        if weights is None:
            return masked_mean(x, mask, dim=axes)
        return (x * weights).flatten(1).sum(1)  # x is finite, 0 or not, where the weight is 0

    clipped_losses = ppo_clip_loss(
        log_prob,
        batch.behaviour_log_prob,
        batch.advantages,
        clip_epsilon=objective.clip_epsilon,
    )
    if objective.value_clip is None:
        squares = value_loss(values, batch.value_targets)
    else:
        squares = clipped_value_loss(
            values, batch.behaviour_values, batch.value_targets, clip_range=objective.value_clip
        )
    policy_losses = mean(clipped_losses, part.loss_weights)
    value_losses = mean(squares, part.loss_weights)
    losses = policy_losses + objective.value_coef * value_losses
    if objective.entropy_coef:
        losses = losses - objective.entropy_coef * mean(entropy, part.loss_weights)
    if penalty:
        penalty_losses = mean(penalty[0], part.loss_weights)
        losses = losses + penalty_losses
    if not measured:
        return losses, {}
    with torch.no_grad():
        ratio = torch.exp(log_prob - batch.behaviour_log_prob)
        is_clipped = ((ratio - 1.0).abs() > objective.clip_epsilon).float()
        # k3 wants log(behaviour / current) under samples of the behaviour policy.
        approx_kl = kl_k3(batch.behaviour_log_prob, log_prob)
        details = {
            "policy_loss": policy_losses,
            "value_loss": value_losses,
            "entropy": mean(entropy, part.metric_weights),
            "approx_kl": mean(approx_kl, part.metric_weights),
            "clip_fraction": mean(is_clipped, part.metric_weights),
        }
        if penalty:
            details["penalty"] = penalty_losses
    return losses, {name: x.detach() for name, x in details.items()}
