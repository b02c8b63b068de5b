"""A stage's seed has the same bytes however it was brought to its end, and its folder says what."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.errors import RlkitError, UsageError
from rlkit.rlhf.models.memory import Forecast
from rlkit.rlhf.stages import run_stage as stages
from rlkit.rlhf.stages.kind import STAGE_RUN
from rlkit.rlhf.stages.run_stage import run_seeds, run_stage
from rlkit.rlhf.stages.stage_rows import StageRows
from rlkit.rlhf.stages.stage_run import load_stage_run
from rlkit.runs import checkpoints, restore, store
from rlkit.runs.execution import Interrupted
from rlkit.runs.identity import versions
from rlkit.runs.record import read_record
from rlkit.runs.reports import Reports, Stopped
from tests.small_stage import NUM_UPDATES, Fit, small_spec, stop_after


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, results: Any) -> Any:
    """The results of four seeds that nothing disturbed."""
    run = run_stage(small_spec(), 4, tmp_path_factory.mktemp("undisturbed"))
    assert run.status == "finished"
    return results(run.folder)


def stopped_at(folder: Path, num_updates: int, seed: int = 0) -> dict[str, Any]:
    """Stop a seed there; return its checkpoint."""
    store.prepare_folder(folder)
    with pytest.raises(Stopped, match=f"stopped at {num_updates} updates of seed {seed}"):
        run_seeds(small_spec(), folder, [seed], stop_after(num_updates))
    return checkpoints.newest_checkpoint(folder, seed)[1]


# --- the same bytes -------------------------------------------------------------------------------


@pytest.mark.slow
def test_seeds_alone_added_and_together_have_the_same_bytes(
    out: Path, results: Any, undisturbed: Any
) -> None:
    assert len({csv for csv, _, _ in undisturbed.values()}) == 4
    first = run_stage(small_spec(), 1, out)
    assert results(first.folder) == {0: undisturbed[0]}
    run = run_stage(small_spec(), 4, out)
    assert run.folder == first.folder
    assert results(run.folder) == undisturbed
    store.prepare_folder(out / "alone")
    assert run_seeds(small_spec(), out / "alone", [3], Reports()) == []
    assert results(out / "alone") == {3: undisturbed[3]}


@pytest.mark.slow
def test_two_workers_give_the_bytes_of_one_process(
    out: Path, results: Any, undisturbed: Any
) -> None:
    told: list[tuple[int, ...]] = []
    reports = Reports(progress=lambda seeds, updates: told.append((*seeds, updates)))
    run = run_stage(small_spec(), 4, out, workers=2, reports=reports)
    assert run.status == "finished"
    assert results(run.folder) == undisturbed
    assert {(seed, NUM_UPDATES) for seed in range(4)} <= set(told)


@pytest.mark.slow
@pytest.mark.parametrize("num_updates", [1, 6, 7, 8, 10, 20, 49])
def test_a_stage_stopped_anywhere_continues_to_the_same_bytes(
    num_updates: int, out: Path, results: Any, undisturbed: Any
) -> None:
    with pytest.raises(Interrupted, match="everything is saved"):
        run_stage(small_spec(), 2, out, reports=stop_after(num_updates))
    (folder,) = out.iterdir()
    assert load_stage_run(folder).status == "interrupted"
    assert checkpoints.list_checkpoints(folder, 0)[0][0] == num_updates
    run = run_stage(small_spec(), 2, out)
    assert run.status == "finished"
    assert results(run.folder) == {seed: undisturbed[seed] for seed in range(2)}


def test_the_results_do_not_depend_on_how_often_a_checkpoint_is_written(
    out: Path, results: Any, undisturbed: Any
) -> None:
    for every in (1, 1000):
        run = run_stage(small_spec(save_every=every), 2, out / str(every))
        assert results(run.folder) == {seed: undisturbed[seed] for seed in range(2)}


@pytest.mark.parametrize("num_updates", [20, 21])
def test_a_stage_that_is_extended_equals_the_longer_one(
    num_updates: int, out: Path, results: Any, undisturbed: Any
) -> None:
    first = run_stage(small_spec(num_updates=num_updates), 2, out)
    assert first.curve(0)["num_updates"].tolist() == sorted({7, 14, num_updates})
    assert first.state(0)["num_done"] == num_updates
    run = run_stage(small_spec(), 2, out)
    assert run.folder == first.folder
    assert run.num_updates == NUM_UPDATES
    assert run.state(0)["num_done"] == NUM_UPDATES
    assert results(run.folder) == {seed: undisturbed[seed] for seed in range(2)}


def test_a_damaged_checkpoint_is_passed_over_and_the_bytes_are_the_same(
    out: Path, results: Any, undisturbed: Any
) -> None:
    run = run_stage(small_spec(), 2, out)
    (_, damaged), (_, kept) = checkpoints.list_checkpoints(run.folder, 1)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with pytest.raises(RlkitError, match=r"is damaged.*run the stage 'fit' again"):
        run.state(1)
    notes: list[str] = []
    run = run_stage(small_spec(), 2, out, reports=Reports(note=notes.append))
    assert "seed 1 continues from the checkpoint before it, at 40 updates" in notes[0]
    assert results(run.folder) == {seed: undisturbed[seed] for seed in range(2)}
    for path in (damaged, kept):
        path.write_bytes(b"")
    with pytest.raises(RlkitError, match="seed 1 cannot be continued"):
        run_stage(small_spec(), 2, out)


def left_out(value: Any, fresh: Any) -> Any:
    return fresh


def plus_one(value: Any, fresh: Any) -> Any:
    return value + value.dtype.type(1)


@pytest.mark.trap("F10")
@pytest.mark.slow
@pytest.mark.parametrize("change", [left_out, plus_one])
def test_no_entry_of_the_state_can_be_omitted_or_altered_unnoticed(
    change: Callable[[Any, Any], Any],
    out: Path,
    results: Any,
    undisturbed: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = stopped_at(out / "stopped", 27)  # six updates after a row
    owners = {"stage/": Fit, "rows/": StageRows}

    def noticed(entry: str) -> bool:
        prefix = entry[: entry.find("/") + 1]
        name, folder = entry.removeprefix(prefix), out / entry.replace("/", "-")
        shutil.copytree(out / "stopped", folder)
        with monkeypatch.context() as patch:
            if prefix:
                owner = owners[prefix]
                load_state_dict = owner.load_state_dict

                def load_mutant(self: Any, state: Any) -> None:
                    # What it was in before, where there is one: Adam has no state at first.
                    fresh = self.state_dict().get(name, np.zeros_like(state[name]))
                    load_state_dict(self, {**state, name: change(state[name], fresh)})

                patch.setattr(owner, "load_state_dict", load_mutant)
                # What is loaded is compared with the checkpoint, which would notice all of it.
                patch.setattr(restore, "_bits", lambda array: ("", (), b""))
            elif entry == "curve_bytes":
                path = checkpoints.list_checkpoints(folder, 0)[0][1]
                path.unlink()
                value = state[entry]
                mutant = {entry: change(value, np.zeros_like(value))}
                checkpoints.save_checkpoint(folder, 0, 27, {**state, **mutant})
                checkpoints.adopt(folder, 0, "")
            try:
                run_seeds(small_spec(), folder, [0], Reports())
            except RlkitError:
                return True
        return bool(results(folder)[0] != undisturbed[0])

    assert not noticed("none")
    assert {entry for entry in state if not noticed(entry)} == set()


@pytest.mark.parametrize("entry", ["rng", "adam/0/step", "model/weight"])
def test_a_stage_that_does_not_load_what_it_saved_is_rejected(
    entry: str, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_at(out, 27)
    load_state_dict = Fit.load_state_dict

    def forgetful(self: Any, state: Any) -> None:
        value = self.state_dict().get(entry, np.zeros_like(state[entry]))
        load_state_dict(self, {**state, entry: value})

    monkeypatch.setattr(Fit, "load_state_dict", forgetful)
    with pytest.raises(RlkitError, match=f"seed 0 .* differs after loading in {entry}"):
        run_seeds(small_spec(), out, [0], Reports())


def test_a_state_without_the_generator_gives_other_bytes(
    out: Path, results: Any, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    state_dict, load = Fit.state_dict, Fit.load_state_dict
    without = {"rng"}
    monkeypatch.setattr(
        Fit,
        "state_dict",
        lambda self: {k: v for k, v in state_dict(self).items() if k not in without},
    )
    monkeypatch.setattr(
        Fit,
        "load_state_dict",
        lambda self, state: load(self, {**state, "rng": state_dict(self)["rng"]}),
    )
    stopped_at(out, 27)
    run_seeds(small_spec(), out, [0], Reports())
    assert results(out)[0][0] != undisturbed[0][0]


@pytest.mark.trap("T56")
@pytest.mark.slow
@pytest.mark.claim(53)
def test_one_thread_computes_here_and_in_workers(out: Path) -> None:
    for workers in (1, 2):
        run = run_stage(small_spec(num_updates=7), 2, out / str(workers), workers=workers)
        assert run.metric("threads")[1].tolist() == [[1.0], [1.0]]
        assert run.record["torch_threads"] == 1  # and the record says so


# --- the folder -----------------------------------------------------------------------------------


def test_the_record_is_that_of_other_runs_and_says_that_it_is_a_stage(out: Path) -> None:
    record = read_record(run_stage(small_spec(), 2, out).folder, STAGE_RUN)
    assert list(record)[:4] == ["format", "status", "kind", "stage"]
    assert (record["kind"], record["stage"], record["label"]) == ("stage", "fit", "line")
    assert (record["num_updates"], record["num_seeds"]) == (NUM_UPDATES, 2)
    assert record["content"] == {"learning_rate": 0.01}
    assert record["versions"] == versions()
    assert record["reproducible"] is True
    assert [part["updates"] for part in record["timing"]] == [2 * NUM_UPDATES]


def test_a_name_changes_no_result_and_may_be_given_at_any_time(out: Path, results: Any) -> None:
    plain = run_stage(small_spec(), 1, out / "plain")
    early = run_stage(small_spec(), 1, out / "early", name="mine")
    late = run_stage(small_spec(), 1, out / "late")
    for _ in range(2):  # it is finished already
        run_stage(small_spec(), 1, out / "late", name="ours")
    run_stage(small_spec(), 1, out / "late")
    assert early.folder.name == late.folder.name == plain.folder.name
    assert results(early.folder) == results(late.folder) == results(plain.folder)
    assert load_stage_run(out / "early" / "mine").folder == early.folder
    assert load_stage_run(out / "late" / "ours").folder == late.folder
    longer = run_stage(small_spec(num_updates=NUM_UPDATES + 1), 1, out / "early")
    assert load_stage_run(out / "early" / "mine").num_updates == longer.num_updates
    with pytest.raises(UsageError, match=r"'mine' is the name of .* already; choose another"):
        run_stage(small_spec(experiment_seed=1), 1, out / "early", name="mine")
    assert len(list((out / "early").iterdir())) == 1


CHANGES: dict[str, Any] = {
    "stage": "other",
    "label": "other",
    "content": {"learning_rate": 0.02},
    "experiment_seed": 1,
    "record_every": 8,
}


def test_whatever_the_results_depend_on_changes_the_name_and_nothing_else_does() -> None:
    base = small_spec().folder_name()
    assert base.startswith("fit-line-")
    names = {base} | {small_spec(**{key: value}).folder_name() for key, value in CHANGES.items()}
    assert len(names) == 1 + len(CHANGES)
    for same in ({"num_updates": 60}, {"save_every": 3}, {"content": {"learning_rate": 1e-2}}):
        assert small_spec(**same).folder_name() == base
    spanning = small_spec(spans_run=True)
    assert spanning.folder_name() != base
    assert spanning.folder_name() != small_spec(spans_run=True, num_updates=60).folder_name()
    # Mappings are compared by content: neither their order nor a list for a tuple matters.
    one = small_spec(content={"a": (1, 2), "b": {"c": None}})
    assert one.folder_name() == small_spec(content={"b": {"c": None}, "a": [1, 2]}).folder_name()


def test_a_schedule_that_spans_the_run_says_that_a_longer_one_is_another(out: Path) -> None:
    short = run_stage(small_spec(spans_run=True, num_updates=7), 1, out)
    notes: list[str] = []
    reports = Reports(note=notes.append)
    long = run_stage(small_spec(spans_run=True, num_updates=14), 1, out, reports=reports)
    assert short.folder != long.folder
    assert notes == [
        "a schedule of fit spans the run, so 14 updates are another configuration than the 7 of "
        f"{short.folder.name}: this is a separate run"
    ]


def test_a_finished_run_is_noticed_and_not_written_to(out: Path) -> None:
    def files(folder: Path) -> dict[str, tuple[int, bytes]]:
        paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
        return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}

    folder = run_stage(small_spec(), 2, out).folder
    before = files(folder)
    notes: list[str] = []
    for updates, num_seeds, workers in ((50, 2, 1), (50, 1, 2), (20, 2, 1)):
        spec = small_spec(num_updates=updates)
        reports = Reports(note=notes.append)
        run = run_stage(spec, num_seeds, out, workers=workers, reports=reports)
        assert "already finished" in notes[-1]
        assert run.status == "finished"
        assert len(run.seeds) == num_seeds
    assert any("already has 50 updates per seed; 20 were requested" in note for note in notes)
    assert files(folder) == before


def test_a_finished_run_is_opened_while_another_process_holds_it(out: Path) -> None:
    folder = run_stage(small_spec(), 2, out).folder
    with store.locked(folder):
        assert run_stage(small_spec(), 1, out).status == "finished"


def test_a_folder_in_use_is_rejected(out: Path) -> None:
    folder = run_stage(small_spec(), 1, out).folder
    with store.locked(folder), pytest.raises(UsageError, match="is in use by process"):
        run_stage(small_spec(), 2, out)


def test_other_versions_are_rejected_and_allowed_on_request(
    out: Path, results: Any, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_stage(small_spec(num_updates=20), 2, out)
    monkeypatch.setattr(stages, "versions", lambda: {**versions(), "torch": "0.1"})
    with pytest.raises(UsageError, match=r"other versions \(torch \S+ -> 0\.1\)"):
        run_stage(small_spec(), 2, out)
    run = run_stage(small_spec(), 2, out, allow_drift=True)
    assert run.record["reproducible"] is False
    assert results(run.folder) == {seed: undisturbed[seed] for seed in range(2)}


def test_a_draw_from_the_global_generator_makes_the_run_not_reproducible(out: Path) -> None:
    notes: list[str] = []
    run = run_stage(small_spec(dropout=True), 2, out, reports=Reports(note=notes.append))
    assert run.record["reproducible"] is False
    (note,) = notes
    assert "draws from torch's global generator" in note
    assert run.record["notes"] == notes


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.torture)])
def test_a_seed_that_diverges_is_named_and_the_others_reach_the_end(
    workers: int, out: Path, results: Any, undisturbed: Any
) -> None:
    broken = small_spec(fails_in=1, fails_after=15)
    run = run_stage(broken, 4, out, workers=workers)
    assert run.status == "failed"
    assert run.failures == {1: "the loss is infinite"}
    assert run.record["failures"]["1"]["exit_code"] == 1
    found = results(run.folder)
    assert {k: v for k, v in found.items() if k != 1} == {k: undisturbed[k] for k in (0, 2, 3)}
    assert undisturbed[1][0].startswith(found[1][0])
    updates, loss = run.metric("loss")
    assert np.isnan(loss[1]).tolist() == (updates > 15).tolist()
    with pytest.raises(UsageError, match=r"seed 1 .* at 10 of 50 updates \(the loss is infinite\)"):
        run.state(1)
    mended = run_stage(small_spec(), 4, out)  # the same folder: what went wrong was not in it
    assert mended.failures == {}
    assert results(mended.folder) == undisturbed


def test_a_seed_that_diverges_before_its_first_row_is_a_row_of_nan(out: Path) -> None:
    run = run_stage(small_spec(fails_in=1), 2, out)
    assert list(run.failures) == [1]
    assert np.isnan(run.metric("loss")[1]).all(axis=1).tolist() == [False, True]


def test_an_error_of_the_stage_ends_the_run_as_failed_with_the_original_error(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def update(self: Any) -> Any:
        raise ZeroDivisionError("in update")

    monkeypatch.setattr(Fit, "update", update)
    with pytest.raises(ZeroDivisionError, match="in update"):
        run_stage(small_spec(), 2, out)
    (folder,) = out.iterdir()
    assert load_stage_run(folder).status == "failed"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_updates": 0}, "option num_updates .*>= 1, got 0"),
        ({"record_every": 0}, "option record_every"),
        ({"save_every": 1.5}, "option save_every"),
        ({"experiment_seed": -1}, "option experiment_seed"),
        ({"content": {"rate": float("nan")}}, "content of the stage 'fit' is not plain data"),
        ({"content": {"path": Path("x")}}, "content of the stage 'fit' is not plain data"),
    ],
)
def test_a_specification_that_cannot_be_stored_is_rejected(change: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small_spec(**change)


def test_a_stage_that_cannot_be_built_is_rejected_before_anything_is_written(out: Path) -> None:
    other = dataclasses.replace(small_spec(), num_updates=60)
    with pytest.raises(UsageError, match=r"built for 50 updates, but its specification says 60"):
        run_stage(other, 1, out)
    assert not out.exists()


def test_a_build_that_cannot_be_sent_to_another_process_is_rejected(out: Path) -> None:
    build = small_spec().build
    spec = dataclasses.replace(small_spec(), build=lambda streams: build(streams))
    with pytest.raises(UsageError, match="--workers 1"):
        run_stage(spec, 2, out, workers=2)
    assert run_stage(spec, 2, out).status == "finished"


@pytest.mark.trap("T94")
@pytest.mark.parametrize("value", [0.5, "text", np.array(["text"]), np.array([None])])
def test_a_state_that_is_not_of_plain_arrays_is_rejected(
    value: Any, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Fit, "state_dict", lambda self: {"mean": value})
    with pytest.raises(UsageError, match=r"state of the stage has 'mean' = .*array of numbers"):
        run_stage(small_spec(), 1, out)


def test_a_large_stage_is_announced_before_it_begins_and_after_its_second_update(
    out: Path, monkeypatch: pytest.MonkeyPatch, results: Any, undisturbed: Any
) -> None:
    notes: list[str] = []
    reports = Reports(note=notes.append)
    monkeypatch.setattr(Fit, "forecast", Forecast(1000, 400_000_000), raising=False)
    run_stage(small_spec(), 1, out / "small", reports=reports)
    assert notes == []
    monkeypatch.setattr(Fit, "forecast", Forecast(1000, 10**15), raising=False)
    run = run_stage(small_spec(), 1, out, reports=reports)
    assert "50 updates with up to 1,000 tokens, in about 1000000.0 GB" in notes[0]
    assert "this will not fit" in notes[0]
    assert re.fullmatch(
        r"the second update took \d+ s: about \d+ (s|min) for the other 48", notes[1]
    )
    assert len(notes) == 2
    assert results(run.folder) == {0: undisturbed[0]}


def test_a_trial_of_a_stage_may_be_cheaper_than_the_stage(out: Path) -> None:
    built: list[str] = []
    spec = small_spec()

    class Builder:
        def __call__(self, streams: Any) -> Any:
            built.append("whole")
            return spec.build(streams)

        def trial(self, streams: Any) -> Any:
            built.append("trial")
            return spec.build(streams)

    run_stage(dataclasses.replace(spec, build=Builder()), 1, out)
    assert built == ["trial", "whole"]
