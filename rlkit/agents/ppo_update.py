"""The core of PPO-clip: epochs of minibatches over one batch of decisions.

It knows no environment, no tokenizer and no network. A batch consists of units that are kept whole:
for Gymnasium a unit is one transition and the arrays are [S, U]; for a language model a unit is a
sequence and the arrays are [S, U, T], with a mask that is True where the policy made a decision.

Each step of the optimiser learns from one minibatch. It can go through the network in parts
(`microbatch_size`) whose gradients add up to that of the minibatch: every mean is then a sum with
the weights of the whole minibatch, never a mean of means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.errors import RlkitError, UsageError
from rlkit.maths.divergences import kl_k3
from rlkit.maths.losses import clipped_value_loss, ppo_clip_loss, value_loss
from rlkit.maths.masking import fill_masked, masked_mean
from rlkit.maths.returns import standardise
from rlkit.options import require_choice, require_range

Array = NDArray[Any]

METRICS = (
    "policy_loss",
    "value_loss",
    "entropy",
    "approx_kl",
    "clip_fraction",
    "gradient_norm",
)

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
# (losses [S]): adds the gradient of a part of a minibatch to what `descend` will use
Accumulate = Callable[[Tensor], object]
# (losses [S], the seeds to update or None for all) -> gradient norms [S]. The accumulated gradient
# is included, and cleared afterwards; with no seeds it is cleared without a step.
Descend = Callable[[Tensor, "NDArray[np.int64] | None"], Tensor]


class _Part(NamedTuple):
    """Units that go through the network together: a minibatch, or a part of one."""

    batch: Batch
    # Weights of the decisions in the losses and in the other metrics; None = a mean over this part.
    loss_weights: Tensor | None = None
    metric_weights: Tensor | None = None


def ppo_update(
    batch: Batch,
    objective: Objective,
    epochs: Iterable[Sequence[Tensor | None]],
    *,
    evaluate: Evaluate,
    descend: Descend,
    accumulate: Accumulate | None = None,
    microbatch_size: int | None = None,
    check_ratio: bool = False,
) -> dict[str, Array]:
    """Minimise, minibatch by minibatch, the clipped objective of PPO (Schulman et al. 2017, eq. 9).

        L = E[ -min(ratio A, clip(ratio, 1 - eps, 1 + eps) A) ] + c_v E[L_value] - c_e E[H]

    Args:
        batch: the decisions of one rollout.
        objective: the constants.
        epochs: for each epoch its minibatches, each an index [S, B] of units, or None for all.
        evaluate: applies the current policy and critic to a minibatch, differentiably.
        descend: takes a step down the gradient of each seed's loss.
        accumulate: receives the losses of each part of a minibatch except the last, which goes to
            `descend`. They are shares of one sum, so their gradients are added as they are.
        microbatch_size: units that go through the network together; None = a whole minibatch.
        check_ratio: check that before the first step the policy gives each action the
            log-probability that was recorded when it was sampled.

    Returns:
        The metrics named in `METRICS`, each [S]: for each seed, means over the gradient steps of
        the last epoch in which it took any. Also `num_gradient_steps` [S], `penalty` if `evaluate`
        returns one, and `first_ratio_error` with `check_ratio`.

    Raises:
        RlkitError: with `check_ratio`, a ratio differs from 1 by 0.001 or more.
        ValueError: microbatch_size is below 1, or given without `accumulate`.
    """
    if microbatch_size is not None and (microbatch_size < 1 or accumulate is None):
        raise ValueError(
            "ppo_update: expected microbatch_size of at least 1, together with accumulate, got "
            f"microbatch_size {microbatch_size}, accumulate {accumulate}"
        )
    num_seeds = len(batch.behaviour_log_prob)
    running = np.ones(num_seeds, dtype=bool)
    num_steps = np.zeros(num_seeds, dtype=np.int64)
    metrics: dict[str, Array] = {name: np.zeros(num_seeds) for name in METRICS}
    first_ratio_error: Tensor | None = None
    epochs = list(epochs)
    whole = _parts(batch, objective, microbatch_size)  # for minibatches that are the whole batch
    for k, minibatches in enumerate(epochs):
        # Metrics cost a quarter of an update, so they are measured in the last epoch only, unless a
        # seed may stop before it.
        measured = k == len(epochs) - 1 or objective.target_kl is not None
        steps: list[_Step] = []
        for index in minibatches:
            parts = (
                whole if index is None else _parts(batch.select(index), objective, microbatch_size)
            )
            unchecked = check_ratio and first_ratio_error is None
            losses, details, ratio_error = _pass_through(
                parts, objective, evaluate, accumulate, measured=measured, check_ratio=unchecked
            )
            if unchecked:
                _require_ratio_of_one(ratio_error)
                first_ratio_error = ratio_error
            if objective.target_kl is not None:
                running = running & (_numpy(details["approx_kl"]) <= 1.5 * objective.target_kl)
                if not running.any():
                    if len(parts) > 1:  # forget what was accumulated
                        descend(losses, np.flatnonzero(running))
                    break
            norms = descend(losses, None if running.all() else np.flatnonzero(running))
            num_steps += running
            if measured:
                steps.append(_Step(running, details | {"gradient_norm": norms.detach()}))
        _take_means(metrics, steps)
        if not running.any():
            break
    metrics["num_gradient_steps"] = num_steps
    if first_ratio_error is not None:
        metrics["first_ratio_error"] = _numpy(first_ratio_error)
    return metrics


class _Step(NamedTuple):
    """The measurements of one gradient step."""

    running: NDArray[np.bool_]  # the seeds that took it, [S]
    metrics: dict[str, Tensor]  # each [S]


def _take_means(metrics: dict[str, Array], steps: Sequence[_Step]) -> None:
    """Replace the metrics of each seed that took any of these steps by their means over them."""
    if not steps:
        return
    counts = np.sum([step.running for step in steps], axis=0)
    took_part = counts > 0
    for name in steps[0].metrics:
        totals = np.zeros(len(counts))
        for step in steps:
            totals[step.running] += _numpy(step.metrics[name])[step.running]
        mean = metrics.setdefault(name, np.zeros(len(counts)))
        mean[took_part] = totals[took_part] / counts[took_part]


def _numpy(x: Tensor) -> Array:
    array: Array = x.cpu().numpy()
    return array


def _pass_through(
    parts: Sequence[_Part],
    objective: Objective,
    evaluate: Evaluate,
    accumulate: Accumulate | None,
    *,
    measured: bool,
    check_ratio: bool,
) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    """Send the parts of a minibatch through the network, and accumulate all but the last.

    Returns:
        the losses of the last part, the metrics of the minibatch if `measured`, and max |ratio - 1|
        if `check_ratio`; each tensor [S].
    """
    details: dict[str, Tensor] = {}
    ratio_error = parts[0].batch.behaviour_log_prob.new_zeros(len(parts[0].batch.advantages))
    for part in parts:
        evaluated = _evaluated(part.batch, evaluate)
        if check_ratio:
            ratio_error = torch.maximum(ratio_error, _ratio_error(part.batch, evaluated))
        losses, shares = _losses(part, objective, evaluated, measured)
        details = {name: details[name] + x if details else x for name, x in shares.items()}
        if accumulate is not None and part is not parts[-1]:
            accumulate(losses)
    return losses, details, ratio_error


def _parts(batch: Batch, objective: Objective, microbatch_size: int | None) -> list[_Part]:
    """Prepare a minibatch as a whole, then split it."""
    batch = _prepared(batch, objective)
    num_units = batch.advantages.shape[1]
    size = num_units if microbatch_size is None else microbatch_size
    if objective.aggregation == "token-mean" and size >= num_units:
        return [_Part(batch)]
    weights = _weights(batch, objective.aggregation, objective.norm_length)
    by_decision = _weights(batch, "token-mean", None)
    parts = []
    for start in range(0, num_units, size):
        units = itemgetter((slice(None), slice(start, start + size)))
        parts.append(_Part(batch.map(units), units(weights), units(by_decision)))
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


def _evaluated(batch: Batch, evaluate: Evaluate) -> tuple[Tensor, ...]:
    evaluated = evaluate(batch.inputs)
    return evaluated if batch.mask is None else fill_masked(batch.mask, *evaluated)


def _losses(
    part: _Part, objective: Objective, evaluated: tuple[Tensor, ...], measured: bool
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


def _ratio_error(batch: Batch, evaluated: tuple[Tensor, ...]) -> Tensor:
    """Return max |ratio - 1| over the decisions of each seed, [S]; NaN if any is NaN."""
    log_ratio = evaluated[0].detach() - batch.behaviour_log_prob
    return torch.expm1(log_ratio).abs().flatten(1).amax(1)


def _require_ratio_of_one(errors: Tensor) -> None:
    wrong = ~(errors < 1e-3)
    if not bool(wrong.any()):
        return
    s = int(wrong.int().argmax())
    raise RlkitError(
        f"ratio check, row {s} of the seeds: before the first gradient step the probability ratio "
        f"of an action differs from 1 by {float(errors[s]):.3g}, expected less than 0.001: the "
        "policy that is updated is not the one that acted. Likely causes: dropout is active in one "
        "of the two passes; sampling used another temperature or top-k; padding shifts the "
        "positions of the tokens; half precision rounds differently with a cache; the responses "
        "were tokenised again instead of keeping the ids that were sampled; the recorded "
        "log-probabilities belong to another batch or an older policy"
    )
