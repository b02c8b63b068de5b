"""`tune`: search for the options of an agent by a race of trials, a final and a confirmation."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlkit.determinism import own_settings
from rlkit.environments.environment import Environment
from rlkit.environments.resolve import EnvLike
from rlkit.environments.stepping.watchdog import ENV_TIMEOUT, watched
from rlkit.errors import RlkitError, UsageError
from rlkit.options import require_count, require_typed
from rlkit.rewards import RewardFunction
from rlkit.runs import store
from rlkit.runs.identity import content_name
from rlkit.runs.kinds import MOST_SEEDS
from rlkit.runs.progress import python_reports
from rlkit.runs.record import RECORD
from rlkit.runs.reports import Reports
from rlkit.runs.workers import warm_up
from rlkit.training.comparing.compare import compare
from rlkit.training.comparing.comparison import Comparison
from rlkit.training.prepare import Prepared, prepare
from rlkit.training.presets import DEFAULT_EVALUATION_EPISODES, PRESETS
from rlkit.training.specification import RunSpec
from rlkit.training.tuning.figures import write_figures
from rlkit.training.tuning.finals import FINAL, finalists_of, play_final
from rlkit.training.tuning.importances import importances
from rlkit.training.tuning.proposals import (
    PROPOSAL,
    derived_seed,
    propose,
    read_proposal,
    require_optuna,
    write_proposal,
)
from rlkit.training.tuning.racing import TrialCurve
from rlkit.training.tuning.settings import Settings, apply, start_of, value_of
from rlkit.training.tuning.spaces import load_space, read_space
from rlkit.training.tuning.study import TUNED, Study
from rlkit.training.tuning.trials import FAILED, FINISHED, Racing, Trial, train_trial

MOST_TRIALS = 10_000


def tune(
    agent: str | type[Any],
    environment: EnvLike,
    *,
    trials: int = 50,
    seeds: int = 5,
    finalists: int = 4,
    space: str | Path | Mapping[str, Any] | None = None,
    confirm_seeds: int = 10,
    preset: bool = True,
    steps: int | None = None,
    seed: int = 0,
    envs: int | None = None,
    out: str | Path = "runs",
    workers: int = 1,
    env_args: Mapping[str, Any] | None = None,
    evaluate_every: int | None = None,
    evaluation_episodes: int = DEFAULT_EVALUATION_EPISODES,
    native: bool = True,
    compiled: bool = True,
    bins: int | Sequence[int] | None = None,
    bin_low: float | Sequence[float] | None = None,
    bin_high: float | Sequence[float] | None = None,
    env_workers: int = 0,
    env_timeout: float = ENV_TIMEOUT,
    rescale_actions: bool = False,
    action_masks: bool = False,
    reward: str | RewardFunction | None = None,
    config: Any = None,
    each: Callable[[Trial], None] | None = None,
    reports: Reports | None = None,
    **options: Any,
) -> Study:
    """Search for options of an agent, or continue where that stopped, and confirm the best.

    Each trial trains one setting on the same seeds. Its objective is a lower confidence bound of
    the mean final return over them, and it is stopped early where it loses against the trials
    before it (see `rlkit.training.tuning.racing`). The best few are trained on more seeds (see
    `rlkit.training.tuning.finals`), and the best of these on seeds that nothing before has seen,
    beside the setting that the search started from and the preset. The same call continues after
    an interruption, and with more trials.

    The arguments that are not listed are those of `train`; steps, seeds, evaluation and environment
    are the same for all trials.

    Args:
        agent: a name, a class that follows the Agent contract, or "path/to/file.py:Class".
        environment: as in `train`.
        trials: how many settings are tried.
        seeds: of each trial, >= 2.
        finalists: the best trials that are trained on more seeds before one is chosen, >= 1; by 1
            the best trial is chosen at once.
        space: the options to search and their ranges, a TOML file or a mapping; by default the
            agent's own. See `rlkit.training.tuning.spaces`.
        confirm_seeds: on which the best is confirmed, >= 2; none of them is one of the trials' or
            of the final's.
        preset: whether options that are not searched stand as in the preset, or else at the
            agent's defaults. Steps and bins are those of the preset in both cases.
        seed: of the experiment, from which the seeds of trials and confirmation are drawn, and the
            proposals.
        config: where the search starts, a configuration or a mapping of options, in place of the
            preset.
        each: called with each trial when it has ended, also when it had before.
        reports: where to report progress and notes, as in `train`.
        options: options of the agent that are fixed and not searched.

    Raises:
        UsageError: an argument cannot be used; nothing was trained.
        RlkitError: all trials failed.
        Interrupted: a signal came; everything is saved, and the same call continues.
    """
    given: dict[str, Any] = dict(locals())
    numbers = _Numbers(
        trials=require_count("trials", trials, at_least=1, at_most=MOST_TRIALS),
        seeds=require_count("seeds", seeds, at_least=2, at_most=MOST_SEEDS),
        finalists=require_count("finalists", finalists, at_least=1, at_most=MOST_TRIALS),
        confirm_seeds=require_count("confirm_seeds", confirm_seeds, at_least=2, at_most=MOST_SEEDS),
        workers=require_count("workers", workers, at_least=1),
    )
    require_optuna()
    settings = Settings(
        agent=agent,
        environment=environment,
        arguments={name: given[name] for name in _ARGUMENTS},
        fixed=options,
        config=config,
        preset=require_typed("preset", preset, bool),
    )
    study, opened = _open_study(settings, numbers, space, options, Path(out))
    store.prepare_place(study.folder)
    with store.locked(study.folder):
        if reports is not None:
            return _Search(study, settings, opened, numbers, each, reports).run()
        with python_reports() as own:
            return _Search(study, settings, opened, numbers, each, own).run()


def _open_study(
    settings: Settings,
    numbers: _Numbers,
    space: str | Path | Mapping[str, Any] | None,
    options: Mapping[str, Any],
    out: Path,
) -> tuple[Study, Environment]:
    """Return the study of some settings, in its folder, and the environment."""
    start, envs = start_of(settings), settings.arguments["envs"]
    content = load_space(space, start.agent_name)
    fixed = [*options, *(["envs"] if envs is not None else [])]
    owner = f"agent {start.agent_name}"
    ranges = read_space(content, owner, start.config, start.num_env_steps, fixed)
    out = Path(os.path.abspath(out))  # an environment may change the working directory
    with own_settings(), watched(start.env_timeout):
        environment = start.resolve_safely()
        prepared = prepare(start, numbers.seeds, out, environment=environment)
    if numbers.workers > 1:
        warm_up(prepared.request.worker_imports)
    study = Study(
        folder=out / _folder_name(prepared, ranges, numbers.seeds),
        spec=start,
        space=ranges,
        fixed=dict(options) | ({} if envs is None else {"envs": envs}),
        num_seeds=numbers.seeds,
    )
    return study, environment


# The arguments of `make_spec` that are the same for all trials.
_ARGUMENTS = (
    *("steps", "seed", "envs", "env_args", "evaluate_every", "evaluation_episodes", "native"),
    *("compiled", "bins", "bin_low", "bin_high", "env_workers", "env_timeout"),
    *("rescale_actions", "action_masks", "reward"),
)
_OF_COMPARE = (
    *("steps", "env_args", "evaluate_every", "evaluation_episodes", "native", "compiled"),
    *("env_workers", "env_timeout", "rescale_actions", "action_masks"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Numbers:
    trials: int
    seeds: int
    finalists: int
    confirm_seeds: int
    workers: int


def _folder_name(prepared: Prepared, ranges: Mapping[str, Any], seeds: int) -> str:
    """Return the name of the study's folder; the number of trials is not part of it."""
    spec, environment = prepared.spec, prepared.environment
    identity = {
        **spec.identity(environment),
        "num_env_steps": spec.num_env_steps,
        "seeds": seeds,
        "space": {name: values.as_data() for name, values in ranges.items()},
    }
    return content_name(f"tune-{spec.agent_name}-{environment.name}", identity)


class _Search:
    """Tries one setting after another, plays the final, then confirms the best."""

    def __init__(
        self,
        study: Study,
        settings: Settings,
        environment: Environment,
        numbers: _Numbers,
        each: Callable[[Trial], None] | None,
        reports: Reports,
    ) -> None:
        self._study, self._settings, self._environment = study, settings, environment
        self._numbers, self._each = numbers, each
        self._reports = _noting_once(reports)

    def run(self) -> Study:
        study, trials = self._study, list[Trial]()
        total = self._numbers.trials
        if self._place(total).exists():
            self._reports.note(
                f"{study.folder} has more than {total} trials; the first {total} are used"
            )
        for number in range(total):
            trials.append(self._try(number, trials))
            study = dataclasses.replace(study, trials=tuple(trials))
            # What was written before has the trials that follow.
            if number + 1 == total or not self._place(number + 1).exists():
                study.write()
            if self._each is not None:
                self._each(trials[-1])
        if study.best is None:
            raise RlkitError(
                f"all {len(trials)} trials failed, the first because {trials[0].message}. All of "
                f"them are in {study.folder}; narrow the search space (--space), or check the "
                "agent by `rlkit train`"
            )
        study = dataclasses.replace(study, importances=importances(study.space, trials))
        finalists = finalists_of(trials, self._numbers.finalists)
        finals = play_final(finalists, study.num_seeds, self._train_finalist)
        study = dataclasses.replace(study, finals=tuple(finals))
        assert study.best is not None
        study = dataclasses.replace(study, best_spec=self._spec(study.best.params))
        study = dataclasses.replace(study, comparison=self._confirm(study))
        write_figures(study)
        study.write()
        return study

    def _place(self, number: int) -> Path:
        """Return the folder of a trial."""
        return self._study.folder / "trials" / f"{number:03d}"

    def _spec(self, params: Mapping[str, Any]) -> RunSpec:
        return apply(self._study.spec, params)

    def _try(self, number: int, before: Sequence[Trial]) -> Trial:
        study = self._study
        folder = self._place(number)
        params, origin = _proposal(study, folder, before)
        trial = Trial(number=number, params=params, origin=origin, state=FAILED)
        for other in before:
            if other.params == params:
                same = other.number if other.same_as is None else other.same_as
                return dataclasses.replace(other, number=number, origin=origin, same_as=same)
        try:
            with own_settings(), watched(study.spec.env_timeout):
                prepared = prepare(
                    self._spec(params), study.num_seeds, folder, environment=self._environment
                )
        except UsageError as error:
            if any(folder.glob(f"*/{RECORD}")):  # it was accepted before: something else is wrong
                raise
            return dataclasses.replace(trial, message=str(error))
        finished = [t.curve for t in before if t.state == FINISHED and t.curve is not None]
        racing = self._racing(finished, study.num_seeds)
        labelled = _labelled(self._reports, f"trial {number + 1} of {self._numbers.trials}, ")
        return train_trial(trial, prepared, racing, self._numbers.workers, labelled)

    def _racing(self, finished: Sequence[TrialCurve], num_seeds: int) -> Racing:
        spec = self._study.spec
        return Racing(
            finished=finished,
            num_seeds=num_seeds,
            budget=spec.num_env_steps,
            every=spec.evaluate_every,
            column="eval_return" if spec.evaluation_episodes else "train_return",
        )

    def _train_finalist(self, trial: Trial, num_seeds: int) -> Trial:
        """Train the setting of a trial on the first seeds of the final; none is stopped early."""
        folder = self._study.folder / "final" / f"{trial.number:03d}"
        seed = derived_seed(self._study.spec.experiment_seed, FINAL)
        spec = dataclasses.replace(self._spec(trial.params), experiment_seed=seed)
        with own_settings(), watched(spec.env_timeout):
            prepared = prepare(spec, num_seeds, folder, environment=self._environment)
        blank = Trial(number=trial.number, params=trial.params, origin=FINAL, state=FAILED)
        labelled = _labelled(self._reports, f"final, trial {trial.number}, ")
        racing = self._racing((), num_seeds)
        return train_trial(blank, prepared, racing, self._numbers.workers, labelled)

    def _confirm(self, study: Study) -> Comparison:
        """Train the best and what it has to beat on fresh seeds."""
        assert study.best_spec is not None
        settings, spec = self._settings, study.spec
        usual = dataclasses.replace(settings, config=None, preset=True)
        known = start_of(usual)
        has_preset = (spec.agent_name, spec.environment) in PRESETS
        specs = {TUNED: study.best_spec}
        if settings.config is not None:
            specs["start"] = spec
        elif not settings.preset or not has_preset:
            specs["defaults"] = spec
        if has_preset:
            specs["preset"] = known
        common = {name: settings.arguments[name] for name in _OF_COMPARE}
        common |= {"steps": spec.num_env_steps, "evaluate_every": spec.evaluate_every}
        return compare(
            {name: _contender(one, settings) for name, one in specs.items()},
            spec.environment,
            seeds=self._numbers.confirm_seeds,
            seed=derived_seed(spec.experiment_seed, "confirmation"),
            out=study.folder / "confirmation",
            workers=self._numbers.workers,
            reports=_labelled(self._reports, "confirming on fresh seeds, "),
            **common,
        )


def _contender(spec: RunSpec, settings: Settings) -> dict[str, Any]:
    """Return a specification as a contender of `compare`."""
    own: dict[str, Any] = {"agent": spec.agent, "config": spec.config, "envs": spec.num_envs}
    if spec.reward is not None:
        own["reward"] = spec.reward
    if spec.binning is not None:
        limits = {"bin_low": spec.binning.low, "bin_high": spec.binning.high}
        own |= {"bins": spec.binning.bins} | {name: one for name, one in limits.items() if one}
    return own


def _proposal(study: Study, folder: Path, before: Sequence[Trial]) -> tuple[Mapping[str, Any], str]:
    """Return the setting of the next trial and its origin: as stored, or else a new one."""
    path = folder / PROPOSAL
    stored = read_proposal(path, study.space)
    if stored is not None:
        return stored
    number = len(before)
    start = {name: value_of(study.spec, name) for name in study.space}
    if number == 0 and all(value in study.space[name] for name, value in start.items()):
        params, origin = start, "start"
    else:
        seed = derived_seed(study.spec.experiment_seed, "proposal", number)
        params, origin = propose(study.space, [t.result for t in before], seed), "proposed"
    write_proposal(path, params, origin)
    return params, origin


def _labelled(reports: Reports, before: str) -> Reports:
    """Return reports whose bars begin with some words."""

    def begin(label: str, seeds: int, steps: int) -> None:
        reports.begin(before + label, seeds, steps)

    return dataclasses.replace(reports, begin=begin)


def _noting_once(reports: Reports) -> Reports:
    """Return reports that note each sentence once, and not what is said of each trial."""
    noted: set[str] = set()

    def note(text: str) -> None:
        if text not in noted and not text.startswith(("the run is already finished", "stopped at")):
            noted.add(text)
            reports.note(text)

    return dataclasses.replace(reports, note=note)
