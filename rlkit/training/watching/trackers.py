"""Experiment trackers with the functions init, log and finish: trackio, and wandb."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from rlkit.errors import UsageError
from rlkit.runs.reports import WatchError
from rlkit.training.watching.progress import Progress
from rlkit.training.watching.scalars import scalars

Tracker = Literal["trackio", "wandb"]
PROJECT = "rlkit"
# Of the record, what a tracker shows as the configuration of a run.
_SHOWN = (
    *("agent", "environment", "env_args", "config", "num_env_steps", "num_envs", "num_seeds"),
    *("experiment_seed", "evaluate_every", "evaluation_episodes", "stop", "identity"),
)


class TrackedRun:
    """Sends the scalars of a run to a tracker, under the name of its folder.

    A run that is continued is resumed there, and its rows of before are not sent again.

    Args:
        name: of the package of the tracker.
        per_seed: also send the value of each seed.
    """

    def __init__(self, name: str, *, per_seed: bool = False) -> None:
        self._name, self._per_seed = name, per_seed
        self._module: Any = None

    @property
    def name(self) -> str:
        return f"the tracker {self._name}"

    @property
    def instead(self) -> str:
        return "the csv of each seed has all rows"

    def require(self, run: Path) -> None:
        """Require that the tracker is known and installed."""
        self._find()

    def _find(self) -> Any:
        """Return the tracker's module.

        Raises:
            UsageError: it is unknown or not installed.
        """
        if self._name not in get_args(Tracker):
            raise UsageError(
                f"option track (--track): expected {' or '.join(get_args(Tracker))}, got "
                f"{self._name!r:.80}"
            )
        try:
            module = importlib.import_module(self._name)
        except ImportError as error:
            raise UsageError(
                f"option track (--track): the package {self._name} cannot be imported ({error}); "
                f"install it with: pip install {self._name}"
            ) from error
        missing = [name for name in ("init", "log", "finish") if not hasattr(module, name)]
        if missing:
            raise UsageError(
                f"option track (--track): the module {self._name} at "
                f"{getattr(module, '__file__', None)} has no {', '.join(missing)}, so it is another"
            )
        return module

    def begin(self, run: Path, record: Mapping[str, Any]) -> None:
        module = self._find()
        options: dict[str, Any] = {
            "project": PROJECT,
            "name": run.name,
            "config": {name: record[name] for name in _SHOWN if name in record},
            "resume": "allow",
        }
        if self._name == "wandb":  # by which it finds the run again
            options["id"] = run.name
        try:
            module.init(**options)
        except Exception as error:
            raise WatchError(
                f"option track (--track): {self._name}.init raised {error!r}; nothing was trained"
            ) from error
        self._module = module

    def write(self, progress: Progress) -> None:
        if not progress.replayed:
            self._module.log(scalars(progress, per_seed=self._per_seed), step=progress.step)

    def end(self) -> None:
        if self._module is not None:
            module, self._module = self._module, None
            module.finish()
