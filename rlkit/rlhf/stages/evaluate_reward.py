"""How good a reward model is: on preferences that it has not seen, and against the gold reward."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import UsageError
from rlkit.rlhf.data.preferences import (
    Comparisons,
    Labels,
    Preferences,
    responses_from,
    sample_preferences,
)
from rlkit.rlhf.exact import optimum as exact
from rlkit.rlhf.exact.answer_key import AnswerKey, is_enumerable
from rlkit.rlhf.models.layers import evaluating
from rlkit.rlhf.stages.factories import gold_score
from rlkit.rlhf.stages.loading import task_with
from rlkit.rlhf.stages.sources import load_reward_model, parent_of, sources_of
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.rlhf.training.configs import RewardConfig
from rlkit.rlhf.training.reward_model import (
    RewardModel,
    accuracy_by_group,
    accuracy_of,
    split_held_out,
)
from rlkit.seeding import SeedStreams


def evaluate_reward_model(
    run: StageRun,
    run_seed: int,
    rng: np.random.Generator,
    num_pairs: int,
    preferences: str | Path | None,
) -> dict[str, Any]:
    """Judge a reward model.

    Args:
        run: of the reward model.
        run_seed: which seed of it.
        rng: where fresh preferences come from.
        num_pairs: how many of these.
        preferences: a file of pairs or labels; None = fresh ones of a built-in task, or those that
            were held out of the run's own file.

    Returns:
        `accuracy` by group (all, which response is longer, terciles of the margin), each with
        standard error and number of pairs; `data` says on what. For a built-in task also `gold`:
        the accuracy of the gold reward itself on the same pairs, the share of pairs in gold's
        order, and Pearson's correlation with gold, over responses of the reference; and `exact`
        where all responses can be listed, with the Bayes accuracy that no model can exceed.
    """
    model = load_reward_model(run, run_seed)
    task, policy = parent_of(run, "policy").policy(run_seed)
    policy.freeze()
    found = {
        "kind": "reward model",
        "run": str(run.folder),
        "task": run.label,
        "run_seed": run_seed,
    }
    if preferences is not None or not hasattr(task, "gold"):
        if preferences is not None:
            data, judged = task_with(run, preferences=preferences).preferences(), str(preferences)
        else:
            data, judged = _held_out(run, run_seed), "the pairs held out of the run's own file"
        found |= {"data": judged, "accuracy": _accuracies(model, data)}
        return {**found, "gold": None, "exact": None}
    streams = SeedStreams(run.experiment_seed, run_seed)
    gold = gold_score(task, policy, streams)
    pairs = sample_preferences(policy, task, gold, rng, num_pairs)
    chosen, rejected = (
        np.asarray(gold(part), dtype=np.float64) for part in (pairs.chosen, pairs.rejected)
    )
    by_group = accuracy_by_group(model, pairs, margin=np.abs(chosen - rejected))
    return {
        **found,
        "data": f"{num_pairs} fresh preferences",
        "accuracy": {name: each._asdict() for name, each in by_group.items()},
        "gold": {
            "accuracy": accuracy_of(chosen, rejected)._asdict(),
            "agreement": _agreement(model, pairs, chosen - rejected),
            "correlation": _correlation(model, task, policy, gold, rng, num_pairs),
        },
        "exact": _exact(model, task, policy) if is_enumerable(task) else None,
    }


def _agreement(
    model: RewardModel, pairs: Preferences, difference: NDArray[np.float64]
) -> dict[str, Any]:
    """How often the model prefers what gold prefers, where gold tells them apart."""
    scores = model.score(pairs.chosen), model.score(pairs.rejected)
    better = np.where(difference > 0, *scores)
    worse = np.where(difference > 0, *reversed(scores))
    return accuracy_of(better, worse, difference != 0)._asdict()


def _correlation(
    model: RewardModel, task: Any, policy: Any, gold: Any, rng: np.random.Generator, n: int
) -> float:
    (samples,) = responses_from(policy, task, rng, n)
    scores, meant = model.score(samples), np.asarray(gold(samples), dtype=np.float64)
    if scores.std() == 0 or meant.std() == 0:
        return math.nan
    return float(np.corrcoef(scores, meant)[0, 1])


def _exact(model: RewardModel, task: Any, policy: Any) -> dict[str, float]:
    key = AnswerKey(task, policy)
    table = key.tabulate(model.score)
    law = key.reference_log_prob
    return {
        "bayes_accuracy": key.bayes_accuracy(),
        "accuracy": exact.pair_accuracy(law, table, key.gold),
        "agreement": exact.pair_accuracy(law, table, key.gold, math.inf),
        "correlation": exact.correlation(law, table, key.gold),
    }


def _held_out(run: StageRun, run_seed: int) -> Preferences | Labels:
    """The part of a file that the run did not train on."""
    task_source, model_source = sources_of(run)
    data: Preferences | Labels = task_source.build(model_source).preferences()
    config = RewardConfig(**run.content["config"])
    streams = SeedStreams(run.experiment_seed, run_seed)
    held_out, _ = split_held_out(data, config, streams)
    assert not isinstance(held_out, Comparisons)  # which no file holds
    return held_out


def _accuracies(model: RewardModel, data: Preferences | Labels) -> dict[str, Any]:
    if isinstance(data, Preferences):
        known = data.margin.numpy().astype(np.float64)
        groups = accuracy_by_group(model, data, margin=known if known.any() else None)
        return {name: each._asdict() for name, each in groups.items()}
    certain = data.label != 0.5
    if not bool(certain.any()):
        raise UsageError("all labels are 0.5: no prediction of them is right or wrong")
    with evaluating(model):
        raw = model(data.sequences).double().numpy()
    # Raw scores: their sign is the prediction, which the normalised ones have lost.
    sign = np.where(data.label.numpy() > 0.5, 1.0, -1.0)
    return {"all": accuracy_of(sign * raw, np.zeros(len(raw)), certain.numpy())._asdict()}
