"""`solve` and `evaluate` for any environment that a user can name."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from rlkit.environments.environment import Environment
from rlkit.environments.resolve import EnvLike, find_environment
from rlkit.environments.stepping.watchdog import ENV_TIMEOUT, watched
from rlkit.errors import RlkitError, UsageError
from rlkit.nn.reference import UNIFORM
from rlkit.options import require_seconds, require_typed
from rlkit.tabular.bandits.beliefs import belief_mdp
from rlkit.tabular.mdp import TabularMDP, check_limit
from rlkit.tabular.planning.near import solve_near
from rlkit.tabular.planning.solvers import NotConverged
from rlkit.tabular.reading.beliefs import Belief, belief_from_env
from rlkit.tabular.reading.model import mdp_from_env
from rlkit.tabular.reading.published import UnknownModel
from rlkit.tabular.solution import Solution
from rlkit.tabular.solution import solve as solve_model

if TYPE_CHECKING:
    from rlkit.training.run import Run

Model = TabularMDP | Callable[[], gym.Env[Any, Any]]


def solve(
    environment: EnvLike | TabularMDP,
    *,
    discount: float = 0.99,
    tolerance: float = 1e-9,
    method: str = "auto",
    horizon: int | str | None = "auto",
    max_sweeps: int | None = None,
    history: bool = False,
    reference: Any = None,
    kl_coef: float | None = None,
    env_args: Mapping[str, Any] | None = None,
    env_timeout: float = ENV_TIMEOUT,
) -> Solution:
    """Solve a finite MDP, or an environment that publishes its transition table, exactly.

    Args:
        environment: as for `rlkit.train`, a `TabularMDP`, or the path of an .npz file with one.
        discount: gamma, in [0, 1].
        tolerance: twice the error allowed in V*, in any state, > 0.
        method: "auto", "value-iteration", "gauss-seidel", "policy-iteration" or
            "modified-policy-iteration".
        horizon: steps after which episodes are truncated, for the undiscounted returns; None for no
            limit, "auto" for the environment's own.
        max_sweeps: at most so many; None for the method's own limit.
        history: whether to keep the bounds after every sweep in `Solution.history`.
        reference: also compute the best policy under a penalty for leaving this one, as
            `Solution.near_reference`: the folder of a run or a run, "uniform", or an array of
            actions [num_states] or probabilities [num_states, num_actions].
        kl_coef: that penalty, of a nat of divergence, > 0, in units of reward.
        env_args: keyword arguments of the environment; a `TabularMDP` has none.
        env_timeout: seconds that a constructor, reset or step of the environment may take.

    Raises:
        UsageError: it is neither, has no reliable transition table, or has no finite optimum.
    """
    discount = require_typed("discount", discount, float)
    tolerance = require_typed("tolerance", tolerance, float)
    if max_sweeps is not None:
        max_sweeps = require_typed("max_sweeps", max_sweeps, int)
    if (reference is None) != (kl_coef is None):
        raise UsageError(
            "solve: reference (--reference) and kl_coef (--kl-coef) belong together, as in "
            "--reference uniform --kl-coef 0.1"
        )
    began = time.perf_counter()
    with watched(require_seconds("env_timeout", env_timeout)):
        name, model = _model(environment, env_args, horizon)
        if reference is not None:
            model = model_of(environment, env_args, horizon)
            reference = _probabilities(reference, environment, env_args, model)
        built = time.perf_counter() - began
        try:
            solution = solve_model(
                model,
                discount=discount,
                tolerance=tolerance,
                method=method,
                horizon=horizon,
                max_sweeps=max_sweeps,
                history=history,
            )
            if kl_coef is not None and isinstance(model, TabularMDP):
                near = solve_near(
                    model,
                    reference,
                    kl_coef=require_typed("kl_coef", kl_coef, float),
                    discount=discount,
                    tolerance=tolerance,
                    limit=solution.time_limit,
                )
                solution = dataclasses.replace(solution, near_reference=near)
        except UsageError:
            raise
        except ValueError as error:
            raise UsageError(f"solving {name}: {error}") from error
        except NotConverged as error:
            raise RlkitError(f"solving {name}: {error}") from error
    if model is environment:
        return solution
    return dataclasses.replace(solution, build_seconds=solution.build_seconds + built)


def _probabilities(
    reference: Any,
    environment: EnvLike | TabularMDP,
    env_args: Mapping[str, Any] | None,
    mdp: TabularMDP,
) -> Any:
    """Return a reference as an array of actions or probabilities."""
    place = getattr(reference, "folder", reference)
    if not isinstance(place, str | Path):
        return reference
    if str(place) == UNIFORM:
        return np.full((mdp.num_states, mdp.num_actions), 1.0 / mdp.num_actions)
    if isinstance(environment, TabularMDP) or str(environment).endswith(".npz"):
        raise UsageError(
            f"solve: reference {place}: the states of a run are those of its environment; give the "
            "name of the environment, or uniform"
        )
    from rlkit.training.playing.reference_run import reference_probabilities

    return reference_probabilities(str(place), find_environment(environment, env_args), mdp)


def model_of(
    environment: EnvLike | TabularMDP,
    env_args: Mapping[str, Any] | None = None,
    horizon: int | str | None = "auto",
) -> TabularMDP:
    """Return the model of whatever `solve` can solve.

    Raises:
        UsageError: it has no reliable transition table.
    """
    with watched(ENV_TIMEOUT):
        name, model = _model(environment, env_args, horizon)
        if isinstance(model, TabularMDP):
            return model
        try:
            return mdp_from_env(model)
        except ValueError as error:
            raise UsageError(f"solving {name}: {error}") from error


def _model(
    environment: EnvLike | TabularMDP, env_args: Mapping[str, Any] | None, horizon: int | str | None
) -> tuple[str, Model]:
    """Return the name of what is solved, and its model or a function that makes environments."""
    if isinstance(environment, TabularMDP):
        _reject_args("a TabularMDP", env_args)
        return f"a TabularMDP of {environment.num_states} states", environment
    if not (isinstance(environment, str) or callable(environment)):
        raise UsageError(
            "solve: expected a TabularMDP, or an environment's id, class or a function that "
            f"makes one, got {type(environment).__name__}: {environment!r}"
        )
    if isinstance(environment, str) and environment.endswith(".npz"):
        _reject_args(environment, env_args)
        try:
            return environment, TabularMDP.load(environment)
        except ValueError as error:
            raise UsageError(f"solving {environment}: {error}") from error
    named = find_environment(environment, env_args)
    try:
        drawn = named.probe.has_priors and not named.probe.has_table
        belief = belief_from_env(named.make) if drawn else None
    except UnknownModel as error:
        raise UsageError(f"solving {named.reference}: {error}") from error
    return named.reference, named.make if belief is None else _belief_mdp(named, belief, horizon)


def _belief_mdp(named: Environment, belief: Belief, horizon: int | str | None) -> TabularMDP:
    """Return the belief about a drawn bandit as an MDP, over as many pulls as the horizon has."""
    pulls = belief.time_limit if horizon == "auto" else horizon
    if pulls is None or isinstance(pulls, str):
        raise UsageError(
            f"solving {named.reference}: its means are drawn anew each episode, so what is known "
            "about them grows with every pull; give a horizon, a number of pulls"
        )
    try:
        return belief_mdp(belief.priors, check_limit(pulls))
    except ValueError as error:
        raise UsageError(f"solving {named.reference}: {error}") from error


def _reject_args(name: str, env_args: Mapping[str, Any] | None) -> None:
    if env_args:
        raise UsageError(f"solving {name}: it has no env_args, got env_args={dict(env_args)!r}")


def evaluate(
    run: Run | str | Path,
    *,
    episodes: int = 1000,
    greedy: bool = True,
    env: EnvLike | None = None,
    env_timeout: float = ENV_TIMEOUT,
) -> dict[str, Any]:
    """Play episodes with the final policies of a run; see `Run.evaluate`."""
    from rlkit.training.run import Run, load

    opened = run if isinstance(run, Run) else load(run, env)
    return opened.evaluate(episodes, greedy=greedy, env_timeout=env_timeout)
