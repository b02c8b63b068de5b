"""The keys of a run.json and what each may hold; checked once, when the record is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rlkit.errors import RlkitError

Check = Callable[[Any], bool]

MOST_SEEDS = 1_000_000
_STATUSES = ("new", "running", "finished", "interrupted", "failed")


def _whole(least: int, most: int = 2**63 - 1) -> tuple[str, Check]:
    upper = "" if most == 2**63 - 1 else f" and <= {most:,}"
    return f"a whole number >= {least}{upper}", lambda value: _is_whole(value, least, most)


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


def _is_reference(value: Any) -> bool:
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)):
        return False
    number = value[1]
    return isinstance(number, (int, float)) and not isinstance(number, bool) and abs(number) < 1e300


def _timing_of(unit: str) -> tuple[str, Check]:
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


_TEXT: tuple[str, Check] = ("a string", lambda value: isinstance(value, str))
_NAME: tuple[str, Check] = (
    "a string that is not empty",
    lambda value: isinstance(value, str) and value != "",
)
_MAPPING: tuple[str, Check] = ("an object", lambda value: isinstance(value, dict))
_TEXTS: tuple[str, Check] = (
    "a list of strings",
    lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
)

# key -> (what it holds, whether a value is that). Other keys may stand beside these.
_COMMON: dict[str, tuple[str, Check]] = {
    "status": (f"one of {', '.join(_STATUSES)}", lambda value: value in _STATUSES),
    "experiment_seed": _whole(0),
    "num_seeds": _whole(1, MOST_SEEDS),
    "versions": (
        "an object of strings",
        lambda value: isinstance(value, dict) and all(isinstance(v, str) for v in value.values()),
    ),
    "command": _TEXTS,
    "reproducible": ("true or false", lambda value: isinstance(value, bool)),
    "failures": (
        'an object of {"message": string, "exit_code": number} by seed',
        lambda value: isinstance(value, dict) and all(_is_failure(*f) for f in value.items()),
    ),
    "notes": _TEXTS,
}
_KEYS: dict[str, dict[str, tuple[str, Check]]] = {
    "agent": {
        "agent": _NAME,
        "agent_source": _TEXT,
        "environment": _NAME,
        "env_args": _MAPPING,
        "stepped_as": _NAME,
        "config": ("an object or null", lambda value: value is None or isinstance(value, dict)),
        "num_env_steps": _whole(1),
        "num_envs": _whole(1),
        "evaluate_every": _whole(1),
        "evaluation_episodes": _whole(0),
        **_COMMON,
        "timing": _timing_of("env_steps"),
    },
    "stage": {
        "stage": _NAME,
        "label": _NAME,
        "content": _MAPPING,
        "record_every": _whole(1),
        "num_updates": _whole(1),
        **_COMMON,
        "timing": _timing_of("updates"),
    },
}

_DETAILS = {"observation_space", "action_space", "time_limit", "spec", "layers"}
# Keys that runs of format 2 have; those of format 1 lack them.
_LATER: dict[str, tuple[str, Check]] = {
    "environment_source": _TEXT,
    "environment_details": (
        f"an object with {', '.join(_DETAILS)}",
        lambda value: isinstance(value, dict) and value.keys() >= _DETAILS,
    ),
    "caveats": _TEXTS,
    "sources": (
        "an object of digests by path",
        lambda value: (
            isinstance(value, dict)
            and all(isinstance(one, str) and one.isprintable() for one in [*value, *value.values()])
        ),
    ),
    "references": (
        "a list of [name, number]",
        lambda value: isinstance(value, list) and all(map(_is_reference, value)),
    ),
}


def require_form(record: Mapping[str, Any], path: Path, kind: str) -> None:
    """Require every key that the record of a run of this kind has, with a value of its type.

    Raises:
        RlkitError: the file and the key.
    """
    for key, (expected, fits) in _KEYS[kind].items():
        if key not in record:
            raise RlkitError(
                f"{path} is damaged, or of a version that is not known here: it has no {key!r}"
            )
        if not fits(record[key]):
            got = repr(record[key])
            got = got if len(got) <= 200 else f"{got[:200]}..."
            raise RlkitError(f"{path}, {key!r}: expected {expected}, got {got}")
    for key, (expected, fits) in _LATER.items() if kind == "agent" else ():
        if key in record and not fits(record[key]):
            raise RlkitError(f"{path}, {key!r}: expected {expected}, got {record[key]!r:.200}")
