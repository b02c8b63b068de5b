"""The name of a run's folder, made from everything that its results depend on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import re
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rlkit.options import identifying_options


def plain_data(
    value: Any, *, mark_tuples: bool = False, other: Callable[[Any], Any] = lambda value: value
) -> Any:
    """Return a value as plain data: dataclasses and mappings as dicts, sequences as lists.

    Options of a dataclass that were added later are omitted at their defaults.

    Args:
        value: the value.
        mark_tuples: write a tuple as {"tuple": [...]}, which `unmarked` reads, not as a list.
        other: what to write for a value that is not plain data.
    """

    def plain(item: Any) -> Any:
        return plain_data(item, mark_tuples=mark_tuples, other=other)

    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name in identifying_options(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        items = [plain(item) for item in value]
        return {"tuple": items} if mark_tuples and isinstance(value, tuple) else items
    return other(value)


def unmarked(value: Any) -> Any:
    """Return what `plain_data` with `mark_tuples` was given."""
    if isinstance(value, list):
        return [unmarked(item) for item in value]
    if isinstance(value, Mapping):
        if value.keys() == {"tuple"} and isinstance(value["tuple"], list):
            return tuple(unmarked(item) for item in value["tuple"])
        return {key: unmarked(item) for key, item in value.items()}
    return value


def differing_parts(one: Any, other: Any) -> list[str]:
    """Return the entries in which two values of plain data differ, such as "config.kl_coef"."""
    if not (isinstance(one, Mapping) and isinstance(other, Mapping)):
        return [] if one == other else [""]
    return [
        f"{name}.{part}" if part else name
        for name in dict.fromkeys([*one, *other])
        for part in differing_parts(one.get(name), other.get(name))
    ]


def content_name(what: str, identity: Mapping[str, Any]) -> str:
    """Return the name of a run's folder, with ten digits of the sha256 of its identity."""
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", what)[:80]
    return f"{stem}-{identity_digest(identity)[:10]}"


def identity_digest(identity: Mapping[str, Any]) -> str:
    """Return the sha256 of the identity of a run."""
    text = json.dumps(identity, sort_keys=True, default=repr)
    return hashlib.sha256(text.encode()).hexdigest()


# The variables by which libraries of arithmetic choose instructions, which round differently.
_CHOOSING = (
    "ATEN_CPU_CAPABILITY",
    "MKL_CBWR",
    "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES",
)
_CAPABILITIES = ("avx512f", "avx2", "avx", "asimd")


def arithmetic() -> dict[str, str]:
    """Return what chooses between instructions that round differently: processor and variables."""
    chosen = {name: os.environ[name] for name in _CHOOSING if os.environ.get(name)}
    return {"processor": _processor(), **chosen}


def _processor() -> str:
    """Return the vendor and the widest vectors of the processor, as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    about = {key.strip(): value.strip() for key, _, value in (one.partition(":") for one in lines)}
    flags = (about.get("flags") or about.get("Features", "")).split()
    widest = next((name for name in _CAPABILITIES if name in flags), "")
    return " ".join(filter(None, (about.get("vendor_id", platform.machine()), widest)))


def versions() -> dict[str, str]:
    """Return the versions that the bytes of a result may depend on."""
    packages = ("rlkit", "gymnasium", "numpy", "torch")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
