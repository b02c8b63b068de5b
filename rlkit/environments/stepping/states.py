"""States that environments offer themselves, by `get_state` and `set_state`, as bytes.

A long episode then needs no log of its actions in order to be resumed. A state is data: numbers,
text, bytes, arrays, and dictionaries, lists and tuples of these. Nothing is pickled.
"""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker

_KIND = "kind"  # the key of what JSON has no form for


class OffersState(Protocol):
    """An environment whose state can be read and set."""

    def get_state(self) -> Any:
        """Return everything that its future depends on, its random generator included."""

    def set_state(self, state: Any) -> object:
        """Continue from what `get_state` returned."""


def with_state(env: gym.Env[Any, Any]) -> OffersState | None:
    """Return the environment, or the one in wrappers without a state, if it offers its state."""
    while type(env) in (OrderEnforcing, PassiveEnvChecker):
        env = env.env  # type: ignore[attr-defined]
    methods = (getattr(env, name, None) for name in ("get_state", "set_state"))
    return env if all(map(callable, methods)) else None  # type: ignore[return-value]


class SavedState(NamedTuple):
    """The state of a copy in a running episode."""

    seed: int  # that reset the episode
    state: bytes


def packed(state: Any) -> bytes:
    """Return a state as bytes, which are the same for equal states.

    Raises:
        TypeError: it holds something that is no data.
    """
    return json.dumps(_plain(state, "the state"), separators=(",", ":")).encode()


def unpacked(data: bytes) -> Any:
    """Return the state that `packed` made bytes of."""
    return _restored(json.loads(data))


def _plain(value: Any, where: str) -> Any:
    """Return a value in the types of JSON; whatever is a dictionary there says what it is."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufcUS":
        content = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return {_KIND: "array", "type": value.dtype.str, "shape": value.shape, "content": content}
    if isinstance(value, (bytes, bytearray)):
        return {_KIND: "bytes", "content": base64.b64encode(value).decode()}
    if isinstance(value, (list, tuple)):
        parts = [_plain(part, f"{where}[{i}]") for i, part in enumerate(value)]
        return parts if isinstance(value, list) else {_KIND: "tuple", "content": parts}
    if isinstance(value, dict):
        pairs = [
            (_plain(key, f"a key of {where}"), _plain(part, f"{where}[{key!r}]"))
            for key, part in value.items()
        ]
        return {_KIND: "dict", "content": pairs}
    raise TypeError(
        f"{where} is of {type(value).__name__}; a state consists of numbers, text, bytes, NumPy "
        "arrays of numbers, and dictionaries, lists and tuples of these"
    )


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(part) for part in value]
    if not isinstance(value, dict):
        return value
    content = value["content"]
    if value[_KIND] == "array":
        flat = np.frombuffer(base64.b64decode(content), dtype=np.dtype(value["type"]))
        return flat.reshape(value["shape"]).copy()
    if value[_KIND] == "bytes":
        return base64.b64decode(content)
    if value[_KIND] == "tuple":
        return tuple(map(_restored, content))
    return {_restored(key): _restored(part) for key, part in content}
