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
from rlkit.tabular.exact import best_return_under_limit, return_under_limit, total_return
from rlkit.tabular.planning import best_total_return

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
    best = optimum(environment)
    if best is not None:
        lines.append(Reference("optimum", best))
    if environment.reward_threshold is not None:
        lines.append(Reference("solved", environment.reward_threshold))
    random = random_return(environment)
    if random is not None:
        lines.append(Reference("random", random))
    return lines


def random_return(environment: Environment, *, episodes: int = 200) -> float | None:
    """The return of random play: exact where the model is known, else of some episodes.

    Without a time limit it is that of whole episodes, or of the first 1,000 steps where random play
    may go on for ever and keep earning rewards. None where episodes would have to be played one
    environment at a time.
    """
    mdp = environment.mdp
    if mdp is not None:
        uniform = np.full((mdp.n_states, mdp.n_actions), 1.0 / mdp.n_actions)
        whole = total_return(mdp, uniform) if mdp.time_limit is None else None
        if whole is not None:
            return whole
        return float(return_under_limit(mdp, uniform, evaluation_limit(mdp))[0])
    if environment.kind != "native":
        return None
    streams = (SeedStreams(0, 0),)
    probe = environment.make()
    probe.close()
    actor = RandomActor(probe.action_space, streams)
    return float(play_many(actor, environment, streams, episodes, kind="native").returns.mean())


def optimum(environment: Environment) -> float | None:
    """The best achievable expected episode return, where it is known.

    Under the model's time limit; without a limit it is the best total reward, and None where no
    policy has a finite one or it can be made as large as one likes.
    """
    mdp = environment.mdp
    if mdp is None:
        return None
    if mdp.time_limit is not None:
        return best_return_under_limit(mdp)
    return best_total_return(mdp)
