"""Agents of the user's own, named by `path/to/file.py:Class` or `module:Class`."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from rlkit.agent import Agent
from rlkit.errors import UsageError
from rlkit.spelling import closest
from rlkit.user_code import content_digest, import_named, run_file

# (absolute path, sha256 of its content) -> the module: one file has one class of each name.
_RUN_FILES: dict[tuple[str, str | None], ModuleType] = {}
_METHODS = ("act", "learn", "actor", "state_dict", "load_state_dict")


def names_own_agent(word: str) -> bool:
    """Return whether a word names an agent of the user's own; no agent of rlkit has a colon."""
    return ":" in word


def find_own_agent(reference: str) -> Callable[..., Agent]:
    """Return the class that `path/to/file.py:Class` or `module:Class` names, or a function like it.

    Raises:
        UsageError: there is none, or the file or module cannot be run.
    """
    head, _, name = reference.rpartition(":")
    wanted_by = f"agent {reference!r}"
    if not head or not name:
        raise UsageError(
            f"{wanted_by}: expected path/to/file.py:Class or module:Class, such as my.py:MyAgent"
        )
    module = _file(Path(head), wanted_by) if head.endswith(".py") else import_named(head, wanted_by)
    agent = getattr(module, name, None)
    if agent is None:
        known = [key for key, value in vars(module).items() if _is_agent(value)]
        there = f" Its agents are {', '.join(known)}." if known else " It defines no agent."
        raise UsageError(
            f"{wanted_by}: {head} does not define {name!r}.{closest(name, known) or there}"
        )
    require_methods(agent, wanted_by)
    made: Callable[..., Agent] = agent
    return made


def require_methods(agent: Any, wanted_by: str) -> None:
    """Require the methods of the contract of an agent or its class; a function may make one.

    Raises:
        UsageError: it lacks some; the message begins with `wanted_by`.
    """
    missing = [method for method in _METHODS if not hasattr(agent, method)]
    if missing and not inspect.isroutine(agent):
        raise UsageError(
            f"{wanted_by}: {agent!r:.80} is not an agent: it has no {', '.join(missing)}; "
            "docs/writing-an-agent.md describes the contract"
        )


def reference_of(agent: Any) -> str:
    """Return a name by which another process finds an agent's class, or "" if there is none."""
    name = str(getattr(agent, "__qualname__", ""))
    for (path, _), module in _RUN_FILES.items():
        if getattr(module, name, None) is agent:
            return f"{path}:{name}"
    module_name = str(getattr(agent, "__module__", "") or "__main__")
    place = sys.modules.get(module_name)
    if module_name in ("__main__", "__mp_main__") or getattr(place, name, None) is not agent:
        return ""
    return f"{module_name}:{name}"


def in_file(reference: str) -> bool:
    """Return whether a reference names a file, whose module no other process can import."""
    return reference.rpartition(":")[0].endswith(".py")


class ByReference:
    """An agent's class in a file, which is run again where this is unpickled."""

    def __init__(self, reference: str) -> None:
        self.reference = reference

    def __reduce__(self) -> tuple[Any, ...]:
        return find_own_agent, (self.reference,)


def _is_agent(value: Any) -> bool:
    return inspect.isclass(value) and all(hasattr(value, method) for method in _METHODS)


def _file(path: Path, wanted_by: str) -> ModuleType:
    key = os.path.abspath(path), content_digest(str(path))
    if key not in _RUN_FILES:
        # Beside the file lie the modules that it imports, as for a script.
        folder = os.path.dirname(key[0])
        sys.path.insert(0, folder)
        try:
            importlib.invalidate_caches()
            _RUN_FILES[key] = run_file(Path(key[0]), wanted_by)[0]
        finally:
            sys.path.remove(folder)
    return _RUN_FILES[key]
