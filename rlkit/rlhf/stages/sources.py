"""The inputs of a stage as plain data: a task, a model, and the runs of earlier stages.

A run stores its sources in `run.json`, where the next stage finds them. Each has an `identity`,
the part that results depend on: the content of files and folders, not their place.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, Suppress, arg

from rlkit.errors import UsageError
from rlkit.options import ADDED_LATER, require_count
from rlkit.rlhf.data.codec import TextCodec
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.data.text_task import TextTask
from rlkit.rlhf.data.tokenizer import Tokenizer, TokenizerKind
from rlkit.rlhf.models.device import current_device
from rlkit.rlhf.models.gpt import GPT, GPTConfig, GPTSize
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.stages.stage_run import RunLike, StageRun, as_run, load_stage_run
from rlkit.runs.identity import plain_data
from rlkit.runs.integrity.trust import require_from_here
from rlkit.seeding import SeedStreams
from rlkit.spelling import closest
from rlkit.user_code import content_digest, remembered_digest

TASKS = "rlkit.token_tasks"  # the entry-point group by which packages offer tasks
GPT_SIZES = tuple(field.name for field in dataclasses.fields(GPTSize))
FILES = ("prompts", "demonstrations", "preferences")  # of a TaskSource
FIELDS = ("prompt", "response", "chosen", "rejected", "label")
File = Annotated[str | None, arg(metavar="FILE")]


@dataclass(frozen=True, kw_only=True)
class TaskSource:
    """What to learn from: a built-in task, or files of your own texts."""

    # enumerable or grammar; omit it with files of your own
    name: Annotated[str, Positional, arg(metavar="TASK")] = ""
    prompts: File = None  # JSON Lines of {"prompt"}, for later stages
    demonstrations: File = None  # JSON Lines of {"prompt", "response"}
    # JSON Lines of pairs or labels, for later stages; the tokenizer is trained on them as well
    preferences: File = None
    tokenizer: TokenizerKind = "char"  # how texts become tokens; trained on all of these files
    vocab_size: int | None = None  # number of tokens of a bpe tokenizer
    max_new_tokens: int | None = None  # longest response, EOS included; None = as in the files
    # names of the fields in these files, where they are others; further columns are ignored, or
    # handed to a score function that takes them: score(prompts, responses, **columns)
    prompt_field: str | None = field(default=None, metadata=ADDED_LATER)
    response_field: str | None = field(default=None, metadata=ADDED_LATER)
    chosen_field: str | None = field(default=None, metadata=ADDED_LATER)
    rejected_field: str | None = field(default=None, metadata=ADDED_LATER)
    label_field: str | None = field(default=None, metadata=ADDED_LATER)
    trained_tokenizer: Suppress[str | None] = None  # JSON of the one that fine-tuning trained
    digests: Suppress[tuple[tuple[str, str], ...]] = ()  # (file, sha256 of its content)

    def build(self, model: ModelSource) -> LanguageTask:
        """Return the task.

        Raises:
            UsageError: there is no such task, a file has changed or something in it does not fit.
        """
        if self.name:
            task: LanguageTask = _find_task(self.name).load()()
            return task
        return self.build_texts(model)

    def build_texts(self, model: ModelSource) -> TextTask:
        """Return the task of the user's own files."""
        self._require_unchanged()
        codec = self._trained_codec(model)
        return TextTask.from_files(
            prompts=self.prompts,
            demonstrations=self.demonstrations,
            preferences=self.preferences,
            tokenizer=self.tokenizer if codec is None else codec,
            vocab_size=self.vocab_size if codec is None else None,
            max_new_tokens=self.max_new_tokens,
            context_length=model.context_length,
            fields=self.fields(),
        )

    def fields(self) -> dict[str, str]:
        """Return the files' name of each field that has another there."""
        names = {name: getattr(self, f"{name}_field") for name in FIELDS}
        return {name: other for name, other in names.items() if other is not None}

    def _trained_codec(self, model: ModelSource) -> TextCodec | None:
        if model.path is not None:
            from rlkit.rlhf.models.huggingface.folder import HuggingFaceCodec

            return HuggingFaceCodec(model.path)
        if self.trained_tokenizer is not None:
            return Tokenizer.from_json(self.trained_tokenizer.encode())
        return None

    def _require_unchanged(self) -> None:
        for name, digest in self.digests:
            path: str = getattr(self, name)
            if content_digest(path) not in (digest, None):
                raise UsageError(
                    f"the file of {name}, {path}, has changed since the run began; restore it, or "
                    "start again with `rlkit rlhf sft` and the new file"
                )

    @property
    def label(self) -> str:
        """A short name for folders and titles."""
        files = [f for f in (self.demonstrations, self.preferences, self.prompts) if f]
        return self.name or Path(files[0]).stem

    def with_digests(self) -> TaskSource:
        """Return the source with absolute paths and the digests of the files' present content."""
        paths = {name: Path(path) for name in FILES if (path := getattr(self, name)) is not None}
        digests = []
        for name, path in paths.items():
            digest = content_digest(str(path))
            if digest is None:
                what = "is a folder" if path.is_dir() else "does not exist"
                raise UsageError(f"the file of {name}, {path}, {what}")
            digests.append((name, digest))
        absolute: dict[str, Any] = {name: str(path.resolve()) for name, path in paths.items()}
        return dataclasses.replace(self, digests=tuple(digests), **absolute)

    def identity(self) -> dict[str, Any]:
        """Return what results depend on."""
        content: dict[str, Any] = plain_data(self)
        for name in (*FILES, "digests"):
            content.pop(name)
        return {**content, "files": dict(self.digests)}


def _find_task(name: str) -> EntryPoint:
    """Return the entry point of a task that an installed package offers."""
    points = {point.name: point for point in entry_points(group=TASKS)}
    if name not in points:
        raise UsageError(
            f"unknown task {name!r}; there are {', '.join(sorted(points))}, or your own texts with "
            f"--demonstrations FILE.{closest(name, points)}"
        )
    return points[name]


@dataclass(frozen=True, kw_only=True)
class ModelSource(GPTSize):
    """Which language model: a GPT of a given size, or a Hugging Face model in a local folder."""

    # local folder of a Hugging Face model; None = a GPT of the size above
    path: Annotated[str | None, arg(name="model", metavar="FOLDER")] = None
    # largest number of tokens of a prompt with its response; None = what the task needs, so set it
    # if longer prompts may come later
    context_length: int | None = None
    adapter_rank: int | None = None  # train low-rank adapters only, >= 1; None = all weights
    # last parts of the names of layers with adapters; None = those that suit the model
    adapter_targets: tuple[str, ...] | None = field(default=None, metadata=ADDED_LATER)
    # whether PPO's critic has adapters as well; False = all of its weights are trained
    adapter_critic: Suppress[bool] = field(default=False, metadata=ADDED_LATER)
    digest: Suppress[str] = ""  # of the folder's weights, configuration and tokenizer

    def with_adapters(
        self, rank: int | None, targets: Sequence[str] | None, *, critic: bool = False
    ) -> ModelSource:
        """Return the source with the adapters of a stage.

        Raises:
            UsageError: the rank is not a whole number >= 1, or there are targets without a rank.
        """
        if rank is not None and rank < 1:
            raise UsageError(
                f"option adapter_rank (--adapter-rank): expected a whole number >= 1, got {rank}"
            )
        if rank is None and targets is not None:
            raise UsageError(
                "option adapter_targets (--adapter-targets): there are no adapters; give their "
                "adapter_rank (--adapter-rank) as well"
            )
        return dataclasses.replace(
            self,
            adapter_rank=rank,
            adapter_targets=None if targets is None else tuple(targets),
            # Earlier runs trained the critic of a GPT, which is small, in full.
            adapter_critic=critic and rank is not None and self.path is not None,
        )

    def add_adapters(self, model: LanguageModel, streams: SeedStreams) -> None:
        """Add the adapters of the stage, if it has any, to a model."""
        if self.adapter_rank is not None:
            model.add_adapters(self.adapter_rank, streams, self.adapter_targets)

    def with_digest(self) -> ModelSource:
        """Return the source with the folder's absolute path, present digest and context length."""
        if self.path is None:
            return self
        from rlkit.rlhf.models.huggingface import folder as hf

        folder = hf.model_folder(Path(self.path).resolve())
        longest = hf.longest_context(folder, hf.read_config(folder).get_text_config())
        names = {"config.json", "tokenizer_config.json", *hf.TOKENIZER_FILES}
        return dataclasses.replace(
            self,
            path=str(folder),
            digest=folder_digest(folder, names),
            context_length=min(self.context_length or longest, longest),
        )

    def identity(self) -> dict[str, Any]:
        """Return what results depend on."""
        content: dict[str, Any] = plain_data(self)
        return {**content, "path": None}

    def build(self, task: LanguageTask, streams: SeedStreams) -> LanguageModel:
        """Return the model before any training; weights of a GPT are drawn from the streams."""
        if self.path is not None:
            from rlkit.rlhf.models.huggingface.model import HuggingFaceModel

            return HuggingFaceModel(self.path).to(current_device())
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
            **{name: getattr(self, name) for name in GPT_SIZES},
        )
        return GPT(config, streams.generator("init")).to(current_device())


def folder_digest(folder: Path, names: Collection[str]) -> str:
    """Return the sha256 of the weights of a folder and of those of its files that are named."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        if file.name in names or file.suffix == ".safetensors":
            digest.update(bytes.fromhex(remembered_digest(file)))
    return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The run of an earlier stage, and the seed of it to start from."""

    folder: str
    seed: int | None = None  # None = seed k starts from seed k

    def open(self) -> StageRun:
        """Return the run."""
        return load_stage_run(self.folder)

    def seed_for(self, index: int) -> int:
        """Return the seed of this run that seed `index` of the next stage starts from."""
        return index if self.seed is None else self.seed

    def identity(self) -> dict[str, Any]:
        """Return what results depend on; the name of a run follows from its content."""
        name = self.open().content_name
        return {"run": name, "seed": "same" if self.seed is None else self.seed}


def load_sources(run: StageRun) -> tuple[TaskSource, ModelSource]:
    """Return the task and the model that a run was made from.

    Raises:
        UsageError: the folder of the model has changed.
    """
    stored = run.record["sources"]
    _require_known_task(run, stored["task"]["name"])
    task = dict(stored["task"])
    task["digests"] = tuple(tuple(pair) for pair in task["digests"])
    for name, digest in task["digests"]:
        copy = run.folder / copy_name(name)
        if content_digest(task[name]) is None and content_digest(str(copy)) == digest:
            task[name] = str(copy)
    targets = stored["model"].get("adapter_targets")
    known = {**stored["model"], "adapter_targets": None if targets is None else tuple(targets)}
    model = ModelSource(**known)
    if model.path is not None and model.with_digest().digest != model.digest:
        raise UsageError(
            f"the model in {model.path} has changed since {run.folder} was made from it; restore "
            "it, or start again with `rlkit rlhf sft` and the new one"
        )
    return TaskSource(**task), model


def is_trained_on(run: StageRun, name: str, file: str | Path) -> bool:
    """Return whether a file has the content of the file of this name that a run learned from."""
    return content_digest(str(file)) == dict(load_sources(run)[0].digests).get(name)


def copy_name(name: str) -> str:
    """Return the name of the copy of a file of texts in the folder of a run."""
    return f"{name}.jsonl"


def _require_known_task(run: StageRun, name: str) -> None:
    """Require that the module of a built-in task is rlkit's own, or that of a run made here."""
    if not name:
        return
    module = _find_task(name).module
    if module.split(".")[0] != "rlkit_envs":
        what = f"the task {name!r} of the module {module!r}, which an installed package offers"
        require_from_here(run.folder, run.record, what)


def stored_parent(run: StageRun, name: str) -> Parent:
    """Return a run that `run` started from; if it was moved, it is looked for beside `run`."""
    stored = run.record["sources"]["parents"][name]
    folder = Path(stored["folder"])
    if not folder.exists():
        folder = run.folder.parent / folder.name
    return Parent(folder=str(folder), seed=stored["seed"])


def as_parent(
    run: RunLike, seed: int | None = None, among: Collection[str] = (), out: str | Path = "runs"
) -> Parent:
    """Return a run, or the folder of one, as a parent; see `as_run`."""
    if seed is not None:
        require_count("parent_seed", seed, at_least=0)
    return Parent(folder=str(as_run(run, among, out).folder.resolve()), seed=seed)


def require_unused(source: TaskSource | ModelSource, names: Iterable[str], reason: str) -> None:
    """Reject options that have no effect here but would change the run's identity.

    An option that has its default counts as not given.
    """
    defaults = type(source)()
    for name in names:
        value = getattr(source, name)
        if value != getattr(defaults, name):
            raise UsageError(
                f"option {name} (--{name.replace('_', '-')}): {reason}; omit it, got {value!r}"
            )
