"""TensorBoard's event files: the scalars of a run, in a folder of its own below the user's."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rlkit.errors import UsageError, missing_extra
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
        self._has_layout: tuple[str, ...] = ()

    def require(self, run: str) -> None:
        """Create the folder of a run.

        Raises:
            UsageError: it cannot be written, or TensorBoard is not installed.
        """
        _modules()
        place = self._folder / run
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

    def begin(self, run: str, record: Mapping[str, Any]) -> None:
        writer_class = _modules()[0]
        self.require(run)
        for old in (self._folder / run).glob(f"{_PREFIX}*{SUFFIX}"):
            old.unlink(missing_ok=True)
        self._writer = writer_class(
            str(self._folder / run), flush_secs=_FLUSH_SECONDS, filename_suffix=SUFFIX
        )

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


def export_event_files(runs: Sequence[Run], folder: Path, *, per_seed: bool = False) -> list[Path]:
    """Write the scalars of runs, the same as while they were trained; return their folders."""
    files = EventFiles(folder, per_seed=per_seed)
    for run in runs:
        files.require(run.folder.name)
    for run in runs:
        files.begin(run.folder.name, run.record)
        for progress in steps_of(run):
            files.write(progress)
        files.end()
    return [folder / run.folder.name for run in runs]


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
