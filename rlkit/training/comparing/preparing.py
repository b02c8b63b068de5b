"""Contenders made ready for one environment, and the checks that they can be compared there."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.agent import AgentTraits
from rlkit.agents import AGENTS, find_agent
from rlkit.environments.resolve import EnvLike
from rlkit.errors import UsageError
from rlkit.options import require_count
from rlkit.runs.record import RECORD
from rlkit.training.comparing.contenders import Contender
from rlkit.training.comparing.metrics import Metric
from rlkit.training.figures import environment_key
from rlkit.training.prepare import Prepared, prepare
from rlkit.training.run import Run
from rlkit.training.specification import RunSpec, make_spec


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How contenders are trained, the same for all of them.

    Args:
        arguments: of `make_spec`.
        some: arguments that are for the agents alone that take them.
        num_seeds: of each contender that is trained, at most.
        out: the folder in which each run gets its own.
        metric: by which they are compared.
    """

    arguments: Mapping[str, Any]
    some: Mapping[str, Any]
    num_seeds: int
    out: Path
    metric: Metric


def prepare_contenders(
    contenders: Sequence[Contender], environment: EnvLike | None, plan: Plan
) -> dict[str, Prepared | Run]:
    """Prepare all contenders, so that an error is raised before any of them is trained.

    Raises:
        UsageError: one cannot act in the environment, or they cannot be compared.
    """
    _require_takers([one.agent for one in contenders if one.run is None], plan.some)
    specs = {one.name: _spec(one, environment, plan) for one in contenders if one.run is None}
    runs = [one.run for one in contenders if one.run is not None]
    steps = plan.arguments["steps"]
    same: dict[str, Any] = {
        "num_env_steps": _common_budget(runs, [*specs.values()])
        if steps is None
        else require_count("steps", steps, at_least=1)
    }
    if plan.metric.needs_one_grid and plan.arguments["evaluate_every"] is None and specs:
        every = [run.record["evaluate_every"] for run in runs]
        same["evaluate_every"] = max(every or [spec.evaluate_every for spec in specs.values()])
    resolved = next((spec.resolve_safely() for spec in specs.values()), None)
    named: dict[str, Prepared | Run] = {}
    for one in contenders:
        if one.run is not None:
            named[one.name] = one.run.at(same["num_env_steps"])
            continue
        spec = dataclasses.replace(specs[one.name], **same)
        with _naming(one, environment):
            named[one.name] = prepare(spec, plan.num_seeds, plan.out, environment=resolved)
    _require_comparable(named, same["num_env_steps"])
    if plan.metric.needs_one_grid:
        _require_one_grid(named, plan.metric)
    return named


def _spec(contender: Contender, environment: EnvLike | None, plan: Plan) -> RunSpec:
    """Return what a contender is trained from: the arguments of all, and its own before them."""
    agent: Any = contender.agent
    if environment is None:
        raise UsageError(
            f"comparing {agent!r}: name the environment to train it on; only runs that were "
            "trained before need none"
        )
    own = {name: value for name, value in plan.some.items() if _takes(agent, name)}
    options = {name: own.pop(name) for name in ("initial_std",) if name in own}
    own |= contender.arguments
    with _naming(contender, environment):
        return make_spec(
            agent,
            environment,
            **{**plan.arguments, **own},
            config=contender.config,
            options={**options, **contender.options},
        )


@contextlib.contextmanager
def _naming(contender: Contender, environment: EnvLike | None) -> Iterator[None]:
    """Name contender and environment in an error, unless it is called what its agent is called."""
    try:
        yield
    except UsageError as error:
        if contender.name == _name(contender.agent):
            raise
        place = environment if isinstance(environment, str) else _name(environment)
        raise UsageError(f"the contender {contender.name!r} on {place}: {error}") from error


def _takes(agent: Any, argument: str) -> bool:
    """Return whether an argument that is not for all agents is for one."""
    traits = AgentTraits.of(find_agent(agent) if isinstance(agent, str) else agent)
    if argument == "action_masks":
        return traits.takes_action_masks
    if argument == "initial_std":
        return argument in getattr(traits.Config, "__dataclass_fields__", {})
    return traits.needs_discrete_observations


def _require_takers(trained: Sequence[Any], some: Mapping[str, Any]) -> None:
    """Require an agent for each argument that is not for all."""
    for name, value in some.items():
        if any(_takes(agent, name) for agent in trained):
            continue
        able = ", ".join(agent for agent in AGENTS if _takes(agent, name))
        raise UsageError(
            f"option {name} (--{name.replace('_', '-')}) = {value!r}: none of the agents to be "
            f"trained takes it ({', '.join(map(_name, trained)) or 'all are runs'}); of the agents "
            f"of rlkit {able} do"
        )


def _name(agent: Any) -> str:
    return str(getattr(agent, "__name__", agent))


def _common_budget(runs: Sequence[Run], specs: Sequence[RunSpec]) -> int:
    trained = {run.num_env_steps for run in runs}
    if len(trained) > 1:
        raise UsageError(
            "runs with different budgets cannot be compared: they have "
            f"{', '.join(f'{steps:,}' for steps in sorted(trained))} environment steps per seed. "
            "Give a number of steps (--steps) that all of them have a row at"
        )
    if trained:
        return trained.pop()
    return max(spec.num_env_steps for spec in specs)


def _require_comparable(contenders: Mapping[str, Prepared | Run], budget: int) -> None:
    """Require one environment, and a score of every seed at the very budget."""
    keys: dict[str, str] = {}
    for name, contender in contenders.items():
        if isinstance(contender, Prepared):
            record = json.loads(json.dumps(contender.request.identity))
            keys.setdefault(environment_key(record), name)
            if not (contender.folder / RECORD).exists():
                continue
            run = Run(contender.folder, num_env_steps=budget)
        else:
            run = contender
            keys.setdefault(environment_key(run.record), name)
        if isinstance(contender, Run) and run.num_env_steps < budget:
            raise UsageError(
                f"comparing at {budget:,} environment steps: the run {run.folder} of {name} has "
                f"only {run.num_env_steps:,}"
            )
        unfinished = {s: n for s, n in run.unfinished.items() if s not in run.failures}
        if isinstance(contender, Run) and unfinished:
            steps = ", ".join(f"seed {seed}: {done:,}" for seed, done in unfinished.items())
            raise UsageError(
                f"comparing at {budget:,} environment steps: the run {run.folder} of {name} is not "
                f"finished ({steps}); train it to the end first"
            )
        early = run.score_steps[run.score_steps < budget]
        if len(early):
            raise UsageError(
                f"comparing at {budget:,} environment steps: {name} has been trained further, and "
                f"the last row of its run {run.folder} before that is at {int(early.max()):,}. "
                f"Compare at a multiple of {run.record['evaluate_every']:,} steps, or train again "
                "with another --out"
            )
    measures = {
        name: _setting(contender, "evaluation_episodes") > 0
        for name, contender in contenders.items()
    }
    if len(set(measures.values())) > 1:
        listed = ", ".join(name for name, evaluated in measures.items() if not evaluated)
        raise UsageError(
            "evaluated policies cannot be compared with returns of training: "
            f"{listed} was trained with evaluation_episodes=0"
        )
    if len(keys) > 1:
        raise UsageError(
            "runs on different environments cannot be compared: "
            f"{' and '.join(keys.values())} were not trained on the same"
        )


def _setting(contender: Prepared | Run, name: str) -> int:
    """Return a setting of a contender, trained or not."""
    if isinstance(contender, Prepared):
        return int(getattr(contender.spec, name))
    return int(contender.record[name])


def _require_one_grid(contenders: Mapping[str, Prepared | Run], metric: Metric) -> None:
    """Require that all curves are measured equally often."""
    every = {name: _setting(contender, "evaluate_every") for name, contender in contenders.items()}
    if len(set(every.values())) > 1:
        listed = ", ".join(f"{name} every {number:,}" for name, number in every.items())
        raise UsageError(
            f"comparing by {metric}: the curves have to be measured equally often, and are not: "
            f"{listed}. Train with one --evaluate-every (evaluate_every=)"
        )
