"""Inputs of stages as Python has them: rows in place of files, and functions that no name finds.

Rows are written to a file below the folder of the runs. A function of a notebook or of a script is
kept by this process under the name `notebook:NAME`, and is identified by what it does, so that an
edited one is another.
"""

from __future__ import annotations

import hashlib
import json
import numbers
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlkit.errors import UsageError
from rlkit.files import write_atomically
from rlkit.fingerprint import fingerprint
from rlkit.rlhf.data.scores import NOTEBOOK, keep_score, load_score
from rlkit.rlhf.stages.score_sources import ScoreSource, split_weight
from rlkit.runs.store import prepare_place

Texts = str | Path | Sequence[Mapping[str, Any]]  # a file, or its rows
ScoreLike = str | Callable[..., Any]  # a function, or where to find it
# One function or several, each by itself or with its weight, as in (0.5, function)
ScoresLike = ScoreLike | tuple[float, ScoreLike] | Sequence[ScoreLike | tuple[float, ScoreLike]]

_ROWS = {  # an example of each kind
    "demonstrations": "{'prompt': ..., 'response': ...}",
    "prompts": "{'prompt': ...}",
    "preferences": "{'prompt': ..., 'chosen': ..., 'rejected': ...}",
}


def text_file(texts: Texts | None, name: str, out: str | Path) -> str | None:
    """Return the path of a file of texts, which is written if rows are given.

    Args:
        texts: a file or rows.
        name: what they are, "demonstrations", "prompts" or "preferences".
        out: the folder of the runs.

    Raises:
        UsageError: something in the rows cannot be written as JSON.
    """
    if texts is None or isinstance(texts, str | Path):
        return None if texts is None else str(texts)
    if isinstance(texts, Mapping):
        raise UsageError(
            f"{name}: expected a file, or a list with a dictionary per row, got one with "
            f"{', '.join(map(repr, texts))}; a table of columns becomes rows by "
            "[dict(zip(table, row)) for row in zip(*table.values())]"
        )
    # Of pandas, a table is a list of its rows.
    rows: Any = texts.to_dict("records") if hasattr(texts, "to_dict") else texts
    if not isinstance(rows, Iterable):
        raise UsageError(f"{name}: expected a file, or a list of rows, got {rows!r:.80}")
    rows = list(rows)
    if wrong := [row for row in rows if not isinstance(row, Mapping)]:
        raise UsageError(
            f"{name}: expected a file, or a list with a dictionary per row, such as "
            f"{_ROWS.get(name, _ROWS['demonstrations'])}, got a row {wrong[0]!r:.80}"
        )
    try:
        content = "".join(f"{json.dumps(dict(row), allow_nan=False)}\n" for row in rows).encode()
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{name}: expected a file, or rows such as {{'prompt': ..., 'response': ...}} of texts "
            f"and numbers: {error}"
        ) from error
    folder = Path(out) / "texts" / hashlib.sha256(content).hexdigest()[:10]
    prepare_place(folder)
    path = folder / f"{name}.jsonl"
    if not path.exists():
        write_atomically(path, content)
    return str(path)


def weighted_sources(scores: ScoresLike | None, workers: int) -> list[tuple[float, ScoreSource]]:
    """Return functions with their weights, which are 1 where none is given.

    Raises:
        UsageError: there is no such function, it cannot reach the workers, or a weight is no
            number.
    """
    if scores is None:
        return []
    is_one = isinstance(scores, str) or callable(scores) or _is_weighted(scores)
    each: Any = [scores] if is_one else scores
    if not isinstance(each, Sequence):
        raise UsageError(f"score: expected a function or a list of them, got {scores!r:.80}")
    sources = []
    for one in each:
        weight, function = one if _is_weighted(one) else (1.0, one)
        if isinstance(function, str):
            factor, function = split_weight(function)
            weight = weight * factor
        sources.append((float(weight), score_source(function, workers)))
    return sources


def _is_weighted(score: Any) -> bool:
    is_pair = isinstance(score, tuple) and len(score) == 2
    return is_pair and isinstance(score[0], numbers.Real) and not isinstance(score[0], bool)


def score_source(score: ScoreLike, workers: int) -> ScoreSource:
    """Return a function as the name under which it is found again.

    Raises:
        UsageError: there is no such function, or it cannot reach the workers.
    """
    if isinstance(score, str):
        head, _, name = score.rpartition(":")
        reference = f"{Path(head).resolve()}:{name}" if Path(head).is_file() else score
        return ScoreSource(function=reference, digest=load_score(reference).digest)
    loaded = load_score(score)
    module, _, name = loaded.reference.rpartition(":")
    if module != "__main__" and getattr(sys.modules.get(module), name, None) is score:
        return ScoreSource(function=loaded.reference, digest=loaded.digest)
    if workers > 1:
        raise UsageError(
            f"score: the function {loaded.reference} cannot be imported, so it does not reach "
            f"workers: use workers=1, got {workers}, or put it into a file and give "
            "score='path/to/file.py:name'"
        )
    digest = fingerprint(score).digest
    reference = f"{NOTEBOOK}:{name}"
    keep_score(reference, score, digest)
    return ScoreSource(function=reference, digest=digest)
