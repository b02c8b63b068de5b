"""The comparison of several runs on one environment: estimates, differences, figures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlkit.environments.environment import Environment
from rlkit.runs import store
from rlkit.training.figures import caveats, plot_runs, save
from rlkit.training.run import Run, interval_of

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
        store.write_json(paths[0], self.summary())
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
        return paths
