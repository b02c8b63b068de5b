"""The final tells a robust setting from a lucky one, with seeds that no trial has."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from rlkit.runs.kinds import MOST_SEEDS
from rlkit.runs.record import RECORD
from rlkit.training.run import load
from rlkit.training.tuning import trials as trials_module
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


def test_the_larger_half_stays_and_no_run_has_more_seeds_than_it_can() -> None:
    asked = []

    def train(one: Trial, seeds: int) -> Trial:
        asked.append((one.number, seeds))
        return trial(one.number, np.array([one.number, one.number + 1.0]), one.origin)

    most = MOST_SEEDS // 2 + 1
    finals = play_final([trial(n, np.arange(3.0)) for n in range(3)], most, train)
    assert [number for number, _ in asked] == [0, 1, 2, 2, 1]
    assert {seeds for _, seeds in asked} == {MOST_SEEDS}
    assert [one.number for one in finals] == [2, 1, 0]


def test_the_final_is_decided_by_the_bound_and_not_by_the_mean() -> None:
    scores = {0: np.array([490.0] * 6), 1: np.array([500.0] * 5 + [460.0])}
    assert scores[1].mean() > scores[0].mean()
    trials = [trial(number, each) for number, each in scores.items()]
    finals = play_final(trials, 3, lambda one, _: trial(one.number, scores[one.number]))
    assert [one.number for one in finals] == [0, 1]


def test_a_setting_is_a_finalist_once_and_only_if_it_was_finished() -> None:
    trials = [trial(n, np.array([n, n + 1.0])) for n in range(5)]
    trials[3] = dataclasses.replace(trials[3], same_as=2)
    trials[4] = dataclasses.replace(trials[4], state="stopped", scores=())
    assert [one.number for one in finalists_of(trials, 4)] == [2, 1, 0]
    assert [one.number for one in finalists_of(trials, 2)] == [2, 1]


def test_failures_of_seeds_that_are_not_looked_at_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trials_module._failures(tmp_path, 6) == {}
    (tmp_path / RECORD).touch()
    record = {"failures": {"7": {"message": "it diverged"}}}
    monkeypatch.setattr(trials_module, "read_record", lambda *_: record)
    assert trials_module._failures(tmp_path, 7) == {}
    assert trials_module._failures(tmp_path, 8) == {7: "it diverged"}


def test_the_best_is_the_one_that_the_final_chose_and_its_steps_are_counted(
    searched: Study,
) -> None:
    assert searched.best == searched.trials[searched.finals[0].number]
    for one in searched.finals:
        other = dataclasses.replace(searched, finals=(one,)).best
        assert other == searched.trials[one.number]
    assert searched.env_steps_of_final == 4000 * (12 + 12 + 6 + 6)
    assert searched.summary()["env_steps_of_final"] == searched.env_steps_of_final


def test_the_seeds_of_the_final_are_of_another_experiment(searched: Study) -> None:
    assert searched.comparison is not None
    confirmed = {run.record["experiment_seed"] for run in searched.comparison.runs.values()}
    for one in searched.finals:
        assert one.folder is not None
        assert load(one.folder).record["experiment_seed"] not in {1, *confirmed}
    assert [len(one.scores) for one in searched.finals] == [12, 12, 6, 6]
