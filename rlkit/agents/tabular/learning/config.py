"""Options that the learners of tables share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from rlkit.agents.tabular.tables import ExplorationKind
from rlkit.errors import UsageError
from rlkit.options import ADDED_LATER, require_choice, require_range, require_whole

TraceKind = Literal["replacing", "accumulating"]


@dataclass(frozen=True, kw_only=True)
class TableConfig:
    """Options that all learners of tables have."""

    discount: float = 0.99  # gamma, in [0, 1]
    step_size: float | None = None  # alpha, constant, in (0, 1]; None = visits^-step_size_power
    step_size_power: float = 0.6  # omega of alpha = visits^-omega, in [0, 1]
    initial_value: float = 0.0  # initial Q(s, a) of every pair
    epsilon_start: float = 1.0  # probability of a random action at the start, in [0, 1]
    epsilon_end: float = 0.05  # the same from epsilon_steps on, in [0, 1]
    epsilon_steps: int = 100_000  # environment steps over which epsilon falls linearly, >= 1
    # alpha from step_size_steps on, linearly from step_size, in (0, 1]; None = constant
    step_size_end: float | None = field(default=None, metadata=ADDED_LATER)
    # environment steps over which alpha changes to step_size_end, >= 1
    step_size_steps: int = field(default=100_000, metadata=ADDED_LATER)
    # how the actions of training are chosen
    exploration: ExplorationKind = field(default="epsilon-greedy", metadata=ADDED_LATER)
    # tau of Boltzmann exploration at the start, in units of return, > 0
    temperature_start: float = field(default=1.0, metadata=ADDED_LATER)
    # the same from temperature_steps on, > 0
    temperature_end: float = field(default=0.01, metadata=ADDED_LATER)
    # environment steps over which tau falls linearly, >= 1
    temperature_steps: int = field(default=100_000, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        require_range(self, "discount", "epsilon_start", "epsilon_end", low=0, high=1)
        require_range(self, "step_size", "step_size_end", low=0, high=1, open_low=True)
        require_range(self, "step_size_power", low=0, high=1)
        require_range(self, "initial_value", low=-np.inf)
        require_range(self, "temperature_start", "temperature_end", low=0, open_low=True)
        require_whole(self, "epsilon_steps", "step_size_steps", "temperature_steps", at_least=1)
        require_choice(self, "exploration", among=ExplorationKind)
        if self.step_size_end is not None and self.step_size is None:
            raise UsageError(
                "option step_size_end (--step-size-end): it is the end of a linear schedule from "
                "step_size, which is None here: expected a number in (0, 1] as step_size. Give "
                "both, or neither for a step size by the number of visits"
            )


@dataclass(frozen=True, kw_only=True)
class TraceConfig(TableConfig):
    """Options of a learner that has eligibility traces."""

    trace_decay: float = field(default=0.0, metadata=ADDED_LATER)  # lambda, in [0, 1]; 0 = one step
    # whether a visit sets the trace of a pair to 1 or adds 1
    traces: TraceKind = field(default="replacing", metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "trace_decay", low=0, high=1)
        require_choice(self, "traces", among=TraceKind)
