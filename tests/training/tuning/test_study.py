"""What a search writes says what its trials and its confirmation say."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import rlkit
from rlkit.runs.integrity.seals import seal_problem
from rlkit.training.run import load
from rlkit.training.tuning.study import Study, best_so_far, cell_text, verify_study

Begun = Callable[[int], Path]


def test_the_table_has_each_trial_with_its_setting_and_seeds(searched: Study) -> None:
    with (searched.folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == list(range(12))
    for row, trial in zip(rows, searched.trials, strict=True):
        assert row["state"] == trial.state
        assert {name: row[name] for name in searched.space} == {
            name: str(value) for name, value in trial.params.items()
        }
        run = load(searched.folder / row["run"])
        assert run.record["config"]["step_size"] == trial.params["step_size"]
        if trial.state == "finished":
            scores = [float(row[f"seed_{seed}"]) for seed in range(3)]
            np.testing.assert_array_equal(scores, run.scores)
            assert float(row["mean"]) == pytest.approx(np.mean(scores), rel=1e-12)


def test_the_summary_is_sealed_and_has_no_place_of_this_machine(searched: Study) -> None:
    data = (searched.folder / "study.json").read_bytes()
    assert seal_problem(data) is None
    content = json.loads(data)
    assert content["trials"] == {
        name: sum(trial.state == name for trial in searched.trials)
        for name in ("finished", "stopped", "failed")
    }
    assert set(content["files"]) == {"trials.csv", "trials.png", "options.png"}
    assert str(searched.folder.parent).encode() not in data
    assert str(Path.home()).encode() not in data


def test_the_overstatement_is_the_mean_of_the_best_trial_minus_that_of_fresh_seeds(
    searched: Study,
) -> None:
    over = searched.summary()["confirmation"]["overstatement"]
    assert searched.best is not None
    assert searched.comparison is not None
    fresh = searched.comparison.runs["tuned"].scores
    assert over["difference"] != 0
    assert over["difference"] == pytest.approx(np.mean(searched.best.scores) - fresh.mean())


def test_without_a_final_the_best_is_that_of_the_highest_bound(searched: Study) -> None:
    searched = dataclasses.replace(searched, finals=())
    finished = [t for t in searched.trials if t.state == "finished" and t.interval]
    assert searched.best is not None
    assert searched.best == max(finished, key=lambda t: t.interval.low if t.interval else 0.0)
    assert searched.best != max(finished, key=lambda t: t.interval.estimate if t.interval else 0.0)
    so_far = best_so_far(searched.trials)
    assert so_far[-1] == searched.best
    ranks = [one.rank for one in so_far if one is not None]
    assert ranks == sorted(ranks)


def test_of_equal_bounds_the_faster_is_better_then_the_first(searched: Study) -> None:
    first = searched.trials[0]
    assert first.curve is not None
    faster = dataclasses.replace(first.curve, returns=first.curve.returns + 1.0)
    trials = [first] * 2 + [dataclasses.replace(first, curve=faster)] * 2
    trials = [dataclasses.replace(one, number=number) for number, one in enumerate(trials)]
    best = dataclasses.replace(searched, trials=trials, finals=()).best
    assert best is not None
    assert best.number == 2


def test_the_race_saves_the_steps_after_the_stops(searched: Study) -> None:
    new = [trial for trial in searched.trials if trial.same_as is None]
    assert searched.env_steps == 3 * sum(trial.steps for trial in new)
    assert searched.env_steps_without_race == 3 * 4000 * len(new)
    assert searched.env_steps < searched.env_steps_without_race


def test_the_confirmed_run_is_of_the_best_setting(searched: Study) -> None:
    assert searched.best is not None
    assert searched.comparison is not None
    config = searched.comparison.runs["tuned"].record["config"]
    assert {name: config[name] for name in searched.space} == dict(searched.best.params)
    usual = searched.comparison.runs["preset"].record["config"]
    assert usual["step_size"] is None
    assert config["epsilon_steps"] == usual["epsilon_steps"] == 2000  # fixed in both


def test_verify_checks_what_a_search_has_written(searched: Study, begun: Begun) -> None:
    verdicts = rlkit.verify(searched.folder)
    assert [problem for one in verdicts for problem in one.problems] == []
    assert verdicts[-1].what == "tuning of q-learning on FrozenLake-v1"
    assert len(verdicts) == 12 + 4 + 2 + 1 + 1  # trials, final, confirmation with its runs, study

    (folder,) = begun(1).iterdir()
    table = folder / "trials.csv"
    table.write_text(table.read_text().replace("finished", "stopped", 1))
    assert "trials.csv is damaged" in verify_study(folder).problems[0]
    (folder / "study.json").write_text((folder / "study.json").read_text().replace("4000", "3000"))
    assert "study.json is damaged: its sha256" in verify_study(folder).problems[0]
    (folder / "study.json").write_text("[]")
    assert "study.json is damaged" in verify_study(folder).problems[0]


def test_values_of_options_are_short_in_tables() -> None:
    assert [cell_text(one) for one in ((64, 32), (), None, 0.1)] == ["64 32", "", "None", "0.1"]
