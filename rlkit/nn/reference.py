"""A policy as plain arrays, which others are kept near: a reference."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

UNIFORM = "uniform"
INITS = ("orthogonal", "xavier")  # how weights are drawn where no policy is started from


@dataclass(frozen=True)
class ReferencePolicy:
    """A frozen policy over the actions of an environment.

    Args:
        kind: "network": a perceptron's outputs are the parameters of the distribution; "table": the
            probabilities of the actions in each state; "uniform": all actions are equally likely.
        arrays: of a network, "layer 0", "layer 1", ..., "log_std" if it has real actions, and
            "moments" if it normalises observations; of a table, "probabilities" [states, actions].
        activation: of a network's hidden layers.
    """

    kind: Literal["network", "table", "uniform"]
    arrays: Mapping[str, Array] = field(default_factory=dict, repr=False)
    activation: str = ""

    @property
    def identity(self) -> dict[str, str]:
        """What the policy is, as plain data: the same for policies that act the same."""
        digest = arrays_digest(self.arrays)
        return {"kind": self.kind, "activation": self.activation, "sha256": digest}

    def to_bytes(self) -> bytes:
        """Return the policy as the content of a file."""
        texts = {"kind": np.array(self.kind), "activation": np.array(self.activation)}
        return to_npz(texts | {f"/{name}": array for name, array in self.arrays.items()})

    @classmethod
    def from_bytes(cls, data: bytes) -> ReferencePolicy:
        """Return the policy that `to_bytes` wrote.

        Raises:
            ValueError: it is no such file.
        """
        entries = from_npz(data, "policy")
        try:
            kind: Any = str(entries.pop("kind"))
            activation = str(entries.pop("activation"))
        except KeyError as error:
            raise ValueError(f"it holds no policy ({error!r})") from error
        return cls(kind, {name[1:]: array for name, array in entries.items()}, activation)


def arrays_digest(arrays: Mapping[str, Array]) -> str:
    """Return the sha256 of named arrays: of names, types, shapes and numbers."""
    hasher = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        about = json.dumps([name, array.dtype.str, array.shape])
        hasher.update(about.encode() + np.ascontiguousarray(array).tobytes())
    return hasher.hexdigest()


def to_npz(arrays: Mapping[str, Array]) -> bytes:
    """Return named arrays as the content of a file of NumPy; equal arrays have equal bytes."""
    buffer = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez(buffer, allow_pickle=False, **named)
    return buffer.getvalue()


def from_npz(data: bytes, what: str) -> dict[str, Array]:
    """Return the arrays of a file of NumPy, none of which is a pickled object.

    Raises:
        ValueError: it is no such file; the message says that it holds no `what`.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as held:
            return {name: held[name] for name in held.files}
    except (OSError, EOFError, KeyError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"it holds no {what} ({error!r})") from error
