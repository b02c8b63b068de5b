"""Environments of Gymnasium that are known to follow their table.

Their `step` and `reset` draw from `P` and `initial_state_distrib` and from nothing else, as anybody
can read in their files. So where the files are the ones that were read and no part of them has been
replaced, a probe can only agree, and takes longer than learning the table.
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium as gym

from rlkit.tabular.reading.wrappers import layers_of
from rlkit.user_code import content_digest, is_patched

_FOLDER = "gymnasium.envs.toy_text"
# The sha256 of the files that were read: those of Gymnasium 1.4.0.
_READ = {
    f"{_FOLDER}.cliffwalking": "24f48ac450a39935d6c27b2af3097b656e53eee8140e91f461918ca0711983a6",
    f"{_FOLDER}.frozen_lake": "d640d8289c7046eb8c82208e65d40dcd72b974142db5d94fa63f4981b146f9d3",
    f"{_FOLDER}.taxi": "63c51638c652f31b8dd1f7858c0d302530cc52f3e3d16259f361057c50acb080",
    f"{_FOLDER}.utils": "3739667fe0ded69624599a9e6b8d3305de70a8f3675e47c6a5a8b8bc1aafcf22",
}
_CLASSES = ("CliffWalkingEnv", "FrozenLakeEnv", "TaxiEnv")


def follows_table(env: gym.Env[Any, Any]) -> bool:
    """Return whether an environment is known to draw from its table; False where it is not known.

    A fickle passenger of Taxi changes the state outside the table.
    """
    inner = env.unwrapped
    cls, table = type(inner), getattr(inner, "P", None)
    if cls.__qualname__ not in _CLASSES or getattr(inner, "fickle_passenger", False):
        return False
    return (
        type(table) is dict
        and all(_was_read(name) for name in (cls.__module__, f"{_FOLDER}.utils"))
        and _draws(cls.__module__) is _draws(f"{_FOLDER}.utils")
        and not any(_is_changed(layer) for layer in layers_of(env))
    )


def _was_read(module: str) -> bool:
    file = getattr(sys.modules.get(module), "__file__", None)
    return module in _READ and content_digest(str(file)) == _READ[module]


def _draws(module: str) -> Any:
    """Return the function of a module that draws, unless it is not the one of the file."""
    function = getattr(sys.modules[module], "categorical_sample", None)
    file = getattr(sys.modules[f"{_FOLDER}.utils"], "__file__", None)
    code = getattr(function, "__code__", None)
    return function if getattr(code, "co_filename", "") == file else object()


def _is_changed(layer: Any) -> bool:
    """Return whether a method of a wrapper or environment, or of its class, was replaced."""
    return bool({"step", "reset"} & set(vars(layer))) or is_patched(type(layer))
