"""Scores, curves and weights of runs as arrays, in the layouts of other programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import UsageError
from rlkit.training.run import Run

Array = NDArray[Any]


def rliable_scores(runs: Sequence[Run]) -> dict[str, Array]:
    """Return the final scores of each agent, [seeds, environments], as rliable takes them.

    Seeds that did not reach the end are omitted, and of an agent that has more seeds on one
    environment than on another, the first so many; environments are in the order of the runs.

    Raises:
        UsageError: an agent has no run on one of the environments, two on the same, or no score.
    """
    environments = list(dict.fromkeys(run.environment_name for run in runs))
    by_agent: dict[str, dict[str, Run]] = {}
    for run in runs:
        of_agent = by_agent.setdefault(run.agent, {})
        if run.environment_name in of_agent:
            raise UsageError(
                f"export: two runs of {run.agent} on {run.environment_name}, "
                f"{of_agent[run.environment_name].folder.name} and {run.folder.name}; a table of "
                "scores has one of each agent and environment"
            )
        of_agent[run.environment_name] = run
    return {agent: _scores(agent, of, environments) for agent, of in by_agent.items()}


def _scores(agent: str, runs: Mapping[str, Run], environments: Sequence[str]) -> Array:
    missing = [name for name in environments if name not in runs]
    if missing:
        raise UsageError(
            f"export: {agent} has no run on {', '.join(missing)}; a table of scores needs every "
            "agent on every environment"
        )
    columns = [runs[name].scores for name in environments]
    columns = [scores[np.isfinite(scores)] for scores in columns]
    number = min(map(len, columns))
    if not number:
        empty = environments[[len(scores) for scores in columns].index(0)]
        raise UsageError(f"export: no seed of {runs[empty].folder} was trained to the end")
    return np.stack([scores[:number] for scores in columns], axis=1)


def evaluations(run: Run) -> dict[str, Array]:
    """Return the curve of a run in the layout of Stable-Baselines3's evaluations.npz.

    timesteps [E] are the environment steps of each row, and results [E, seeds] hold the mean
    evaluation return of each seed where Stable-Baselines3 has that of each episode: `rows` of the
    csv keep no single episodes. Rows that not every seed has are omitted.

    Raises:
        UsageError: the run has no evaluations.
    """
    if not run.record["evaluation_episodes"]:
        raise UsageError(f"export: the run {run.folder} was trained without evaluations")
    whole = np.isfinite(run.curve).all(axis=0)
    if not whole.any():
        raise UsageError(f"export: the run {run.folder} has no row that all of its seeds have")
    return {"timesteps": run.steps[whole].astype(np.int64), "results": run.curve[:, whole].T.copy()}


def tensors(run: Run, seed: int) -> tuple[dict[str, Array], dict[str, str]]:
    """Return what the agent of one seed ended with, by name, and what it is.

    The second is text, as the header of a safetensors file holds it.

    Raises:
        UsageError: there is no such seed, or it holds something other than numbers.
    """
    state = run.agent_state(seed)
    arrays = {name: np.ascontiguousarray(value) for name, value in state.items()}
    unfit = [name for name, value in arrays.items() if value.dtype.kind not in "biuf"]
    if unfit:
        raise UsageError(f"export: {', '.join(unfit)} of {run.folder} are not arrays of numbers")
    about = {
        "agent": run.agent,
        "environment": str(run.record["environment"]),
        "env_args": json.dumps(run.record["env_args"]),
        "config": json.dumps(run.record["config"]),
        "seed": str(seed),
        "num_env_steps": str(run.num_env_steps),
        "rlkit": run.record["versions"].get("rlkit", ""),
        "identity": run.record.get("identity", ""),
    }
    return arrays, about
