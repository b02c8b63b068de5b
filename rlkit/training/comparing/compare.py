"""`compare`: several agents on one environment, with honest differences between them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.analysis.power import looks_at
from rlkit.determinism import own_settings
from rlkit.environments.resolve import EnvLike
from rlkit.environments.stepping.watchdog import ENV_TIMEOUT, watched
from rlkit.errors import UsageError
from rlkit.options import require_count, require_seconds, require_typed
from rlkit.runs import store
from rlkit.runs.identity import content_name
from rlkit.runs.integrity.trust import trusting
from rlkit.runs.kinds import MOST_SEEDS
from rlkit.runs.progress import python_reports
from rlkit.runs.reports import Reports
from rlkit.runs.workers import warm_up
from rlkit.training.comparing.comparison import SUMMARY, Comparison, read_summary
from rlkit.training.comparing.comparison_set import join
from rlkit.training.comparing.contenders import Contender, read_contenders
from rlkit.training.comparing.judged import Judged
from rlkit.training.comparing.metrics import FINAL, Metric, read_metrics
from rlkit.training.comparing.preparing import Plan, prepare_contenders
from rlkit.training.comparing.testing import UNDECIDED
from rlkit.training.prepare import Prepared
from rlkit.training.presets import DEFAULT_EVALUATION_EPISODES
from rlkit.training.references import require_optimum
from rlkit.training.run import Run
from rlkit.training.train import raise_or_warn_of_failures, train_prepared

# The arguments of `compare` that `make_spec` gets for each agent, and for those that take them.
_OF_ALL = (
    *("steps", "seed", "env_args", "evaluate_every", "evaluation_episodes", "native", "compiled"),
    *("env_workers", "env_timeout", "rescale_actions"),
)
_OF_SOME = ("bins", "bin_low", "bin_high", "action_masks", "initial_std")


def compare(
    agents: Sequence[Any] | Mapping[str, Any],
    environment: EnvLike | Sequence[EnvLike] | None = None,
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
    metric: str | Sequence[Any] | Metric = FINAL,
    until_decided: bool = False,
    max_seeds: int = 50,
    trust: bool = False,
    reports: Reports | None = None,
) -> Comparison:
    """Train the missing parts of several agents, then compare them at equal budgets.

    Write summary.json, learning_curves.png and final_performance.png (area.png or steps_to.png by
    other metrics) into `out`, beside the folders of the runs, or into a new folder in `out` if it
    already holds another comparison (see `Comparison.folder`). The other arguments are those of
    `train`; `bins`, `bin_low` and `bin_high` are for the agents with tables, `action_masks` and
    `initial_std` for the agents that take them, and none of these is for runs.

    Args:
        agents: a list of contenders, or a mapping from their names to them. A contender is an
            agent, which is trained where it is not yet: its name or "path/to/file.py:Class", if
            need be with a name and options, as in "slow=ppo --learning-rate 1e-4"; a mapping such
            as {"agent": "ppo", "name": "slow", "learning_rate": 1e-4}; a class or a config. Or it
            is a run or its folder, which is compared as it is; a list of them, one per environment;
            or models of Stable-Baselines3, "sb3:model.zip", each a seed, which are judged here. See
            `read_contenders` for names.
        environment: not needed if every contender is a run; or a list of several. Then the result
            is a `ComparisonSet`, which has a comparison of each and one over all.
        seeds: of each agent that is trained; runs keep the seeds that they have.
        steps: environment steps of each seed at which all are compared; by default the largest
            number that a preset of the agents has.
        regret: also write regret.png, `Comparison.plot_regret`; the optimum must be known.
        metric: by which they are compared: "final", "area" or "steps-to VALUE", see `Metric`. All
            but the first need the rows of all curves at the same steps, so that without
            `evaluate_every` all agents have the largest of their presets. On several environments
            "steps-to" takes one value for all or one for each.
        until_decided: add seeds, up to `max_seeds`, until each pair of agents is decided. The
            p-values are then those of a sequential test: see `shares_of_alpha`.
        max_seeds: of each agent, with `until_decided`.
        trust: load the models of Stable-Baselines3 that are named, and run the code that runs name,
            whoever made them.

    Raises:
        UsageError: an argument cannot be used; nothing was trained.
        AllSeedsFailed: no seed of an agent could be finished.
    """
    given: dict[str, Any] = dict(locals())
    seeds = require_count("seeds", seeds, at_least=1, at_most=MOST_SEEDS)
    looks = _looks(seeds, max_seeds) if require_typed("until_decided", until_decided, bool) else ()
    given["action_masks"] = require_typed("action_masks", action_masks, bool) or None
    course = Course(
        looks or (seeds,),
        require_count("workers", workers, at_least=1),
        regret,
        Path(os.path.abspath(out)),  # an environment may change the working directory
    )
    with trusting(require_typed("trust", trust, bool)):
        with own_settings(), watched(require_seconds("env_timeout", env_timeout)):
            prepared, metrics = _prepare(given, course)
        if reports is not None:
            return _finish(prepared, metrics, course, reports)
        with python_reports() as own:
            comparison = _finish(prepared, metrics, course, own)
    raise_or_warn_of_failures(list(comparison.runs.values()))
    return comparison


def _prepare(
    given: Mapping[str, Any], course: Course
) -> tuple[list[dict[str, Prepared | Run]], list[Metric]]:
    """Return the contenders on each environment, ready to be trained, and its metric."""
    several = isinstance(given["environment"], list | tuple)
    named = _environments(given["environment"], given["env_args"])
    metrics = read_metrics(given["metric"], len(named) if several else None)
    contenders = read_contenders(given["agents"])
    environments = _of_runs(contenders) if named == [None] else named
    metrics *= len(environments) // len(metrics)
    prepared = []
    for one, metric in zip(environments, metrics, strict=True):
        plan = Plan(
            arguments={name: given[name] for name in _OF_ALL},
            some={name: given[name] for name in _OF_SOME if given[name] is not None},
            num_seeds=max(course.looks),
            out=course.out,
            metric=metric,
            on_several=len(environments) > 1,
        )
        prepared.append(prepare_contenders(contenders, one, plan))
    if course.regret:
        for contender in [one for each in prepared for one in each.values()]:
            require_optimum(contender.environment)
    return prepared, metrics


@dataclass(frozen=True)
class Course:
    """How the training of a comparison goes."""

    looks: tuple[int, ...]  # numbers of seeds, at each of which it may turn out to be decided
    workers: int
    regret: bool  # whether it is drawn
    out: Path  # the folder of the runs


def _looks(seeds: int, max_seeds: int) -> tuple[int, ...]:
    most = require_count("max_seeds", max_seeds, at_least=1, at_most=MOST_SEEDS)
    if most < seeds:
        raise UsageError(
            f"option max_seeds (--max-seeds): expected at least the {seeds} seeds that are trained "
            f"first, got {most}"
        )
    return looks_at(seeds, most)


def _environments(given: Any, env_args: Mapping[str, Any] | None) -> list[Any]:
    """Return the environments of a comparison, each once."""
    if not isinstance(given, list | tuple):
        return [given]
    if not given:
        raise UsageError("comparing: name at least one environment (--env)")
    for i, one in enumerate(given):
        if one in given[:i]:
            raise UsageError(f"comparing: the environment {one!r} was given twice")
    if len(given) > 1 and env_args:
        raise UsageError(
            f"comparing on {len(given)} environments: env_args (--env-arg) are those of one; name "
            "functions that make each with its arguments, as in path/to/file.py:make"
        )
    return list(given)


def _of_runs(contenders: Sequence[Contender]) -> list[Any]:
    """Return the environments of the first contender that has several runs, if all have runs."""
    for one in contenders:
        if len(one.runs) > 1 and not any(other.is_trained for other in contenders):
            return list(dict.fromkeys(run.record["environment"] for run in one.runs))
    return [None]


def _finish(
    prepared: Sequence[Mapping[str, Prepared | Run]],
    metrics: Sequence[Metric],
    course: Course,
    reports: Reports,
) -> Comparison:
    """Train what is missing, look by look, and write the comparison."""
    for text in _remarks(prepared):
        reports.note(text)
    if course.workers > 1:
        trained = [c for one in prepared for c in one.values() if isinstance(c, Prepared)]
        warm_up([name for one in trained for name in one.request.worker_imports])
    for number in course.looks:
        parts = [
            Comparison(
                {
                    name: contender
                    if isinstance(contender, Run)
                    else train_prepared(contender, number, workers=course.workers, reports=reports)
                    for name, contender in contenders.items()
                },
                course.out,
                metric,
                course.looks if len(course.looks) > 1 else (),
            )
            for contenders, metric in zip(prepared, metrics, strict=True)
        ]
        comparison = parts[0] if len(parts) == 1 else join(parts, course.out)
        undecided = [pair for pair in comparison.pairs() if pair.verdict in UNDECIDED]
        if not undecided:
            break
    comparison = comparison.within(_folder(course.out, comparison, reports))
    store.prepare_place(comparison.folder)
    comparison.write()
    if course.regret:
        comparison.write_regret()
    return comparison


def _remarks(prepared: Sequence[Mapping[str, Prepared | Run]]) -> list[str]:
    """Return what a reader must know of models and runs that were trained before, each once."""
    runs = [one for each in prepared for one in each.values() if isinstance(one, Run)]
    texts = [
        text
        for run in runs
        if isinstance(run, Judged)
        for one in run.models
        for text in one.remarks
    ]
    texts += [run.amid_schedule for run in runs if not isinstance(run, Judged)]
    return list(dict.fromkeys(filter(None, texts)))


def _folder(out: Path, comparison: Comparison, reports: Reports) -> Path:
    """Return `out`, or a new folder in it if `out` has another comparison."""
    try:
        there, problem = read_summary(out)
        if problem is not None:
            reports.note(f"{problem}; this comparison gets a folder of its own")
            there = {}
        same = there["comparison"] == comparison.key
        seeds = {name: _num_seeds(agent) for name, agent in there["agents"].items()}
    except FileNotFoundError:
        if not any((part / SUMMARY).exists() for part in comparison.within(out).parts):
            return out
        same, seeds = False, {}  # an environment has a comparison of its own there
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        same, seeds = False, {}  # of an older rlkit, or of somebody else
    now = comparison.num_seeds
    if same and all(seeds.get(name, 0) <= number for name, number in now.items()):
        return out  # the same with as many seeds or more
    identity = {"key": comparison.key, "seeds": now if same else None}
    return out / content_name(f"compare-{comparison.environment_name}", identity)


def _num_seeds(agent: Mapping[str, Any]) -> int:
    """Return the seeds of an agent in a summary."""
    return int(agent["seeds"]) if "seeds" in agent else len(agent["final"])
