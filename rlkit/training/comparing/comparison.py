"""The comparison of several runs on one environment: estimates, differences, figures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlkit.environments.environment import Environment
from rlkit.files import read_ordinary
from rlkit.runs.integrity.seals import SEAL, seal_problem, write_sealed
from rlkit.runs.integrity.verify import Verdict
from rlkit.runs.record import IDENTITY, file_problem
from rlkit.training.figures import caveats, plot_runs, save
from rlkit.training.run import Run, interval_of
from rlkit.user_code import content_digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rlkit.analysis.statistics import Interval, PairComparison

SUMMARY = "summary.json"
REGRET = "regret.png"


@dataclass(frozen=True)
class Comparison:
    """The runs of several agents on one environment, by name.

    Everything but `environment` needs only the folders of the runs.
    """

    runs: Mapping[str, Run]
    folder: Path  # of the summary and the figures

    @property
    def environment(self) -> Environment:
        """The environment that all runs were trained on."""
        return next(iter(self.runs.values())).environment

    @property
    def environment_name(self) -> str:
        """The environment's short name."""
        return next(iter(self.runs.values())).environment_name

    @property
    def scores(self) -> dict[str, Any]:
        """The final return of each finished seed, by agent."""
        return {name: run.scores[np.isfinite(run.scores)] for name, run in self.runs.items()}

    @property
    def optimum(self) -> float | None:
        """The best achievable expected return, where it is known exactly."""
        return next(iter(self.runs.values())).optimum

    def intervals(self) -> dict[str, Interval]:
        """Return the mean over seeds with its 95 % interval, by agent."""
        from rlkit.analysis.statistics import mean_interval

        return {name: interval_of(mean_interval, s) for name, s in self.scores.items()}

    def pairs(self) -> list[PairComparison]:
        """Return difference of means, corrected p-value and verdict of every pair of agents."""
        from rlkit.analysis.statistics import compare_pairs

        scores = {name: s for name, s in self.scores.items() if len(s)}
        return compare_pairs(scores) if len(scores) > 1 else []

    def summary(self) -> dict[str, Any]:
        """Return estimates, intervals and pairwise differences as plain data."""
        from rlkit.analysis.statistics import iqm_interval

        agents = {}
        for name, interval in self.intervals().items():
            iqm = interval_of(iqm_interval, self.scores[name])
            agents[name] = {
                "run": self.runs[name].folder.name,
                "final": self.runs[name].scores.tolist(),
                "mean": interval.estimate,
                "interval": [interval.low, interval.high],
                "iqm": iqm.estimate,
                "iqm_interval": [iqm.low, iqm.high],
                "notes": [
                    *(note for note in (interval.note, iqm.note) if note),
                    *self.runs[name].caveats,
                ],
                "env_steps": self.runs[name].num_env_steps,
            }
        pairs = [
            {
                "a": pair.a,
                "b": pair.b,
                "difference": pair.difference,
                "interval": [pair.low, pair.high],
                "p_value": pair.p_value,
                "verdict": pair.verdict,
            }
            for pair in self.pairs()
        ]
        return {
            "comparison": self.key,
            "environment": next(iter(self.runs.values())).record["environment"],
            "optimum": self.optimum,
            "agents": agents,
            "pairs": pairs,
        }

    @property
    def key(self) -> str:
        """The sha256 of the names of the runs, their folders and their budgets."""
        content = [
            [name, run.folder.name, run.num_env_steps] for name, run in sorted(self.runs.items())
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def plot_regret(self, path: str | Path | None = None) -> Figure:
        """Draw the regret of all agents (`Run.regret`), and save it if a path is given.

        Raises:
            UsageError: the optimum is not known, or a run has no rows.
        """
        return plot_runs(list(self.runs.values()), path, names=list(self.runs), regret=True)

    def write(self) -> list[Path]:
        """Write summary.json and the two figures; return their paths."""
        from rlkit.analysis.plots import Reference, comparison_figure

        paths = [
            self.folder / name for name in (SUMMARY, "learning_curves.png", "final_performance.png")
        ]
        self._write_summary([])  # the figures are not yet its own
        drawn = {name: run for name, run in self.runs.items() if np.isfinite(run.scores).any()}
        if not drawn:
            return paths[:1]
        runs = list(drawn.values())
        plot_runs(runs, paths[1], names=list(drawn))
        figure = comparison_figure(
            {name: run.scores for name, run in drawn.items()},
            title=self.environment_name,
            references=[Reference(label, value) for label, value in runs[0].references],
            footnotes=caveats(runs),
        )
        save(figure, paths[2])
        self._write_summary(paths[1:])
        return paths

    def write_regret(self) -> None:
        """Write regret.png beside the summary, and its sum into that."""
        written = read_summary(self.folder)[0]["files"]
        self.plot_regret(self.folder / REGRET)
        self._write_summary([*(self.folder / name for name in written), self.folder / REGRET])

    def _write_summary(self, figures: Sequence[Path]) -> None:
        files = {path.name: content_digest(str(path)) for path in figures}
        write_sealed(self.folder / SUMMARY, {**self.summary(), "files": files})


def read_summary(folder: Path) -> tuple[dict[str, Any], str | None]:
    """Return the summary of a comparison and what is wrong with it, a sentence or None.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON.
    """
    path = folder / SUMMARY
    data = read_ordinary(path)
    content = json.loads(data)
    sealed = isinstance(content, dict) and (SEAL in content or "files" in content)
    problem = seal_problem(data) if sealed else None  # those of older versions have no sum
    return content, None if problem is None else f"{path} is damaged: {problem}"


def is_comparison(folder: Path) -> bool:
    """Return whether a folder holds a summary that may be that of a comparison."""
    try:
        data = read_ordinary(folder / SUMMARY)
    except OSError:
        return False
    return b'"comparison"' in data or b'"pairs"' in data


def verify_comparison(folder: Path) -> Verdict:
    """Check the summary of a comparison and its figures against their sums."""
    try:
        summary, problem = read_summary(folder)
        files = dict(summary.get("files", {}))
        what = f"comparison of {', '.join(summary['agents'])} on {summary['environment']}"
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        return Verdict(folder, problems=(f"{folder / SUMMARY} is damaged: {error!r:.200}",))
    if problem is not None:
        return Verdict(folder, what, problems=(problem,))
    wrong = [file_problem(folder, {IDENTITY: "", "files": files}, name) for name in files]
    old = "it was made by an older rlkit, which stored no sums of comparisons"
    notes = () if "files" in summary else (old,)
    return Verdict(folder, what, problems=tuple(filter(None, wrong)), notes=notes)
