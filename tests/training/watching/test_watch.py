"""Runs that are watched and stopped: where they stop depends on the rows of all seeds alone."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlkit
from rlkit.analysis.learning_curves import curve_band
from rlkit.errors import RlkitError, UsageError
from rlkit.runs.reports import Reports
from rlkit.seeding import SeedStreams
from rlkit.training.run import Run, load
from rlkit.training.specification import make_spec
from rlkit.training.train import Interrupted
from rlkit.training.watching.callbacks import CallbackError
from rlkit.training.watching.progress import Progress
from rlkit.training.watching.rules import make_rules
from rlkit.training.watching.watch import RunWatch
from tests.training.watching.conftest import LAKE, NAME

Lake = Callable[..., Run]


def stop_at(step: int) -> Callable[[Progress], str | None]:
    """A callback that stops at a step."""

    def stops(progress: Progress) -> str | None:
        return "stop" if progress.step >= step else None

    return stops


def require_beginning_of(results: Any, whole: Any, run: Run, at: int) -> None:
    """Require that each seed has the rows of the whole run up to a step, and one checkpoint."""
    for seed, (rows, checkpoint, _) in results(run.folder).items():
        lines = whole[seed][0].splitlines(keepends=True)
        steps = [line.partition(b",")[0] for line in lines]
        assert rows == b"".join(lines[: steps.index(str(at).encode()) + 1])
        assert checkpoint.startswith(f"step-{at:012d}-")
        assert len(list((run.folder / "checkpoints" / f"seed-{seed:03d}").glob("step-*"))) == 1


def test_a_run_stops_where_the_lower_end_of_its_curve_reaches_the_threshold(
    lake: Lake, whole: Any, whole_run: Run, results: Any, reference: Any
) -> None:
    low = curve_band(whole_run.curve).low
    expected = int(whole_run.steps[np.flatnonzero((low >= 0.02) & (whole_run.steps > 0))[0]])
    run = lake(until_return=0.02)
    assert expected == run.num_env_steps == 2250
    require_beginning_of(results, whole, run, expected)
    assert results(run.folder) == reference(NAME, **LAKE | {"steps": expected})
    assert run.status == "finished"
    assert run.record["stopped"]["by"] == "until_return"
    assert run.interval().low >= 0.02
    assert (run.score_steps == expected).all()


def test_a_run_stops_where_the_mean_has_not_risen_for_long_enough(
    lake: Lake, results: Any, reference: Any, trained: Any
) -> None:
    changes, patience = {"evaluate_every": 150}, 3
    whole_run = trained(NAME, **LAKE | changes)
    means = whole_run.curve.mean(axis=0)
    expected = next(
        int(whole_run.steps[e])
        for e in range(patience, len(means))
        if means[: e - patience + 1].max() >= means[e - patience + 1 : e + 1].max()
    )
    run = lake(patience=patience, **changes)
    assert run.num_env_steps == expected == 2850
    require_beginning_of(results, reference(NAME, **LAKE | changes), run, expected)


def test_a_rule_that_nothing_meets_changes_no_byte(lake: Lake, whole: Any, results: Any) -> None:
    run = lake(until_return=0.9, patience=16)
    assert run.stopped is None
    assert results(run.folder) == whole


def test_a_callback_sees_each_row_of_all_seeds_once_and_changes_nothing(
    lake: Lake, whole: Any, whole_run: Run, results: Any
) -> None:
    torch = pytest.importorskip("torch")
    seen: list[Progress] = []

    def meddles(progress: Progress) -> None:
        seen.append(progress)
        random.seed(0)
        np.random.seed(0)  # noqa: NPY002
        torch.manual_seed(0)
        torch.rand(3)
        torch.set_default_dtype(torch.float64)
        for array in (*progress.metrics.values(), *progress.rows.values()):
            with pytest.raises(ValueError, match="read-only"):
                array += 1.0

    before = random.getstate(), np.random.get_state()[1].tobytes()  # type: ignore[index]  # noqa: NPY002
    torch_before = torch.get_rng_state()
    run = lake(callbacks=[meddles])
    assert before == (random.getstate(), np.random.get_state()[1].tobytes())  # type: ignore[index]  # noqa: NPY002
    assert torch.equal(torch_before, torch.get_rng_state())
    assert torch.get_default_dtype() == torch.float32
    assert results(run.folder) == whole
    assert [progress.step for progress in seen] == whole_run.steps.tolist()
    assert {progress.seeds for progress in seen} == {(0, 1, 2, 3)}
    assert not any(progress.replayed for progress in seen)
    for name, column in seen[-1].rows.items():
        np.testing.assert_array_equal(column, [rows[name] for rows in whole_run.columns])
    np.testing.assert_array_equal(
        [progress.returns for progress in seen], whole_run.curve.T, strict=True
    )


def test_a_callback_stops_and_the_same_call_does_nothing_and_one_without_it_continues(
    lake: Lake, whole: Any, results: Any
) -> None:
    seen: list[int] = []

    def stops(progress: Progress) -> str | None:
        seen.append(progress.step)
        return "stop" if progress.step == 1000 else None

    notes: list[str] = []
    options: dict[str, Any] = {"callbacks": [stops], "reports": Reports(note=notes.append)}
    run = lake(**options)
    require_beginning_of(results, whole, run, 1000)
    name = run.record["stopped"]["by"]
    assert name.startswith("callback ")
    assert name.endswith("stops")
    assert f"stopped at 1,000 of 4,000 environment steps per seed by {name}" in notes[-1]
    again = lake(**options)
    assert seen == list(range(0, 1001, 250))
    assert again.num_env_steps == 1000
    assert "already finished, stopped at 1,000" in notes[-1]
    further = lake()
    assert further.folder == run.folder
    assert further.stopped is None
    assert results(further.folder) == whole


def test_a_stop_before_training_is_one_at_the_first_evaluation(
    lake: Lake, whole: Any, results: Any
) -> None:
    run = lake(callbacks=[stop_at(0)])
    require_beginning_of(results, whole, run, 250)


def test_rules_and_the_number_of_seeds_they_decide_on_name_the_run(lake: Lake) -> None:
    quick = {"steps": 250, "seeds": 2}
    plain = lake(**quick)
    watched = lake(**quick, callbacks=[stop_at(9000)])
    assert plain.folder == watched.folder
    others = [
        lake(**quick | changes)
        for changes in (
            {"until_return": 0.5},
            {"until_return": 0.6},
            {"until_return": 0.5, "seeds": 3},
            {"patience": 2},
            {"keep_best": True},
        )
    ]
    assert len({run.folder for run in (plain, *others)}) == 6
    assert others[0].spec.stop == others[0].spec.stop
    assert load(others[0].folder).spec.stop is not None


def test_seeds_that_stand_at_different_steps_arrive_together(
    lake: Lake, whole: Any, results: Any
) -> None:
    lake(seeds=2, steps=1300)  # ends off the grid
    seen: list[Progress] = []

    def stops(progress: Progress) -> str | None:
        seen.append(progress)
        return "stop" if progress.step == 2000 else None

    run = lake(callbacks=[stops])
    assert run.num_env_steps == 2000
    for seed in (2, 3):  # the others have a row at 1,300 more
        rows = whole[seed][0].splitlines(keepends=True)[:10]
        assert results(run.folder)[seed][0] == b"".join(rows)
    assert [p.step for p in seen] == sorted({*range(0, 2001, 250), 1300})
    assert all(np.isfinite(p.returns).all() for p in seen if p.step != 1300)


@pytest.mark.parametrize("looks", [1, 2, 5, 9])
def test_interruptions_change_neither_where_a_run_stops_nor_a_byte(
    looks: int, lake: Lake, results: Any, out: Path
) -> None:
    undisturbed = results(lake(until_return=0.02, keep_best=True).folder)
    shutil.rmtree(out)
    for _ in itertools.count():
        left = iter(range(looks))
        reports = Reports(stop=lambda left=left: next(left, None) is None)  # type: ignore[misc]
        try:
            run = lake(until_return=0.02, keep_best=True, reports=reports)
            break
        except Interrupted:
            continue
    assert run.num_env_steps == 2250
    assert results(run.folder) == undisturbed


@pytest.mark.parametrize("number", [2, 7, 18])
def test_a_killed_run_stops_where_it_would_have(
    number: int, lake: Lake, whole: Any, results: Any, forks: Any, out: Path
) -> None:
    before = f"die_at(checkpoints, 'write_atomically', {number})"
    options = LAKE | {"until_return": 0.02, "out": out}
    child = forks.train(NAME, before=before, **options)
    assert child.wait() == -signal.SIGKILL, child.output
    run = lake(until_return=0.02)
    require_beginning_of(results, whole, run, 2250)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 3])
def test_workers_stop_at_the_same_step_with_the_same_bytes(
    workers: int, lake: Lake, results: Any, out: Path
) -> None:
    seen: list[int] = []
    alone = lake(until_return=0.02, keep_best=True)
    expected, record = results(alone.folder), alone.record["stopped"]
    shutil.rmtree(out)
    run = lake(
        until_return=0.02,
        keep_best=True,
        workers=workers,
        callbacks=[lambda progress: seen.append(progress.step)],
    )
    assert results(run.folder) == expected
    assert run.record["stopped"] == record
    assert seen == list(range(0, 2251, 250))


@pytest.mark.slow
def test_a_callback_that_raises_beside_workers_loses_nothing(
    lake: Lake, whole: Any, results: Any
) -> None:
    def raises(progress: Progress) -> None:
        if progress.step == 1000:
            raise ZeroDivisionError("by hand")

    with pytest.raises(CallbackError, match=r"raised ZeroDivisionError.*at step 1,000"):
        lake(callbacks=[raises], workers=2)
    assert results(lake(workers=2).folder) == whole


def test_a_callback_that_raises_is_named_and_the_run_continues(
    lake: Lake, whole: Any, results: Any, out: Path
) -> None:
    def raises(progress: Progress) -> None:
        if progress.step == 1000:
            raise ValueError("a fault of its own")

    with pytest.raises(CallbackError, match=r"raises raised ValueError\('a fault of its own'\)"):
        lake(callbacks=[raises])
    (folder,) = out.iterdir()
    run = load(folder)
    assert run.status == "interrupted"
    assert [columns["num_env_steps"][-1] for columns in run.columns] == [1000.0] * 4
    with pytest.raises(CallbackError, match="at step 1,000"):  # the rows of before come again
        lake(callbacks=[raises])
    (outcome,) = rlkit.resume(out)
    assert outcome.state == "finished"
    assert results(folder) == whole


def test_rows_of_before_come_again_so_that_a_callback_counts_as_it_did(lake: Lake) -> None:
    seen: list[tuple[int, bool]] = []
    lake(steps=500)

    class Counts:
        def __init__(self) -> None:
            self.number = 0

        def __call__(self, progress: Progress) -> str | None:
            seen.append((progress.step, progress.replayed))
            self.number += 1
            return "stop" if self.number == 5 else None

    run = lake(callbacks=[Counts()])
    assert seen == [(0, True), (250, True), (500, True), (750, False), (1000, False)]
    assert run.num_env_steps == 1000


def test_a_larger_budget_does_not_revive_a_run_that_a_rule_stopped(lake: Lake) -> None:
    run = lake(until_return=0.02)
    longer = lake(until_return=0.02, steps=8000)
    assert longer.folder == run.folder
    assert longer.num_env_steps == 2250
    shorter = lake(until_return=0.02, steps=1000)
    assert shorter.num_env_steps == 1000
    assert shorter.scores.tolist() == [rows["eval_return"][4] for rows in run.columns]


def test_extending_a_run_stops_it_where_one_long_run_would(lake: Lake, results: Any) -> None:
    lake(until_return=0.02, steps=1000)
    run = lake(until_return=0.02)
    assert run.num_env_steps == 2250


def test_what_knows_runs_knows_stopped_ones(lake: Lake, out: Path, tmp_path: Path) -> None:
    run = lake(until_return=0.02)
    (verdict,) = rlkit.verify(out)
    assert verdict.problems == ()
    assert verdict.complete == [0, 1, 2, 3]
    assert [outcome.state for outcome in rlkit.resume(out)] == ["complete"]
    opened = load(run.folder)
    assert opened.unfinished == {}
    assert opened.stopped is not None
    assert opened.stopped.startswith("until_return: the lower end")
    assert opened.as_curve().num_env_steps[-1] == 2250  # type: ignore[index]
    report = opened.evaluate(2)
    assert report["env_steps"] == 2250
    assert report["mean_over"] == [0, 1, 2, 3]
    plain = lake(steps=2250)
    comparison = rlkit.compare({"stopped": opened, "plain": plain}, out=tmp_path / "compared")
    assert [pair.difference for pair in comparison.pairs()] == [0.0]


def test_a_run_that_a_rule_stopped_is_reproduced(lake: Lake, tmp_path: Path) -> None:
    run = lake(until_return=0.02)
    assert rlkit.reproduce(run.folder).verdict == "equal bytes"
    with pytest.raises(UsageError, match="a rule that decides on all of its 4 seeds"):
        rlkit.reproduce(run.folder, seeds=2)


def test_a_run_that_a_callback_stopped_is_reproduced(lake: Lake) -> None:
    run = lake(callbacks=[stop_at(1000)])
    assert rlkit.reproduce(run.folder).verdict == "equal bytes"
    assert rlkit.reproduce(run.folder, seeds=2).verdict == "equal bytes"


def test_a_seed_that_fails_does_not_hold_up_the_others(small: Callable[..., Run]) -> None:
    bad_seed = SeedStreams(0, 1).episode_seed("env", 0, 9)  # of the tenth episode of a copy
    env_args = {"fault": "raise", "bad_seed": bad_seed}
    seen: list[Progress] = []

    def stops(progress: Progress) -> str | None:
        seen.append(progress)
        return "stop" if progress.step == 400 else None

    options = {"seeds": 3, "env_args": env_args, "callbacks": [stops], "reports": Reports()}
    run = small("random-probe", **options)
    assert list(run.failures) == [1]
    assert run.num_env_steps == 400
    assert [p.step for p in seen] == [0, 200, 400]
    assert [np.isfinite(p.returns).tolist() for p in seen[1:]] == [[True] * 3, [True, False, True]]


@pytest.mark.parametrize(
    "value",
    [
        {"at": 0, "by": "a", "reason": "b"},
        {"at": 10, "by": "a"},
        {"at": 10, "by": 3, "reason": "b"},
        [],
    ],
)
def test_a_damaged_record_of_a_stop_is_named(value: Any, damaged: Callable[..., Path]) -> None:
    folder = damaged(stopped=value)
    with pytest.raises(RlkitError, match="'stopped': expected an object"):
        load(folder)
    assert "stopped" in json.loads((folder / "run.json").read_text())


@pytest.mark.long
def test_a_worker_that_dies_twice_does_not_hold_up_the_others(small: Callable[..., Run]) -> None:
    bad_seed = SeedStreams(0, 2).episode_seed("env", 0, 60)  # after the checks before training
    run = small(
        "random-probe",
        seeds=4,
        workers=2,
        steps=2400,
        env_args={"fault": "kill", "bad_seed": bad_seed},
        callbacks=[stop_at(1600)],
        reports=Reports(),
    )
    assert list(run.failures) == [2]
    assert run.num_env_steps == 1600
    assert [rows["num_env_steps"][-1] for s, rows in enumerate(run.columns) if s != 2] == [1600] * 3


def test_a_stop_at_the_step_that_all_seeds_are_at_takes_no_further_step(
    lake: Lake, whole: Any, results: Any
) -> None:
    lake(steps=2250)  # as after a kill between the checkpoint of a step and its decision
    run = lake(callbacks=[stop_at(2250)])
    assert run.num_env_steps == 2250
    require_beginning_of(results, whole, run, 2250)


def test_a_callback_that_was_changed_is_told_how_the_run_is_trained_further(lake: Lake) -> None:
    notes: list[str] = []
    lake(steps=1000, callbacks=[stop_at(500)])
    lake(steps=1000, callbacks=[stop_at(750)], reports=Reports(note=notes.append))
    assert "known by their names alone" in notes[-1]
    lake(steps=1000, patience=1, evaluate_every=100)
    lake(steps=1000, patience=1, evaluate_every=100, reports=Reports(note=notes.append))
    assert notes[-1].endswith("; another threshold, or more seeds, is another run")


def test_rules_that_cannot_end_a_run_are_noted(lake: Lake) -> None:
    notes: list[str] = []
    quick: dict[str, Any] = {"steps": 500, "reports": Reports(note=notes.append)}
    lake(**quick, patience=3)
    assert sum("patience (--patience) = 3 cannot end this run" in text for text in notes) == 1
    notes.clear()
    lake(**quick, patience=2, until_return=0.9)
    assert notes == []
    lake(**quick, patience=2, evaluation_episodes=0)
    assert any("patience (--patience) = 2 cannot end" in text for text in notes)


def test_a_rule_that_had_nothing_to_decide_on_says_so(small: Callable[..., Run]) -> None:
    notes: list[str] = []
    run = small(  # no episode ends between the rows
        "random-probe",
        steps=60,
        evaluate_every=2,
        evaluation_episodes=0,
        patience=3,
        reports=Reports(note=notes.append),
    )
    rows = run.columns[0]["train_return"]
    assert np.isnan(rows).any()
    (note,) = [text for text in notes if "decided nothing" in text]
    assert note.startswith("patience decided nothing because not every seed had a finite train_ret")


class Scripted:
    """A watch of evaluations that the test writes."""

    def __init__(self, seeds: int, **rules: Any) -> None:
        spec = make_spec("random", "FrozenLake-v1", steps=100, evaluate_every=10)
        spec = dataclasses.replace(spec, stop=make_rules(seeds, **rules))
        self.notes: list[str] = []
        self.watch = RunWatch(spec, note=self.notes.append)

    def run(self, folder: Path, columns: list[list[float]]) -> dict[str, Any] | None:
        """Hand on the evaluations of each seed; one with fewer than others fails after them."""
        self.watch.begin(folder, len(columns), {})
        for row in range(max(map(len, columns))):
            for seed, scores in enumerate(columns):
                if row < len(scores):
                    self.watch.add([seed], 10 * row, {"eval_return": np.array([scores[row]])})
                elif row == len(scores):
                    self.watch.fail([seed])
        self.watch.end()
        return self.watch.stopped


def test_the_failure_of_the_best_seed_is_no_fall_of_the_mean(tmp_path: Path) -> None:
    rising = [float(k) for k in range(9)]
    scripted = Scripted(3, patience=3)
    assert scripted.run(tmp_path, [[500.0, 500.0], rising, rising]) is None
    assert scripted.notes == []
    falls = [0.0, 1.0, 5.0, 4.0, 3.0, 2.0, 1.0]
    stopped = Scripted(3, patience=3).run(tmp_path, [[0.0, 500.0, 9.0], falls, falls])
    assert stopped is not None
    assert stopped["at"] == 50
    assert "the mean over 2 seeds has not risen above 5 for 3 evaluations" in stopped["reason"]


def test_a_threshold_that_one_seed_is_left_for_is_noted(tmp_path: Path) -> None:
    scripted = Scripted(2, until_return=1.0)
    assert scripted.run(tmp_path, [[0.0], [2.0, 2.0, 2.0]]) is None
    assert scripted.notes == [
        "until_return could not be met because one seed was left at 2 of 2 evaluations"
    ]
