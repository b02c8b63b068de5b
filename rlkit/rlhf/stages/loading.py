"""From the folder of a run to what was trained in it: tasks, policies, reward models and scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rlkit.determinism import own_settings
from rlkit.errors import UsageError
from rlkit.rlhf.data.codec import TaskCodec, TextCodec
from rlkit.rlhf.data.preferences import responses_from
from rlkit.rlhf.data.scores import (
    LoadedScore,
    Score,
    TextScore,
    WeightedScores,
    check_score,
    load_score,
)
from rlkit.rlhf.data.task import GoldTask, LanguageTask
from rlkit.rlhf.data.text_task import TextTask
from rlkit.rlhf.data.tokenizer import Tokenizer
from rlkit.rlhf.exact.answer_key import AnswerKey, GoldScore, TableScore, is_enumerable
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.models.state import load_trained_state
from rlkit.rlhf.stages.score_sources import ScoreSource
from rlkit.rlhf.stages.sources import Parent, load_sources, stored_parent
from rlkit.rlhf.stages.stage_run import RunLike, StageRun, as_run
from rlkit.rlhf.training.reward_model import RewardModel
from rlkit.seeding import SeedStreams

# The stages that train a policy, each with the name of its parameters in a checkpoint.
POLICY_PREFIX = {
    "sft": "module",
    "dpo": "module",
    "ppo": "policy",
    "rloo": "policy",
    "grpo": "policy",
}


def load_policy(
    run: RunLike, index: int = 0, *, at: int | None = None
) -> tuple[LanguageTask, LanguageModel]:
    """Return the task and the trained language model of seed `index` of a run.

    Args:
        run: the run or its folder.
        index: the seed.
        at: the number of updates of a checkpoint; None = the end.

    Raises:
        UsageError: the run is not that of a policy, is not finished, or has no such seed.
    """
    run = as_run(run, POLICY_PREFIX)
    if run.stage not in POLICY_PREFIX:
        raise UsageError(
            f"{run.folder} is a run of {run.stage}, expected a policy: one of "
            f"{', '.join(POLICY_PREFIX)}"
        )
    run.require_seed(index)
    with own_settings():
        task_source, model_source = load_sources(run)
        task = task_source.build(model_source)
        streams = SeedStreams(run.experiment_seed, index)
        if run.stage == "sft":
            model = model_source.build(task, streams)
            model_source.add_adapters(model, streams)
        else:
            _, model = load_parent_policy(stored_parent(run, "policy"), index)
            model_source.add_adapters(model, streams)
        load_trained_state(model, run.state(index, at=at), POLICY_PREFIX[run.stage])
        if model_source.adapter_rank is not None:
            model.fold_adapters()
        return task, model


def load_parent_policy(parent: Parent, index: int) -> tuple[LanguageTask, LanguageModel]:
    """Return the task and the policy that seed `index` of the next stage starts from."""
    run, seed = parent.open(), parent.seed_for(index)
    if parent.seed is None and seed not in run.seeds:
        raise UsageError(
            f"seed {index} starts from seed {seed} of {run.folder}, which has {len(run.seeds)}: "
            f"run the stage {run.stage!r} with at least {index + 1} seeds (--seeds), or start all "
            "seeds from one of it (parent_seed, --parent-seed)"
        )
    return load_policy(run, seed)


def load_reward_model(run: RunLike, index: int = 0) -> RewardModel:
    """Return the trained reward model of seed `index` of a run."""
    run = as_run(run, ("reward",))
    if run.stage != "reward":
        raise UsageError(f"{run.folder} is a run of {run.stage}, expected a reward model's")
    with own_settings():
        _, trunk = load_parent_policy(stored_parent(run, "policy"), index)
        streams = SeedStreams(run.experiment_seed, index)
        load_sources(run)[1].add_adapters(trunk, streams)
        model = RewardModel(trunk, streams.generator("init"))
        load_trained_state(model, run.state(index), "module")
        return model.eval().requires_grad_(False)


def load_parent_reward_model(parent: Parent, index: int, task: LanguageTask) -> RewardModel:
    """Return the reward model for seed `index` of the next stage.

    Raises:
        UsageError: its ids mean other tokens than those of the task.
    """
    run = parent.open()
    model = load_reward_model(run, parent.seed_for(index))
    task_source, model_source = load_sources(run)
    _require_same_tokens(task, task_source.build(model_source), run)
    return model


def task_codec(task: LanguageTask) -> TextCodec:
    """Return the codec between texts and the ids of a task."""
    return task.codec if isinstance(task, TextTask) else TaskCodec(task)


def task_with_files(run: StageRun, **files: str | Path) -> TextTask:
    """Return the task of a run with other files of texts, read by the same tokenizer."""
    task, model = load_sources(run)
    if task.name:
        raise UsageError(
            f"the task {task.name} makes its own texts; a file of {next(iter(files))} belongs to a "
            "policy that was fine-tuned on files"
        )
    paths = {name: str(path) for name, path in files.items()}
    other = replace(
        task,
        demonstrations=paths.get("demonstrations"),
        preferences=paths.get("preferences"),
    )
    return other.with_digests().build_texts(model)


def build_score(
    source: ScoreSource, task: LanguageTask, reference: LanguageModel, streams: SeedStreams
) -> Score:
    """Return the function of a batch of sequences that a policy is trained to maximise.

    Where all responses can be listed the scores are read from a table, standardised exactly.
    """
    if source.parts:
        return WeightedScores(
            {
                name: (weight, build_score(part, task, reference, streams))
                for name, (weight, part) in source.named_parts().items()
            }
        )
    if source.function is not None:
        return _text_score(source, task, streams)
    if source.classifier is not None:
        return _classifier_score(source, task, streams)
    if is_enumerable(task):
        key = AnswerKey(task, reference)
        if source.reward is None:
            return TableScore(key, key.gold)
        model = _reward_model(source.reward, streams.index, task, reference)
        return TableScore(key, key.standardised(key.tabulate(model.score)))
    if source.reward is not None:
        return _reward_model(source.reward, streams.index, task, reference).score
    gold_task = require_gold(task)
    (samples,) = responses_from(reference, task, streams.generator("data", 1), 4096)
    return GoldScore(gold_task, samples)


def _reward_model(
    parent: Parent, index: int, task: LanguageTask, reference: LanguageModel
) -> RewardModel:
    """Return the reward model for a seed, with the limit of memory of the reference."""
    model = load_parent_reward_model(parent, index, task)
    model.trunk.memory_gb = reference.memory_gb
    return model


def require_gold(task: LanguageTask) -> GoldTask:
    """Return a task whose true reward is known; reject any other."""
    if isinstance(task, TextTask) or not isinstance(task, GoldTask):
        raise UsageError(
            f"the task {task.name} has no gold reward, which only built-in tasks have; give a "
            "reward model (--reward RUN) or a function (--score file.py:name)"
        )
    return task


def _text_score(source: ScoreSource, task: LanguageTask, streams: SeedStreams) -> TextScore:
    """Return a function of texts as a score, after a trial."""
    assert source.function is not None
    codec = task_codec(task)
    columns, ambiguous = (
        (task.columns, task.ambiguous) if isinstance(task, TextTask) else (None, None)
    )
    score = TextScore(load_score(source.function, source.digest), codec, columns, ambiguous)
    if source.digest and score.digest != source.digest:
        raise UsageError(
            f"the score function {source.function} has changed since the run was trained "
            "with it; restore it, or give the function to evaluate with (--score)"
        )
    return _tried(score, task, streams)


def _tried(score: TextScore, task: LanguageTask, streams: SeedStreams) -> TextScore:
    """Return a score after a trial on a few prompts."""
    prompts = task.sample_prompts(streams.generator("data", 3), 4).tolist()
    rows = score.rows_of([tuple(i for i in ids if i != task.pad) for ids in prompts])
    check_score(score, [score.codec.decode(ids) for ids in prompts], rows=rows)
    return score


def _classifier_score(source: ScoreSource, task: LanguageTask, streams: SeedStreams) -> TextScore:
    """Return a foreign sequence classifier as a score of the texts, by its own tokenizer."""
    from rlkit.rlhf.models.huggingface.classifier import TextClassifier

    assert source.classifier is not None
    loaded = LoadedScore(source.classifier, TextClassifier(source.classifier), source.digest)
    columns = task.columns if isinstance(task, TextTask) else None
    return _tried(TextScore(loaded, task_codec(task), columns), task, streams)


def _require_same_tokens(task: LanguageTask, other: LanguageTask, run: StageRun) -> None:
    if _tokens(task) != _tokens(other):
        raise UsageError(
            f"{run.folder} has a different vocabulary ({other.name}, {other.vocab_size} tokens) "
            f"from the policy ({task.name}, {task.vocab_size} tokens), so it would misread the "
            "responses; train it on a policy of the same fine-tuned run"
        )


def _tokens(task: LanguageTask) -> object:
    """Return what is equal for two tasks if their ids mean the same tokens."""
    if isinstance(task, TextTask):
        codec = task.codec
        return codec.digest if isinstance(codec, Tokenizer) else getattr(codec, "vocabulary", None)
    return tuple(task.token_names)
