"""The stages of RLHF as functions: each trains a model and leaves it in the folder of a run.

    sft = rlkit.rlhf.sft("enumerable", seeds=3)
    reward = rlkit.rlhf.reward(sft, seeds=3, num_pairs=3000)
    ppo = rlkit.rlhf.ppo(sft, reward=reward, seeds=3, kl_coef=0.3)

The same call again continues where the run was interrupted. Seed k of a stage starts from seed k of
the run before it, or every seed from one given seed (`parent_seed`).

Every function takes the options of its configuration by name, and those of the run: `seeds`,
`seed`, `out`, `workers` and `allow_drift` (see `RunOptions`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlkit.errors import UsageError
from rlkit.rlhf.data.tokenizer import Tokenizer, TokenizerKind
from rlkit.rlhf.models.gpt import GPTSize
from rlkit.rlhf.stages.defaults import default_model, default_options
from rlkit.rlhf.stages.factories import DPOFactory, PolicyFactory, RewardFactory, SFTFactory
from rlkit.rlhf.stages.from_python import ScoresLike, Texts, text_file, weighted_sources
from rlkit.rlhf.stages.launch import RunOptions, launch, resolve_config, split_options
from rlkit.rlhf.stages.loading import POLICY_PREFIX, require_gold
from rlkit.rlhf.stages.score_sources import ScoreSource, reward_source, sum_of
from rlkit.rlhf.stages.sources import (
    FIELDS,
    GPT_SIZES,
    ModelSource,
    Parent,
    TaskSource,
    as_parent,
    load_sources,
    require_unused,
)
from rlkit.rlhf.stages.stage_run import RunLike, StageRun
from rlkit.rlhf.training.configs import METHODS, DPOConfig, PolicyConfig, RewardConfig, SFTConfig
from rlkit.runs.reports import Reports


def sft(
    task: str = "",
    *,
    demonstrations: Texts | None = None,
    prompts: Texts | None = None,
    preferences: Texts | None = None,
    tokenizer: TokenizerKind = "char",
    vocab_size: int | None = None,
    max_new_tokens: int | None = None,
    fields: Mapping[str, str] | None = None,
    adapter_rank: int | None = None,
    adapter_targets: Sequence[str] | None = None,
    model: GPTSize | str | Path | None = None,
    config: SFTConfig | None = None,
    reports: Reports | None = None,
    **options: Any,
) -> StageRun:
    """Fine-tune a language model on a built-in task's demonstrations, or on your own files.

    Args:
        task: "enumerable" or "grammar"; omit it with files.
        demonstrations: a file of {"prompt", "response"} lines, or a list of such dictionaries;
            likewise the next.
        prompts: a file of {"prompt"} lines, which later stages respond to.
        preferences: a file that later stages learn from; given here already, so that the tokenizer
            knows its words.
        tokenizer: "char", "word" or "bpe", trained on all of these files.
        vocab_size: of a byte-pair tokenizer.
        max_new_tokens: the longest response, EOS included; by default that of the files.
        fields: the files' name of each field that has another there: {"response": "answer"}.
        model: the size of a GPT, or the local folder of a Hugging Face model; None = a small GPT,
            with files that of `defaults.MODEL_OF_TEXTS`.
        adapter_rank: train low-rank adapters of this rank instead of all weights of that model.
        adapter_targets: see `policy_gradient`.
        config: all options of `SFTConfig`, instead of single ones by name.
        reports: where to report progress; by default nowhere.
        options: single options of `SFTConfig`, and those of the run.

    Returns:
        The run. Its metric `loss` is the negative log-likelihood per response token, in nats.
    """
    out = options.get("out", RunOptions.out)
    source = TaskSource(
        name=task,
        demonstrations=text_file(demonstrations, "demonstrations", out),
        prompts=text_file(prompts, "prompts", out),
        preferences=text_file(preferences, "preferences", out),
        tokenizer=tokenizer,
        vocab_size=vocab_size,
        max_new_tokens=max_new_tokens,
    )
    source = dataclasses.replace(source, **_field_names(fields))
    if isinstance(model, GPTSize) and not isinstance(model, ModelSource):
        sizes = {name: getattr(model, name) for name in GPT_SIZES}
        model = ModelSource(**sizes, context_length=getattr(model, "context_length", None))
    if not isinstance(model, ModelSource):
        model = default_model(source, ModelSource(path=_text(model)), ())
    if adapter_rank is not None or adapter_targets is not None:
        model = model.with_adapters(adapter_rank, adapter_targets)
    return fine_tune(source, model, config=config, reports=reports, **options)


def fine_tune(
    task: TaskSource,
    model: ModelSource,
    *,
    config: SFTConfig | None = None,
    reports: Reports | None = None,
    **options: Any,
) -> StageRun:
    """Fine-tune a language model; see `sft`."""
    run_options, options = split_options(options)
    if model.path is not None:
        require_unused(model, GPT_SIZES, f"the model in {model.path} has its own")
    model = model.with_adapters(model.adapter_rank, model.adapter_targets).with_digest()
    if model.adapter_rank is not None and model.path is None:
        raise UsageError(
            "option adapter_rank (--adapter-rank): a GPT from scratch has nothing to adapt; omit "
            "it, or give a pretrained model (--model)"
        )
    _require_one_task(task, model)
    task = task.with_digests()
    num_demonstrations = None
    if task.name:
        reason = f"the task {task.name} has its own tokens and longest response"
        require_unused(task, ("tokenizer", "vocab_size", "max_new_tokens"), reason)
        task.build(model)  # rejects an unknown task
    else:
        task, model, num_demonstrations = _settle_texts(task, model)
    options = default_options("sft", task, model, options) if config is None else options
    config = resolve_config("sft", SFTConfig, config, options)
    if num_demonstrations is not None:
        config = dataclasses.replace(config, num_demonstrations=num_demonstrations)
    factory = SFTFactory(task=task, model=model, config=config)
    num_updates = _num_updates(config, config.num_demonstrations)
    return launch("sft", factory, num_updates, run_options, reports)


def reward(
    policy: RunLike,
    *,
    preferences: Texts | None = None,
    adapter_rank: int | None = None,
    adapter_targets: Sequence[str] | None = None,
    parent_seed: int | None = None,
    config: RewardConfig | None = None,
    reports: Reports | None = None,
    **options: Any,
) -> StageRun:
    """Train a reward model that starts from a fine-tuned policy.

    Args:
        policy: the run of `sft`.
        preferences: a file of pairs or labels; by default that of the policy's run. Built-in tasks
            draw theirs from the gold reward.
        adapter_rank: train the head and low-rank adapters of this rank instead of all weights.
        adapter_targets: see `policy_gradient`.
        parent_seed: the seed of `policy` that all seeds start from; None = seed k from seed k.
        config: all options of `RewardConfig`, instead of single ones by name.
        reports: where to report progress; by default nowhere.
        options: single options of `RewardConfig`, and those of the run.

    Returns:
        The run. Its metrics are `accuracy` on the minibatches, and `held_out_loss`.
    """
    run_options, options = split_options(options)
    parent, task, model = _inputs(policy, parent_seed, run_options)
    task = _with_preferences(task, text_file(preferences, "preferences", run_options.out))
    model = model.with_adapters(adapter_rank, adapter_targets)
    options = default_options("reward", task, model, options) if config is None else options
    config = resolve_config("reward", RewardConfig, config, options)
    if not task.name and config.responses_per_prompt != 2:
        raise UsageError(
            "option responses_per_prompt (--responses-per-prompt): a file is learned from pair by "
            f"pair; omit it, got {config.responses_per_prompt}"
        )
    num_pairs = _num_preferences(task, model, config.num_pairs)
    if num_pairs < 2:
        raise UsageError(
            f"the file of preferences, {task.preferences}, has one line, expected at least two: "
            "one to learn from and one held out"
        )
    config = dataclasses.replace(config, num_pairs=num_pairs)
    factory = RewardFactory(task=task, model=model, parent=parent, config=config)
    num_updates = _num_updates(config, config.num_examples)
    return launch("reward", factory, num_updates, run_options, reports)


def dpo(
    policy: RunLike,
    *,
    preferences: Texts | None = None,
    adapter_rank: int | None = None,
    adapter_targets: Sequence[str] | None = None,
    parent_seed: int | None = None,
    config: DPOConfig | None = None,
    reports: Reports | None = None,
    **options: Any,
) -> StageRun:
    """Train a fine-tuned policy on preferences directly (DPO); arguments as for `reward`."""
    run_options, options = split_options(options)
    parent, task, model = _inputs(policy, parent_seed, run_options)
    task = _with_preferences(task, text_file(preferences, "preferences", run_options.out))
    model = model.with_adapters(adapter_rank, adapter_targets)
    options = default_options("dpo", task, model, options) if config is None else options
    config = resolve_config("dpo", DPOConfig, config, options)
    config = dataclasses.replace(config, num_pairs=_num_preferences(task, model, config.num_pairs))
    factory = DPOFactory(task=task, model=model, parent=parent, config=config)
    return launch("dpo", factory, _num_updates(config, config.num_pairs), run_options, reports)


def ppo(policy: RunLike, **arguments: Any) -> StageRun:
    """Train a policy by PPO-clip with a KL penalty; arguments as for `policy_gradient`."""
    return policy_gradient("ppo", policy, **arguments)


def rloo(policy: RunLike, **arguments: Any) -> StageRun:
    """Train a policy by RLOO with a KL penalty; arguments as for `policy_gradient`."""
    return policy_gradient("rloo", policy, **arguments)


def grpo(policy: RunLike, **arguments: Any) -> StageRun:
    """Train a policy by GRPO with a KL penalty; arguments as for `policy_gradient`."""
    return policy_gradient("grpo", policy, **arguments)


def policy_gradient(
    method: str,
    policy: RunLike,
    *,
    reward: RunLike | None = None,
    score: ScoresLike | None = None,
    prompts: Texts | None = None,
    adapter_rank: int | None = None,
    adapter_targets: Sequence[str] | None = None,
    parent_seed: int | None = None,
    config: PolicyConfig | None = None,
    reports: Reports | None = None,
    **options: Any,
) -> StageRun:
    """Train a policy to maximise a score minus the KL divergence from where it started.

    Args:
        method: "ppo", "rloo" or "grpo".
        policy: the run of the policy to start from, which is also the reference.
        reward: the run of a reward model, or the folder of a Hugging Face sequence classifier with
            one label, which reads the texts by its own tokenizer and chat template.
        score: a function of prompts and responses, "path/to/file.py:name", "module:name" or the
            function itself; with a weight "0.5*path/to/file.py:name" or (0.5, function); or a list
            of these, whose weighted sum is maximised. With `reward` as well, its score is added.
            Without either, the score is the built-in task's own gold reward.
        prompts: a file of {"prompt"} lines; by default the policy's own.
        adapter_rank: train low-rank adapters of this rank instead of all weights.
        adapter_targets: last parts of the names of the layers that get adapters; None = those that
            suit the model.
        parent_seed: the seed of `policy` and `reward` that all seeds start from; None = seed k
            from seed k.
        config: all options of the method's configuration, instead of single ones by name.
        reports: where to report progress; by default nowhere.
        options: single options of the configuration, and those of the run.

    Returns:
        The run; docs/rlhf.md explains its metrics.
    """
    run_options, options = split_options(options)
    parent, task, model = _inputs(policy, parent_seed, run_options)
    task = _with_prompts(task, text_file(prompts, "prompts", run_options.out))
    model = model.with_adapters(adapter_rank, adapter_targets, critic=True)
    options = default_options(method, task, model, options) if config is None else options
    config = resolve_config(method, METHODS[method], config, options)
    parts = weighted_sources(score, run_options.workers)
    if reward is not None:
        parts.insert(0, (1.0, reward_source(reward, parent_seed, run_options.out)))
    if parts:
        source = sum_of(parts)
    else:
        require_gold(task.build(model))
        source = ScoreSource()
    factory = PolicyFactory(task=task, model=model, parent=parent, score=source, config=config)
    identity = source.identity()
    return launch(method, factory, config.num_updates, run_options, reports, score=identity)


def _field_names(fields: Mapping[str, str] | None) -> dict[str, Any]:
    for name in fields or {}:
        if name not in FIELDS:
            raise UsageError(f"fields: expected {', '.join(FIELDS)}, got {name!r}")
    return {f"{name}_field": other for name, other in (fields or {}).items()}


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)


def _require_one_task(task: TaskSource, model: ModelSource) -> None:
    """Require either a built-in task, or demonstrations in a file."""
    has_files = any((task.prompts, task.demonstrations, task.preferences))
    if bool(task.name) == has_files:
        raise UsageError(
            "give either a built-in task (enumerable, grammar) or demonstrations=FILE "
            "(--demonstrations)" + (", not both" if task.name else "")
        )
    if task.name and model.path is not None:
        raise UsageError(
            f"the task {task.name} has its own tokens, which the model in {model.path} does not "
            "know; give that model texts with demonstrations=FILE (--demonstrations)"
        )
    if has_files and task.demonstrations is None:
        raise UsageError("supervised fine-tuning needs demonstrations=FILE (--demonstrations)")


def _settle_texts(task: TaskSource, model: ModelSource) -> tuple[TaskSource, ModelSource, int]:
    """Fix what later stages must not change: tokenizer, longest response and context length.

    Returns:
        the task, the model, and the number of demonstrations.
    """
    if model.path is not None:
        reason = f"the model in {model.path} has its own tokenizer"
        require_unused(task, ("tokenizer", "vocab_size"), reason)
    built = task.build_texts(model)
    task = dataclasses.replace(task, max_new_tokens=built.max_new_tokens)
    if isinstance(built.codec, Tokenizer):
        task = dataclasses.replace(task, trained_tokenizer=built.codec.to_json().decode())
    if model.context_length is None:
        needed = built.prompt_length + built.max_new_tokens
        model = dataclasses.replace(model, context_length=needed)
    return task, model, len(built.demonstrations()[0])


def _inputs(
    policy: RunLike, parent_seed: int | None, options: RunOptions
) -> tuple[Parent, TaskSource, ModelSource]:
    """Return the policy to start from, and the task and the model that it was made from."""
    parent = as_parent(policy, parent_seed, POLICY_PREFIX, options.out)
    task, model = load_sources(parent.open())
    return parent, task, model.with_adapters(None, None)


def _with_prompts(task: TaskSource, prompts: str | None) -> TaskSource:
    if prompts is None:
        return task
    if task.name:
        raise UsageError(
            f"the task {task.name} has its own prompts; a file of prompts belongs to a policy "
            "that was fine-tuned on files"
        )
    return dataclasses.replace(task, prompts=prompts).with_digests()


def _with_preferences(task: TaskSource, preferences: str | None) -> TaskSource:
    if preferences is None:
        return task
    if task.name:
        raise UsageError(
            f"the task {task.name} draws its preferences from its gold reward; a file of "
            "preferences belongs to a policy that was fine-tuned on files"
        )
    return dataclasses.replace(task, preferences=preferences).with_digests()


def _num_preferences(task: TaskSource, model: ModelSource, num_pairs: int) -> int:
    """Return the number of preferences: as given for a built-in task, all of a file."""
    return num_pairs if task.name else len(task.build_texts(model).preferences())


def _num_updates(config: SFTConfig | RewardConfig | DPOConfig, num_examples: int) -> int:
    num_training = num_examples - config.num_held_out(num_examples)
    passes = config.passes(num_training)
    return passes.num_epochs * -(-num_training // passes.batch_size)
