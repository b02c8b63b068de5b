"""TensorBoard's event files: the scalars of a run, in a folder of its own below the user's."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from rlkit.errors import UsageError, missing_extra
from rlkit.runs.record import RECORD
from rlkit.training.run import Run
from rlkit.training.watching.progress import Progress
from rlkit.training.watching.scalars import (
    LOWER,
    MEAN,
    UPPER,
    metric_names,
    scalars,
    steps_of,
)

SUFFIX = ".rlkit"  # of the files that are ours to replace
_PREFIX = "events.out.tfevents"
_OWNER = ".rlkit-run"  # holds the folder of the run that the files are of, and is locked meanwhile
_FLUSH_SECONDS = 10


class EventFiles:
    """Writes the scalars of a run for TensorBoard.

    A run that is continued hands on its rows from the start, and the files of before are replaced:
    so no point is lost or doubled, however often it was killed.

    Args:
        folder: of TensorBoard; a run gets the folder of its name in it.
        per_seed: also write the value of each seed.
    """

    def __init__(self, folder: Path, *, per_seed: bool = False) -> None:
        self._folder, self._per_seed = folder, per_seed
        self._writer: Any = None
        self._lock: FileLock | None = None
        self._has_layout: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"TensorBoard's writer in {self._folder}"

    @property
    def instead(self) -> str:
        return "`rlkit export RUN --tensorboard DIR` writes all rows afterwards"

    def require(self, run: Path) -> None:
        """Create the folder of a run, and require that it is of that run and of no other.

        Raises:
            UsageError: it cannot be written, or TensorBoard is not installed.
        """
        _modules()
        place = self._folder / run.name
        try:
            place.mkdir(parents=True, exist_ok=True)
            probe = place / f".probe.{os.getpid()}.tmp"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise UsageError(
                f"option tensorboard (--tensorboard): the folder {place} cannot be written: "
                f"{error.strerror or error}; choose another"
            ) from error
        lock = _claim(place, run)
        if lock is not None:
            lock.release()

    def begin(self, run: Path, record: Mapping[str, Any]) -> None:
        writer_class = _modules()[0]
        self.require(run)
        place = self._folder / run.name
        self._lock = _claim(place, run)
        for old in place.glob(f"{_PREFIX}*{SUFFIX}"):
            old.unlink(missing_ok=True)
        self._writer = writer_class(str(place), flush_secs=_FLUSH_SECONDS, filename_suffix=SUFFIX)

    def write(self, progress: Progress) -> None:
        _, event, summary = _modules()
        named = scalars(progress, per_seed=self._per_seed)
        names = tuple(metric_names([*named]))
        if names != self._has_layout:
            self._has_layout = names
            self._writer.add_event(event.Event(summary=_layout(names), wall_time=time.time()))
        values = [
            summary.Summary.Value(tag=name, simple_value=value) for name, value in named.items()
        ]
        at = {"wall_time": time.time(), "step": progress.step}
        self._writer.add_event(event.Event(summary=summary.Summary(value=values), **at))

    def end(self) -> None:
        if self._writer is not None:
            with contextlib.suppress(OSError):
                self._writer.close()
            self._writer = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def export_event_files(runs: Sequence[Run], folder: Path, *, per_seed: bool = False) -> list[Path]:
    """Write the scalars of runs, the same as while they were trained; return their folders."""
    files = EventFiles(folder, per_seed=per_seed)
    for run in runs:
        files.require(run.folder)
    for run in runs:
        try:
            files.begin(run.folder, run.record)
            for progress in steps_of(run):
                files.write(progress)
        finally:
            files.end()
    return [folder / run.folder.name for run in runs]


def _claim(place: Path, run: Path) -> FileLock | None:
    """Lock a folder of event files for a run; None where the file system has no locks.

    Raises:
        UsageError: another call writes there, or the files are those of a run in another folder.
    """
    path, folder = place / _OWNER, str(run.resolve())
    lock: FileLock | None = FileLock(path, blocking=False, fallback_to_soft=False)
    try:
        assert lock is not None
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"option tensorboard (--tensorboard): another call writes in {place}; wait for it to "
            "end, or choose another folder"
        ) from None
    except (OSError, ValueError):
        lock = None
    owner = path.read_text(errors="replace").strip() if path.exists() else ""
    if owner not in ("", folder) and (Path(owner) / RECORD).exists():
        if lock is not None:
            lock.release()
        raise UsageError(
            f"option tensorboard (--tensorboard): {place} holds the event files of the run "
            f"{owner}, which would be replaced; choose another folder for those of {folder}"
        )
    path.write_text(folder)
    return lock


def _modules() -> tuple[Any, Any, Any]:
    """Return TensorBoard's writer, and the modules of events and of summaries."""
    try:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.event_file_writer import EventFileWriter
    except ImportError as error:
        raise missing_extra("option tensorboard (--tensorboard)", "tensorboard", error) from error
    return EventFileWriter, event_pb2, summary_pb2


def _layout(metrics: Sequence[str]) -> Any:
    """Return the charts of the tab Custom Scalars: each mean inside of its interval."""
    from tensorboard.compat.proto import summary_pb2, tensor_pb2, tensor_shape_pb2
    from tensorboard.plugins.custom_scalar import layout_pb2

    charts = []
    for name in metrics:
        series = layout_pb2.MarginChartContent.Series(
            value=f"{name}/{MEAN}", lower=f"{name}/{LOWER}", upper=f"{name}/{UPPER}"
        )
        content = layout_pb2.MarginChartContent(series=[series])
        charts.append(layout_pb2.Chart(title=name, margin=content))
    title = "mean over seeds and its 95 % interval"
    layout = layout_pb2.Layout(category=[layout_pb2.Category(title=title, chart=charts)])
    plugin = summary_pb2.SummaryMetadata.PluginData(plugin_name="custom_scalars")
    tensor = tensor_pb2.TensorProto(
        dtype="DT_STRING",
        string_val=[layout.SerializeToString()],
        tensor_shape=tensor_shape_pb2.TensorShapeProto(),
    )
    value = summary_pb2.Summary.Value(
        tag="custom_scalars__config__",
        tensor=tensor,
        metadata=summary_pb2.SummaryMetadata(plugin_data=plugin),
    )
    return summary_pb2.Summary(value=[value])
