"""The run of a policy, opened to be judged: its model, its reference, and all scores of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import UsageError
from rlkit.rlhf.data.scores import Score
from rlkit.rlhf.data.tokenizer import TaskCodec
from rlkit.rlhf.exact.answer_key import AnswerKey, TableScore, is_enumerable
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.stages.sources import (
    ScoreSource,
    TaskSource,
    find_parent,
    load_policy,
    parent_of,
    sources_of,
)
from rlkit.rlhf.stages.stage_run import StageRun, load_stage_run
from rlkit.seeding import SeedStreams

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
RunLike = StageRun | str | Path


@dataclass(frozen=True, kw_only=True)
class Judging:
    """What to look at, and by what to judge it."""

    run_seed: int = 0  # which seed of the run
    reward: RunLike | None = None  # run of a reward model; None = the one it was trained on
    reward_seed: int | None = None  # which seed of that; None = the same
    score: str | None = None  # path/to/file.py:function instead
    temperature: float | None = None  # of sampling; None = the one it was trained at
    seed: int = 0  # of what is sampled here


@dataclass(frozen=True)
class Opened:
    """A policy with its reference and its scores."""

    run: StageRun
    seed: int  # which seed of the run
    task: Any
    policy: LanguageModel
    reference: LanguageModel  # what it started from; the policy itself after fine-tuning
    temperature: float
    scores: dict[str, Score]  # by name; the first is what is, or would be, maximised
    key: AnswerKey | None  # where all responses can be listed
    tables: dict[str, Floats]  # the same scores of all responses [Q, C], where there is a key

    @property
    def is_reference(self) -> bool:
        """Whether nothing but fine-tuning was done, so that there is nothing to compare with."""
        return self.policy is self.reference

    @property
    def codec(self) -> Any:
        """Between texts and ids."""
        return getattr(self.task, "codec", None) or TaskCodec(self.task)


def open_policy(run: RunLike, judging: Judging, *, held_out: str | Path | None = None) -> Opened:
    """Open a run of a policy.

    Args:
        run: of "sft", "dpo", "ppo", "rloo" or "grpo", at its end.
        judging: which seed, and which scores.
        held_out: a file of demonstrations that take the place of the run's own in the task.

    Raises:
        UsageError: it is no such run, it is not finished, or a score does not belong to it.
    """
    run = opened_run(run)
    if judging.reward is not None and judging.score is not None:
        raise UsageError("give a reward model (--reward) or a function (--score), not both")
    run.require_seed(judging.run_seed)
    task, policy = load_policy(run, judging.run_seed)
    policy.freeze()
    reference = policy
    if run.stage != "sft":
        _, reference = parent_of(run, "policy").policy(judging.run_seed)
        reference.freeze()
    if held_out is not None:
        task = task_with(run, demonstrations=held_out)
    trained_at = float(run.content["config"].get("temperature", 1.0))
    temperature = trained_at if judging.temperature is None else judging.temperature
    if not 0 < temperature < np.inf:
        raise UsageError(f"option temperature (--temperature): expected > 0, got {temperature}")
    streams = SeedStreams(run.experiment_seed, judging.run_seed)
    sources = _score_sources(run, judging, task)
    scores: dict[str, Score] = {}
    key, tables = None, {}
    if is_enumerable(task):
        # As in training: at temperature 1, where scores have mean 0 and deviation 1.
        key = AnswerKey(task, reference)
    for name, source in sources.items():
        if key is None:
            scores[name] = source.build(task, reference, streams)
            continue
        if name == "gold":
            tables[name] = key.gold
        elif name == "reward":
            model = source.reward_model(task, streams)
            tables[name] = key.standardised(key.tabulate(model.score))
        else:
            tables[name] = key.tabulate(source.build(task, reference, streams))
        scores[name] = TableScore(key, tables[name])
    return Opened(run, judging.run_seed, task, policy, reference, temperature, scores, key, tables)


def opened_run(run: RunLike) -> StageRun:
    """A run from itself or its folder."""
    return run if isinstance(run, StageRun) else load_stage_run(run)


def task_with(run: StageRun, **files: str | Path) -> Any:
    """The task of a run with other files of texts, read by the same tokenizer."""
    task, model = sources_of(run)
    if task.name:
        raise UsageError(
            f"the task {task.name} makes its own texts; a file of {next(iter(files))} belongs to a "
            "policy that was fine-tuned on files"
        )
    kept: dict[str, Any] = dict.fromkeys(("demonstrations", "preferences"))
    kept |= {name: str(path) for name, path in files.items()}
    other: TaskSource = replace(task, **kept).with_digests()
    return other.build(model)


def prompts_of(opened: Opened, texts: Sequence[str]) -> tuple[Any, Ids]:
    """A task that has room for some prompts, and their ids [n, P].

    Raises:
        UsageError: one has unknown tokens, is too long, or is no prompt of a built-in task.
    """
    task = opened.task
    rows = []
    for text in texts:
        try:
            rows.append([int(i) for i in opened.codec.encode(text, prompt=True)])
        except UsageError as error:
            raise UsageError(f"the prompt {text!r}: {error}{example_of(opened)}") from error
        if not rows[-1]:
            raise UsageError(f"the prompt {text!r} has no tokens{example_of(opened)}")
    if hasattr(task, "prompt_index"):
        for text, row in zip(texts, rows, strict=True):
            try:
                if len(row) != task.prompt_length:
                    raise ValueError
                task.prompt_index(np.array([row]))
            except ValueError:
                raise UsageError(
                    f"{text!r} is no prompt of the task {task.name}{example_of(opened)}"
                ) from None
    longest = max(map(len, rows))
    room = opened.policy.context_length - task.max_new_tokens
    if longest > room:
        text = texts[[len(row) for row in rows].index(longest)]
        raise UsageError(
            f"the prompt {text!r} has {longest} tokens; the policy reads at most {room}, which "
            f"leaves {task.max_new_tokens} of its context of {opened.policy.context_length} for "
            "the response"
        )
    if not hasattr(task, "prompt_index"):
        task = copy.copy(task)
        task.prompt_length = max(longest, task.prompt_length)
    ids = np.full((len(rows), task.prompt_length), task.pad, dtype=np.int64)
    for padded, row in zip(ids, rows, strict=True):
        padded[task.prompt_length - len(row) :] = row
    return task, ids


def example_of(opened: Opened) -> str:
    """The end of a message: what a prompt looks like."""
    (prompt,) = opened.task.sample_prompts(np.random.default_rng(0), 1)
    return f"; a prompt is, for example, {opened.codec.decode(prompt.tolist())!r}"


def _score_sources(run: StageRun, judging: Judging, task: Any) -> dict[str, ScoreSource]:
    own = run.content.get("score", {})
    found = {}
    if judging.reward is not None:
        seed = judging.run_seed if judging.reward_seed is None else judging.reward_seed
        found["reward"] = ScoreSource(reward=find_parent(judging.reward, seed))
    elif judging.score is not None:
        found["score"] = ScoreSource(function=judging.score)
    elif "reward" in own:
        found["reward"] = ScoreSource(reward=parent_of(run, "reward"))
    elif "function" in own:
        found["score"] = ScoreSource(function=own["function"], digest=own["digest"])
    if hasattr(task, "gold"):
        found["gold"] = ScoreSource()
    return found
