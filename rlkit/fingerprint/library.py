"""Library code: its names, the content of its files, and what the user patched."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

from rlkit.fingerprint.inspection import PLAIN, at_name, bases, is_compiled, members, module_name
from rlkit.fingerprint.inspection import type_name as name_of
from rlkit.fingerprint.packages import file_of, origin_of
from rlkit.fingerprint.walk import Part, Walk
from rlkit.user_code import Origin, origin_of_code, origin_of_module

# Attributes of classes that Python itself maintains or that have no effect.
OF_CLASSES = {
    *("__dict__", "__weakref__", "__doc__", "__module__", "__name__", "__qualname__"),
    *("__annotations__", "__firstlineno__", "__static_attributes__", "__abstractmethods__"),
    *(
        "__slotnames__",
        "_abc_impl",
        "__orig_bases__",
        "__parameters__",
        "__annotate__",
        "__annotate_func__",
    ),
    *("__annotations_cache__", "__classdictcell__", "__conditional_annotations__"),
}


# Names of rlkit that agents and environments use -> the names that they had before. A move within
# rlkit does not change the user's code.
_MOVED = {
    "rlkit.agents.ppo_objective:Batch": "rlkit.agents.ppo_update:Batch",
    "rlkit.agents.ppo_objective:Objective": "rlkit.agents.ppo_update:Objective",
    "rlkit.agents.tabular.q_learning:QLearning": "rlkit.agents.q_learning:QLearning",
    "rlkit.agents.tabular.q_learning:QLearningConfig": "rlkit.agents.q_learning:QLearningConfig",
    "rlkit.agents.tabular.tables:best_value": "rlkit.agents.tables:best_value",
    "rlkit.agents.tabular.tables:greedy_action": "rlkit.agents.tables:greedy_action",
    "rlkit.agents.tabular.tables:one_hot": "rlkit.agents.tables:one_hot",
    "rlkit.agents.tabular.tables:require_tabular": "rlkit.agents.tables:require_tabular",
    "rlkit.agents.tabular.value_iteration:ValueIteration": (
        "rlkit.agents.value_iteration:ValueIteration"
    ),
    "rlkit.agents.tabular.value_iteration:ValueIterationConfig": (
        "rlkit.agents.value_iteration:ValueIterationConfig"
    ),
    "rlkit.agents.tabular.tables:TableActor": "rlkit.agents.q_learning:TableActor",
    "rlkit.agents.tabular.tables:greedy_actions": "rlkit.agents.q_learning:greedy_actions",
    "rlkit.training.comparing.compare:compare": "rlkit.runs.compare:compare",
    "rlkit.training.comparing.comparison:Comparison": "rlkit.runs.compare:Comparison",
    "rlkit.training.run:Run": "rlkit.runs.run:Run",
    "rlkit.training.run:load": "rlkit.runs.run:load",
    "rlkit.training.train:train": "rlkit.runs.train:train",
}


def is_library_class(cls: type) -> bool:
    """Return whether a class is compiled, or installed and held by its module under its name."""
    if origin_of_module(module_name(cls)) is Origin.USER:
        return False
    return is_compiled(cls) or at_name(cls, module_name(cls), name_of(cls))


def named(walk: Walk, module: str, name: str) -> list[bytes]:
    """Return the parts that identify a name in a library's module."""
    text = f"{module or 'builtins'}:{name}"
    parts = [_MOVED.get(text, text).encode("utf-8", "surrogatepass")]
    if origin_of(module) is Origin.PACKAGE:
        parts += [walk.file(file_of(module), own=False), walk.package(module.split(".")[0])]
    return parts


def library_class(walk: Walk, cls: type) -> Iterator[Part]:
    """Yield the parts that identify a library's class: names, files of its bases, and patches."""
    yield from named(walk, module_name(cls), name_of(cls))
    for base in bases(cls)[:-1]:
        if is_compiled(base):
            continue
        if base is not cls and not is_library_class(base):
            yield walk.refer(base, f"a base of {name_of(cls)}")
            continue
        packaged = origin_of_module(module_name(base)) is Origin.PACKAGE
        if packaged and base is not cls:
            yield from named(walk, module_name(base), name_of(base))
        for name, value in sorted(members(base).items()):
            counts = packaged and _is_data(value)
            if name not in OF_CLASSES and (counts or is_own_code(value)):
                place = f"{name_of(base)}.{name}"
                yield walk.group(name, [walk.refer(value, place)])


def _is_data(value: Any) -> bool:
    if type(value) in (list, tuple):
        return all(map(_is_data, value))
    if type(value) is dict:
        return all(map(_is_data, value.values()))
    return id(type(value)) in PLAIN


def is_own_code(value: Any) -> bool:
    """Return whether a function, or the function in a property or method, is the user's."""
    if type(value) is property:
        return any(map(is_own_code, (value.fget, value.fset, value.fdel)))
    if type(value) in (staticmethod, classmethod, types.MethodType):
        return is_own_code(value.__func__)
    if type(value) is not types.FunctionType:
        return False
    file = value.__code__.co_filename
    if file.startswith("<"):  # generated, as methods of dataclasses are
        return origin_of_module(value.__globals__.get("__name__")) is Origin.USER
    return origin_of_code(file) is Origin.USER
