"""Finds runs by words in place of their folders: `latest`, and the names that `--name` gives.

A name is an entry of run.json and no part of what the results depend on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from rlkit.errors import UsageError
from rlkit.runs.kinds import RunKind
from rlkit.runs.record import ALIAS, RECORD, read_record, write_record
from rlkit.spelling import closest

LATEST = "latest"
_RUNS = Path("runs")  # where runs are unless another place is given
_TAKEN = (LATEST, "uniform")  # words that stand for something else where a run is expected
_FORM = re.compile(r"\w[\w.-]{0,79}", re.ASCII)


def named_folder(
    path: str | Path,
    key: str | None = None,
    *,
    among: Collection[str] = (),
    out: str | Path = "runs",
) -> Path:
    """Return the folder that a path names: of a run, by its name, or of the newest run.

    Args:
        path: of a folder; the name of a run in `out`, or of one elsewhere as in folder/name;
            `latest`, or `latest:ppo` for the newest run of ppo.
        key: of run.json that holds the name of what was run, "agent" or "stage"; None = either.
        among: the names that `latest` may be of; empty = all.
        out: where the runs are, each in a folder of its own.

    Raises:
        UsageError: there is no such run.
    """
    word, _, name = str(path).partition(":")
    if word == LATEST and not Path(path).exists():
        return _newest(str(path), name, key, among, Path(out))
    return Path(path) if (Path(path) / RECORD).exists() else _called(Path(path), Path(out))


def kind_of(path: Path) -> str | None:
    """Return the kind of the run that a path names; None for an agent's and where it is unknown."""
    try:
        folder = named_folder(path)
    except UsageError:
        return None
    return _entry(folder / RECORD, "kind")


def names_run(word: str) -> bool:
    """Return whether a word names a run, by its folder, its name or `latest`."""
    try:
        return (named_folder(word) / RECORD).is_file()
    except UsageError:
        return False


def require_free_name(name: str, folder: Path) -> str:
    """Return a name that the run in a folder may have, beside the other runs of its place.

    Raises:
        UsageError: it is no name, or that of another run.
    """
    if not isinstance(name, str) or not _FORM.fullmatch(name) or name in _TAKEN:
        raise UsageError(
            f"option name (--name): expected up to 80 letters, digits, and _.- after the first, "
            f"other than {' and '.join(_TAKEN)}, got {name!r}"
        )
    others = [other for other in _folders_called(name, folder.parent) if other != folder]
    if (folder.parent / name).exists() and folder.name != name:
        others.append(folder.parent / name)
    if others:
        raise UsageError(
            f"option name (--name): {name!r} is the name of {others[0]} already; choose another, "
            "or remove that run"
        )
    return name


def name_run(folder: Path, kind: RunKind, name: str) -> None:
    """Give a run that is there a name, in place of the one that it has."""
    record = read_record(folder, kind)
    if record.get(ALIAS) != name:
        write_record(folder, {**record, ALIAS: name})


def _newest(path: str, name: str, key: str | None, among: Collection[str], out: Path) -> Path:
    wanted = {name} if name else set(among)
    known = [] if name and among and name not in among else out.glob(f"*/{RECORD}")
    keys = ("agent", "stage") if key is None else (key,)
    runs = []
    for file in known:
        values = {_entry(file, one) for one in keys} - {None}
        if values and (not wanted or values & wanted):
            runs.append((file.stat().st_mtime_ns, file.parent))
    if not runs:
        fitting = ", ".join(sorted(among or wanted)) or f"any {key or 'run'}"
        raise UsageError(
            f"{path}: there is no such run in {out}/ (expected one of {fitting}); give the "
            "folder of a run"
        )
    return max(runs)[1]


def _called(path: Path, out: Path) -> Path:
    """Return the folder of the run with a name, or the path itself if there is none."""
    place = out if path.name == str(path) else path.parent
    if not _FORM.fullmatch(path.name):
        return path
    folders = _folders_called(path.name, place)
    if len(folders) > 1:
        raise UsageError(
            f"{path} is the name of several runs: {', '.join(map(str, folders))}; give the folder "
            "of one"
        )
    if not folders and not path.exists():
        names = [name for file in place.glob(f"*/{RECORD}") if (name := _entry(file, ALIAS))]
        what = f"{path} is not the folder of a run, and no run in {place}/ has this name"
        if place == out and (elsewhere := _folders_called(path.name, _RUNS)):
            raise UsageError(f"{what}, but {elsewhere[0]} has it: give {_RUNS / path.name}")
        if names:
            few = f"{', '.join(names[:8])}{', ...' if names[8:] else ''}"
            hint = closest(path.name, names)
            raise UsageError(what + (f".{hint}" if hint else f" (there are {few})"))
    return folders[0] if folders else path


def _folders_called(name: str, place: Path) -> list[Path]:
    files = sorted(place.glob(f"*/{RECORD}"))
    return [file.parent for file in files if _entry(file, ALIAS) == name]


def _entry(file: Path, key: str) -> str | None:
    """Return an entry of a record; None where the file is unreadable or has no such entry."""
    try:
        record: Any = json.loads(file.read_bytes())
        return str(record[key])
    except (OSError, ValueError, KeyError, TypeError):
        return None
