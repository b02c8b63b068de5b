"""The final: the best trials again on more seeds, of which the best is chosen.

The best of many trials is in part the luckiest. Where scores have a ceiling, its few seeds cannot
even show it: of settings that fail on one seed in ten, more than half reach the ceiling on all of
five seeds. So the `finalists` best settings are trained on fresh seeds, twice as many as a trial
has; the better half of them on twice as many again, and so on until one is left (successive halving
over seeds, after Jamieson and Talwalkar, 2016). The seeds are of an experiment of their own: those
of the trials have chosen the finalists, and would favour the lucky ones once more.

They are ordered as trials are, by the lower end of the interval over all of their seeds in the
final. A finalist of which a seed failed is behind all others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from rlkit.runs.kinds import MOST_SEEDS
from rlkit.training.tuning.trials import FINISHED, Trial

FINAL = "final"


def finalists_of(trials: Sequence[Trial], number: int) -> list[Trial]:
    """Return the best finished trials, the best first; each setting once."""
    finished = [one for one in trials if one.state == FINISHED and one.same_as is None]
    return sorted(finished, key=lambda trial: trial.rank, reverse=True)[:number]


def play_final(
    finalists: Sequence[Trial], num_seeds: int, train: Callable[[Trial, int], Trial]
) -> list[Trial]:
    """Return the finalists with what became of them in the final, the chosen one first.

    None, where there is nothing to choose.

    Args:
        finalists: the best first.
        num_seeds: of a trial.
        train: trains the setting of a trial on the first seeds of the final, as many as it is
            given.
    """
    if len(finalists) < 2:
        return []
    left, out = [dataclasses.replace(one, origin=FINAL) for one in finalists], list[Trial]()
    while len(left) > 1:
        num_seeds = min(2 * num_seeds, MOST_SEEDS)
        done = [train(one, num_seeds) for one in left]
        # The sort is stable: of those that failed, the better trial is first.
        done.sort(key=lambda one: (one.state == FINISHED, *_rank(one)), reverse=True)
        half = (len(done) + 1) // 2
        left, out = done[:half], done[half:] + out
    return [*left, *out]


def _rank(trial: Trial) -> tuple[float, ...]:
    return trial.rank if trial.state == FINISHED else ()
