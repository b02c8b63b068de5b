"""What the stages of RLHF are made from: a task, a model, a score; each as plain data.

A stage's folder stores these, so the next stage finds everything in the folder of the one before.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from rlkit.errors import UsageError
from rlkit.options import require_count, require_range, require_types
from rlkit.rlhf.data.preferences import responses_from
from rlkit.rlhf.exact.answer_key import AnswerKey, GoldScore, TableScore, is_enumerable
from rlkit.rlhf.models.gpt import GPT, GPTConfig
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.models.state import load_trained_state
from rlkit.rlhf.stages.stage_run import StageRun, load_stage_run
from rlkit.rlhf.training.reward_model import RewardModel
from rlkit.seeding import SeedStreams
from rlkit.spelling import closest

TASKS = "rlkit.token_tasks"  # the entry-point group by which packages offer tasks
POLICY_PREFIX = {
    "sft": "module",
    "dpo": "module",
    "ppo": "policy",
    "rloo": "policy",
    "grpo": "policy",
}


def known_tasks() -> dict[str, Any]:
    """The tasks that installed packages offer, by name."""
    return {point.name: point for point in entry_points(group=TASKS)}


@dataclass(frozen=True, kw_only=True)
class TaskSource:
    """Where a task comes from: a name, or files of the user's own text."""

    name: str = ""  # of an offered task; empty for the user's own text
    prompts: str | None = None  # JSON-lines files
    demonstrations: str | None = None
    preferences: str | None = None
    tokenizer: str = "char"  # "char", "word", "bpe", or "model": that of the model's folder
    vocab_size: int | None = None  # of a byte-pair tokenizer
    max_new_tokens: int | None = None  # longest response; None = the longest of the files
    trained_tokenizer: str | None = None  # the JSON of one that an earlier stage trained
    digests: tuple[tuple[str, str], ...] = ()  # of the files, by what they hold

    def build(self, model: ModelSource) -> Any:
        """The task itself; everything in its files is checked here."""
        if self.name:
            points = known_tasks()
            if self.name not in points:
                raise UsageError(
                    f"there is no task {self.name!r}; there are {', '.join(sorted(points))}, or "
                    f"your own text by --demonstrations FILE.{closest(self.name, points)}"
                )
            return points[self.name].load()()
        from rlkit.rlhf.data.text_task import TextTask
        from rlkit.rlhf.data.tokenizer import Tokenizer

        for name, digest in self.digests:
            path = Path(getattr(self, name))
            if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != digest:
                raise UsageError(
                    f"the file of {name}, {path}, has changed since the run began; put back what "
                    "it was, or begin with `rlkit rlhf sft` and the new file"
                )
        codec: Any = self.tokenizer
        if model.path is not None:
            from rlkit.rlhf.models.huggingface.folder import HuggingFaceCodec

            codec = HuggingFaceCodec(model.path)
        elif self.trained_tokenizer is not None:
            codec = Tokenizer.from_json(self.trained_tokenizer.encode())
        trained = not isinstance(codec, str)
        return TextTask.from_files(
            prompts=self.prompts,
            demonstrations=self.demonstrations,
            preferences=self.preferences,
            tokenizer=codec,
            vocab_size=None if trained else self.vocab_size,
            max_new_tokens=self.max_new_tokens,
            context_length=model.context_length,
        )

    @property
    def label(self) -> str:
        """A short name for folders and titles."""
        files = [f for f in (self.demonstrations, self.preferences, self.prompts) if f]
        return self.name or Path(files[0]).stem

    def with_digests(self) -> TaskSource:
        """The same with what the files hold now, so that other content is another run."""
        files = ("prompts", "demonstrations", "preferences")
        given = {name: getattr(self, name) for name in files if getattr(self, name) is not None}
        for name, path in given.items():
            if not Path(path).is_file():
                raise UsageError(f"the file of {name}, {path}, is not there")
        found = tuple(
            (name, hashlib.sha256(Path(path).read_bytes()).hexdigest())
            for name, path in given.items()
        )
        absolute: dict[str, Any] = {name: str(Path(path).resolve()) for name, path in given.items()}
        return dataclasses.replace(self, digests=found, **absolute)

    def identity(self) -> dict[str, Any]:
        """What the results depend on: the files' content, not where they are."""
        content = dataclasses.asdict(self)
        for name in ("prompts", "demonstrations", "preferences", "digests"):
            content.pop(name)
        return {**content, "files": dict(self.digests)}


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """Which language model: a GPT of a given size, or a Hugging Face model in a local folder."""

    path: str | None = None  # of the folder
    width: int = 64
    num_layers: int = 2
    num_heads: int = 2
    dropout: float = 0.0
    positions: str = "learned"
    activation: str = "gelu"
    tied: bool = False
    init_std: float = 0.02
    context_length: int | None = None  # None = what the task needs
    adapter_rank: int | None = None  # of LoRA, in the stage itself; None = all weights are trained
    digest: str = ""  # of the folder's weights, configuration and tokenizer

    def __post_init__(self) -> None:
        require_range(self, "dropout", low=0, high=1, open_high=True)
        require_range(self, "init_std", low=0, open_low=True)
        require_types(self, "tied")

    def with_digest(self) -> ModelSource:
        """The same with what the folder holds now, so that other content is another run."""
        if self.path is None:
            return self
        from rlkit.rlhf.models.huggingface.folder import TOKENIZER_FILES, model_folder, read_config

        folder = model_folder(Path(self.path).resolve())
        longest = int(read_config(folder).get_text_config().max_position_embeddings)
        names = {"config.json", "tokenizer_config.json", *TOKENIZER_FILES}
        files = [
            (str(file), (stat := file.stat()).st_size, stat.st_mtime_ns)
            for file in sorted(folder.iterdir())
            if file.name in names or file.suffix == ".safetensors"
        ]
        return dataclasses.replace(
            self,
            path=str(folder),
            digest=_digest(tuple(files)),
            context_length=min(self.context_length or longest, longest),
        )

    def content(self) -> dict[str, Any]:
        """Return the source as plain data, as a run stores it."""
        content = plain(self)
        if content["activation"] == "gelu":  # runs of before there was a choice keep their names
            del content["activation"]
        return content

    def identity(self) -> dict[str, Any]:
        """What the results depend on: what the folder holds, not where it is."""
        return {**self.content(), "path": None}

    def build(self, task: Any, streams: SeedStreams) -> LanguageModel:
        """The model before any training; its weights are drawn from the seed's own stream."""
        if self.path is not None:
            from rlkit.rlhf.models.huggingface.model import HuggingFaceModel

            model: LanguageModel = HuggingFaceModel(self.path)
            return model
        needed = task.prompt_length + task.max_new_tokens
        if self.context_length is not None and self.context_length < needed:
            raise UsageError(
                f"option context_length (--context-length): prompts and responses of {task.name} "
                f"need {needed} tokens, got {self.context_length}"
            )
        config = GPTConfig(
            vocab_size=task.vocab_size,
            num_actions=task.num_actions,
            context_length=needed if self.context_length is None else self.context_length,
            width=self.width,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            dropout=self.dropout,
            positions=self.positions,  # type: ignore[arg-type]
            activation=self.activation,  # type: ignore[arg-type]
            tied=self.tied,
            init_std=self.init_std,
        )
        return GPT(config, streams.generator("init"))


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The run of an earlier stage, and which of its seeds to take: the same, or always one."""

    folder: str
    seed: int | None = None  # None = seed k takes seed k

    def open(self) -> StageRun:
        """The run itself."""
        return load_stage_run(Path(self.folder))

    def seed_for(self, index: int) -> int:
        """Which seed of it the seed `index` of the next stage takes."""
        return index if self.seed is None else self.seed

    def policy(self, index: int) -> tuple[Any, LanguageModel]:
        """The task and the policy that the seed `index` of the next stage starts from."""
        return load_policy(self.open(), self.seed_for(index))

    def identity(self) -> dict[str, Any]:
        """A folder's name follows from all that its content depends on."""
        name = self.open().content_name
        return {"run": name, "seed": "same" if self.seed is None else self.seed}


def sources_of(run: StageRun) -> tuple[TaskSource, ModelSource]:
    """The task and the model that a stage was made from."""
    content = run.record["sources"]
    task = dict(content["task"])
    task["digests"] = tuple(tuple(pair) for pair in task["digests"])
    model = ModelSource(**content["model"])
    if model.path is not None and model.with_digest().digest != model.digest:
        raise UsageError(
            f"the model in {model.path} has changed since {run.folder} was made from it; put back "
            "what it was, or begin with `rlkit rlhf sft` and the new one"
        )
    return TaskSource(**task), model


def parent_of(run: StageRun, name: str) -> Parent:
    """The run that a stage started from; looked for where it was, then beside the stage's own."""
    stored = run.record["sources"]["parents"][name]
    folder = Path(stored["folder"])
    if not folder.exists():
        folder = run.folder.parent / folder.name
    return Parent(folder=str(folder), seed=stored["seed"])


def load_policy(run: StageRun, index: int) -> tuple[Any, LanguageModel]:
    """The task and the trained language model of seed `index` of a run.

    Raises:
        UsageError: the run is not one of a policy, is not finished, or has no such seed.
    """
    if run.stage not in POLICY_PREFIX:
        raise UsageError(
            f"{run.folder} is a run of {run.stage}, expected a policy: one of "
            f"{', '.join(POLICY_PREFIX)}"
        )
    task_source, model_source = sources_of(run)
    task = task_source.build(model_source)
    streams = SeedStreams(run.experiment_seed, index)
    if run.stage == "sft":
        model = model_source.build(task, streams)
    else:
        _, model = parent_of(run, "policy").policy(index)
        if model_source.adapter_rank is not None:
            model.add_adapters(model_source.adapter_rank, streams)
    load_trained_state(model, run.state(index), POLICY_PREFIX[run.stage])
    if model_source.adapter_rank is not None:
        model.fold_adapters()
    return task, model


def load_reward_model(run: StageRun, index: int) -> RewardModel:
    """The trained reward model of seed `index` of a run."""
    if run.stage != "reward":
        raise UsageError(f"{run.folder} is a run of {run.stage}, expected a reward model's")
    _, trunk = parent_of(run, "policy").policy(index)
    model = RewardModel(trunk, SeedStreams(run.experiment_seed, index).generator("init"))
    load_trained_state(model, run.state(index), "module")
    return model.eval().requires_grad_(False)


@dataclass(frozen=True, kw_only=True)
class ScoreSource:
    """What a policy is trained to maximise: a reward model, the task's gold, or a function."""

    function: str | None = None  # "path/to/file.py:name" or "module:name"
    reward: Parent | None = None  # the run of a reward model
    digest: str = ""  # of the function's file

    def build(self, task: Any, reference: LanguageModel, streams: SeedStreams) -> Any:
        """A function of a batch of sequences, [B].

        Where all responses can be listed the scores are read from a table, standardised exactly.
        """
        if self.function is not None:
            from rlkit.rlhf.data.scores import TextScore, check_score
            from rlkit.rlhf.data.tokenizer import TaskCodec

            codec = getattr(task, "codec", None) or TaskCodec(task)
            score = TextScore(self.function, codec)
            if self.digest and score.digest != self.digest:
                raise UsageError(
                    f"the score function {self.function} has changed since the run was trained "
                    "with it; put back what it was, or name one to judge by (--score)"
                )
            prompts = task.sample_prompts(streams.generator("data", 3), 4)
            check_score(score, [codec.decode(prompt.tolist()) for prompt in prompts])
            return score
        if is_enumerable(task):
            key = AnswerKey(task, reference)
            if self.reward is None:
                return TableScore(key, key.gold)
            model = self.reward_model(task, streams)
            return TableScore(key, key.standardised(key.tabulate(model.score)))
        if self.reward is not None:
            return self.reward_model(task, streams).score
        require_gold(task)
        (samples,) = responses_from(reference, task, streams.generator("data", 1), 4096)
        return GoldScore(task, samples)

    def reward_model(self, task: Any, streams: SeedStreams) -> RewardModel:
        """The reward model of a seed, which has to know the task's tokens."""
        assert self.reward is not None
        run = self.reward.open()
        model = load_reward_model(run, self.reward.seed_for(streams.index))
        task_source, model_source = sources_of(run)
        require_same_tokens(task, task_source.build(model_source), run)
        return model

    def identity(self) -> dict[str, Any]:
        """What the results depend on."""
        if self.reward is not None:
            return {"reward": self.reward.identity()}
        return (
            {"function": self.function, "digest": self.digest} if self.function else {"gold": True}
        )


def require_unused(source: TaskSource | ModelSource, names: Iterable[str], reason: str) -> None:
    """Refuse options that would change nothing but the name of the run's folder.

    What has its default is taken as not given.
    """
    defaults = type(source)()
    for name in names:
        value = getattr(source, name)
        if value != getattr(defaults, name):
            raise UsageError(
                f"option {name} (--{name.replace('_', '-')}): {reason}; leave it out, got {value!r}"
            )


def require_same_tokens(task: Any, other: Any, run: StageRun) -> None:
    """Refuse a run whose ids mean other tokens than those of a task."""
    mine, theirs = (_tokens_of(each) for each in (task, other))
    if mine != theirs:
        raise UsageError(
            f"{run.folder} has another vocabulary ({other.name}, {other.vocab_size} tokens) than "
            f"the policy ({task.name}, {task.vocab_size} tokens), so it would misread the "
            "responses; train it on a policy of the same fine-tuned run"
        )


def _tokens_of(task: Any) -> Any:
    codec = getattr(task, "codec", None)
    found = getattr(codec, "vocabulary", None) or getattr(codec, "digest", None)
    return found or tuple(task.token_names)


def require_gold(task: Any) -> None:
    """Refuse tasks whose true reward is not known."""
    if not hasattr(task, "gold"):
        raise UsageError(
            f"the task {task.name} has no gold reward, which only built-in tasks have; give a "
            "reward model (--reward RUN), a function (--score file.py:name) or --preferences FILE"
        )


@functools.lru_cache(maxsize=64)
def _digest(files: tuple[tuple[str, int, int], ...]) -> str:
    """The sha256 of files, each a path, its size and its mtime_ns; remembered for those.

    A model has gigabytes, and each stage asks for it once for each of its ancestors.
    """
    total = hashlib.sha256()
    for path, _, _ in files:
        with open(path, "rb") as opened:
            total.update(hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()


def plain(source: Any) -> dict[str, Any]:
    """A dataclass as plain data that JSON keeps as it is."""
    content: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(source)))
    return content


def find_parent(run: Any, seed: int | None = None) -> Parent:
    """A parent from a run, a folder or its path."""
    if seed is not None:
        require_count("parent_seed", seed, at_least=0)
    folder = run.folder if isinstance(run, StageRun) else run
    return Parent(folder=str(Path(folder).resolve()), seed=seed)
