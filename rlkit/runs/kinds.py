"""Kinds of runs, and what the run.json of a kind must hold."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlkit.errors import RlkitError, UsageError

Check = tuple[str, Callable[[Any], bool]]  # what a key holds, and whether a value is that

MOST_SEEDS = 1_000_000
_STATUSES = ("new", "running", "finished", "interrupted", "failed")


@dataclass(frozen=True, kw_only=True)
class RunKind:
    """What distinguishes the runs of one kind from others.

    Args:
        name: `kind` in run.json; None where run.json has no such key.
        format: of the runs that are made now.
        older_formats: formats that can be opened but not continued, and why not.
        counter: the key of run.json that holds the target of each seed; rows are counted in it.
        unit: the unit of `counter`, for messages.
        keys: what run.json must hold besides the keys of every run.
        optional_keys: keys that may be missing.
        surplus: what a call gets that asks for less than the run has, with a {target}.
        others: what a run of another kind is and how to open it, by the name of that kind; a
            template that is filled in from its run.json.
        worker_imports: modules that worker processes need; they are imported once for all.
        late_imports: modules that this process needs after training; imported during it.
        crash_hint: what to do where a process ended without a word.
    """

    name: str | None
    format: int
    older_formats: Mapping[int, str] = field(default_factory=dict)
    counter: str
    unit: str
    keys: Mapping[str, Check]
    optional_keys: Mapping[str, Check] = field(default_factory=dict)
    surplus: str
    others: Mapping[str | None, str]
    worker_imports: tuple[str, ...] = ()
    late_imports: tuple[str, ...] = ()
    crash_hint: str = ""

    @property
    def timing_unit(self) -> str:
        """The key of the amount of work in the entries of `timing`."""
        return self.counter.removeprefix("num_")


def require_kind(record: Any, path: Path, kind: RunKind) -> dict[str, Any]:
    """Return the record of a run, every key of which has the type that its kind demands.

    Raises:
        UsageError: it is the record of a run of another kind.
        RlkitError: it is damaged or unknown; the message names the file and the key.
    """
    if not isinstance(record, dict) or "format" not in record:
        raise RlkitError(f"{path} is not the record of a run in a format that is known here")
    name = record.get("kind")
    if name != kind.name:
        if isinstance(name, str | None) and name in kind.others:
            try:
                raise UsageError(f"{path.parent} {kind.others[name].format_map(record)}")
            except KeyError as error:
                raise RlkitError(f"{path} is damaged: it has no {error}") from None
        raise RlkitError(f"{path} is the record of a run of the kind {name!r}, not known here")
    if record["format"] not in (kind.format, *kind.older_formats):
        raise RlkitError(f"{path} is not the record of a run in a format that is known here")
    timing = {"timing": _timing_in(kind.timing_unit)}
    for key, check in (*kind.keys.items(), *_COMMON.items(), *timing.items()):
        if key not in record:
            raise RlkitError(
                f"{path} is damaged, or of a version that is not known here: it has no {key!r}"
            )
        _require(record, key, check, path)
    for key, check in (*kind.optional_keys.items(), *_OPTIONAL.items()):
        if key in record:
            _require(record, key, check, path)
    return record


def _require(record: Mapping[str, Any], key: str, check: Check, path: Path) -> None:
    expected, fits = check
    if not fits(record[key]):
        got = repr(record[key])
        got = got if len(got) <= 200 else f"{got[:200]}..."
        raise RlkitError(f"{path}, {key!r}: expected {expected}, got {got}")


def whole(least: int, most: int = 2**63 - 1) -> Check:
    """Return the check of a whole number in a range."""
    upper = "" if most == 2**63 - 1 else f" and <= {most:,}"
    return f"a whole number >= {least}{upper}", lambda value: _is_whole(value, least, most)


TEXT: Check = ("a string", lambda value: isinstance(value, str))
NAME: Check = ("a non-empty string", lambda value: isinstance(value, str) and value != "")
MAPPING: Check = ("an object", lambda value: isinstance(value, dict))
TEXTS: Check = (
    "a list of strings",
    lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
)


def _is_whole(value: Any, least: int, most: int = 2**63 - 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_failure(seed: Any, failure: Any) -> bool:
    return (
        _is_seed(seed)
        and isinstance(failure, dict)
        and isinstance(failure.get("message"), str)
        and _is_whole(failure.get("exit_code"), 1, 255)
    )


def _is_seed(text: Any) -> bool:
    return isinstance(text, str) and text.isascii() and text.isdigit() and len(text) < 8


def _timing_in(unit: str) -> Check:
    def fits(part: Any) -> bool:
        if not isinstance(part, dict):
            return False
        seconds: Any = part.get("seconds")
        known = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
        return known and math.isfinite(seconds) and seconds >= 0 and _is_whole(part.get(unit), 0)

    return (
        f'a list of {{"seconds": number, "{unit}": whole number}}',
        lambda value: isinstance(value, list) and all(map(fits, value)),
    )


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


_FILE = re.compile(r"\w[\w .-]*", re.ASCII)  # beside run.json, and in no other folder
_DIGEST: Check = ("64 hexadecimal digits", _is_digest)
_STRINGS: Check = (
    "an object of strings",
    lambda value: isinstance(value, dict) and all(isinstance(v, str) for v in value.values()),
)
# Keys that older runs, or runs without a name, lack.
_OPTIONAL: dict[str, Check] = {
    "alias": NAME,
    "device": NAME,
    "arithmetic": _STRINGS,
    "identity": _DIGEST,
    "origin": _DIGEST,
    "sha256": _DIGEST,
    "files": (
        "an object of digests by file name",
        lambda value: (
            isinstance(value, dict)
            and all(isinstance(one, str) and _FILE.fullmatch(one) for one in value)
            and all(map(_is_digest, value.values()))
        ),
    ),
}
# The keys of every run; other keys may stand beside them.
_COMMON: dict[str, Check] = {
    "status": (f"one of {', '.join(_STATUSES)}", lambda value: value in _STATUSES),
    "experiment_seed": whole(0),
    "num_seeds": whole(1, MOST_SEEDS),
    "versions": _STRINGS,
    "command": TEXTS,
    "reproducible": ("true or false", lambda value: isinstance(value, bool)),
    "failures": (
        'an object of {"message": string, "exit_code": number} by seed',
        lambda value: isinstance(value, dict) and all(_is_failure(*f) for f in value.items()),
    ),
    "notes": TEXTS,
}
