"""The section of one run: its question, verdict and tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import rlkit
from rlkit.reporting.run_section import run_section, seeds_table, verdict_of
from rlkit.runs.record import read_record, write_record
from rlkit.training.kind import AGENT_RUN
from rlkit.training.run import Run


def test_the_verdict_is_the_mean_over_seeds_beside_optimum_and_random_play(
    trained_folder: Callable[..., Path],
) -> None:
    run = rlkit.load(trained_folder("q-learning", seeds=2))
    interval, text = run.interval(), " ".join(verdict_of(run))
    assert f"The final return of 2 seeds is {interval.estimate:.4g} on average" in text
    assert f"(95 % interval {interval.low:.4g} to {interval.high:.4g})" in text
    assert f"{100 * interval.estimate / 0.7441902878:.1f} % of the exact optimum, 0.7442" in text
    assert "random play, 0.01394" in text


def test_one_seed_is_said_to_be_one(trained_folder: Callable[..., Path]) -> None:
    (first, *_) = verdict_of(rlkit.load(trained_folder("q-learning", seeds=1)))
    assert first.startswith("The one finished seed reached")
    assert "One seed has no interval" in first


def test_a_section_has_both_charts_the_seeds_and_where_it_comes_from(
    trained_folder: Callable[..., Path],
) -> None:
    run = rlkit.load(trained_folder("q-learning", seeds=2))
    section = run_section(run, "s1", films=False)
    assert section.question == (
        "What return does q-learning reach on FrozenLake-v1 after 600 environment steps?"
    )
    assert len(section.charts) == 2
    (seeds,) = section.tables
    assert [row[1].key for row in seeds.rows] == run.scores.tolist()
    assert [table.caption for table in section.details] == ["Settings", "Versions", "Hashes"]
    assert section.codes
    assert (section.films, section.film_problems) == ([], [])
    assert run.interval().note in section.shortcomings


def test_failed_and_unfinished_seeds_are_named(trained_folder: Callable[..., Path]) -> None:
    folder = trained_folder("q-learning", seeds=2)
    record = read_record(folder, AGENT_RUN)
    failure = {"message": "the environment exploded", "exit_code": 1}
    failed = {**record, "status": "failed", "failures": {"1": failure}, "num_seeds": 3}
    write_record(folder, failed)
    run = Run(folder)
    states = [row[3].text for row in seeds_table(run).rows]
    assert states == ["finished", "failed", "unfinished, at 0 steps"]
    section = run_section(run, "s1", films=False)
    assert "seed 1 failed: the environment exploded" in section.shortcomings
    assert "seed 2 was trained for 0 of 600 steps only" in section.shortcomings


def test_a_run_without_a_finished_seed_has_no_answer(
    trained_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = rlkit.load(trained_folder("random", seeds=1))
    monkeypatch.setattr(Run, "scores", np.array([np.nan]))
    section = run_section(run, "s1")
    assert section.verdict == ["No seed was trained to the end, so there is no answer yet."]
    assert section.film_problems == ["random is not filmed: no seed was trained to the end"]
