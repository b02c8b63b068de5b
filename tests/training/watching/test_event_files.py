"""TensorBoard reads back what the csvs hold, however a run came about."""

from __future__ import annotations

import itertools
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlkit
from rlkit.analysis.learning_curves import curve_band
from rlkit.errors import UsageError
from rlkit.runs.reports import Reports
from rlkit.training.run import Run
from rlkit.training.train import Interrupted
from rlkit.training.watching.event_files import EventFiles
from rlkit.training.watching.progress import Progress
from tests.training.watching.conftest import LAKE, NAME

accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
Lake = Callable[..., Run]
Points = dict[str, list[tuple[int, float]]]


def files(folder: Path) -> list[str]:
    """The names of the files in a folder of events, but of the one that says whose it is."""
    return [path.name for path in folder.iterdir() if path.name != ".rlkit-run"]


def read(folder: Path) -> Points:
    """The points of a folder by tag, as TensorBoard shows them."""
    assert len(files(folder)) == 1
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


@pytest.fixture(scope="module")
def expected(whole_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Points:
    """The points of the run that nothing watched, written afterwards."""
    folder = tmp_path_factory.mktemp("afterwards")
    (place,) = rlkit.export(whole_run, tensorboard=folder, tensorboard_seeds=True)
    return read(place)


def test_the_points_are_mean_interval_and_seeds_of_the_curve(
    expected: Points, whole_run: Run
) -> None:
    band = curve_band(whole_run.curve)
    of_curve = {"mean": band.mean, "lower": band.low, "upper": band.high}
    of_seeds = {f"seed-{s:03d}": curve for s, curve in enumerate(whole_run.curve)}
    for name, values in (of_curve | of_seeds).items():
        steps, shown = zip(*expected[f"eval_return/{name}"], strict=True)
        assert steps == tuple(whole_run.steps)
        np.testing.assert_array_equal(shown, values.astype(np.float32))
    metrics = {tag.partition("/")[0] for tag in expected}
    assert metrics == {*whole_run.columns[0]} - {"num_env_steps", "eval_std"}
    assert np.isnan(whole_run.columns[0]["eval_std"]).all()  # exact returns have none


def test_a_run_writes_the_same_while_it_is_trained(
    lake: Lake, whole: Any, results: Any, expected: Points, tmp_path: Path
) -> None:
    run = lake(tensorboard=tmp_path / "events", tensorboard_seeds=True)
    assert results(run.folder) == whole
    assert read(tmp_path / "events" / run.folder.name) == expected
    plain = lake(tensorboard=tmp_path / "plain")  # finished: from its csvs
    points = read(tmp_path / "plain" / plain.folder.name)
    assert points == {tag: one for tag, one in expected.items() if "/seed-" not in tag}


@pytest.mark.slow
def test_workers_write_the_same(lake: Lake, expected: Points, tmp_path: Path) -> None:
    run = lake(tensorboard=tmp_path, tensorboard_seeds=True, workers=2)
    assert read(tmp_path / run.folder.name) == expected


def test_interruptions_lose_and_double_no_point(
    lake: Lake, expected: Points, tmp_path: Path
) -> None:
    events = tmp_path / "events"
    for _ in itertools.count():
        left = iter(range(4))
        reports = Reports(stop=lambda left=left: next(left, None) is None)  # type: ignore[misc]
        try:
            run = lake(tensorboard=events, tensorboard_seeds=True, reports=reports)
            break
        except Interrupted:
            continue
    assert read(events / run.folder.name) == expected


def test_a_kill_loses_and_doubles_no_point(
    lake: Lake, expected: Points, tmp_path: Path, forks: Any, out: Path
) -> None:
    options: dict[str, Any] = {"tensorboard": tmp_path / "events", "tensorboard_seeds": True}
    child = forks.train(
        NAME, before="die_at(checkpoints, 'write_atomically', 6)", **LAKE | options | {"out": out}
    )
    assert child.wait() == -signal.SIGKILL, child.output
    run = lake(**options)
    assert read(tmp_path / "events" / run.folder.name) == expected


def test_files_of_others_in_the_folder_are_left_alone(lake: Lake, tmp_path: Path) -> None:
    quick: dict[str, Any] = {"steps": 250, "tensorboard": tmp_path}
    run = lake(**quick)
    theirs = tmp_path / run.folder.name / "events.out.tfevents.1.theirs"
    theirs.write_bytes(b"")
    lake(**quick, seeds=5)
    assert len(files(theirs.parent)) == 2
    assert theirs.exists()


def test_a_stopped_run_has_points_up_to_its_stop(
    lake: Lake, expected: Points, tmp_path: Path
) -> None:
    run = lake(until_return=0.02, tensorboard=tmp_path, tensorboard_seeds=True)
    points = read(tmp_path / run.folder.name)
    assert points["eval_return/mean"] == [p for p in expected["eval_return/mean"] if p[0] <= 2250]


def test_a_chart_shows_each_mean_inside_of_its_interval(tmp_path: Path, whole_run: Run) -> None:
    from tensorboard.plugins.custom_scalar import layout_pb2

    (place,) = rlkit.export(whole_run, tensorboard=tmp_path)
    events = accumulator.EventAccumulator(str(place))
    events.Reload()
    (tensor, *_) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(tensor.tensor_proto.string_val[0])
    charts = {chart.title: chart.margin.series[0] for chart in layout.category[0].chart}
    assert charts["eval_return"].value == "eval_return/mean"
    assert charts["eval_return"].lower == "eval_return/lower"
    assert charts["eval_return"].upper == "eval_return/upper"


def test_a_folder_that_cannot_be_written_is_named_before_training(
    lake: Lake, tmp_path: Path, out: Path
) -> None:
    place = tmp_path / "a-file"
    place.write_text("no folder")
    with pytest.raises(UsageError, match=r"\(--tensorboard\): the folder .* cannot be written"):
        lake(tensorboard=place)
    assert not list(out.glob("*/*.csv"))
    with pytest.raises(UsageError, match=r"\(--tensorboard\): expected a folder, got 3"):
        lake(tensorboard=3)
    with pytest.raises(UsageError, match=r"tensorboard_seeds \(--tensorboard-seeds\) needs"):
        lake(tensorboard_seeds=True)


def test_a_disk_that_fills_ends_the_events_and_not_the_run(
    lake: Lake, whole: Any, results: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, progress: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(EventFiles, "write", full)
    notes: list[str] = []
    run = lake(tensorboard=tmp_path, reports=Reports(note=notes.append))
    assert results(run.folder) == whole
    (note,) = [text for text in notes if "No space left" in text]
    assert f"TensorBoard's writer in {tmp_path} failed and is given up, while training" in note
    assert note.endswith("; `rlkit export RUN --tensorboard DIR` writes all rows afterwards")


def test_without_tensorboard_its_extra_is_named(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    with pytest.raises(UsageError, match=r'pip install "rlkit\[tensorboard\]"'):
        lake(tensorboard=tmp_path)


def test_the_events_of_a_run_in_another_folder_are_not_replaced(lake: Lake, tmp_path: Path) -> None:
    quick: dict[str, Any] = {"steps": 250, "tensorboard": tmp_path / "events"}
    run = lake(**quick)
    other: dict[str, Any] = quick | {"out": tmp_path / "others", "steps": 500}
    with pytest.raises(UsageError, match=rf"holds the event files of the run {run.folder}, which"):
        lake(**other)
    assert [step for step, _ in read(tmp_path / "events" / run.folder.name)["td_error/mean"]]
    run.folder.rename(tmp_path / "moved-away")
    lake(**other)


def test_events_that_are_being_written_are_not_replaced(lake: Lake, tmp_path: Path) -> None:
    events = tmp_path / "events"

    def exports(progress: Progress) -> None:
        with pytest.raises(UsageError, match=r"\(--tensorboard\): another call writes in"):
            rlkit.export(tmp_path / "runs" / progress.run, tensorboard=events)

    run = lake(steps=500, tensorboard=events, out=tmp_path / "runs", callbacks=[exports])
    points = read(events / run.folder.name)["eval_return/mean"]
    assert [step for step, _ in points] == [0, 250, 500]
    assert rlkit.export(run, tensorboard=events) == [events / run.folder.name]


def test_events_are_written_where_files_cannot_be_locked(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoLock:
        def __init__(self, *args: Any, **options: Any) -> None: ...

        def acquire(self) -> None:
            raise OSError(38, "Function not implemented")

    monkeypatch.setattr("rlkit.training.watching.event_files.FileLock", NoLock)
    run = lake(steps=250, tensorboard=tmp_path)
    assert len(read(tmp_path / run.folder.name)["eval_return/mean"]) == 2
