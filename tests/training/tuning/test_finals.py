"""The final tells a robust setting from a lucky one, with seeds that no trial has."""

from __future__ import annotations

import dataclasses

import numpy as np

from rlkit.training.run import load
from rlkit.training.tuning.finals import finalists_of, play_final
from rlkit.training.tuning.racing import TrialCurve, objective
from rlkit.training.tuning.study import Study
from rlkit.training.tuning.trials import Trial


def trial(number: int, scores: np.ndarray, origin: str = "proposed") -> Trial:  # type: ignore[type-arg]
    return Trial(
        number=number,
        params={"x": number},
        origin=origin,
        state="finished",
        interval=objective(scores),
        scores=tuple(scores.tolist()),
        curve=TrialCurve(np.zeros(1), scores[:, None]),
    )


def test_a_setting_that_fails_on_the_seventh_seed_loses_although_its_trial_was_best() -> None:
    lucky, robust = trial(0, np.full(5, 500.0)), trial(1, np.array([500.0] * 4 + [490.0]))
    asked = []

    def train(one: Trial, seeds: int) -> Trial:
        asked.append((one.number, seeds))
        scores = np.full(seeds, 500.0)
        if one.number == 0:
            scores[6] = 247.8
        return trial(one.number, scores, one.origin)

    assert finalists_of([lucky, robust], 4) == [lucky, robust]
    finals = play_final([lucky, robust], 5, train)
    assert [one.number for one in finals] == [1, 0]
    assert asked == [(0, 10), (1, 10)]


def test_the_finalists_are_halved_while_the_seeds_double() -> None:
    asked = []

    def train(one: Trial, seeds: int) -> Trial:
        asked.append((one.number, seeds))
        if one.number == 3:
            return dataclasses.replace(one, state="failed", interval=None, scores=())
        return trial(one.number, np.arange(seeds) + 10.0 * one.number)

    finals = play_final([trial(n, np.arange(3.0)) for n in range(4)], 3, train)
    assert asked == [(0, 6), (1, 6), (2, 6), (3, 6), (2, 12), (1, 12)]
    assert [one.number for one in finals] == [2, 1, 0, 3]
    assert play_final([trial(0, np.arange(3.0))], 3, train) == []


def test_the_seeds_of_the_final_are_of_another_experiment(searched: Study) -> None:
    assert searched.comparison is not None
    confirmed = {run.record["experiment_seed"] for run in searched.comparison.runs.values()}
    for one in searched.finals:
        assert one.folder is not None
        assert load(one.folder).record["experiment_seed"] not in {1, *confirmed}
    assert [len(one.scores) for one in searched.finals] == [12, 12, 6, 6]
