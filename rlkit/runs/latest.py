"""Finds the newest run below a folder, for `latest` in place of the folder of a run."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from rlkit.errors import UsageError
from rlkit.runs.record import RECORD

LATEST = "latest"


def named_folder(
    path: str | Path,
    key: str,
    *,
    among: Collection[str] = (),
    out: str | Path = "runs",
) -> Path:
    """Return the folder that a path names, where `latest` and `latest:NAME` name the newest run.

    Args:
        path: of a folder, `latest`, or `latest:ppo` for the newest run of ppo.
        key: of run.json that holds the name of what was run, "agent" or "stage".
        among: the names that fit; empty = all.
        out: where the runs are, each in a folder of its own.

    Raises:
        UsageError: there is no such run.
    """
    word, _, name = str(path).partition(":")
    if word != LATEST or Path(path).exists():
        return Path(path)
    wanted = {name} if name else set(among)
    known = [] if name and among and name not in among else Path(out).glob(f"*/{RECORD}")
    runs = []
    for file in known:
        value = _name(file, key)
        if value is not None and (not wanted or value in wanted):
            runs.append((file.stat().st_mtime_ns, file.parent))
    if not runs:
        fitting = ", ".join(sorted(among or wanted)) or f"any {key}"
        raise UsageError(
            f"{path}: there is no such run in {Path(out)}/ (expected one of {fitting}); give the "
            "folder of a run"
        )
    return max(runs)[1]


def kind_of(path: Path) -> str | None:
    """Return the kind of the run that a path names; None for an agent's and where it is unknown.

    `latest` alone is the newest run of any kind, and `latest:ppo` may be of either.
    """
    word, _, name = str(path).partition(":")
    folder = path
    if word == LATEST and not path.exists():
        files = [f for f in Path("runs").glob(f"*/{RECORD}") if not name or _has_name(f, name)]
        if not files:
            return None
        folder = max((file.stat().st_mtime_ns, file) for file in files)[1].parent
    return _name(folder / RECORD, "kind")


def _has_name(file: Path, name: str) -> bool:
    return name in (_name(file, "agent"), _name(file, "stage"))


def _name(file: Path, key: str) -> str | None:
    """Return what a run was a run of; None where the file is unreadable or of another kind."""
    try:
        record: Any = json.loads(file.read_bytes())
        return str(record[key])
    except (OSError, ValueError, KeyError, TypeError):
        return None
