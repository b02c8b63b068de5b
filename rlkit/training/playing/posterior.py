"""The posterior of a run of PSRL, drawn on the map of its grid world."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agents.tabular.model_posterior import ModelPosterior
from rlkit.agents.tabular.psrl import PSRL
from rlkit.errors import UsageError
from rlkit.options import require_count
from rlkit.seeding import SeedStreams
from rlkit.tabular.grids.drawing import grid_made_by
from rlkit.tabular.planning.dense import dense_action_values
from rlkit.training.figures import save
from rlkit.training.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[Any]


def final_posterior(run: Run, seed: int = 0) -> ModelPosterior:
    """Return the posterior with which one seed of a run of PSRL ended.

    Raises:
        UsageError: the run is of another agent, or has no such seed.
    """
    if run.agent != "psrl":
        raise UsageError(
            f"the run {run.folder} is of {run.agent}, which keeps no posterior of the model; psrl "
            "does"
        )
    state = run.agent_state(seed)
    streams = (SeedStreams(run.spec.experiment_seed, seed),)
    agent = run.spec.build_agent(run.spec.task(run.environment, streams, None))
    assert isinstance(agent, PSRL)
    agent.load_state_dict({name: value[None] for name, value in state.items()})
    return agent.posterior(0)


def value_samples(
    posterior: ModelPosterior, rng: np.random.Generator, *, discount: float, models: int
) -> Array:
    """Return the optimal values of models drawn from a posterior, `[models, num_states]`."""
    start = np.zeros(posterior.visits.shape[0], dtype=np.int64)
    draws = (posterior.sample(rng) for _ in range(models))
    return np.array([dense_action_values(*draw, discount, start).max(axis=1) for draw in draws])


def plot_posterior(
    run: Run, path: str | Path | None = None, *, seed: int = 0, models: int = 100
) -> Figure:
    """Draw values, visits and doubts on the map of a grid world.

    Args:
        run: of psrl, on an environment with a map.
        path: where to save the figure, if given.
        seed: which seed.
        models: drawn for the standard deviation of the values.

    Raises:
        UsageError: it is no such run, has no such seed, or the environment has no map.
    """
    from rlkit.tabular.grids.posterior_maps import Belief, posterior_figure

    models = require_count("models", models, at_least=2)
    posterior = final_posterior(run, seed)
    grid = grid_made_by(run.environment.make)
    if grid is None:
        raise UsageError(f"{run.environment_name} has no map to draw a posterior on")
    discount = run.spec.config.discount
    start = np.zeros(posterior.visits.shape[0], dtype=np.int64)
    q = dense_action_values(*posterior.mean(), discount, start)
    rng = SeedStreams(run.spec.experiment_seed, seed).generator("exploration")
    samples = value_samples(posterior, rng, discount=discount, models=models)
    belief = Belief(
        values=q.max(axis=1),
        policy=q.argmax(axis=1),
        visits=posterior.visits.sum(axis=1),
        transition_doubt=posterior.transition_doubt().max(axis=1),
        value_doubt=samples.std(axis=0, ddof=1),
    )
    steps = int(posterior.visits.sum())
    title = f"psrl on {run.environment_name}: posterior of seed {seed} after {steps:,} steps"
    figure = posterior_figure(grid, belief, title=title)
    if path is not None:
        save(figure, path)
    return figure
