"""Learning curves of runs, with the lines to compare them with."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rlkit.agents.random import RandomActor
from rlkit.environments.resolve import Environment
from rlkit.errors import UsageError
from rlkit.evaluation import ENDLESS_STEPS, play_many
from rlkit.seeding import SeedStreams
from rlkit.tabular.returns import best_return_under_limit, return_under_limit, total_return
from rlkit.tabular.solvers import best_total_return

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rlkit.runs.run import Run


def plot_runs(
    runs: Sequence[Run], path: str | Path | None = None, *, names: Sequence[str] | None = None
) -> Figure:
    """Draw the learning curves of runs on one environment, with the lines to compare them to.

    Nothing but the folders of the runs is needed.

    Args:
        runs: at least one.
        path: where to save the figure, if given.
        names: what the curves are called; by default agents, or folders where agents are equal.
    """
    from rlkit.analysis.plots import Reference, learning_curve_figure

    for run in runs:
        if not run.curve.size:
            raise UsageError(f"the run {run.folder} has no rows to draw yet")
    agents = [run.agent for run in runs]
    if names is None:
        names = [run.folder.name if agents.count(run.agent) > 1 else run.agent for run in runs]
    curves = [
        dataclasses.replace(run.as_curve(), name=name)
        for run, name in zip(runs, names, strict=True)
    ]
    title = ", ".join(dict.fromkeys(run.environment_name for run in runs))
    same = len({environment_key(run.record) for run in runs}) == 1
    lines = runs[0].references if same else []
    figure = learning_curve_figure(
        curves,
        title=title,
        references=[Reference(label, value) for label, value in lines],
        footnotes=caveats(runs),
    )
    if path is not None:
        save(figure, path)
    return figure


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure to a file.

    Raises:
        UsageError: the name has another ending, or the place cannot be written.
    """
    from rlkit.analysis.plots import save_figure

    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(
            f"the figure {path} cannot be written: {error.strerror or error}; choose another place"
        ) from error


def environment_key(record: Mapping[str, Any]) -> str:
    """Return what is equal in the records of runs on the same environment only."""
    names = ("environment", "environment_source", "environment_details", "env_args")
    return json.dumps([record.get(name) for name in names], sort_keys=True)


def caveats(runs: Sequence[Run]) -> list[str]:
    """Return what a reader of the runs' results must know, each sentence once."""
    return list(dict.fromkeys(text for run in runs for text in run.caveats))


def references(environment: Environment) -> list[tuple[str, float]]:
    """Return the lines to compare with: the optimum, "solved" and random play, where known."""
    lines = [
        ("optimum", optimum(environment)),
        ("solved", environment.reward_threshold),
        ("random", random_return(environment)),
    ]
    return [
        (label, float(value))
        for label, value in lines
        if isinstance(value, (int, float)) and math.isfinite(value)
    ]


def random_return(environment: Environment, *, episodes: int = 200) -> float | None:
    """Return what random play earns: exact where the model is known, else the mean of episodes.

    Without a time limit it is that of whole episodes, or of the first `ENDLESS_STEPS` where random
    play may go on for ever and keep earning rewards. None where episodes would have to be played
    one environment at a time.
    """
    mdp = environment.mdp
    if mdp is not None:
        uniform = np.full((mdp.n_states, mdp.n_actions), 1.0 / mdp.n_actions)
        whole = total_return(mdp, uniform) if mdp.time_limit is None else None
        if whole is not None:
            return whole
        return float(return_under_limit(mdp, uniform, mdp.time_limit or ENDLESS_STEPS)[0])
    if environment.kind != "native":
        return None
    streams = (SeedStreams(0, 0),)
    actor = RandomActor(environment.probe.action_space, streams)
    return float(play_many(actor, environment, streams, episodes, kind="native").returns.mean())


def optimum(environment: Environment) -> float | None:
    """Return the best achievable expected episode return, where it is known.

    Under the model's time limit; without a limit it is the best total reward, and None where no
    policy has a finite one or it can be made as large as one likes.
    """
    mdp = environment.mdp
    if mdp is None:
        return None
    if mdp.time_limit is not None:
        return best_return_under_limit(mdp)
    return best_total_return(mdp)
