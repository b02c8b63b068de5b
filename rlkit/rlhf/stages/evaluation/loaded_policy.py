"""Load a trained policy for evaluation, with its reference and scorers."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from tyro.conf import UseAppendAction, arg

from rlkit.configuration import known_options
from rlkit.errors import UsageError
from rlkit.rlhf.data.codec import TextCodec
from rlkit.rlhf.data.scores import Score, WeightedScores
from rlkit.rlhf.data.task import EnumerableTask, GoldTask, LanguageTask
from rlkit.rlhf.data.text_encoding import encode_prompt
from rlkit.rlhf.data.text_task import TextTask
from rlkit.rlhf.exact.answer_key import AnswerKey, TableScore, is_enumerable
from rlkit.rlhf.models.device import Device, placing, require_device
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.models.memory import MEMORY_GB
from rlkit.rlhf.stages.from_python import weighted_sources
from rlkit.rlhf.stages.loading import (
    POLICY_PREFIX,
    build_score,
    load_parent_policy,
    load_parent_reward_model,
    load_policy,
    task_codec,
    task_with_files,
)
from rlkit.rlhf.stages.score_sources import (
    ScoreSource,
    from_words,
    in_words,
    reward_source,
    stored_score,
    sum_of,
)
from rlkit.rlhf.stages.sources import stored_parent
from rlkit.rlhf.stages.stage_run import RunLike, StageRun, as_run
from rlkit.runs.integrity.trust import trusting
from rlkit.runs.progress import warn
from rlkit.seeding import SeedStreams

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]
Scores = Annotated[tuple[str, ...], UseAppendAction, arg(metavar="[WEIGHT*]FILE:FUNCTION")]


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """Which seed of a run to evaluate, and by which score."""

    run_seed: int = 0  # seed of RUN, >= 0
    # run of a reward model, or folder of a Hugging Face sequence classifier with one label; None =
    # what RUN was trained on
    reward: Path | None = None
    reward_seed: int | None = None  # seed of the reward model's run; None = run_seed
    # [WEIGHT*]path/to/file.py:function(prompts, responses) -> numbers; repeat it for a sum with
    # weights, to which the score of --reward is added
    score: Scores = ()
    temperature: float | None = None  # of sampling, > 0; None = as RUN was trained
    seed: int = 0  # seed of the sampling, >= 0
    memory_gb: float = MEMORY_GB  # for what the rows of a batch need beside the weights, > 0
    # updates of RUN after which to look at it, which must be those of a checkpoint; None = the end
    at: int | None = None
    device: Device = "cpu"  # where the models are: cpu, cuda or mps
    # run the code that RUN names although it was not trained on this machine from that code
    trust: bool = False

    def generator(self) -> np.random.Generator:
        """Return the source of randomness of an evaluation."""
        if isinstance(self.seed, bool) or self.seed < 0:
            raise UsageError(f"option seed (--seed): expected a whole number >= 0, got {self.seed}")
        # No stage draws from this purpose, so nothing here was seen in training.
        return SeedStreams(self.seed, self.run_seed).generator("evaluation")


def read_settings(options: Mapping[str, Any]) -> EvaluationSettings:
    """Return the settings that options by name specify.

    `reward` may be a run or its folder, and `score` whatever `policy_gradient` takes.
    """
    known_options("an evaluation", EvaluationSettings, options)
    if options.get("score") is not None:
        parts = weighted_sources(options["score"], workers=1)
        options = {**options, "score": tuple(in_words(*part) for part in parts)}
    reward = options.get("reward")
    if reward is not None:
        options = {**options, "reward": Path(getattr(reward, "folder", reward))}
    return EvaluationSettings(**options)


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy with its reference and its scores."""

    run: StageRun
    seed: int  # of the run
    task: LanguageTask
    policy: LanguageModel
    reference: LanguageModel  # what it started from; the policy itself after fine-tuning
    temperature: float
    scores: dict[str, Score]  # by name; the first is the one that is, or would be, maximised
    key: AnswerKey | None  # where all responses can be listed
    tables: dict[str, Floats]  # the same scores of all responses [Q, C], where there is a key

    @property
    def is_reference(self) -> bool:
        """Whether the policy was only fine-tuned, so that there is nothing to compare it with."""
        return self.policy is self.reference

    @property
    def codec(self) -> TextCodec:
        """The codec between texts and ids."""
        return task_codec(self.task)

    def description(self, kind: str) -> dict[str, Any]:
        """Return what was evaluated, as plain data."""
        return {
            "kind": kind,
            "run": str(self.run.folder),
            "stage": self.run.stage,
            "task": self.run.label,
            "run_seed": self.seed,
            "temperature": self.temperature,
        }

    def key_at_temperature(self) -> AnswerKey:
        """Return the answer key at the temperature of sampling, with the same gold rewards."""
        assert self.key is not None
        if self.temperature == self.key.temperature:
            return self.key
        key = AnswerKey(self.key.task, self.reference, temperature=self.temperature)
        key.gold = self.key.gold
        return key


def load_for_evaluation(
    run: RunLike, settings: EvaluationSettings, *, held_out: str | Path | None = None
) -> LoadedPolicy:
    """Load a policy with all that an evaluation needs.

    Args:
        run: of "sft", "dpo", "ppo", "rloo" or "grpo", finished unless `settings.at` is given.
        settings: which seed, and which scores.
        held_out: a file of demonstrations that replace the run's own in the task.

    Raises:
        UsageError: it is no such run, it is not finished, a score does not belong to it, or it
            names code that the run was not trained from on this machine.
    """
    with trusting(settings.trust), placing(require_device(settings.device)):
        return _load(as_run(run, POLICY_PREFIX), settings, held_out)


def _load(run: StageRun, settings: EvaluationSettings, held_out: str | Path | None) -> LoadedPolicy:
    run.require_seed(settings.run_seed)
    task, policy = load_policy(run, settings.run_seed, at=settings.at)
    policy.freeze()
    reference = policy
    if run.stage != "sft":
        _, reference = load_parent_policy(stored_parent(run, "policy"), settings.run_seed)
        reference.freeze()
    if not settings.memory_gb > 0:
        raise UsageError(f"option memory_gb (--memory-gb): expected > 0, got {settings.memory_gb}")
    policy.memory_gb = reference.memory_gb = settings.memory_gb
    if held_out is not None:
        task = task_with_files(run, demonstrations=held_out)
    temperature = _temperature(run, settings)
    # As in training: at temperature 1, where scores have mean 0 and standard deviation 1.
    key = AnswerKey(task, reference) if is_enumerable(task) else None
    streams = SeedStreams(run.experiment_seed, settings.run_seed)
    scores: dict[str, Score] = {}
    tables: dict[str, Floats] = {}
    for name, source in _score_sources(run, settings, task).items():
        if key is not None:
            for each, part in {name: source, **_parts(source)}.items():
                tables[each] = _score_table(part, key, reference, streams)
                scores[each] = TableScore(key, tables[each])
            continue
        score = build_score(source, task, reference, streams)
        scores[name] = score
        for note in getattr(score, "notes", []):
            warn(note)
        if isinstance(score, WeightedScores):
            scores |= {each: score.part(each) for each in score.names}
    return LoadedPolicy(
        run, settings.run_seed, task, policy, reference, temperature, scores, key, tables
    )


def encode_prompts(
    loaded: LoadedPolicy, texts: Sequence[str], chat_template: bool | None = None
) -> tuple[LanguageTask, Ids]:
    """Return a task that has room for some prompts, and their ids [n, P].

    Args:
        loaded: the policy.
        texts: the prompts.
        chat_template: whether each is a message, to be put into the chat template; None = where
            the policy was trained on chats.

    Raises:
        UsageError: one has unknown tokens, is too long, or is not a prompt of a built-in task.
    """
    task = loaded.task
    rows = [_encode_prompt(loaded, text, chat_template) for text in texts]
    longest = max(map(len, rows))
    room = loaded.policy.context_length - task.max_new_tokens
    if longest > room:
        text = texts[[len(row) for row in rows].index(longest)]
        raise UsageError(
            f"the prompt {text!r} has {longest} tokens; the policy reads at most {room}, which "
            f"leaves {task.max_new_tokens} of its context of {loaded.policy.context_length} for "
            "the response"
        )
    if isinstance(task, TextTask):
        task = copy.copy(task)
        task.prompt_length = max(longest, task.prompt_length)
    ids = np.full((len(rows), task.prompt_length), task.pad, dtype=np.int64)
    for padded, row in zip(ids, rows, strict=True):
        padded[task.prompt_length - len(row) :] = row
    return task, ids


def _encode_prompt(loaded: LoadedPolicy, text: str, chat_template: bool | None) -> list[int]:
    task = loaded.task
    if chat_template and not isinstance(task, TextTask):
        raise UsageError(
            f"option chat_template (--chat-template): the task {task.name} has no chats; omit it"
        )
    try:
        if isinstance(task, TextTask) and (
            task.is_chat if chat_template is None else chat_template
        ):
            ids = task.chat_prompt(text)
        elif isinstance(task, TextTask):
            ids = list(encode_prompt(loaded.codec, text))
        else:
            ids = [int(i) for i in loaded.codec.encode(text, prompt=True)]
    except UsageError as error:
        raise UsageError(f"the prompt {text!r}: {error}{_example(loaded)}") from error
    if not ids:
        raise UsageError(f"the prompt {text!r} has no tokens{_example(loaded)}")
    if isinstance(task, EnumerableTask):
        try:
            if len(ids) != task.prompt_length:
                raise ValueError
            task.prompt_index(np.array([ids]))
        except ValueError:
            raise UsageError(
                f"{text!r} is not a prompt of the task {task.name}{_example(loaded)}"
            ) from None
    return ids


def _example(loaded: LoadedPolicy) -> str:
    """Return the end of a message, with an example of a prompt."""
    return f"; a prompt is, for example, {example_prompt(loaded)!r}"


def example_prompt(loaded: LoadedPolicy) -> str:
    """Return a prompt of the task, as it is typed."""
    if isinstance(loaded.task, TextTask) and loaded.task.first_message is not None:
        return loaded.task.first_message
    (prompt,) = loaded.task.sample_prompts(np.random.default_rng(0), 1)
    return loaded.codec.decode(prompt.tolist())


def _temperature(run: StageRun, settings: EvaluationSettings) -> float:
    trained_at = float(run.content["config"].get("temperature", 1.0))
    temperature = trained_at if settings.temperature is None else settings.temperature
    if not 0 < temperature < np.inf:
        raise UsageError(
            f"option temperature (--temperature): expected > 0, got {temperature}; the most likely "
            "tokens are those of greedy (--greedy) in sample"
        )
    return temperature


def _score_table(
    source: ScoreSource, key: AnswerKey, reference: LanguageModel, streams: SeedStreams
) -> Floats:
    """Return a score of every response, [Q, C]."""
    if source.parts:
        each = [w * _score_table(part, key, reference, streams) for w, part in source.parts]
        return np.asarray(np.sum(each, axis=0))
    if source.function is not None or source.classifier is not None:
        return key.tabulate(build_score(source, key.task, reference, streams))
    if source.reward is not None:
        model = load_parent_reward_model(source.reward, streams.index, key.task)
        return key.standardised(key.tabulate(model.score))
    return key.gold


def _score_sources(
    run: StageRun, settings: EvaluationSettings, task: LanguageTask
) -> dict[str, ScoreSource]:
    """Return the score that settings name, or else the one of the training; then gold."""
    parts = []
    if settings.reward is not None:
        seed = settings.run_seed if settings.reward_seed is None else settings.reward_seed
        parts.append((1.0, reward_source(settings.reward, seed)))
    parts += map(from_words, settings.score)
    score = sum_of(parts) if parts else stored_score(run)
    sources = {}
    if score is not None:
        is_model = score.reward is not None or score.classifier is not None
        sources["reward" if is_model else "score"] = score
    if not isinstance(task, TextTask) and isinstance(task, GoldTask):
        sources["gold"] = ScoreSource()
    return sources


def _parts(source: ScoreSource) -> dict[str, ScoreSource]:
    return {name: part for name, (_, part) in source.named_parts().items()}
