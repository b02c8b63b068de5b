"""Importances: which options set the best trials apart, and whether chance does as much.

For each option it is PED-ANOVA (Watanabe, Bansal and Hutter, 2023, arXiv 2304.10255) as Optuna has
it: the Pearson divergence between the density p_best of the option's values in the best trials and
the density p of those in all trials,

    D = sum over x of p(x) (p_best(x) / p(x) - 1)^2,

and its share of the sum over all options. The best are a tenth of the trials, and at least
`FEWEST_BEST`, in the order in which trials are ranked. Stopped trials are behind all finished ones,
and failed ones behind these, as for the sampler. p is of what was tried, so that no option is
important only because the sampler liked a value of it.

The best trials differ from the others by chance, too, and the more the fewer there are. So the
ranks are shuffled among the trials `SHUFFLES` times. The p-value of an option is the share of the
shuffles in which the largest standardised D of any option is at least as large as its own (Westfall
and Young, 1993): where no option matters, one is said to matter in about 5 % of searches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rlkit.analysis.resampling import SEED
from rlkit.training.tuning.proposals import divergences
from rlkit.training.tuning.spaces import Space
from rlkit.training.tuning.trials import FINISHED, STOPPED, Trial

FEWEST_BEST = 5  # below it, densities say little
FEWEST_TRIALS = 2 * FEWEST_BEST
SHUFFLES = 199
ALPHA = 0.05


@dataclass(frozen=True)
class Importance:
    """How far the best trials differ from all in one option.

    Args:
        share: of the sum over all options, in [0, 1].
        p_value: of no difference but chance, corrected over all options.
    """

    share: float
    p_value: float

    @property
    def matters(self) -> bool:
        """Whether chance alone would hardly do as much."""
        return self.p_value <= ALPHA


def importances(space: Space, trials: Sequence[Trial]) -> dict[str, Importance] | None:
    """Return the importance of each option, the largest first.

    None where fewer than `FEWEST_TRIALS` settings were tried, or where all are equally good.
    """
    tried = [one for one in trials if one.same_as is None and one.params.keys() == space.keys()]
    ranks = _ranks(tried)
    if len(tried) < FEWEST_TRIALS or not np.ptp(ranks):
        return None
    share = max(0.1, FEWEST_BEST / len(tried))
    settings = [one.params for one in tried]

    def measured(values: Sequence[float]) -> list[float]:
        by_option = divergences(space, settings, values, share)
        return [by_option[name] for name in space]

    rng = np.random.default_rng(SEED)
    own = measured(ranks.tolist())
    if not sum(own):  # the best are all
        return None
    each = np.array([own, *(measured(rng.permutation(ranks).tolist()) for _ in range(SHUFFLES))])
    spread = each.std(axis=0)
    standardised = np.where(spread > 0, (each - each.mean(axis=0)) / np.where(spread, spread, 1), 0)
    largest = standardised.max(axis=1)
    p_values = (largest[:, None] >= standardised[0]).mean(axis=0)  # the trials as they are count
    shares = np.array(own) / sum(own)
    known = {name: Importance(float(shares[k]), float(p_values[k])) for k, name in enumerate(space)}
    return dict(sorted(known.items(), key=lambda item: -item[1].share))


def _ranks(trials: Sequence[Trial]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the place of each trial in the order from the worst; equals have the same."""
    keys = [_key(trial) for trial in trials]
    places = {key: place for place, key in enumerate(sorted(set(keys)))}
    return np.array([places[key] for key in keys])


def _key(trial: Trial) -> tuple[float, ...]:
    if trial.state == FINISHED:
        return (2, *trial.rank[:2])
    if trial.state == STOPPED and trial.interval is not None:
        return (1, trial.steps, trial.interval.estimate)
    return (0,)
