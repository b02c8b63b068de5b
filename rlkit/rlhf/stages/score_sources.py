"""What a policy is trained to maximise, as plain data: functions of texts and a reward model.

A reward model is a run, or the folder of a sequence classifier of Hugging Face.

Several are a weighted sum. In words a function is `path/to/file.py:function` or `module:function`,
with its weight before it, as in `0.5*path/to/file.py:function`; the weight of a reward model is 1.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.errors import UsageError
from rlkit.rlhf.data.scores import NOTEBOOK
from rlkit.rlhf.models.huggingface.classifier import is_classifier_folder
from rlkit.rlhf.models.huggingface.folder import TOKENIZER_FILES
from rlkit.rlhf.stages.sources import Parent, as_parent, folder_digest, stored_parent
from rlkit.rlhf.stages.stage_run import RunLike, StageRun
from rlkit.runs.integrity.trust import require_from_here
from rlkit.runs.record import RECORD
from rlkit.user_code import content_digest

PREFIX = "score/"  # of the columns of the parts of a sum


@dataclass(frozen=True, kw_only=True)
class ScoreSource:
    """What a policy is trained to maximise: a function, a reward model, a sum, or else gold."""

    function: str | None = None  # "path/to/file.py:name" or "module:name"
    reward: Parent | None = None  # the run of a reward model
    digest: str = ""  # of the function's file, or of the classifier's folder
    classifier: str | None = None  # folder of a Hugging Face sequence classifier with one label
    parts: tuple[tuple[float, ScoreSource], ...] = ()  # weights and the scores that they multiply

    def identity(self) -> dict[str, Any]:
        """Return what results depend on."""
        if self.parts:
            return {"sum": [{"weight": w, **part.identity()} for w, part in self.parts]}
        if self.reward is not None:
            return {"reward": self.reward.identity()}
        if self.function is not None:
            return {"function": self.function, "digest": self.digest}
        if self.classifier is not None:
            return {"classifier": self.digest}
        return {"gold": True}

    @property
    def parent(self) -> Parent | None:
        """The run of the reward model, if there is one."""
        return next((part.reward for _, part in self.parts if part.reward), self.reward)

    @property
    def folder(self) -> str | None:
        """The folder of the classifier, if there is one."""
        return next((part.classifier for _, part in self.parts if part.classifier), self.classifier)

    def named_parts(self) -> dict[str, tuple[float, ScoreSource]]:
        """Return the parts of a sum by the names of their columns, such as score/polite.

        Functions of one name are told apart by their files.
        """
        shorts = Counter(_name(part) for _, part in self.parts)
        names = [
            f"{_stem(part.function)}.{_name(part)}"
            if part.function is not None and shorts[_name(part)] > 1
            else _name(part)
            for _, part in self.parts
        ]
        for i, name in enumerate(names):
            if (number := names[:i].count(name)) > 0:
                names[i] = f"{name}-{number + 1}"
        return {PREFIX + name: part for name, part in zip(names, self.parts, strict=True)}


def reward_source(reward: RunLike, seed: int | None, out: str | Path = "runs") -> ScoreSource:
    """Return the run of a reward model, or the folder of a foreign sequence classifier, as a score.

    Args:
        reward: the run or its folder, or the folder of a Hugging Face model.
        seed: of the run; None = seed k from seed k.
        out: where runs are looked for by name.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(reward, str | Path) and is_classifier_folder(reward):
        folder = Path(reward).resolve()
        return ScoreSource(classifier=str(folder), digest=_classifier_digest(folder))
    if callable(reward):
        raise UsageError("reward: expected a run or a folder, got a function; give it as score=...")
    try:
        return ScoreSource(reward=as_parent(reward, seed, ("reward",), out))
    except UsageError as error:
        if str(error).endswith(f"it has no {RECORD}"):
            raise UsageError(
                f"{error}, nor the folder of a Hugging Face sequence classifier: it has no "
                "config.json"
            ) from None
        raise


def _classifier_digest(folder: Path) -> str:
    return folder_digest(
        folder,
        {
            *("config.json", "tokenizer_config.json", "special_tokens_map.json"),
            *("added_tokens.json", "merges.txt", "chat_template.jinja", "chat_template.json"),
            *TOKENIZER_FILES,
        },
    )


def sum_of(parts: Sequence[tuple[float, ScoreSource]]) -> ScoreSource:
    """Return a weighted sum of scores; one alone with the weight 1 is itself.

    Raises:
        UsageError: a weight is not finite, all are 0, or a score is there twice.
    """
    for weight, part in parts:
        if not math.isfinite(weight):
            raise UsageError(f"score {part.function}: expected a finite weight, got {weight}")
    if not any(weight for weight, _ in parts):
        raise UsageError("score: every weight is 0, so there is nothing to maximise")
    repeated = [part.function for _, part in parts if [p for _, p in parts].count(part) > 1]
    if repeated:
        raise UsageError(f"score {repeated[0]} is given twice; give it once, with the whole weight")
    if len(parts) == 1 and parts[0][0] == 1.0:
        return parts[0][1]
    return ScoreSource(parts=tuple((float(weight), part) for weight, part in parts))


def split_weight(text: str) -> tuple[float, str]:
    """Return the weight and the function in words such as 0.5*path/to/file.py:function.

    Raises:
        UsageError: what stands before the asterisk is neither a number nor part of a file's name.
    """
    weight, asterisk, function = text.partition("*")
    if not asterisk:
        return 1.0, text
    try:
        return float(weight), function.strip()
    except ValueError:
        if Path(text.rpartition(":")[0]).exists():
            return 1.0, text
        raise UsageError(
            f"score {text!r}: expected a number before the asterisk, as in "
            f"0.5*path/to/file.py:function, got {weight!r}"
        ) from None


def in_words(weight: float, part: ScoreSource) -> str:
    """Return a weight and a function as `from_words` reads them.

    Functions of a notebook may share a name, so their digest stands behind it.
    """
    is_kept = part.function is not None and part.function.startswith(f"{NOTEBOOK}:")
    return f"{weight!r}*{part.function}" + (f"#{part.digest}" if is_kept else "")


def from_words(words: str) -> tuple[float, ScoreSource]:
    """Return the weight and the function that words name; see `split_weight`."""
    weight, function = split_weight(words)
    digest = ""
    if function.startswith(f"{NOTEBOOK}:"):
        function, _, digest = function.partition("#")
    return weight, ScoreSource(function=function, digest=digest)


def stored_score(run: StageRun) -> ScoreSource | None:
    """Return what a policy was trained to maximise; None for the gold reward and without a score.

    Nothing of it is run.

    Raises:
        UsageError: it would have to be run, and is not the code that the run was trained from on
            this machine.
    """
    content = run.content.get("score", {})
    if "sum" not in content:
        return _stored_part(run, content)
    parts = [(float(each["weight"]), _stored_part(run, each)) for each in content["sum"]]
    return ScoreSource(parts=tuple((weight, part) for weight, part in parts if part is not None))


def _stored_part(run: StageRun, content: Mapping[str, Any]) -> ScoreSource | None:
    if "reward" in content:
        return ScoreSource(reward=stored_parent(run, "reward"))
    if "classifier" in content:
        folder, digest = Path(run.record["sources"]["classifier"]["folder"]), content["classifier"]
        if not folder.is_dir() or _classifier_digest(folder) != digest:
            raise UsageError(
                f"the classifier in {folder} has changed or is gone since {run.folder} was trained "
                "with it; restore it, or give the one to evaluate with (--reward)"
            )
        return ScoreSource(classifier=str(folder), digest=str(digest))
    if "function" not in content:
        return None
    function, digest = str(content["function"]), str(content["digest"])
    head = function.rpartition(":")[0]
    is_file = head.endswith(".py")
    what = f"the file {Path(head).absolute()}" if is_file else f"the module {head!r}"
    require_from_here(run.folder, run.record, f"{what} as its score")
    now = content_digest(head) if is_file else digest
    if digest and now not in (None, digest):
        raise UsageError(
            f"the score function {function} has changed since the run was trained "
            f"with it: expected the sha256 {digest[:16]}, got {str(now)[:16]}. Nothing was run; "
            "restore it, or give the function to evaluate with (--score)"
        )
    return ScoreSource(function=function, digest=digest)


def _name(part: ScoreSource) -> str:
    """Return the name of a part in a column: that of its function, in the letters of a csv."""
    name = "reward" if part.function is None else part.function.rpartition(":")[2]
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)


def _stem(function: str) -> str:
    head = function.rpartition(":")[0]
    stem = Path(head).stem if head.endswith(".py") else head.rpartition(".")[2]
    return re.sub(r"[^A-Za-z0-9_-]+", "_", stem)
