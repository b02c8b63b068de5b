"""The same contenders on several environments: a comparison of each, and what they say together."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import UsageError
from rlkit.runs import store
from rlkit.training.comparing.comparison import SUMMARY, Comparison
from rlkit.training.comparing.metrics import FINAL, Values, joined
from rlkit.training.comparing.scales import Scale, scale_of
from rlkit.training.comparing.testing import ALPHA, UNDECIDED, more_than, over_looks
from rlkit.training.figures import caveats, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rlkit.analysis.comparisons import PairComparison, PairTest
    from rlkit.analysis.statistics import Interval
    from rlkit.environments.environment import Environment

Array = NDArray[Any]
FIGURE = "over_environments.png"
_THRESHOLDS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class ComparisonSet(Comparison):
    """The comparisons of the same contenders on several environments.

    `comparisons` has that of each environment by name, `runs` all runs. Estimates and pairs are
    those over all environments, of scores normalised by `scales`. The verdicts are corrected over
    all pairs on every environment and those over all.
    """

    comparisons: Mapping[str, Comparison] = field(default_factory=dict)

    def within(self, folder: Path) -> ComparisonSet:
        """Return the same comparisons with folders of their own in another folder."""
        return dataclasses.replace(
            self,
            folder=folder,
            comparisons={
                name: one.within(folder / _folder_name(name))
                for name, one in self.comparisons.items()
            },
        )

    @property
    def parts(self) -> list[Path]:
        """The folders of the comparisons on each environment."""
        return [one.folder for one in self.comparisons.values()]

    @property
    def singles(self) -> frozenset[str]:
        """The contenders that are one model, trained elsewhere, which no test is about."""
        return next(iter(self.comparisons.values())).singles

    @property
    def names(self) -> list[str]:
        """The contenders."""
        return list(next(iter(self.comparisons.values())).runs)

    @property
    def num_seeds(self) -> dict[str, int]:
        """The seeds of each agent on the environment where it has fewest."""
        each = [one.num_seeds for one in self.comparisons.values()]
        return {name: min(seeds[name] for seeds in each) for name in self.names}

    @property
    def environment(self) -> Environment:
        """There are several: see those of `comparisons`."""
        raise UsageError(
            f"the comparison is on several environments, {self.environment_name}; choose one, as "
            "in comparison.comparisons[name].environment"
        )

    @property
    def environment_name(self) -> str:
        """The environments' short names."""
        return ", ".join(self.comparisons)

    @property
    def optimum(self) -> float | None:
        """None: scores are normalised."""
        return None

    @cached_property
    def scales(self) -> dict[str, Scale]:
        """The scores that are normalised to 0 and 1, by environment."""
        return {name: scale_of(one.runs, self.metric) for name, one in self.comparisons.items()}

    def scores_of(self, name: str, first: int | None = None) -> list[Array]:
        """Return the normalised scores of an agent's finished seeds, one array per environment.

        Args:
            name: of the agent.
            first: how many of its seeds, from the first; None = all.
        """
        scores = []
        for environment, one in self.comparisons.items():
            values = one.values[name].scores[:first]
            scores.append(self.scales[environment].normalise(values[np.isfinite(values)]))
        return scores

    @cached_property
    def values(self) -> dict[str, Values]:
        """The normalised scores on all environments together, NaN where unfinished, by agent."""
        return {
            name: Values(
                np.concatenate(
                    [
                        self.scales[environment].normalise(one.values[name].scores)
                        for environment, one in self.comparisons.items()
                    ]
                ),
                None,
            )
            for name in self.names
        }

    @property
    def complete(self) -> list[str]:
        """The contenders with a finished seed on every environment, which are aggregated."""
        return [name for name in self.names if all(len(one) for one in self.scores_of(name))]

    def intervals(self) -> dict[str, Interval]:
        """Return the interquartile mean over environments with its 95 % interval, by agent."""
        from rlkit.analysis.aggregate import iqm_over_environments

        return {name: iqm_over_environments(self.scores_of(name)) for name in self.complete}

    def tests(self) -> list[PairTest]:
        """Return the test of every pair of agents over all environments."""
        from rlkit.analysis.aggregate import compare_over_environments

        def test(number: int | None) -> list[PairTest]:
            return compare_over_environments(
                {
                    name: self._ranked(name, number)
                    for name in self.complete
                    if name not in self.singles
                }
            )

        return over_looks(test, self.looks, max(self.num_seeds.values()))

    def _ranked(self, name: str, first: int | None) -> list[Array]:
        """Return numbers of the first finished seeds, or of all if those are none; more is better.

        A return that was never reached has rank and score of one that takes longer than any.
        """
        ranked = []
        for environment, one in self.comparisons.items():
            scores, ranking = one.values[name]
            never = np.zeros(len(scores)) if ranking is None else np.isinf(ranking)
            values = self.scales[environment].normalise(scores) - never * 1e-9
            known = values[:first][np.isfinite(values[:first])]
            ranked.append(known if len(known) else values[np.isfinite(values)])
        return ranked

    def seeds_needed(self, pair: PairComparison) -> int | None:
        """Return the seeds of each agent and environment that would separate such a difference."""
        from rlkit.analysis.aggregate import improvement_probability
        from rlkit.analysis.power import seeds_to_separate_ranks

        if pair.verdict not in UNDECIDED:
            return None
        improvement = improvement_probability(
            self._ranked(pair.a, None), self._ranked(pair.b, None)
        )
        needed = seeds_to_separate_ranks(
            improvement, num_strata=len(self.comparisons), alpha=ALPHA / self.num_tests
        )
        return more_than(needed, self.fewest_seeds(pair))

    def fewest_seeds(self, pair: PairComparison) -> int:
        """Return the fewest finished seeds that an agent of a pair has on an environment."""
        return min(len(one) for name in (pair.a, pair.b) for one in self.scores_of(name))

    def summary(self) -> dict[str, Any]:
        """Return estimates, intervals and differences, of each environment and over all."""
        from rlkit.analysis.aggregate import improvement_interval, profile_band

        intervals = self.intervals()
        agents: dict[str, dict[str, Any]] = {}
        for name in self.names:
            agents[name] = {"seeds": self.num_seeds[name]}
            if name in intervals:
                one = intervals[name]
                band = profile_band(self.scores_of(name), _THRESHOLDS)
                agents[name] |= {
                    "iqm": one.estimate,
                    "iqm_interval": [one.low, one.high],
                    "profile": band.fraction.tolist(),
                    "notes": [one.note] if one.note else [],
                }
        pairs = []
        for pair in self.pairs():
            better = improvement_interval(self._ranked(pair.a, None), self._ranked(pair.b, None))
            pairs.append(
                {
                    "a": pair.a,
                    "b": pair.b,
                    "iqm_difference": pair.difference,
                    "improvement": better.estimate,
                    "improvement_interval": [better.low, better.high],
                    "p_value": pair.p_value,
                    "verdict": pair.verdict,
                    **self.advice(pair),
                }
            )
        return {
            "comparison": self.key,
            "environment": self.environment_name,
            **({} if self.metric == FINAL else {"metric": str(self.metric)}),
            **({"looks": list(self.looks)} if self.looks else {}),
            "environments": {name: self._part(name) for name in self.comparisons},
            "profile_thresholds": _THRESHOLDS.tolist(),
            "agents": agents,
            "pairs": pairs,
        }

    def _part(self, name: str) -> dict[str, Any]:
        scale, summary = self.scales[name], self.comparisons[name].summary()
        kept = ("environment", "optimum", "agents", "pairs")
        return {
            "folder": _folder_name(name),
            "random": scale.random,
            "best": scale.best,
            "best_is": scale.source,
            **(
                {"metric": metric}
                if (metric := str(self.comparisons[name].metric)) != str(self.metric)
                else {}
            ),
            **{key: summary[key] for key in kept},
        }

    @property
    def key(self) -> str:
        """The sha256 of the keys of the comparisons on each environment."""
        content = sorted([name, one.key] for name, one in self.comparisons.items())
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def plot(self, path: str | Path | None = None) -> Figure:
        """Draw interquartile means and performance profiles; save the figure if a path is given."""
        from rlkit.training.comparing.drawing import over_environments_figure

        figure = over_environments_figure(
            {name: self.scores_of(name) for name in self.complete},
            title=f"{self.metric.label} on {self.environment_name}",
            footnotes=caveats(list(self.runs.values())),
        )
        if path is not None:
            save(figure, path)
        return figure

    def plot_regret(self, path: str | Path | None = None) -> Figure:
        """Reject: regret is drawn for each environment by itself."""
        raise UsageError(
            "regret is drawn for each environment: use comparison.comparisons[name].plot_regret"
        )

    def write(self) -> list[Path]:
        """Write the files of each environment into a folder of its own, then those over all."""
        paths = []
        for one in self.comparisons.values():
            store.prepare_place(one.folder)
            paths += one.write()
        self._write_summary([])
        paths.append(self.folder / SUMMARY)
        if self.complete:
            self.plot(self.folder / FIGURE)
            self._write_summary([self.folder / FIGURE])
            paths.append(self.folder / FIGURE)
        return paths

    def write_regret(self) -> None:
        """Write regret.png of each environment."""
        for one in self.comparisons.values():
            one.write_regret()


def join(parts: Sequence[Comparison], folder: Path) -> ComparisonSet:
    """Return the comparisons of the same contenders as one, corrected over all tests."""
    from rlkit.analysis.comparisons import give_verdicts

    comparisons: dict[str, Comparison] = {}
    for part in parts:
        name, number = part.environment_name, 1
        while name in comparisons:
            number += 1
            name = f"{part.environment_name} ({number})"
        comparisons[name] = part
    runs = {
        f"{name}, {environment}": run
        for environment, one in comparisons.items()
        for name, run in one.runs.items()
    }
    together = ComparisonSet(
        *(runs, folder, joined([one.metric for one in parts]), parts[0].looks),
        comparisons=comparisons,
    )
    tests = [one.tests() for one in comparisons.values()]
    verdicts = give_verdicts([test for some in [*tests, together.tests()] for test in some])
    size = len(verdicts)
    corrected = {}
    for name, some in zip(comparisons, tests, strict=True):
        own, verdicts = verdicts[: len(some)], verdicts[len(some) :]
        corrected[name] = dataclasses.replace(
            comparisons[name], corrected=tuple(own), family_size=size
        )
    return dataclasses.replace(
        together, comparisons=corrected, corrected=tuple(verdicts), family_size=size
    ).within(folder)


def _folder_name(environment: str) -> str:
    """Return the name of an environment's folder in that of the comparison."""
    return re.sub(r"[^\w.() -]", "_", environment).strip(". ") or "environment"
