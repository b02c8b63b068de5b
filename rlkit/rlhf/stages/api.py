"""The stages of RLHF as functions: each trains something and leaves it in a run folder.

    sft = rlkit.rlhf.sft("enumerable", seeds=3)
    reward = rlkit.rlhf.reward(sft, seeds=3, num_pairs=3000)
    ppo = rlkit.rlhf.ppo(sft, reward=reward, seeds=3, kl_coef=0.3)

The same call again goes on where it was interrupted. Seed k of a stage starts from seed k of the
run before it, or from one given seed for all (`parent_seed`).
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rlkit.errors import UsageError
from rlkit.rlhf.data.scores import load_score
from rlkit.rlhf.stages.factories import BuildDPO, BuildPolicy, BuildReward, BuildSFT
from rlkit.rlhf.stages.launch import Execution, config_of, launch, split_execution
from rlkit.rlhf.stages.sources import (
    ModelSource,
    ScoreSource,
    TaskSource,
    find_parent,
    require_gold,
    require_unused,
    sources_of,
)
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.rlhf.training.configs import METHODS, DPOConfig, PolicyConfig, RewardConfig, SFTConfig

RunLike = StageRun | str | Path


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
    execution, options = split_execution(execution, options)
    if isinstance(model, (str, Path)):
        model = ModelSource(path=str(Path(model).resolve()))
    model = model or ModelSource()
    if model.path is not None:
        require_unused(
            model,
            (
                *("width", "num_layers", "num_heads", "dropout", "positions"),
                *("activation", "tied", "init_std"),
            ),
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
    options_of = config_of(SFTConfig, config, options, "sft")
    if given:
        count = len(built.demonstrations()[0])
        options_of = dataclasses.replace(options_of, num_demonstrations=count)
    build = BuildSFT(source, model, options_of)
    num_updates = _num_updates(options_of, options_of.num_demonstrations)
    return launch("sft", source, model, options_of, {}, build, num_updates, execution)


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
    execution, options = split_execution(execution, options)
    parent = find_parent(policy, parent_seed)
    task, model = sources_of(parent.open())
    model = dataclasses.replace(model, adapter_rank=None)
    task = _with_preferences(task, preferences)
    config = config_of(RewardConfig, config, options, "reward")
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
    return launch("reward", task, model, config, {"policy": parent}, build, num_updates, execution)


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
    execution, options = split_execution(execution, options)
    parent = find_parent(policy, parent_seed)
    task, model = sources_of(parent.open())
    model = dataclasses.replace(model, adapter_rank=None)
    task = _with_preferences(task, preferences)
    config = config_of(DPOConfig, config, options, "dpo")
    count, config = _number_of_preferences(task, model, config)
    build = BuildDPO(task, model, parent, config)
    num_updates = _num_updates(config, count)
    return launch("dpo", task, model, config, {"policy": parent}, build, num_updates, execution)


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
    execution, options = split_execution(execution, options)
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
    config = config_of(METHODS[method], config, options, method)
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
    return launch(
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
