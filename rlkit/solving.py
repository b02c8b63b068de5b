"""`solve` and `evaluate` for anything that a user names as an environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rlkit.environments import EnvLike, find_environment
from rlkit.errors import RlkitError, UsageError
from rlkit.runs.run import Run, load
from rlkit.tabular.planning import NotConverged
from rlkit.tabular.solve import Solution
from rlkit.tabular.solve import solve as solve_model
from rlkit.validation import require_typed


def solve(
    environment: EnvLike,
    *,
    discount: float = 0.99,
    tolerance: float = 1e-9,
    env_args: Mapping[str, Any] | None = None,
) -> Solution:
    """Solve an environment that publishes its transition table, exactly.

    Args:
        environment: as for `rlkit.train`.
        discount: gamma, in [0, 1].
        tolerance: twice the error allowed in V*, in any state, > 0.
        env_args: keyword arguments of the environment.

    Raises:
        UsageError: there is no table that can be trusted, or no finite optimum.
    """
    discount = require_typed("discount", discount, float)
    tolerance = require_typed("tolerance", tolerance, float)
    found = find_environment(environment, env_args)
    try:
        return solve_model(found.make, discount=discount, tolerance=tolerance)
    except ValueError as error:
        raise UsageError(f"solving {found.reference}: {error}") from error
    except NotConverged as error:
        raise RlkitError(f"solving {found.reference}: {error}") from error


def evaluate(
    run: Run | str | Path, *, episodes: int = 1000, greedy: bool = True, env: EnvLike | None = None
) -> dict[str, Any]:
    """Play episodes with the final policies of a run; see `Run.evaluate`."""
    opened = run if isinstance(run, Run) else load(run, env)
    return opened.evaluate(episodes, greedy=greedy)
