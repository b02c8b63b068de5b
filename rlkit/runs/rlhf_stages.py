"""The stages of RLHF as functions: each trains something and leaves it in a run folder.

    sft = rlkit.rlhf.fine_tuning("enumerable", seeds=3)
    reward = rlkit.rlhf.reward(sft, seeds=3, num_pairs=3000)
    ppo = rlkit.rlhf.ppo(sft, reward=reward, seeds=3, kl_coef=0.3)

The same call again goes on where it was interrupted. Seed k of a stage starts from seed k of the
run before it, or from one given seed for all (`parent_seed`).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.errors import UsageError
from rlkit.rlhf.answer_key import AnswerKey, GoldScore, demonstrations_of, is_enumerable
from rlkit.rlhf.configs import METHODS, DPOConfig, PolicyConfig, RewardConfig, SFTConfig
from rlkit.rlhf.direct_preference import direct_preference_optimisation
from rlkit.rlhf.fine_tuning import supervised_fine_tuning
from rlkit.rlhf.policy import KLPenalisedPolicy
from rlkit.rlhf.preferences import (
    Labels,
    Preferences,
    responses_from,
    sample_comparisons,
    sample_labels,
    sample_preferences,
)
from rlkit.rlhf.reward_model import Examples, RewardModel, fit_reward_model
from rlkit.rlhf.scores import load_score
from rlkit.rlhf.sequences import Sequences, from_arrays
from rlkit.rlhf.supervised import Supervised
from rlkit.runs.rlhf_adapters import with_adapters
from rlkit.runs.rlhf_sources import (
    ModelSource,
    Parent,
    ScoreSource,
    TaskSource,
    find_parent,
    plain,
    reference_of,
    require_gold,
    require_unused,
    sources_of,
)
from rlkit.runs.specification import known_options
from rlkit.runs.stage_run import StageRun
from rlkit.runs.stages import Stage, StageSpec, run_stage
from rlkit.runs.training import Reports
from rlkit.seeding import SeedStreams

RunLike = StageRun | str | Path


@dataclass(frozen=True)
class Execution:
    """How a stage is run, which changes nothing in its results."""

    seeds: int = 1
    seed: int = 0  # of the experiment, from which all are drawn; this one does matter
    out: str | Path = "runs"
    workers: int = 1
    allow_drift: bool = False
    reports: Reports | None = None


def sft(
    task: str = "",
    *,
    demonstrations: str | Path | None = None,
    prompts: str | Path | None = None,
    preferences: str | Path | None = None,
    tokenizer: str = "char",
    vocab_size: int | None = None,
    max_new_tokens: int | None = None,
    model: ModelSource | str | Path | None = None,
    config: SFTConfig | None = None,
    execution: Execution | None = None,
    **options: Any,
) -> StageRun:
    """Supervised fine-tuning on a built-in task's demonstrations, or on files of your own.

    Args:
        task: "enumerable", "grammar", or empty with files.
        demonstrations: a file of {"prompt", "response"} lines.
        prompts: a file of {"prompt"} lines that later stages respond to.
        preferences: a file that later stages learn from; given here already, so that the tokenizer
            knows its words.
        tokenizer: "char", "word" or "bpe", trained on all of these files.
        vocab_size: of a byte-pair tokenizer.
        max_new_tokens: the longest response, EOS included; the longest of the files if left out.
        model: sizes of the transformer, or the local folder of a Hugging Face model.
        config: all options; or give single ones by name.
        execution: seeds, folder, workers; or give `seeds`, `seed`, `out`, `workers` by name.

    Returns:
        The run. Its metric `loss` is the negative log-likelihood of a response token, in nats.
    """
    execution, options = _execution(execution, options)
    if isinstance(model, (str, Path)):
        model = ModelSource(path=str(Path(model).resolve()))
    model = model or ModelSource()
    if model.path is not None:
        require_unused(
            model,
            ("width", "num_layers", "num_heads", "dropout", "positions"),
            f"the model in {model.path} has its own",
        )
    model = model.with_digest()
    files = {"prompts": prompts, "demonstrations": demonstrations, "preferences": preferences}
    given: dict[str, Any] = {name: str(path) for name, path in files.items() if path is not None}
    if bool(task) == bool(given):
        raise UsageError(
            "say what to learn from: either a built-in task (enumerable, grammar) or "
            "demonstrations=FILE of your own" + (", not both" if task else "")
        )
    if task and model.path is not None:
        raise UsageError(
            f"the task {task} has its own tokens, which the model in {model.path} does not know; "
            "give that model texts, by demonstrations=FILE (--demonstrations)"
        )
    if given and demonstrations is None:
        raise UsageError("supervised fine-tuning needs demonstrations=FILE (--demonstrations)")
    source = TaskSource(
        name=task,
        tokenizer=tokenizer,
        vocab_size=vocab_size,
        max_new_tokens=max_new_tokens,
        **given,
    ).with_digests()
    if task:
        reason = f"the task {task} has its own tokens and longest response"
        require_unused(source, ("tokenizer", "vocab_size", "max_new_tokens"), reason)
    elif model.path is not None:
        reason = f"the model in {model.path} has its own tokenizer"
        require_unused(source, ("tokenizer", "vocab_size"), reason)
    built = source.build(model)
    if given and model.path is None:
        source = dataclasses.replace(source, trained_tokenizer=built.codec.to_json().decode())
    if given:
        source = dataclasses.replace(source, max_new_tokens=built.max_new_tokens)
        if model.context_length is None:  # what later stages have to fit into
            needed = built.prompt_length + built.max_new_tokens
            model = dataclasses.replace(model, context_length=needed)
    options_of = _config(SFTConfig, config, options, "sft")
    if given:
        count = len(built.demonstrations()[0])
        options_of = dataclasses.replace(options_of, num_demonstrations=count)
    build = BuildSFT(source, model, options_of)
    num_updates = _num_updates(options_of, options_of.num_demonstrations)
    return _run("sft", source, model, options_of, {}, build, num_updates, execution)


@dataclass(frozen=True)
class BuildSFT:
    """Makes one seed of supervised fine-tuning."""

    task: TaskSource
    model: ModelSource
    config: SFTConfig

    def __call__(self, streams: SeedStreams) -> Supervised:
        task = self.task.build(self.model)
        model = self.model.build(task, streams)
        if self.task.name:
            rng = streams.generator("data")
            shown = demonstrations_of(task, rng, self.config.num_demonstrations)
        else:
            shown = from_arrays(*task.demonstrations(), pad=task.pad)
        return supervised_fine_tuning(model, shown, self.config, streams)


def reward(
    policy: RunLike,
    *,
    preferences: str | Path | None = None,
    parent_seed: int | None = None,
    config: RewardConfig | None = None,
    execution: Execution | None = None,
    **options: Any,
) -> StageRun:
    """A reward model, on the trunk of a fine-tuned policy.

    Args:
        policy: the run of `sft`.
        preferences: a file of pairs or labels; that of the policy's run if left out. Built-in tasks
            draw theirs from the gold reward.
        parent_seed: the seed of `policy` that all seeds start from; None = seed k from seed k.
        config: all options; or give single ones by name.
        execution: as for `sft`.

    Returns:
        The run; its metrics are `accuracy` on the minibatches, and `held_out_loss`.
    """
    execution, options = _execution(execution, options)
    parent = find_parent(policy, parent_seed)
    task, model = sources_of(parent.open())
    model = dataclasses.replace(model, adapter_rank=None)
    task = _with_preferences(task, preferences)
    config = _config(RewardConfig, config, options, "reward")
    if not task.name and config.responses_per_prompt != 2:
        raise UsageError(
            "option responses_per_prompt (--responses-per-prompt): a file is learned from pair by "
            f"pair; leave it out, got {config.responses_per_prompt}"
        )
    _, config = _number_of_preferences(task, model, config)
    count = config.num_examples
    held_out = config.num_held_out(count)
    build = BuildReward(task, model, parent, config)
    num_updates = _num_updates(config.passes(count - held_out), count - held_out)
    return _run("reward", task, model, config, {"policy": parent}, build, num_updates, execution)


@dataclass(frozen=True)
class BuildReward:
    """Makes one seed of a reward model."""

    task: TaskSource
    model: ModelSource
    parent: Parent
    config: RewardConfig

    def __call__(self, streams: SeedStreams) -> Supervised:
        _, policy = self.parent.policy(streams.index)
        task = self.task.build(self.model)
        data = examples_of(task, policy, self.config, streams)
        (samples,) = responses_from(policy, task, streams.generator("data", 1), 4096)
        model = RewardModel(policy, streams.generator("init"))
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return fit_reward_model(model, data, samples, self.config, streams)


def dpo(
    policy: RunLike,
    *,
    preferences: str | Path | None = None,
    parent_seed: int | None = None,
    config: DPOConfig | None = None,
    execution: Execution | None = None,
    **options: Any,
) -> StageRun:
    """Direct preference optimisation of a fine-tuned policy; arguments as for `reward`."""
    execution, options = _execution(execution, options)
    parent = find_parent(policy, parent_seed)
    task, model = sources_of(parent.open())
    model = dataclasses.replace(model, adapter_rank=None)
    task = _with_preferences(task, preferences)
    config = _config(DPOConfig, config, options, "dpo")
    count, config = _number_of_preferences(task, model, config)
    build = BuildDPO(task, model, parent, config)
    num_updates = _num_updates(config, count)
    return _run("dpo", task, model, config, {"policy": parent}, build, num_updates, execution)


@dataclass(frozen=True)
class BuildDPO:
    """Makes one seed of direct preference optimisation."""

    task: TaskSource
    model: ModelSource
    parent: Parent
    config: DPOConfig

    def __call__(self, streams: SeedStreams) -> Supervised:
        _, policy = self.parent.policy(streams.index)
        task = self.task.build(self.model)
        if not hasattr(task, "gold") and isinstance(task.preferences(), Labels):
            raise UsageError("dpo needs pairs, {prompt, chosen, rejected}; the file holds labels")
        data = preferences_of(task, policy, self.config.num_pairs, streams)
        assert isinstance(data, Preferences)
        reference = reference_of(policy)
        return direct_preference_optimisation(policy, reference, data, self.config, streams)


def ppo(policy: RunLike, **arguments: Any) -> StageRun:
    """PPO-clip with a KL penalty; arguments as for `policy_gradient`."""
    return policy_gradient("ppo", policy, **arguments)


def rloo(policy: RunLike, **arguments: Any) -> StageRun:
    """RLOO with a KL penalty; arguments as for `policy_gradient`."""
    return policy_gradient("rloo", policy, **arguments)


def grpo(policy: RunLike, **arguments: Any) -> StageRun:
    """GRPO with a KL penalty; arguments as for `policy_gradient`."""
    return policy_gradient("grpo", policy, **arguments)


def policy_gradient(
    method: str,
    policy: RunLike,
    *,
    reward: RunLike | None = None,
    score: str | Callable[..., Any] | None = None,
    prompts: str | Path | None = None,
    adapter_rank: int | None = None,
    parent_seed: int | None = None,
    config: PolicyConfig | None = None,
    execution: Execution | None = None,
    **options: Any,
) -> StageRun:
    """Maximise a score, less the KL divergence from the policy as it was.

    Args:
        method: "ppo", "rloo" or "grpo".
        policy: the run of the policy to start from, which is also the reference.
        reward: the run of a reward model; or
        score: a function of prompts and responses, "path/to/file.py:name", "module:name" or the
            function itself if it can be imported by that name; with neither, the built-in task's
            own gold reward.
        prompts: a file of {"prompt"} lines; the policy's own if left out.
        adapter_rank: train low-rank adapters of this rank instead of all weights.
        parent_seed: the seed of `policy` and `reward` that all seeds start from; None = seed k
            from seed k.
        config: all options; or give single ones by name.
        execution: as for `sft`.

    Returns:
        The run; see docs for its metrics.
    """
    execution, options = _execution(execution, options)
    if reward is not None and score is not None:
        raise UsageError("give a reward model (reward) or a function (score), not both")
    parent = find_parent(policy, parent_seed)
    task, model = sources_of(parent.open())
    if prompts is not None and task.name:
        raise UsageError(
            f"the task {task.name} has its own prompts; a file of prompts belongs to a policy "
            "that was fine-tuned on files"
        )
    if prompts is not None:
        task = dataclasses.replace(task, prompts=str(prompts)).with_digests()
    if adapter_rank is not None and adapter_rank < 1:
        raise UsageError(
            "option adapter_rank (--adapter-rank): expected a whole number >= 1, got "
            f"{adapter_rank}"
        )
    model = dataclasses.replace(model, adapter_rank=adapter_rank)
    config = _config(METHODS[method], config, options, method)
    parents = {"policy": parent}
    source = ScoreSource()
    if score is not None:
        source = _score_source(score)
    elif reward is not None:
        parents["reward"] = find_parent(reward, parent_seed)
        source = ScoreSource(reward=parents["reward"])
    else:
        require_gold(task.build(model))
    build = BuildPolicy(task, model, parent, source, config)
    extra = {"score": source.identity()}
    return _run(
        method, task, model, config, parents, build, config.num_updates, execution, extra=extra
    )


def _score_source(score: str | Callable[..., Any]) -> ScoreSource:
    """How a run remembers a function: by the name under which it is found again."""
    if not isinstance(score, str):
        loaded = load_score(score)
        module, _, name = loaded.reference.rpartition(":")
        found = getattr(sys.modules.get(module), name, None)
        if module == "__main__" or found is not score:
            raise UsageError(
                f"score: a run remembers a function by its name, and {loaded.reference} cannot be "
                "imported by it; put the function into a file and give "
                "score='path/to/file.py:name'"
            )
        return ScoreSource(function=loaded.reference, digest=loaded.digest)
    head, _, name = score.rpartition(":")
    reference = f"{Path(head).resolve()}:{name}" if Path(head).is_file() else score
    return ScoreSource(function=reference, digest=load_score(reference).digest)


@dataclass(frozen=True)
class BuildPolicy:
    """Makes one seed of PPO, RLOO or GRPO."""

    task: TaskSource
    model: ModelSource
    parent: Parent
    score: ScoreSource
    config: PolicyConfig

    def __call__(self, streams: SeedStreams) -> KLPenalisedPolicy:
        _, policy = self.parent.policy(streams.index)
        task = self.task.build(self.model)
        reference = reference_of(policy)
        score = self.score.build(task, reference, streams)
        if self.model.adapter_rank is not None:
            policy = with_adapters(policy, self.model.adapter_rank, streams)
            # With the adapters off the policy is the reference, so its copy is free for the critic.
            return KLPenalisedPolicy(
                policy, None, score, task, self.config, streams, critic_trunk=reference
            )
        for parameter in policy.parameters():
            parameter.requires_grad_(True)
        return KLPenalisedPolicy(policy, reference, score, task, self.config, streams)


def examples_of(task: Any, policy: Any, config: RewardConfig, streams: SeedStreams) -> Examples:
    """What a reward model learns from: see `preferences_of`, or all pairs of several responses."""
    if config.responses_per_prompt == 2:
        pointwise = config.loss == "pointwise"
        return preferences_of(task, policy, config.num_pairs, streams, pointwise=pointwise)
    rng, gold = streams.generator("data"), gold_score(task, policy, streams)
    prompts, responses = config.num_examples, config.responses_per_prompt
    return sample_comparisons(policy, task, gold, rng, prompts, responses)


def preferences_of(
    task: Any, policy: Any, n: int, streams: SeedStreams, *, pointwise: bool = False
) -> Preferences | Labels:
    """A file's preferences or labels, or n that follow a built-in task's gold reward.

    The gold reward is standardised under the policy that the responses come from.
    """
    if not hasattr(task, "gold"):
        data: Preferences | Labels = task.preferences()
        if pointwise != isinstance(data, Labels):
            form = "labels" if isinstance(data, Labels) else "pairs"
            raise UsageError(
                f"the file of preferences holds {form}; use --loss "
                f"{'pointwise' if form == 'labels' else 'pairwise'}"
            )
        return data
    rng = streams.generator("data")
    gold = gold_score(task, policy, streams)
    if pointwise:
        return sample_labels(policy, task, gold, rng, n)
    return sample_preferences(policy, task, gold, rng, n)


def gold_score(task: Any, reference: Any, streams: SeedStreams) -> Callable[[Sequences], Any]:
    """A task's gold reward, with mean 0 and deviation 1 under the reference."""
    if is_enumerable(task):
        key = AnswerKey(task, reference)
        return lambda sequences: key.gain * _raw(task, sequences) + key.bias
    (samples,) = responses_from(reference, task, streams.generator("data", 2), 4096)
    return GoldScore(task, samples)


def _raw(task: Any, sequences: Sequences) -> Any:
    return task.gold(sequences.prompts.numpy(), sequences.responses.numpy())


def _with_preferences(task: TaskSource, preferences: str | Path | None) -> TaskSource:
    if preferences is None:
        return task
    if task.name:
        raise UsageError(
            f"the task {task.name} draws its preferences from its gold reward; a file of "
            "preferences belongs to a policy that was fine-tuned on files"
        )
    return dataclasses.replace(task, preferences=str(preferences)).with_digests()


def _number_of_preferences(task: TaskSource, model: ModelSource, config: Any) -> tuple[int, Any]:
    """How many there are: as many as asked of a built-in task, all of a file."""
    if task.name:
        return config.num_pairs, config
    count = len(task.build(model).preferences())
    return count, dataclasses.replace(config, num_pairs=count)


def _num_updates(config: Any, num_examples: int) -> int:
    return int(config.num_epochs * -(-num_examples // config.batch_size))


def _config(config_class: Any, config: Any, options: dict[str, Any], stage: str) -> Any:
    if config is not None:
        if options:
            raise UsageError(f"give {stage} either a config or single options, not both")
        return config
    known_options(f"the stage {stage}", config_class, options)
    return config_class(**options)


def _execution(
    execution: Execution | None, options: dict[str, Any]
) -> tuple[Execution, dict[str, Any]]:
    names = [field.name for field in dataclasses.fields(Execution)]
    own = {name: options[name] for name in names if name in options}
    rest = {name: value for name, value in options.items() if name not in own}
    return dataclasses.replace(execution or Execution(), **own), rest


def _run(
    stage: str,
    task: TaskSource,
    model: ModelSource,
    config: Any,
    parents: dict[str, Parent],
    build: Callable[[SeedStreams], Stage],
    num_updates: int,
    execution: Execution,
    *,
    extra: dict[str, Any] | None = None,
) -> StageRun:
    is_policy = isinstance(config, PolicyConfig)
    spec = StageSpec(
        stage=stage,
        label=task.label,
        content={
            "task": task.identity(),
            "model": model.identity(),
            "config": plain(config),
            "parents": {name: parent.identity() for name, parent in parents.items()},
            **(extra or {}),
        },
        sources={
            "task": plain(task),
            "model": plain(model),
            "parents": {name: plain(parent) for name, parent in parents.items()},
        },
        experiment_seed=execution.seed,
        num_updates=num_updates,
        spans_run=True,
        build=build,
        record_every=1 if is_policy else 10,
        save_every=5 if is_policy else 50,
    )
    return run_stage(
        spec,
        execution.seeds,
        execution.out,
        workers=execution.workers,
        reports=execution.reports,
        allow_drift=execution.allow_drift,
    )
