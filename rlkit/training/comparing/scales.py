"""Scales on which scores of different environments can be put together: 0 = random, 1 = best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agents.random import RandomActor
from rlkit.determinism import own_settings
from rlkit.environments.environment import Environment
from rlkit.evaluation import play_many
from rlkit.seeding import SeedStreams
from rlkit.training.comparing.metrics import Metric
from rlkit.training.run import Run

Array = NDArray[Any]
_EPISODES = 20  # of random play, where environments have to be stepped one by one


@dataclass(frozen=True)
class Scale:
    """The scores that stand for 0 and 1."""

    random: float
    best: float
    source: str  # of the best: "optimum", "solved", "best seed", "budget"

    def normalise(self, scores: Array) -> Array:
        """Return scores on the scale, in the same shape; NaN stays NaN."""
        return np.asarray((scores - self.random) / (self.best - self.random))


def scale_of(runs: Mapping[str, Run], metric: Metric) -> Scale:
    """Return the scale of the runs on one environment.

    Steps are put between the whole budget and none. Returns are put between random play and the
    exact optimum. Where that is not known, 1 is the return at which the environment counts as
    solved, or that of the best seed of these runs if that is higher.
    """
    first = next(iter(runs.values()))
    if metric.counts_steps:
        return Scale(float(first.num_env_steps), 0.0, "budget")
    lines = dict(first.references)
    random = lines.get("random")
    if random is None:
        random = _random_return(runs, first.environment)
    if "optimum" in lines and lines["optimum"] > random:
        return Scale(random, lines["optimum"], "optimum")
    known = [run.scores[np.isfinite(run.scores)] for run in runs.values()]
    best = max((float(scores.max()) for scores in known if len(scores)), default=random)
    if "solved" in lines and lines["solved"] >= best:
        best, source = lines["solved"], "solved"
    else:
        source = "best seed"
    if best <= random:  # nobody is better than random play: one unit of its size
        return Scale(random, random + max(1.0, abs(random)), "random play")
    return Scale(random, best, source)


def _random_return(runs: Mapping[str, Run], environment: Environment) -> float:
    """Return the mean return of random play, by a contender that does or some episodes."""
    for run in runs.values():
        if run.record["agent"] == "random" and np.isfinite(run.scores).any():
            return float(np.nanmean(run.scores))
    streams = (SeedStreams(0, 0),)
    with own_settings():
        actor = RandomActor(environment.action_space, streams)
        played = play_many(actor, environment, streams, _EPISODES, kind=environment.kind)
    return float(played.returns.mean())
