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
from rlkit.determinism import prepared_torch
from rlkit.environments.environment import Environment
from rlkit.environments.resolve import EnvLike, find_environment
from rlkit.errors import UsageError
from rlkit.options import require_count
from rlkit.runs.record import RECORD
from rlkit.training.comparing.contenders import Contender
from rlkit.training.comparing.judged import Judged, Terms
from rlkit.training.comparing.metrics import Metric
from rlkit.training.figures import ENVIRONMENT_ENTRIES, environment_key
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
    on_several: bool = False  # whether there are other environments


def prepare_contenders(
    contenders: Sequence[Contender], environment: EnvLike | None, plan: Plan
) -> dict[str, Prepared | Run]:
    """Prepare all contenders, so that an error is raised before any of them is trained.

    Raises:
        UsageError: one cannot act in the environment, or they cannot be compared.
    """
    _require_takers([one.agent for one in contenders if one.is_trained], plan.some)
    specs = {one.name: _spec(one, environment, plan) for one in contenders if one.is_trained}
    on_it = {one.name: _run_on(one, environment, plan) for one in contenders if one.runs}
    runs = [*on_it.values()]
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
        if one.models:
            with _naming(one, environment):
                named[one.name] = _judged(one, environment, plan, runs, resolved)
            continue
        if one.runs:
            named[one.name] = on_it[one.name].at(same["num_env_steps"])
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


def _run_on(contender: Contender, environment: EnvLike | None, plan: Plan) -> Run:
    """Return the run of a contender on one of several environments, which its record names."""
    if not plan.on_several and len(contender.runs) == 1:
        return contender.runs[0]
    if environment is None:
        raise UsageError(
            f"the contender {contender.name!r} has {len(contender.runs)} runs: name the "
            "environments (--env), or give one run"
        )
    named = [run for run in contender.runs if run.record["environment"] == environment]
    if not named:
        reference = find_environment(environment, plan.arguments["env_args"]).reference
        named = [run for run in contender.runs if run.record["environment"] == reference]
    if len(named) != 1:
        each = ", ".join(f"{run.folder.name} on {run.environment_name}" for run in contender.runs)
        raise UsageError(
            f"the contender {contender.name!r} needs one run on {environment}, and has "
            f"{len(named)}: its runs are {each}"
        )
    return named[0]


def _judged(
    contender: Contender,
    environment: EnvLike | None,
    plan: Plan,
    runs: Sequence[Run],
    resolved: Environment | None,
) -> Judged:
    """Load and judge models that were trained elsewhere, on the terms of the other contenders."""
    if environment is not None:
        arguments = {**plan.arguments, "rescale_actions": False}
        spec = make_spec("random", environment, **arguments)
        place = (resolved or spec.resolve_safely()).seen_as(spec.view)
        record = json.loads(json.dumps(spec.identity(place)))
        stepped_as = spec.stepped_as(place)
        numbers = spec.experiment_seed, spec.evaluation_episodes
    elif runs:
        place, record = runs[0].environment, runs[0].record
        stepped_as = record["stepped_as"]
        numbers = record["experiment_seed"], record["evaluation_episodes"]
    else:
        raise UsageError("name the environment to judge it on (--env)")
    if not numbers[1]:
        raise UsageError(
            "it was trained elsewhere and can only be evaluated, and evaluation_episodes = 0"
        )
    judged = Judged(
        contender.models,
        Terms(
            environment=place,
            record={name: record.get(name) for name in ENVIRONMENT_ENTRIES},
            stepped_as=stepped_as,
            experiment_seed=numbers[0],
            episodes=numbers[1],
        ),
    )
    with prepared_torch():
        judged.judge()
    return judged


@contextlib.contextmanager
def _naming(contender: Contender, environment: EnvLike | None) -> Iterator[None]:
    """Name contender and environment in an error, unless it is called what its agent is called."""
    try:
        yield
    except UsageError as error:
        if contender.name == _name(contender.agent):
            raise
        if environment is None:
            raise UsageError(f"the contender {contender.name!r}: {error}") from error
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
    return max((spec.num_env_steps for spec in specs), default=1)


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
            if run.num_env_steps < budget:  # it is trained on
                continue
        else:
            run = contender
            keys.setdefault(environment_key(run.record), name)
            if isinstance(run, Judged):
                continue
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
    judged = [name for name, one in contenders.items() if isinstance(one, Judged)]
    if judged:
        raise UsageError(
            f"comparing by {metric}: {', '.join(judged)} was trained elsewhere and has no learning "
            "curve; compare by --metric final"
        )
    every = {name: _setting(contender, "evaluate_every") for name, contender in contenders.items()}
    if len(set(every.values())) > 1:
        listed = ", ".join(f"{name} every {number:,}" for name, number in every.items())
        raise UsageError(
            f"comparing by {metric}: the curves have to be measured equally often, and are not: "
            f"{listed}. Train with one --evaluate-every (evaluate_every=)"
        )
