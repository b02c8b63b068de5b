"""Names the folder of a run by what its results depend on."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any


def marked(value: Any) -> Any:
    """Return arguments as plain data in which a tuple can be told from a list."""
    if isinstance(value, tuple):
        return {"tuple": [marked(item) for item in value]}
    if isinstance(value, list):
        return [marked(item) for item in value]
    if isinstance(value, Mapping):
        return {key: marked(item) for key, item in value.items()}
    return value


def unmarked(value: Any) -> Any:
    """Return the arguments that `marked` was given."""
    if isinstance(value, list):
        return [unmarked(item) for item in value]
    if isinstance(value, Mapping):
        if value.keys() == {"tuple"} and isinstance(value["tuple"], list):
            return tuple(unmarked(item) for item in value["tuple"])
        return {key: unmarked(item) for key, item in value.items()}
    return value


def content_name(what: str, identity: Mapping[str, Any]) -> str:
    """The name of a run's folder: what it is, and ten digits of the sha256 of its identity."""
    text = json.dumps(identity, sort_keys=True, default=repr)
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", what)[:80]
    return f"{stem}-{digest}"


def versions() -> dict[str, str]:
    """The versions that the bytes of a result may depend on."""
    packages = ("rlkit", "gymnasium", "numpy", "torch")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
