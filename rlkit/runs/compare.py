"""`compare`: several agents on one environment, with honest differences between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlkit.environments import Environment, EnvLike
from rlkit.errors import UsageError
from rlkit.runs import store
from rlkit.runs.figures import optimum, plot_runs, references
from rlkit.runs.run import Run, interval_of
from rlkit.runs.specification import make_spec, require_count
from rlkit.runs.train import train_spec
from rlkit.runs.training import Reports

if TYPE_CHECKING:
    from rlkit.analysis.statistics import Interval, PairComparison


@dataclass(frozen=True)
class Comparison:
    """The runs of several agents on one environment."""

    runs: Mapping[str, Run]
    environment: Environment
    folder: Path

    @property
    def scores(self) -> dict[str, Any]:
        """The final return of each seed that was finished, by agent."""
        return {name: run.scores[np.isfinite(run.scores)] for name, run in self.runs.items()}

    @property
    def optimum(self) -> float | None:
        """The best achievable expected return, where it is known exactly."""
        return optimum(self.environment)

    def intervals(self) -> dict[str, Interval]:
        """The mean over seeds with its 95 % interval, by agent."""
        from rlkit.analysis.statistics import mean_interval

        return {name: interval_of(mean_interval, s) for name, s in self.scores.items()}

    def pairs(self) -> list[PairComparison]:
        """Every pair of agents: difference of means, corrected p-value, verdict."""
        from rlkit.analysis.statistics import compare_pairs

        scores = {name: s for name, s in self.scores.items() if len(s)}
        return compare_pairs(scores) if len(scores) > 1 else []

    def summary(self) -> dict[str, Any]:
        """Estimates, intervals and pairwise differences as plain data."""
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
                "notes": [note for note in (interval.note, iqm.note) if note],
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
            "environment": self.environment.reference,
            "optimum": self.optimum,
            "agents": agents,
            "pairs": pairs,
        }

    def write(self) -> list[Path]:
        """Write summary.json and the two figures; return their paths."""
        from rlkit.analysis.plots import comparison_figure, save_figure

        paths = [
            self.folder / name
            for name in ("summary.json", "learning_curves.png", "final_performance.png")
        ]
        store.write_json(paths[0], self.summary())
        drawn = {name: run for name, run in self.runs.items() if np.isfinite(run.scores).any()}
        if not drawn:
            return paths[:1]
        plot_runs(list(drawn.values()), paths[1])
        figure = comparison_figure(
            {name: run.scores for name, run in drawn.items()},
            title=self.environment.name,
            references=references(self.environment),
        )
        save_figure(figure, paths[2])
        return paths


def compare(
    agents: Sequence[str | type[Any]],
    environment: EnvLike,
    *,
    seeds: int = 10,
    steps: int | None = None,
    seed: int = 0,
    out: str | Path = "runs",
    workers: int = 1,
    env_args: Mapping[str, Any] | None = None,
    evaluate_every: int | None = None,
    evaluation_episodes: int = 20,
    native: bool = True,
    reports: Reports | None = None,
) -> Comparison:
    """Train what is missing of several agents, then compare them.

    Writes summary.json, learning_curves.png and final_performance.png into `out`, beside the
    folders of the runs. The arguments are those of `train`.
    """
    if not agents:
        raise UsageError("comparing: name at least one agent")
    seeds = require_count("seeds", seeds, at_least=1)
    workers = require_count("workers", workers, at_least=1)
    specs = [
        make_spec(
            agent,
            environment,
            steps=steps,
            seed=seed,
            env_args=env_args,
            evaluate_every=evaluate_every,
            evaluation_episodes=evaluation_episodes,
            native=native,
        )
        for agent in dict.fromkeys(agents)
    ]
    runs = {
        spec.agent_name: train_spec(spec, seeds, Path(out), workers=workers, reports=reports)
        for spec in specs
    }
    comparison = Comparison(runs, next(iter(runs.values())).environment, Path(out))
    comparison.write()
    return comparison
