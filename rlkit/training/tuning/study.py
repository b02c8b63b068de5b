"""The result of tuning: all trials, the final, the best, and its confirmation on fresh seeds."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlkit.analysis.intervals import Interval
from rlkit.errors import RlkitError
from rlkit.files import write_atomically
from rlkit.runs.integrity.seals import read_sealed, write_sealed
from rlkit.runs.integrity.verify import Verdict
from rlkit.runs.record import IDENTITY, file_problem
from rlkit.training.comparing.comparison import Comparison
from rlkit.training.specification import RunSpec
from rlkit.training.tuning.finals import finalists_of
from rlkit.training.tuning.importances import Importance
from rlkit.training.tuning.pasting import command_text, preset_entry, preset_text
from rlkit.training.tuning.proposals import RANDOM_TRIALS
from rlkit.training.tuning.racing import CONFIDENCE, FEWEST_FINISHED, GRACE
from rlkit.training.tuning.spaces import Space
from rlkit.training.tuning.trials import FAILED, FINISHED, STOPPED, Trial
from rlkit.user_code import content_digest

if TYPE_CHECKING:
    from rlkit.analysis.comparisons import PairTest

STUDY, TABLE = "study.json", "trials.csv"
FIGURES = ("trials.png", "options.png")
TUNED = "tuned"  # the name of the best setting in the confirmation


@dataclass(frozen=True, kw_only=True)
class Study:
    """The trials of tuning an agent on an environment, and the confirmation of the best.

    Args:
        folder: of the study; each trial is a run in `trials/NUMBER/`.
        spec: of the setting that the search started from.
        space: range by option.
        fixed: the options that the user gave, which are not searched.
        num_seeds: of each trial.
        trials: in order.
        finals: the best trials again on more seeds, the chosen one first (see `play_final`); none
            where only one was to choose from, and before it was played.
        importances: of the options; None where they cannot be told, and before the trials ended.
        best_spec: of the best trial; None before there is one.
        comparison: of the best setting, called "tuned", with where the search started from and
            with the preset, on seeds that no trial has seen; None before it was made.
    """

    folder: Path
    spec: RunSpec
    space: Space
    fixed: Mapping[str, Any] = field(default_factory=dict)
    num_seeds: int
    trials: Sequence[Trial] = ()
    finals: Sequence[Trial] = ()
    importances: Mapping[str, Importance] | None = None
    best_spec: RunSpec | None = None
    comparison: Comparison | None = None

    @property
    def environment_name(self) -> str:
        """The environment's name."""
        place = self.spec.environment
        return place if isinstance(place, str) else str(getattr(place, "__name__", place))

    @property
    def best(self) -> Trial | None:
        """The trial that the final chose, or else the finished one with the highest bound."""
        if self.finals:
            return self.trials[self.finals[0].number]
        return next(iter(finalists_of(self.trials, 1)), None)

    @property
    def env_steps(self) -> int:
        """Environment steps that the trials took, all seeds together."""
        return self.num_seeds * sum(t.steps for t in self.trials if t.same_as is None)

    @property
    def env_steps_without_race(self) -> int:
        """The same if no trial had been stopped."""
        budget = self.spec.num_env_steps
        each = (budget if t.state == STOPPED else t.steps for t in self.trials if t.same_as is None)
        return self.num_seeds * sum(each)

    @property
    def env_steps_of_final(self) -> int:
        """Environment steps that the final took, all seeds together."""
        return sum(len(trial.scores) * trial.steps for trial in self.finals)

    def overstatement(self) -> PairTest | None:
        """Return how far the mean of the best trial is above that of fresh seeds.

        None before the confirmation, or where no seed of it was finished.
        """
        from rlkit.analysis.comparisons import compare_pair

        if self.best is None or self.comparison is None:
            return None
        fresh = self.comparison.scores[TUNED]
        if not len(fresh):
            return None
        return compare_pair("best of the trials", self.best.scores, "confirmed", fresh)

    @property
    def preset(self) -> str:
        """The best setting as an entry of the table of presets."""
        return "" if self.best_spec is None else preset_text(self.best_spec)

    @property
    def command(self) -> str:
        """The command that trains the best setting."""
        return "" if self.best_spec is None else command_text(self.best_spec)

    def summary(self) -> dict[str, Any]:
        """Return the study as plain data, without the trials that `trials.csv` has."""
        spec, states = self.spec, [trial.state for trial in self.trials]
        return {
            "agent": spec.agent_name,
            "environment": self.environment_name,
            "steps": spec.num_env_steps,
            "seeds": self.num_seeds,
            "seed": spec.experiment_seed,
            "objective": f"lower end of the {CONFIDENCE:.0%} interval of the mean final return",
            "race": {"fewest_finished": FEWEST_FINISHED, "grace": GRACE, "confidence": CONFIDENCE},
            "random_trials": RANDOM_TRIALS,
            "space": {name: values.as_data() for name, values in self.space.items()},
            "fixed": dict(self.fixed),
            "trials": {name: states.count(name) for name in (FINISHED, STOPPED, FAILED)},
            "env_steps": self.env_steps,
            "env_steps_without_race": self.env_steps_without_race,
            "final": [self._of_final(trial) for trial in self.finals],
            "env_steps_of_final": self.env_steps_of_final,
            "importances": None
            if self.importances is None
            else {name: dataclasses.asdict(one) for name, one in self.importances.items()},
            "best": None if self.best is None else _best(self.best),
            "confirmation": self._confirmation(),
            "preset": None if self.best_spec is None else preset_entry(self.best_spec)[1],
            "command": self.command or None,
        }

    def _of_final(self, trial: Trial) -> dict[str, Any]:
        assert trial.folder is not None
        mean, low, high = _numbers(trial.interval)
        return {
            "trial": trial.number,
            "state": trial.state,
            "mean": mean,
            "interval": [low, high],
            "scores": list(trial.scores),
            "message": trial.message,
            "run": trial.folder.relative_to(self.folder).as_posix(),
        }

    def _confirmation(self) -> dict[str, Any] | None:
        if self.comparison is None:
            return None
        summary, over = self.comparison.summary(), self.overstatement()
        first = next(iter(self.comparison.runs.values()))
        return {
            "seed": first.record["experiment_seed"],
            "agents": {
                name: {key: agent[key] for key in ("run", "mean", "interval", "final")}
                for name, agent in summary["agents"].items()
            },
            "pairs": summary["pairs"],
            "overstatement": None
            if over is None
            else {"difference": over.difference, "interval": [over.low, over.high]},
        }

    def write(self) -> None:
        """Write trials.csv and study.json."""
        write_atomically(self.folder / TABLE, self._table().encode())
        written = [name for name in (TABLE, *FIGURES) if (self.folder / name).exists()]
        files = {name: content_digest(str(self.folder / name)) for name in written}
        write_sealed(self.folder / STUDY, {**self.summary(), "files": files})

    def _table(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        seeds = [f"seed_{seed}" for seed in range(self.num_seeds)]
        columns = ["trial", "state", "origin", "same_as", "steps", "mean", "low", "high"]
        writer.writerow([*columns, *self.space, *seeds, "message", "run"])
        for trial in self.trials:
            values = [trial.number, trial.state, trial.origin, trial.same_as, trial.steps]
            values += _numbers(trial.interval)
            values += [cell_text(trial.params[name]) for name in self.space]
            values += list(trial.scores) or [None] * self.num_seeds
            run = None if trial.folder is None else trial.folder.relative_to(self.folder).as_posix()
            writer.writerow([*values, trial.message, run])
        return text.getvalue()


def best_so_far(trials: Sequence[Trial]) -> list[Trial | None]:
    """Return the best finished trial up to each trial."""
    return [next(iter(finalists_of(trials[: n + 1], 1)), None) for n in range(len(trials))]


def cell_text(value: Any) -> str:
    """Return an option's value in a table."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _numbers(interval: Interval | None) -> list[float | None]:
    if interval is None:
        return [None] * 3
    numbers = interval.estimate, interval.low, interval.high
    return [None if math.isnan(x) else x for x in numbers]


def _best(trial: Trial) -> dict[str, Any]:
    assert trial.interval is not None
    return {
        "trial": trial.number,
        "params": {k: list(v) if isinstance(v, tuple) else v for k, v in trial.params.items()},
        "objective": trial.interval.low,
        "mean": trial.interval.estimate,
        "scores": np.asarray(trial.scores).tolist(),
    }


def verify_study(folder: Path) -> Verdict:
    """Check the summary of a study, its table and figures against their sums."""
    try:
        content = read_sealed(folder / STUDY)
        files = dict(content["files"])
        what = f"tuning of {content['agent']} on {content['environment']}"
    except RlkitError as error:
        return Verdict(folder, problems=(str(error),))
    except (KeyError, TypeError, ValueError) as error:
        return Verdict(folder, problems=(f"{folder / STUDY} is damaged: {error!r:.200}",))
    wrong = [file_problem(folder, {IDENTITY: "", "files": files}, name) for name in files]
    return Verdict(folder, what, problems=tuple(filter(None, wrong)))
