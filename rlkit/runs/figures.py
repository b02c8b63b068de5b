"""Learning curves of runs, with the lines to compare them with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlkit.agents.random import RandomActor
from rlkit.environments import Environment
from rlkit.errors import UsageError
from rlkit.evaluation import evaluation_limit, play_many
from rlkit.seeding import SeedStreams
from rlkit.tabular.exact import optimal_return_under_limit, return_under_limit

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rlkit.analysis.plots import Reference
    from rlkit.runs.run import Run


def plot_runs(runs: Sequence[Run], path: str | Path | None = None) -> Figure:
    """Draw the learning curves of runs on one environment, with the lines to compare them to."""
    from rlkit.analysis.plots import learning_curve_figure, save_figure

    for run in runs:
        if not run.curve.size:
            raise UsageError(f"the run {run.folder} has no rows to draw yet")
    names = [run.agent for run in runs]
    curves = []
    for run in runs:
        curve = run.as_curve()
        if names.count(run.agent) > 1:  # tell two settings of one agent apart
            curve = dataclasses.replace(curve, name=run.folder.name)
        curves.append(curve)
    title = ", ".join(dict.fromkeys(run.environment_name for run in runs))
    same = len({run.environment_name for run in runs}) == 1
    figure = learning_curve_figure(
        curves, title=title, references=references(runs[0].environment) if same else ()
    )
    if path is not None:
        try:
            save_figure(figure, path)
        except ValueError as error:
            raise UsageError(str(error)) from error
    return figure


def references(environment: Environment) -> list[Reference]:
    """The lines to compare with: the optimum and random play where known, and "solved"."""
    from rlkit.analysis.plots import Reference

    lines = []
    mdp = environment.mdp
    if mdp is not None:
        lines.append(Reference("optimum", optimum(environment) or 0.0))
    if environment.reward_threshold is not None:
        lines.append(Reference("solved", environment.reward_threshold))
    random = random_return(environment)
    if random is not None:
        lines.append(Reference("random", random))
    return lines


def random_return(environment: Environment, *, episodes: int = 200) -> float | None:
    """The return of random play: exact where the model is known, else of some episodes.

    None where episodes would have to be played one environment at a time.
    """
    mdp = environment.mdp
    if mdp is not None:
        uniform = np.full((1, mdp.n_states, mdp.n_actions), 1.0 / mdp.n_actions)
        return float(return_under_limit(mdp, uniform, evaluation_limit(mdp))[0])
    if environment.kind != "native":
        return None
    streams = (SeedStreams(0, 0),)
    probe = environment.make()
    probe.close()
    actor = RandomActor(probe.action_space, streams)
    return float(play_many(actor, environment, streams, episodes, kind="native").returns.mean())


def optimum(environment: Environment) -> float | None:
    """The best achievable expected episode return under the time limit, where it is known."""
    mdp = environment.mdp
    if mdp is None:
        return None
    return float(optimal_return_under_limit(mdp, evaluation_limit(mdp)).expected_return)
