"""What resets and steps returned, in a form that can be kept and compared."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.processes.calls import describe

Array = NDArray[Any]

_PARTS = ("observation", "reward", "terminated", "truncated")


class Outcome(NamedTuple):
    """The result of a step, or of a reset with a reward of 0."""

    obs: Any  # a copy
    reward: float = 0.0
    terminated: bool = False
    truncated: bool = False

    @property
    def is_last(self) -> bool:
        return self.terminated or self.truncated


@dataclass
class Episode:
    """One episode, as far as it was played.

    Args:
        seed: of its reset; None = without a seed.
        rows: the actions, as agents choose them.
        outcomes: of the reset and of each step, one more than actions.
    """

    seed: int | None
    rows: list[Array] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(self.rows)

    @property
    def has_ended(self) -> bool:
        return self.outcomes[-1].is_last

    @property
    def total(self) -> float:
        """The return."""
        return float(sum(outcome.reward for outcome in self.outcomes))


def kept(value: Any) -> Any:
    """Return a copy of an observation; the thing itself where it cannot be copied."""
    if type(value) in (int, float, bool):
        return value
    try:
        return copy.deepcopy(value)
    except Exception:
        return value


def frozen(value: Any) -> bytes:
    """Return bytes that are equal for equal values, whatever the process."""
    if isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.kind == "O":
            return frozen(array.tolist())
        return f"{array.dtype.str}{array.shape}".encode() + array.tobytes()
    if isinstance(value, Mapping):
        parts = sorted((frozen(key), frozen(part)) for key, part in value.items())
        return b"{" + b",".join(key + b":" + part for key, part in parts) + b"}"
    if isinstance(value, (tuple, list)):
        return b"(" + b",".join(map(frozen, value)) + b")"
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return repr(value).encode()
    return type(value).__name__.encode()


def digest(outcome: Outcome) -> bytes:
    """Return eight bytes that stand for an outcome."""
    return hashlib.blake2b(frozen(tuple(outcome)), digest_size=8).digest()


class Difference(NamedTuple):
    """Where two episodes first differ.

    Args:
        step: 0 = the first observation.
        text: one clause that says so.
    """

    step: int
    text: str


def difference(first: Sequence[Outcome], again: Sequence[Outcome]) -> Difference | None:
    """Return where two sequences of outcomes first differ, or None; the shorter one counts."""
    for step, (one, other) in enumerate(zip(first, again, strict=False)):
        for name, a, b in zip(_PARTS, one, other, strict=True):
            if frozen(a) != frozen(b):
                where = f"the {name} at step {step}" if step else "the first observation"
                return Difference(step, f"{where} was {short(b)} and not {short(a)}")
    return None


def short(value: Any) -> str:
    """Return a value as short text."""
    if isinstance(value, np.ndarray):
        text = np.array2string(value, precision=6, threshold=8, edgeitems=2)
        return " ".join(text.split())[:80]
    text = describe(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def same_bytes(outcomes: Sequence[Outcome]) -> bytes:
    """Return what two sequences of outcomes have in common if they are equal."""
    return b"".join(map(digest, outcomes))
