"""rlkit: reinforcement learning, from the Bellman equation to RLHF, behind one Agent/Env loop.

    run = rlkit.train("ppo", "CartPole-v1", seeds=10)         # many seeds in one batch
    rlkit.compare(["q-learning", "ppo"], "FrozenLake-v1")     # differences with intervals
    rlkit.tune("q-learning", "FrozenLake-v1")                 # options, confirmed on fresh seeds
    print(rlkit.doctor(MyEnv))                                # what is wrong with an environment
    rlkit.solve("FrozenLake-v1")                              # the exact optimum
    run.evaluate(episodes=1000)                               # the final policies
    rlkit.load("runs/ppo-CartPole-v1-...")                    # a run from its folder
    rlkit.report("runs/ppo-CartPole-v1-...", "report.html")   # one page that opens offline
    rlkit.verify("runs"), rlkit.resume("runs")                # check all files; continue all runs
    rlkit.rlhf                                                # language models: sft, reward, ppo

Array conventions:

    rollouts      [T, S, N, ...]  time, seed, environment of that seed
    networks      [S, B, ...]     seed, decisions in a batch
    curves        [S, E]          seed, evaluation
    language      [B, T]          in rlkit.rlhf: response, token; one seed at a time
    returns       undiscounted sums of the raw reward, unless stated otherwise
    flags         terminated: the task is over; truncated: the episode was cut short;
                  is_last: either
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlkit.agent import Agent, Task, Transition
    from rlkit.diagnosis.doctor import doctor
    from rlkit.environments.grids.twins import check_twin
    from rlkit.errors import RlkitError, RlkitWarning, UsageError
    from rlkit.loop import interact
    from rlkit.nn.demonstrations import Demonstrations
    from rlkit.reporting.report import report
    from rlkit.solving import evaluate, solve
    from rlkit.training.comparing.compare import compare
    from rlkit.training.comparing.comparison import Comparison
    from rlkit.training.exporting.export import export
    from rlkit.training.run import Run, load
    from rlkit.training.train import train
    from rlkit.training.tuning.tune import tune
    from rlkit.upkeep.reproducing import reproduce
    from rlkit.upkeep.resuming import resume
    from rlkit.upkeep.verifying import verify

# By default MKL (torch's matrix library) may sum a matrix in a batch in another order than the same
# matrix alone, for example on AMD processors. In this mode, which costs no time, it does not, and
# the bytes of a seed depend on that. MKL reads the variable once, at the first product.
os.environ.setdefault("MKL_CBWR", "AUTO")

# The module of each public name. It is imported when first used, so that what needs no torch does
# not import it.
_HOME = {
    "Agent": "rlkit.agent",
    "Comparison": "rlkit.training.comparing.comparison",
    "Demonstrations": "rlkit.nn.demonstrations",
    "RlkitError": "rlkit.errors",
    "RlkitWarning": "rlkit.errors",
    "Run": "rlkit.training.run",
    "Task": "rlkit.agent",
    "Transition": "rlkit.agent",
    "UsageError": "rlkit.errors",
    "check_twin": "rlkit.environments.grids.twins",
    "compare": "rlkit.training.comparing.compare",
    "doctor": "rlkit.diagnosis.doctor",
    "evaluate": "rlkit.solving",
    "interact": "rlkit.loop",
    "load": "rlkit.training.run",
    "export": "rlkit.training.exporting.export",
    "report": "rlkit.reporting.report",
    "reproduce": "rlkit.upkeep.reproducing",
    "resume": "rlkit.upkeep.resuming",
    "solve": "rlkit.solving",
    "train": "rlkit.training.train",
    "tune": "rlkit.training.tuning.tune",
    "verify": "rlkit.upkeep.verifying",
}

__all__ = [
    "Agent",
    "Comparison",
    "Demonstrations",
    "RlkitError",
    "RlkitWarning",
    "Run",
    "Task",
    "Transition",
    "UsageError",
    "check_twin",
    "compare",
    "doctor",
    "evaluate",
    "export",
    "interact",
    "load",
    "report",
    "reproduce",
    "resume",
    "solve",
    "train",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rlkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
