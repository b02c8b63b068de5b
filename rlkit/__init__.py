"""rlkit: the ladder of reinforcement learning behind one Agent/Env loop.

    run = rlkit.train("ppo", "CartPole-v1", seeds=10)         # many seeds, one batch
    rlkit.compare(["q-learning", "ppo"], "FrozenLake-v1")     # honest differences
    rlkit.solve("FrozenLake-v1")                              # the exact optimum
    run.evaluate(episodes=1000)                               # the final policies
    rlkit.load("runs/ppo-CartPole-v1-...")                    # a run from its folder

Array conventions, everywhere:

    rollouts   [T, S, N, ...]   time, seed, environment of that seed
    networks   [S, B, ...]      seed, decisions in a batch
    curves     [S, E]           seed, evaluation
    returns    undiscounted sums of the raw reward, unless said otherwise
    flags      terminated: the task is over; truncated: the episode was cut; is_last: either
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlkit.agent import Agent, Task, Transition
    from rlkit.errors import RlkitError, RlkitWarning, UsageError
    from rlkit.loop import interact
    from rlkit.solving import evaluate, solve
    from rlkit.training.compare import compare
    from rlkit.training.comparison import Comparison
    from rlkit.training.run import Run, load
    from rlkit.training.train import train

# Left to itself, MKL (torch's matrix library) may sum a matrix in a batch in another order than the
# same matrix alone, on AMD processors for one. In this mode, which costs no time, it does not: a
# seed's bytes depend on it. MKL reads the variable once, at the first product of the process.
os.environ.setdefault("MKL_CBWR", "AUTO")

# Where each public name lives; it is imported when first used, so that what needs no torch does
# not wait for it.
_HOME = {
    "Agent": "rlkit.agent",
    "Comparison": "rlkit.training.comparison",
    "RlkitError": "rlkit.errors",
    "RlkitWarning": "rlkit.errors",
    "Run": "rlkit.training.run",
    "Task": "rlkit.agent",
    "Transition": "rlkit.agent",
    "UsageError": "rlkit.errors",
    "compare": "rlkit.training.compare",
    "evaluate": "rlkit.solving",
    "interact": "rlkit.loop",
    "load": "rlkit.training.run",
    "solve": "rlkit.solving",
    "train": "rlkit.training.train",
}

__all__ = [
    "Agent",
    "Comparison",
    "RlkitError",
    "RlkitWarning",
    "Run",
    "Task",
    "Transition",
    "UsageError",
    "compare",
    "evaluate",
    "interact",
    "load",
    "solve",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rlkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
