"""`solve` and `evaluate` for any environment that a user can name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym

from rlkit.environments.resolve import EnvLike, find_environment
from rlkit.errors import RlkitError, UsageError
from rlkit.options import require_typed
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.planning.solvers import NotConverged
from rlkit.tabular.solution import Solution
from rlkit.tabular.solution import solve as solve_model
from rlkit.training.run import Run, load


def solve(
    environment: EnvLike | TabularMDP,
    *,
    discount: float = 0.99,
    tolerance: float = 1e-9,
    env_args: Mapping[str, Any] | None = None,
) -> Solution:
    """Solve a finite MDP, or an environment that publishes its transition table, exactly.

    Args:
        environment: as for `rlkit.train`, or a `TabularMDP`.
        discount: gamma, in [0, 1].
        tolerance: twice the error allowed in V*, in any state, > 0.
        env_args: keyword arguments of the environment; a `TabularMDP` has none.

    Raises:
        UsageError: it is neither, has no reliable transition table, or has no finite optimum.
    """
    discount = require_typed("discount", discount, float)
    tolerance = require_typed("tolerance", tolerance, float)
    if isinstance(environment, TabularMDP):
        if env_args:
            raise UsageError(
                f"solving a TabularMDP: it has no env_args, got env_args={dict(env_args)!r}"
            )
        name = f"a TabularMDP of {environment.num_states} states"
        model: TabularMDP | Callable[[], gym.Env[Any, Any]] = environment
    else:
        if not (isinstance(environment, str) or callable(environment)):
            raise UsageError(
                "solve: expected a TabularMDP, or an environment's id, class or a function that "
                f"makes one, got {type(environment).__name__}: {environment!r}"
            )
        named = find_environment(environment, env_args)
        name, model = named.reference, named.make
    try:
        return solve_model(model, discount=discount, tolerance=tolerance)
    except ValueError as error:
        raise UsageError(f"solving {name}: {error}") from error
    except NotConverged as error:
        raise RlkitError(f"solving {name}: {error}") from error


def evaluate(
    run: Run | str | Path, *, episodes: int = 1000, greedy: bool = True, env: EnvLike | None = None
) -> dict[str, Any]:
    """Play episodes with the final policies of a run; see `Run.evaluate`."""
    opened = run if isinstance(run, Run) else load(run, env)
    return opened.evaluate(episodes, greedy=greedy)
