"""Proposals of settings by Optuna, each from the trials before it alone.

A study of Optuna is made anew in memory for each proposal and given the trials so far, so nothing
but the folders of the trials has to be kept, and a proposal depends on nothing else.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlkit.errors import RlkitError, missing_extra
from rlkit.runs.integrity.seals import read_sealed, write_sealed
from rlkit.runs.store import prepare_place
from rlkit.training.tuning.spaces import Choices, Range, Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

PROPOSAL = "proposal.json"
RANDOM_TRIALS = 10  # before the sampler models the objective
# The branch of an experiment's tree of streams that belongs to no seed: see rlkit/seeding.py.
_BRANCH = (1 << 32) - 2
_PURPOSES = {"proposal": 0, "confirmation": 1, "final": 2}


@dataclass(frozen=True)
class Result:
    """A trial as the sampler sees it.

    Args:
        params: value by option of the space.
        value: the objective of a trial that was trained to its end.
        stopped_at: step and mean over seeds of one that was stopped there. A trial with neither
            has failed, and counts as the worst.
    """

    params: Mapping[str, Any]
    value: float | None = None
    stopped_at: tuple[int, float] | None = None


def derived_seed(experiment_seed: int, purpose: str, *key: int) -> int:
    """Return an integer in [0, 2^31) that no seed of the experiment draws from.

    Args:
        experiment_seed: of the trials.
        purpose: "proposal", "confirmation" or "final".
        key: further numbers, such as that of the trial.
    """
    place = (_BRANCH, _PURPOSES[purpose], *key)
    sequence = np.random.SeedSequence(experiment_seed, spawn_key=place)
    return int(sequence.generate_state(1, np.uint32)[0]) >> 1


def require_optuna() -> None:
    """Require the package that proposes settings.

    Raises:
        UsageError: it is not installed.
    """
    try:
        importlib.import_module("optuna")
    except ImportError as error:
        raise missing_extra("tuning", "tune", error) from error


def propose(space: Space, results: Sequence[Result], seed: int) -> dict[str, Any]:
    """Return the setting of the next trial: a value by option of the space.

    The first are drawn at random, those after them by the tree-structured Parzen estimator of
    Bergstra et al. (2011), which models all options together. Numbers are rounded to three
    significant digits.

    Args:
        space: range by option.
        results: of all trials before, in order.
        seed: of the sampler for this trial.
    """
    import optuna

    distributions = {name: _distribution(values) for name, values in space.items()}
    with _silent_optuna():
        sampler = optuna.samplers.TPESampler(
            seed=seed, n_startup_trials=RANDOM_TRIALS, multivariate=True
        )
        study = optuna.create_study(sampler=sampler, direction="maximize")
        for result in results:
            if result.params.keys() == space.keys():  # all, unless its options lie outside
                study.add_trial(_told(result, space, distributions))
        asked = study.ask(distributions).params
    return {name: _value(values, asked[name]) for name, values in space.items()}


def divergences(
    space: Space, settings: Sequence[Mapping[str, Any]], values: Sequence[float], share: float
) -> dict[str, float]:
    """Return how far each option's values in the best settings differ from those in all.

    It is the Pearson divergence of PED-ANOVA (Watanabe, Bansal and Hutter, 2023).

    Args:
        space: range by option.
        settings: value by option.
        values: of each setting; the higher, the better.
        share: of the settings, which are the best; those of an equal value are among them.
    """
    import optuna

    distributions = {name: _distribution(values) for name, values in space.items()}
    with _silent_optuna():
        study = optuna.create_study(direction="maximize")
        for params, value in zip(settings, values, strict=True):
            study.add_trial(_told(Result(params, value=value), space, distributions))
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
        return evaluator.evaluate(study, params=list(space))


def write_proposal(path: Path, params: Mapping[str, Any], origin: str) -> None:
    """Store the setting of a trial, so that it stays what it is with another version of Optuna."""
    prepare_place(path.parent)
    plain = {k: list(one) if isinstance(one, tuple) else one for k, one in params.items()}
    write_sealed(path, {"origin": origin, "optuna": version("optuna"), "params": plain})


def read_proposal(path: Path, space: Space) -> tuple[dict[str, Any], str] | None:
    """Return the setting of a trial and its origin; None where none is stored.

    Raises:
        RlkitError: the file is damaged.
    """
    try:
        content = read_sealed(path)
    except FileNotFoundError:
        return None
    params = content.get("params")
    if not isinstance(params, dict) or params.keys() != space.keys():
        raise RlkitError(f"{path} is damaged: it has other options than the search space")
    read = {name: tuple(one) if isinstance(one, list) else one for name, one in params.items()}
    return read, str(content.get("origin"))


def _distribution(values: Range) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    if isinstance(values, Choices):  # by position: the values may be tuples
        return CategoricalDistribution(tuple(range(len(values.values))))
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


def _told(
    result: Result, space: Space, distributions: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    params = {
        name: values.position(result.params[name])
        if isinstance(values, Choices)
        else result.params[name]
        for name, values in space.items()
    }
    about: dict[str, Any] = {"params": params, "distributions": dict(distributions)}
    if result.value is not None:
        return create_trial(value=result.value, **about)
    # Of pruned trials those that were pruned later are better, and one without values is the worst.
    rows = {} if result.stopped_at is None else dict([result.stopped_at])
    return create_trial(state=TrialState.PRUNED, intermediate_values=rows, **about)


def _value(values: Range, asked: Any) -> Any:
    return values.values[asked] if isinstance(values, Choices) else values.rounded(asked)


@contextlib.contextmanager
def _silent_optuna() -> Iterator[None]:
    """Let Optuna print nothing; the user's own settings are restored."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(before)
