"""Evaluate a reward model, on preferences that it has not seen and against the gold reward."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.determinism import prepared_torch
from rlkit.errors import UsageError
from rlkit.rlhf.data.preferences import (
    Comparisons,
    Gold,
    Labels,
    Preferences,
    responses_from,
    sample_preferences,
)
from rlkit.rlhf.data.sequences import pack
from rlkit.rlhf.data.task import EnumerableTask, LanguageTask
from rlkit.rlhf.data.text_encoding import EncodedTexts
from rlkit.rlhf.data.text_files import Demonstration, read_texts
from rlkit.rlhf.data.text_task import TextTask
from rlkit.rlhf.data.text_task import chat_template as template_of
from rlkit.rlhf.exact import optimum as exact
from rlkit.rlhf.exact.answer_key import AnswerKey, is_enumerable
from rlkit.rlhf.models.huggingface.classifier import TextClassifier
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.models.layers import evaluating
from rlkit.rlhf.stages.factories import standardised_gold
from rlkit.rlhf.stages.loading import (
    load_parent_policy,
    load_reward_model,
    task_codec,
    task_with_files,
)
from rlkit.rlhf.stages.score_sources import reward_source
from rlkit.rlhf.stages.sources import is_trained_on, load_sources, stored_parent
from rlkit.rlhf.stages.stage_run import RunLike, StageRun, as_run
from rlkit.rlhf.training.configs import RewardConfig
from rlkit.rlhf.training.reward_model import (
    RewardModel,
    accuracy_by_group,
    measure_accuracy,
    split_held_out,
)
from rlkit.runs.progress import warn
from rlkit.seeding import SeedStreams


def evaluate_reward_model(
    run: StageRun,
    run_seed: int,
    rng: np.random.Generator,
    num_pairs: int,
    preferences: str | Path | None,
) -> dict[str, Any]:
    """Measure the accuracy of a reward model.

    Args:
        run: of the reward model.
        run_seed: which seed of it.
        rng: the source of randomness of fresh preferences.
        num_pairs: how many of these.
        preferences: a file of pairs or labels; None = fresh ones of a built-in task, or those that
            were held out of the run's own file.

    Returns:
        `accuracy` by group (all, which response is longer, terciles of the margin), each with
        standard error and number of pairs; `data` describes the pairs, and `unit` says whether they
        are "pairs" or "labels" of single responses. For a built-in task also
        `gold`: the accuracy of the gold reward itself on the same pairs, the share of pairs in
        gold's order, and Pearson's correlation with gold, over responses of the reference; and
        `exact` where all responses can be listed, with the Bayes accuracy that no model can exceed.
    """
    model = load_reward_model(run, run_seed)
    task, policy = load_parent_policy(stored_parent(run, "policy"), run_seed)
    policy.freeze()
    description = {
        "kind": "reward model",
        "run": str(run.folder),
        "task": run.label,
        "run_seed": run_seed,
    }
    if preferences is not None or isinstance(task, TextTask):
        if preferences is not None:
            data = task_with_files(run, preferences=preferences).preferences()
            unit = "labels" if isinstance(data, Labels) else "pairs"
            if is_trained_on(run, "preferences", preferences):
                warn(
                    f"{preferences} is what {run.folder.name} was trained on: nearly all of its "
                    f"{unit} were seen, so the accuracy says little; omit it to measure those that "
                    "were held out"
                )
        else:
            data = _held_out(run, run_seed)
            unit = "labels" if isinstance(data, Labels) else "pairs"
        return {
            **description,
            "data": str(preferences or f"the {unit} held out of the run's own file"),
            "unit": unit,
            "accuracy": _accuracies(model, data),
            "gold": None,
            "exact": None,
        }
    streams = SeedStreams(run.experiment_seed, run_seed)
    gold = standardised_gold(task, policy, streams)
    return {
        **description,
        "data": f"{num_pairs} fresh preferences",
        "unit": "pairs",
        **_against_gold(model, task, policy, gold, rng, num_pairs),
        "exact": _exact_values(model, task, policy) if is_enumerable(task) else None,
    }


def score(
    run: RunLike,
    texts: Sequence[Mapping[str, str]],
    *,
    run_seed: int = 0,
    chat_template: bool | None = None,
) -> NDArray[np.float64]:
    """Return the scores of responses under a reward model, [n].

    Args:
        run: of the reward model, or its folder; or the folder of a Hugging Face sequence classifier
            with one label.
        texts: n >= 1 dictionaries with "prompt" and "response"; where the model was trained on
            chats, the prompt is a user's message or a list of messages, or all of it is "messages".
        run_seed: which seed of the run.
        chat_template: whether a prompt that is a text is a user's message, to be put into the chat
            template; None = where the model was trained on chats. A sequence classifier does this
            wherever it has a template.

    Raises:
        UsageError: a text has unknown tokens, or prompt and response exceed the context.
    """
    source = reward_source(run, run_seed)
    if source.classifier is not None:
        records = read_texts(texts, Demonstration, name="texts", empty_responses=True)
        with prepared_torch():
            pairs = [(record.prompt, record.response) for record in records.records]
            chats = [record.columns.get("messages") for record in records.records]
            prompts, responses = zip(*pairs, strict=True)
            return TextClassifier(source.classifier)(prompts, responses, chats)
    run = as_run(run, ("reward",))
    with prepared_torch():
        model = load_reward_model(run, run_seed)
        task, _ = load_parent_policy(stored_parent(run, "policy"), run_seed)
        codec = task_codec(task)
        # By the template that wrote the chats of its training.
        reading: Any = {"name": "texts", "template": template_of(codec), "empty_responses": True}
        records = read_texts(texts, Demonstration, **reading)
        if chat_template is None:
            chat_template = isinstance(task, TextTask) and task.is_chat
        if chat_template and not records.records[0].messages:
            given = [_as_message(record) for record in records.records]
            records = read_texts(given, Demonstration, **reading)
        rows = EncodedTexts.of(codec, records)
        sequences = pack(rows.prompts, rows.responses, pad=task.pad)
        return model.score(sequences)


def _as_message(text: Demonstration) -> dict[str, Any]:
    """Return a text with its prompt as a user's message, as sampling reads a prompt."""
    return {"prompt": [{"role": "user", "content": text.prompt}], "response": text.response}


def _against_gold(
    model: RewardModel,
    task: LanguageTask,
    policy: LanguageModel,
    gold: Gold,
    rng: np.random.Generator,
    num_pairs: int,
) -> dict[str, Any]:
    """Compare a reward model with gold on fresh preferences that follow it."""
    pairs = sample_preferences(policy, task, gold, rng, num_pairs)
    chosen, rejected = (
        np.asarray(gold(part), dtype=np.float64) for part in (pairs.chosen, pairs.rejected)
    )
    by_group = accuracy_by_group(model, pairs, margin=np.abs(chosen - rejected))
    return {
        "accuracy": {name: each._asdict() for name, each in by_group.items()},
        "gold": {
            "accuracy": measure_accuracy(chosen, rejected)._asdict(),
            "agreement": _agreement(model, pairs, chosen - rejected),
            "correlation": _correlation(model, task, policy, gold, rng, num_pairs),
        },
    }


def _agreement(
    model: RewardModel, pairs: Preferences, difference: NDArray[np.float64]
) -> dict[str, Any]:
    """Return the share of pairs that the model orders as gold does, ties of gold left aside."""
    scores = model.score(pairs.chosen), model.score(pairs.rejected)
    better = np.where(difference > 0, *scores)
    worse = np.where(difference > 0, *reversed(scores))
    return measure_accuracy(better, worse, difference != 0)._asdict()


def _correlation(
    model: RewardModel,
    task: LanguageTask,
    policy: LanguageModel,
    gold: Gold,
    rng: np.random.Generator,
    n: int,
) -> float:
    (samples,) = responses_from(policy, task, rng, n)
    scores, golds = model.score(samples), np.asarray(gold(samples), dtype=np.float64)
    if scores.std() == 0 or golds.std() == 0:
        return math.nan
    return float(np.corrcoef(scores, golds)[0, 1])


def _exact_values(
    model: RewardModel, task: EnumerableTask, policy: LanguageModel
) -> dict[str, float]:
    key = AnswerKey(task, policy)
    table = key.tabulate(model.score)
    log_prob = key.reference_log_prob
    return {
        "bayes_accuracy": key.bayes_accuracy(),
        "accuracy": exact.pair_accuracy(log_prob, table, key.gold),
        "agreement": exact.pair_accuracy(log_prob, table, key.gold, math.inf),
        "correlation": exact.correlation(log_prob, table, key.gold),
    }


def _held_out(run: StageRun, run_seed: int) -> Preferences | Labels:
    """Return the part of a file that the run did not train on."""
    task_source, model_source = load_sources(run)
    data = task_source.build_texts(model_source).preferences()
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
        raw = model.raw_scores(data.sequences).double().numpy()
    # The sign of a raw score is the prediction, which normalising would lose.
    sign = np.where(data.label.numpy() > 0.5, 1.0, -1.0)
    return {"all": measure_accuracy(sign * raw, np.zeros(len(raw)), certain.numpy())._asdict()}
