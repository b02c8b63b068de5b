"""Demonstrations by name: of a run, of a file, of a Minari dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.environments.environment import Environment
from rlkit.environments.views.actions import ActionLayout
from rlkit.errors import UsageError
from rlkit.nn.demonstrations import Demonstrations
from rlkit.runs.latest import names_run
from rlkit.training.cloning.converting import converted
from rlkit.training.cloning.files import READERS, read_rows
from rlkit.training.cloning.minari_data import PREFIX, minari_rows
from rlkit.training.specification import RunSpec

Array = NDArray[Any]


def load_demonstrations(
    place: str, spec: RunSpec, environment: Environment
) -> tuple[Demonstrations, str]:
    """Return demonstrations as an agent sees them, and a sentence about them.

    Args:
        place: the folder of a run, a file (.csv, .jsonl, .npz), or minari:NAME.
        spec: of the run that imitates them; its options say how much of a run is played.
        environment: as that agent sees it.

    Raises:
        UsageError: there is no such thing, or it does not fit the environment.
    """
    if place.startswith(PREFIX):
        return _described(converted(minari_rows(place), environment), place)
    path = Path(place)
    if path.is_dir() or names_run(place):
        from rlkit.training.cloning.played import played_demonstrations  # imports torch

        return played_demonstrations(place, spec, environment)
    if not path.exists():
        raise UsageError(
            f"demonstrations {place}: there is no such file or folder; give the folder of a run, a "
            f"file ({', '.join(READERS)}), or {PREFIX}NAME of a local Minari dataset"
        )
    return _described(converted(read_rows(path), environment), place)


def _described(demonstrations: Demonstrations, place: str) -> tuple[Demonstrations, str]:
    number, episodes = len(demonstrations.actions), demonstrations.num_episodes
    known = demonstrations.expert_return
    mean = "" if known != known else f", mean return {known:.6g}"
    plural = "" if episodes == 1 else "s"
    return (
        demonstrations,
        f"{number:,} decisions of {episodes:,} episode{plural} from {place}{mean}",
    )


def require_fit(demonstrations: Demonstrations, environment: Environment) -> None:
    """Require that demonstrations are observations and actions as agents see them.

    Raises:
        UsageError: a shape or a number does not fit.
    """
    layout = ActionLayout(environment.action_space)
    space = environment.observation_space
    parts = (
        ("observations", demonstrations.observations, space.shape or (), _choices(space)),
        ("actions", demonstrations.actions, layout.shape, layout.sizes),
    )
    for name, array, shape, sizes in parts:
        problem = _misfit(np.asarray(array), shape, sizes)
        if problem:
            raise UsageError(
                f"demonstrations: {name} {problem}, for {environment.observation_space} and "
                f"{environment.action_space} as agents see {environment.reference}"
            )


def _choices(space: spaces.Space[Any]) -> Array:
    """Return how many values each number of an observation can have; 0 = any."""
    return np.array([space.n if isinstance(space, spaces.Discrete) else 0], dtype=np.int64)


def _misfit(array: Array, shape: tuple[int, ...], sizes: Array) -> str:
    """Return why an array [D, *shape] of numbers with so many choices does not fit, or ""."""
    if array.shape[1:] != shape or array.dtype.kind not in "biuf":
        return f"have shape {array.shape} and type {array.dtype}, expected [D, *{shape}] numbers"
    flat = array.reshape(len(array), -1)
    wrong = ~np.isfinite(flat)
    wrong |= (sizes > 0) & ((flat < 0) | (flat >= sizes) | (flat != np.floor(flat)))
    if not wrong.any():
        return ""
    row, column = np.argwhere(wrong)[0].tolist()
    return f"have {flat[row, column]} in row {row}"
