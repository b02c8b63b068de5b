"""The core of PPO-clip: epochs of minibatches over one batch of decisions.

It knows no environment, no tokenizer and no network; `ppo_objective` has the losses. Each step of
the optimiser learns from one minibatch, which can go through the network in parts
(`microbatch_size`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.agents.ppo_objective import (
    Batch,
    Evaluate,
    Objective,
    Part,
    evaluate_decisions,
    losses_and_metrics,
    split_minibatch,
)
from rlkit.errors import RlkitError

Array = NDArray[Any]

METRICS = (
    "policy_loss",
    "value_loss",
    "entropy",
    "approx_kl",
    "clip_fraction",
    "gradient_norm",
)

# (losses [S]): adds the gradient of a part of a minibatch to what `descend` will use
Accumulate = Callable[[Tensor], object]
# (losses [S], the seeds to update or None for all) -> gradient norms [S]. The accumulated gradient
# is included, and cleared afterwards; with no seeds it is cleared without a step.
Descend = Callable[[Tensor, "NDArray[np.int64] | None"], Tensor]


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
    whole = split_minibatch(
        batch, objective, microbatch_size
    )  # for minibatches that are the whole batch
    for k, minibatches in enumerate(epochs):
        # Metrics cost a quarter of an update, so they are measured in the last epoch only, unless a
        # seed may stop before it.
        measured = k == len(epochs) - 1 or objective.target_kl is not None
        steps: list[_Step] = []
        for index in minibatches:
            parts = (
                whole
                if index is None
                else split_minibatch(batch.select(index), objective, microbatch_size)
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
    parts: Sequence[Part],
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
        evaluated = evaluate_decisions(part.batch, evaluate)
        if check_ratio:
            ratio_error = torch.maximum(ratio_error, _ratio_error(part.batch, evaluated))
        losses, shares = losses_and_metrics(part, objective, evaluated, measured)
        details = {name: details[name] + x if details else x for name, x in shares.items()}
        if accumulate is not None and part is not parts[-1]:
            accumulate(losses)
    return losses, details, ratio_error


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
