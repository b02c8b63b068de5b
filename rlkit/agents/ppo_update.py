"""The core of PPO-clip: epochs of minibatches over one batch of decisions.

It knows no environment, no tokenizer and no network. A batch consists of units that are kept whole:
for Gymnasium a unit is one transition and the arrays are [S, U]; for a language model a unit is a
sequence and the arrays are [S, U, T], with a mask that is True where the policy made a decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.losses import (
    clipped_value_loss,
    fill_masked,
    kl_k3,
    masked_mean,
    ppo_clip_loss,
    value_loss,
)
from rlkit.returns import standardise

METRICS = (
    "policy_loss",
    "value_loss",
    "entropy",
    "approx_kl",
    "clip_fraction",
    "gradient_norm",
)


class Batch(NamedTuple):
    """What a rollout leaves to learn from; every tensor starts with [S, U]."""

    inputs: tuple[Tensor, ...]  # what `evaluate` needs, opaque here
    behaviour_log_prob: Tensor  # of each action, under the policy that chose it
    behaviour_values: Tensor  # the value estimates of that moment
    advantages: Tensor
    value_targets: Tensor
    mask: Tensor | None = None  # True = a decision of the policy; None = all are

    def select(self, index: Tensor) -> Batch:
        """The units [S, B] given by `index` [S, B], each seed its own."""
        rows = torch.arange(len(index)).unsqueeze(1)
        return Batch(
            tuple(x[rows, index] for x in self.inputs),
            self.behaviour_log_prob[rows, index],
            self.behaviour_values[rows, index],
            self.advantages[rows, index],
            self.value_targets[rows, index],
            None if self.mask is None else self.mask[rows, index],
        )


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The constants of the PPO objective for one update."""

    clip_epsilon: float  # half-width of the interval around a ratio of 1
    value_coef: float
    entropy_coef: float
    value_clip: float | None = None  # half-width around the old value; None = no clipping
    standardise_advantages: bool = True  # within each minibatch
    target_kl: float | None = None  # a seed stops for this batch beyond 1.5 times this


# (inputs) -> log-probability of the actions taken, entropy, value; each like behaviour_log_prob
Evaluate = Callable[[tuple[Tensor, ...]], tuple[Tensor, Tensor, Tensor]]
# (losses [S], the seeds to be updated or None for all) -> gradient norms [S]
Descend = Callable[[Tensor, "NDArray[np.int64] | None"], Tensor]


def ppo_update(
    batch: Batch,
    objective: Objective,
    epochs: Iterable[Sequence[Tensor | None]],
    *,
    evaluate: Evaluate,
    descend: Descend,
) -> dict[str, NDArray[Any]]:
    """Minimise, minibatch by minibatch, the clipped objective of PPO (Schulman et al. 2017, eq. 9).

        L = E[ -min(ratio A, clip(ratio, 1 - eps, 1 + eps) A) ] + c_v E[L_value] - c_e E[H]

    Args:
        batch: the decisions of one rollout.
        objective: the constants.
        epochs: for each epoch its minibatches, each an index [S, B] of units, or None for all.
        evaluate: the current policy's and critic's view of a minibatch, differentiable.
        descend: takes a step down the gradient of the losses, one for each seed.

    Returns:
        The metrics named in `METRICS`, each [S], as means over the gradient steps of the last epoch
        in which a seed took any, and `num_gradient_steps` [S].
    """
    num_seeds = len(batch.behaviour_log_prob)
    running = np.ones(num_seeds, dtype=bool)
    num_steps = np.zeros(num_seeds, dtype=np.int64)
    metrics = np.zeros((len(METRICS), num_seeds))
    epochs = list(epochs)
    whole = _prepared(batch, objective)  # for minibatches that are the whole batch
    for k, minibatches in enumerate(epochs):
        # Metrics cost a quarter of an update, so they are of the last epoch, unless a seed may
        # stop before it.
        measured = k == len(epochs) - 1 or objective.target_kl is not None
        totals, counts = np.zeros_like(metrics), np.zeros(num_seeds, dtype=np.int64)
        for index in minibatches:
            part = whole if index is None else _prepared(batch.select(index), objective)
            losses, details = _losses(part, objective, evaluate(part.inputs), measured)
            if objective.target_kl is not None:
                running &= details[METRICS.index("approx_kl")].numpy() <= 1.5 * objective.target_kl
                if not running.any():
                    break
            norms = descend(losses, None if running.all() else np.flatnonzero(running))
            num_steps += running
            if measured:
                rows = torch.stack([*details, norms.detach()]).numpy()
                totals[:, running] += rows[:, running]
                counts += running
        took_part = counts > 0
        metrics[:, took_part] = totals[:, took_part] / counts[took_part]
        if not running.any():
            break
    return {**dict(zip(METRICS, metrics, strict=True)), "num_gradient_steps": num_steps}


def _prepared(batch: Batch, objective: Objective) -> Batch:
    """A minibatch without the content of masked slots, and with standardised advantages."""
    if batch.mask is not None:
        # Whatever stands in a slot without a decision must not reach a gradient, not even as NaN.
        old_log_prob, old_values, advantages, targets = fill_masked(batch.mask, *batch[1:5])
        batch = Batch(batch.inputs, old_log_prob, old_values, advantages, targets, batch.mask)
    if not objective.standardise_advantages:
        return batch
    axes = tuple(range(1, batch.advantages.ndim))
    return batch._replace(advantages=standardise(batch.advantages, mask=batch.mask, dim=axes))


def _losses(
    batch: Batch, objective: Objective, evaluated: tuple[Tensor, Tensor, Tensor], measured: bool
) -> tuple[Tensor, list[Tensor]]:
    log_prob, entropy, values = evaluated
    mask = batch.mask
    if mask is not None:
        log_prob, entropy, values = fill_masked(mask, log_prob, entropy, values)
    axes = tuple(range(1, log_prob.ndim))

    def mean(x: Tensor) -> Tensor:
        return masked_mean(x, mask, dim=axes)

    policy_losses = mean(
        ppo_clip_loss(
            log_prob,
            batch.behaviour_log_prob,
            batch.advantages,
            clip_epsilon=objective.clip_epsilon,
        )
    )
    if objective.value_clip is None:
        value_losses = mean(value_loss(values, batch.value_targets))
    else:
        value_losses = mean(
            clipped_value_loss(
                values,
                batch.behaviour_values,
                batch.value_targets,
                clip_range=objective.value_clip,
            )
        )
    losses = policy_losses + objective.value_coef * value_losses
    if objective.entropy_coef:
        losses = losses - objective.entropy_coef * mean(entropy)
    if not measured:
        return losses, []
    with torch.no_grad():
        ratio = torch.exp(log_prob - batch.behaviour_log_prob)
        clipped = ((ratio - 1.0).abs() > objective.clip_epsilon).float()
        # k3 wants log(behaviour / current) under samples of the behaviour policy.
        approx_kl = mean(kl_k3(batch.behaviour_log_prob, log_prob))
        details = [policy_losses, value_losses, mean(entropy), approx_kl, mean(clipped)]
        return losses, [x.detach() for x in details]
