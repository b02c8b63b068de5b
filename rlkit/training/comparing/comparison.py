"""The comparison of several runs on one environment: estimates, differences, figures."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlkit.environments.environment import Environment
from rlkit.files import read_ordinary
from rlkit.runs.integrity.seals import SEAL, seal_problem, write_sealed
from rlkit.runs.integrity.verify import Verdict
from rlkit.runs.record import IDENTITY, file_problem
from rlkit.training.comparing.judged import Judged, is_single, trained_elsewhere
from rlkit.training.comparing.metrics import FINAL, Metric, Values
from rlkit.training.figures import caveats, plot_runs, save
from rlkit.training.run import Run, interval_of
from rlkit.user_code import content_digest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rlkit.analysis.comparisons import PairComparison, PairTest
    from rlkit.analysis.statistics import Interval

SUMMARY = "summary.json"
REGRET = "regret.png"


@dataclass(frozen=True)
class Comparison:
    """The runs of several agents on one environment, by name.

    Everything but `environment` needs only the folders of the runs.
    """

    runs: Mapping[str, Run]
    folder: Path  # of the summary and the figures
    metric: Metric = FINAL
    looks: tuple[int, ...] = ()  # planned numbers of seeds at which it is looked at; none = once
    corrected: tuple[PairComparison, ...] | None = None  # if it is part of a larger family of tests
    family_size: int = 0  # the number of these tests

    def within(self, folder: Path) -> Comparison:
        """Return the same comparison with another folder."""
        return dataclasses.replace(self, folder=folder)

    @property
    def parts(self) -> list[Path]:
        """The folders of the comparisons that it consists of, other than its own."""
        return []

    @property
    def num_seeds(self) -> dict[str, int]:
        """The seeds of each agent."""
        return {name: len(run.seeds) for name, run in self.runs.items()}

    @property
    def environment(self) -> Environment:
        """The environment that all runs were trained on."""
        return next(iter(self.runs.values())).environment

    @property
    def environment_name(self) -> str:
        """The environment's short name."""
        return next(iter(self.runs.values())).environment_name

    @cached_property
    def values(self) -> dict[str, Values]:
        """The numbers of each seed by the metric, NaN where it is not finished, by agent."""
        return {name: self.metric.values(run) for name, run in self.runs.items()}

    @property
    def scores(self) -> dict[str, Any]:
        """The final return, or the number by the metric, of each finished seed, by agent."""
        return {name: one.scores[np.isfinite(one.scores)] for name, one in self.values.items()}

    @property
    def optimum(self) -> float | None:
        """The best achievable expected return, where it is known exactly."""
        return next(iter(self.runs.values())).optimum

    def intervals(self) -> dict[str, Interval]:
        """Return the mean over seeds with its 95 % interval, by agent."""
        from rlkit.analysis.statistics import mean_interval

        return {name: interval_of(mean_interval, s) for name, s in self.scores.items()}

    def pairs(self) -> list[PairComparison]:
        """Return difference of means, corrected p-value and verdict of every pair of agents.

        The verdict on a pair with a single model that was trained elsewhere is "one seed".
        """
        from rlkit.analysis.comparisons import give_verdicts
        from rlkit.training.comparing.testing import one_seed

        tested = give_verdicts(self.tests()) if self.corrected is None else self.corrected
        known = {(pair.a, pair.b): pair for pair in tested}
        finished = [name for name, scores in self.scores.items() if len(scores)]
        return [
            known[a, b] if (a, b) in known else one_seed(a, self.scores[a], b, self.scores[b])
            for a, b in combinations(finished, 2)
            if (a, b) in known or not self.singles.isdisjoint((a, b))
        ]

    @property
    def singles(self) -> frozenset[str]:
        """The contenders that are one model, trained elsewhere, which no test is about."""
        return frozenset(name for name, run in self.runs.items() if is_single(run))

    def tests(self) -> list[PairTest]:
        """Return the test of every pair of agents by itself."""
        from rlkit.training.comparing.testing import pair_tests

        tested = {name: one for name, one in self.values.items() if name not in self.singles}
        return pair_tests(tested, self.looks)

    def seeds_needed(self, pair: PairComparison) -> int | None:
        """Return the seeds of each agent that would separate a difference of this size.

        None where the pair is decided, or where no number of seeds is known to.
        """
        from rlkit.training.comparing.testing import seeds_needed

        a, b = self.values[pair.a], self.values[pair.b]
        return seeds_needed(pair, a, b, self.num_tests)

    def fewest_seeds(self, pair: PairComparison) -> int:
        """Return the finished seeds of the agent of a pair that has fewer."""
        return min(len(self.scores[name]) for name in (pair.a, pair.b))

    def advice(self, pair: PairComparison) -> dict[str, int]:
        """Return the entries of an undecided pair in the summary: the seeds that it would take."""
        needed = self.seeds_needed(pair)
        if needed is None:
            return {}
        return {"seeds_needed": needed, "more_seeds": needed - self.fewest_seeds(pair)}

    @property
    def num_tests(self) -> int:
        """The number of tests that the verdicts are corrected for."""
        finished = sum(
            len(scores) > 0 and name not in self.singles for name, scores in self.scores.items()
        )
        return self.family_size or math.comb(finished, 2)

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
                **trained_elsewhere(self.runs[name]),
                **self._by_metric(name),
            }
        return {
            "comparison": self.key,
            "environment": next(iter(self.runs.values())).record["environment"],
            **({} if self.metric == FINAL else {"metric": str(self.metric)}),
            **({"looks": list(self.looks)} if self.looks else {}),
            "optimum": self.optimum,
            "agents": agents,
            "pairs": [self._pair(pair) for pair in self.pairs()],
        }

    def _by_metric(self, name: str) -> dict[str, Any]:
        """Return the entries of an agent that only metrics other than the final return have."""
        if self.metric == FINAL:
            return {}
        scores, ranking = self.values[name]
        if ranking is None:
            return {"scores": scores.tolist()}
        steps = -ranking[np.isfinite(scores)]  # infinite where the return was never reached
        middle = float(np.median(steps)) if len(steps) else math.nan
        return {
            "scores": [None if math.isinf(step) else step for step in (-ranking).tolist()],
            "reached": int(np.isfinite(steps).sum()),
            "median": middle if math.isfinite(middle) else None,
        }

    def _pair(self, pair: PairComparison) -> dict[str, Any]:
        return {
            "a": pair.a,
            "b": pair.b,
            "difference": pair.difference,
            "interval": [pair.low, pair.high],
            "p_value": pair.p_value,
            "verdict": pair.verdict,
            **self.advice(pair),
        }

    @property
    def key(self) -> str:
        """The sha256 of the names of the runs, their folders and budgets, metric and looks."""
        content: list[Any] = [
            [name, run.folder.name, run.num_env_steps] for name, run in sorted(self.runs.items())
        ]
        if self.metric != FINAL or self.looks:
            content.append([str(self.metric), *self.looks])
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def plot_regret(self, path: str | Path | None = None) -> Figure:
        """Draw the regret of all agents (`Run.regret`), and save it if a path is given.

        Raises:
            UsageError: the optimum is not known, or a run has no rows.
        """
        drawn = {name: run for name, run in self.runs.items() if not isinstance(run, Judged)}
        return plot_runs(list(drawn.values()), path, names=list(drawn), regret=True)

    def write(self) -> list[Path]:
        """Write summary.json and the two figures; return their paths."""
        from rlkit.analysis.plots import Reference, comparison_figure

        figures = ("learning_curves.png", f"{self.metric.stem}.png")
        paths = [self.folder / name for name in (SUMMARY, *figures)]
        self._write_summary([])  # the figures are not yet its own
        drawn = {name: run for name, run in self.runs.items() if np.isfinite(run.scores).any()}
        if not drawn:
            return paths[:1]
        runs = list(drawn.values())
        curves = {name: run for name, run in drawn.items() if not isinstance(run, Judged)}
        if curves:
            lines = [
                (name, float(np.nanmean(run.scores)))
                for name, run in drawn.items()
                if name not in curves
            ]
            others = [run for name, run in drawn.items() if name not in curves]
            plot_runs(
                list(curves.values()),
                paths[1],
                names=list(curves),
                lines=lines,
                footnotes=caveats(others),
            )
        else:
            del paths[1]
        steps = self.metric.counts_steps
        figure = comparison_figure(
            {name: self.values[name].scores for name in drawn},
            title=self.environment_name,
            x_label="final episode return" if self.metric == FINAL else self.metric.label,
            references=[]
            if steps
            else [Reference(label, value) for label, value in runs[0].references],
            footnotes=caveats(runs),
            never={name: np.isinf(self._ranking(name)) for name in drawn} if steps else None,
        )
        save(figure, paths[-1])
        self._write_summary(paths[1:])
        return paths

    def _ranking(self, name: str) -> Any:
        ranking = self.values[name].ranking
        assert ranking is not None
        return ranking

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
