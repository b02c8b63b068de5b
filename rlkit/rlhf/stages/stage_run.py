"""Read access to the run of a stage: its curves, and the states that the next stage starts from."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import RlkitError, UsageError
from rlkit.rlhf.stages.kind import STAGE_RUN
from rlkit.runs import checkpoints
from rlkit.runs.identity import content_name
from rlkit.runs.latest import named_folder
from rlkit.runs.record import RunFolder
from rlkit.runs.restore import entries
from rlkit.spelling import closest

Array = NDArray[Any]

STATE_PREFIX = "stage/"  # of the entries of a checkpoint that are the stage's own


def as_run(run: RunLike, among: Collection[str] = (), out: str | Path = "runs") -> StageRun:
    """Return a run from itself or its folder.

    Args:
        run: the run, its folder, its name, or `latest` for the newest one.
        among: the stages that `latest` may be of; empty = all.
        out: where `latest` is looked for.
    """
    if isinstance(run, StageRun):
        return run
    if not isinstance(run, str | Path):
        raise UsageError(f"expected the run of a stage or its folder, got {run!r:.80}")
    return StageRun(named_folder(run, "stage", among=among, out=out))


def load_stage_run(path: str | Path) -> StageRun:
    """Return the run of a stage in a folder; `latest` is the newest one.

    Raises:
        UsageError: the folder is not that of a stage's run.
    """
    return as_run(path)


class StageRun(RunFolder):
    """The folder of a stage's run, which is read on demand.

    Args:
        folder: the folder.
        num_seeds: number of its seeds to show, from the first; None = all.
    """

    def __init__(self, folder: Path, *, num_seeds: int | None = None) -> None:
        super().__init__(folder, STAGE_RUN, num_seeds=num_seeds)

    def __repr__(self) -> str:
        return (
            f"StageRun({str(self.folder)!r}: {self.stage} on {self.label}, "
            f"{len(self.seeds)} seeds, {self.status})"
        )

    @property
    def stage(self) -> str:
        """The name of the stage."""
        return str(self.record["stage"])

    @property
    def label(self) -> str:
        """The name of the task."""
        return str(self.record["label"])

    @property
    def content(self) -> dict[str, Any]:
        """Everything that the results depend on, as plain data: configuration, inputs, ..."""
        content: dict[str, Any] = self.record["content"]
        return content

    @property
    def experiment_seed(self) -> int:
        """The seed of the experiment, from which those of all streams are derived."""
        return int(self.record["experiment_seed"])

    @property
    def num_updates(self) -> int:
        """The number of updates per seed."""
        return int(self.record["num_updates"])

    def curve(self, seed: int = 0) -> dict[str, Array]:
        """Return the rows of a seed, by column; the first is `num_updates`."""
        self.require_seed(seed)
        return self.columns[seed]

    def metric(self, name: str) -> tuple[Array, Array]:
        """Return one metric of all seeds.

        Returns:
            the number of updates at each row [E], and the metric [S, E], NaN where a seed has no
            such row or nothing was measured.
        """
        from rlkit.analysis.statistics import align_curves

        known = [column for columns in self.columns for column in columns]
        if name not in known:
            raise UsageError(
                f"the run {self.folder} has no metric {name!r}.{closest(name, known)} "
                f"It has {', '.join(dict.fromkeys(known)) or 'no row yet'}."
            )
        empty = np.zeros(0)
        return align_curves(
            [columns.get("num_updates", empty) for columns in self.columns],
            [columns.get(name, empty) for columns in self.columns],
        )

    def state(self, seed: int = 0, *, at: int | None = None) -> dict[str, Array]:
        """Return the state of a seed, as the stage's `state_dict` returned it.

        Args:
            seed: its index.
            at: the number of updates of a checkpoint; None = the end.

        Raises:
            UsageError: the seed does not exist or is not finished, or there is no such checkpoint;
                the message says what to run.
            RlkitError: its last checkpoint is damaged.
        """
        path = self._last_checkpoint(seed) if at is None else self._checkpoint_at(seed, at)
        state = self._read(path, seed)
        return entries(state, STATE_PREFIX)

    @property
    def content_name(self) -> str:
        """The name that follows from the content, which the folder has unless it was renamed."""
        parts = ("kind", "stage", "label", "content", "experiment_seed", "record_every")
        identity = {part: self.record[part] for part in parts}
        label = f"{self.stage}-{self.label}"
        # Whether the number of updates belongs to it depends on the stage.
        target = {"num_updates": self.num_updates}
        names = [content_name(label, x) for x in (identity, identity | target)]
        return self.folder.name if self.folder.name in names else names[-1]

    def require_seed(self, seed: int) -> None:
        """Require that a seed is shown.

        Raises:
            UsageError: it is not; the message says what to run.
        """
        if seed not in self.seeds:
            raise UsageError(
                f"the run {self.folder} shows the seeds 0 to {len(self.seeds) - 1}, not {seed!r}; "
                f"run the stage {self.stage!r} with at least {max(seed, 0) + 1} seeds"
            )

    def _last_checkpoint(self, seed: int) -> Path:
        self.require_seed(seed)
        kept = checkpoints.list_checkpoints(self.folder, seed)
        done = kept[0][0] if kept else 0
        if done < self.num_updates:
            why = f" ({self.failures[seed]})" if seed in self.failures else ""
            raise UsageError(
                f"seed {seed} of the stage {self.stage!r} in {self.folder} is at {done:,} of "
                f"{self.num_updates:,} updates{why}; finish it first, with the command that "
                f"started it: {shlex.join(self.record['command'])}"
                + (f" (or look at it as it is now, with at = {done}, --at {done})" if done else "")
            )
        return kept[0][1]

    def _checkpoint_at(self, seed: int, at: int) -> Path:
        self.require_seed(seed)
        kept = dict(checkpoints.list_checkpoints(self.folder, seed))
        if at not in kept:
            numbers = ", ".join(map(str, sorted(kept))) or "none"
            raise UsageError(
                f"option at (--at): seed {seed} of {self.folder} has checkpoints after these "
                f"numbers of updates: {numbers}; got {at}"
            )
        return kept[at]

    def _read(self, path: Path, seed: int) -> dict[str, Array]:
        try:
            return checkpoints.own_checkpoint(self.folder, seed, path)
        except ValueError as error:
            raise RlkitError(
                f"{error}; run the stage {self.stage!r} again, which finishes seed {seed} from "
                "the checkpoint before it"
            ) from error


RunLike = StageRun | str | Path
