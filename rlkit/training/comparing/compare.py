"""`compare`: several agents on one environment, with honest differences between them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlkit.agent import AgentTraits
from rlkit.agents import AGENTS, find_agent
from rlkit.determinism import own_settings
from rlkit.environments.resolve import EnvLike
from rlkit.environments.stepping.watchdog import ENV_TIMEOUT, watched
from rlkit.errors import UsageError
from rlkit.options import require_count, require_seconds, require_typed
from rlkit.runs import store
from rlkit.runs.identity import content_name
from rlkit.runs.kinds import MOST_SEEDS
from rlkit.runs.progress import python_reports
from rlkit.runs.record import RECORD
from rlkit.runs.reports import Reports
from rlkit.runs.workers import warm_up
from rlkit.training.comparing.comparison import Comparison, read_summary
from rlkit.training.comparing.contenders import Contender, read_contenders
from rlkit.training.figures import environment_key
from rlkit.training.prepare import Prepared, prepare
from rlkit.training.presets import DEFAULT_EVALUATION_EPISODES
from rlkit.training.references import require_optimum
from rlkit.training.run import Run
from rlkit.training.specification import (
    RunSpec,
    make_spec,
)
from rlkit.training.train import raise_or_warn_of_failures, train_prepared


def compare(
    agents: Sequence[Any] | Mapping[str, Any],
    environment: EnvLike | None = None,
    *,
    seeds: int = 10,
    steps: int | None = None,
    seed: int = 0,
    out: str | Path = "runs",
    workers: int = 1,
    env_args: Mapping[str, Any] | None = None,
    evaluate_every: int | None = None,
    evaluation_episodes: int = DEFAULT_EVALUATION_EPISODES,
    native: bool = True,
    compiled: bool = True,
    env_workers: int = 0,
    env_timeout: float = ENV_TIMEOUT,
    bins: int | Sequence[int] | None = None,
    bin_low: float | Sequence[float] | None = None,
    bin_high: float | Sequence[float] | None = None,
    rescale_actions: bool = False,
    action_masks: bool = False,
    initial_std: float | None = None,
    regret: bool = False,
    reports: Reports | None = None,
) -> Comparison:
    """Train the missing parts of several agents, then compare them at equal budgets.

    Write summary.json, learning_curves.png and final_performance.png into `out`, beside the
    folders of the runs, or into a new folder in `out` if it already holds another comparison
    (see `Comparison.folder`). The other arguments are those of `train`; `bins`, `bin_low` and
    `bin_high` are for the agents with tables, `action_masks` and `initial_std` for the agents that
    take them, and none of these is for runs.

    Args:
        agents: a list of contenders, or a mapping from their names to them. A contender is an
            agent, which is trained where it is not yet: its name or "path/to/file.py:Class", if
            need be with a name and options, as in "slow=ppo --learning-rate 1e-4"; a mapping such
            as {"agent": "ppo", "name": "slow", "learning_rate": 1e-4}; a class or a config. Or it
            is a run or its folder, which is compared as it is. See `read_contenders` for names.
        environment: not needed if every contender is a run.
        seeds: of each agent that is trained; runs keep the seeds that they have.
        steps: environment steps of each seed at which all are compared; by default the largest
            number that a preset of the agents has.
        regret: also write regret.png, `Comparison.plot_regret`; the optimum must be known.

    Raises:
        UsageError: an argument cannot be used; nothing was trained.
        AllSeedsFailed: no seed of an agent could be finished.
    """
    arguments: dict[str, Any] = {
        "steps": steps,
        "seed": seed,
        "env_args": env_args,
        "evaluate_every": evaluate_every,
        "evaluation_episodes": evaluation_episodes,
        "native": native,
        "compiled": compiled,
        "env_workers": env_workers,
        "env_timeout": env_timeout,
        "rescale_actions": rescale_actions,
    }
    given: dict[str, Any] = {
        "bins": bins,
        "bin_low": bin_low,
        "bin_high": bin_high,
        "action_masks": require_typed("action_masks", action_masks, bool) or None,
        "initial_std": initial_std,
    }
    some = {name: value for name, value in given.items() if value is not None}
    seeds = require_count("seeds", seeds, at_least=1, at_most=MOST_SEEDS)
    workers = require_count("workers", workers, at_least=1)
    place = Path(os.path.abspath(out))  # an environment may change the working directory
    with own_settings(), watched(require_seconds("env_timeout", env_timeout)):
        contenders = _prepare(read_contenders(agents), environment, seeds, place, arguments, some)
        if regret:
            for contender in contenders.values():
                require_optimum(contender.environment)
    if reports is not None:
        return _finish(contenders, seeds, place, workers, reports, regret=regret)
    with python_reports() as own:
        comparison = _finish(contenders, seeds, place, workers, own, regret=regret)
    raise_or_warn_of_failures(list(comparison.runs.values()))
    return comparison


def _finish(
    contenders: Mapping[str, Prepared | Run],
    num_seeds: int,
    out: Path,
    workers: int,
    reports: Reports,
    *,
    regret: bool,
) -> Comparison:
    if workers > 1:
        prepared = [one for one in contenders.values() if isinstance(one, Prepared)]
        warm_up([name for one in prepared for name in one.request.worker_imports])
    runs = {
        name: contender
        if isinstance(contender, Run)
        else train_prepared(contender, num_seeds, workers=workers, reports=reports)
        for name, contender in contenders.items()
    }
    comparison = Comparison(runs, _folder(out, Comparison(runs, out), reports))
    store.prepare_place(comparison.folder)
    comparison.write()
    if regret:
        comparison.write_regret()
    return comparison


def _folder(out: Path, comparison: Comparison, reports: Reports) -> Path:
    """Return `out`, or a new folder in it if `out` has another comparison."""
    try:
        there, problem = read_summary(out)
        if problem is not None:
            reports.note(f"{problem}; this comparison gets a folder of its own")
            there = {}
        same = there["comparison"] == comparison.key
        seeds = {name: len(agent["final"]) for name, agent in there["agents"].items()}
    except FileNotFoundError:
        return out
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        same, seeds = False, {}  # of an older rlkit, or of somebody else
    now = {name: len(run.seeds) for name, run in comparison.runs.items()}
    if same and all(seeds.get(name, 0) <= number for name, number in now.items()):
        return out  # the same with as many seeds or more
    identity = {"key": comparison.key, "seeds": now if same else None}
    return out / content_name(f"compare-{comparison.environment_name}", identity)


def _prepare(
    contenders: Sequence[Contender],
    environment: EnvLike | None,
    num_seeds: int,
    out: Path,
    arguments: Mapping[str, Any],
    some: Mapping[str, Any],
) -> dict[str, Prepared | Run]:
    """Prepare all contenders, so that an error is raised before any of them is trained.

    Args:
        some: arguments that are for the agents alone that take them.
    """
    _require_takers([one.agent for one in contenders if one.run is None], some)
    specs = {
        one.name: _spec(one, environment, arguments, some) for one in contenders if one.run is None
    }
    budget = (
        _common_budget([one.run for one in contenders if one.run is not None], [*specs.values()])
        if arguments["steps"] is None
        else require_count("steps", arguments["steps"], at_least=1)
    )
    resolved = next((spec.resolve_safely() for spec in specs.values()), None)
    named: dict[str, Prepared | Run] = {}
    for one in contenders:
        if one.run is not None:
            named[one.name] = one.run.at(budget)
            continue
        spec = dataclasses.replace(specs[one.name], num_env_steps=budget)
        with _naming(one, environment):
            named[one.name] = prepare(spec, num_seeds, out, environment=resolved)
    _require_comparable(named, budget)
    return named


def _spec(
    contender: Contender,
    environment: EnvLike | None,
    arguments: Mapping[str, Any],
    some: Mapping[str, Any],
) -> RunSpec:
    """Return what a contender is trained from: the arguments of all, and its own before them."""
    agent: Any = contender.agent
    if environment is None:
        raise UsageError(
            f"comparing {agent!r}: name the environment to train it on; only runs that were "
            "trained before need none"
        )
    own = {name: value for name, value in some.items() if _takes(agent, name)}
    options = {name: own.pop(name) for name in ("initial_std",) if name in own}
    own |= contender.arguments
    with _naming(contender, environment):
        return make_spec(
            agent,
            environment,
            **{**arguments, **own},
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
        name: bool(
            contender.spec.evaluation_episodes
            if isinstance(contender, Prepared)
            else contender.record["evaluation_episodes"]
        )
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
