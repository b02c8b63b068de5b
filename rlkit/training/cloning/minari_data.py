"""Demonstrations of local Minari datasets, by the extra `minari`; nothing is downloaded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rlkit.errors import UsageError, missing_extra
from rlkit.spelling import closest
from rlkit.training.cloning.converting import Rows

PREFIX = "minari:"


def minari_rows(place: str) -> Rows:
    """Return the decisions of a dataset that minari:NAME names.

    Raises:
        UsageError: the package or the dataset is not there, or its observations or actions are
            neither of a Box nor Discrete.
    """
    name = place.removeprefix(PREFIX)
    try:
        import minari

        local = list(minari.list_local_datasets())
        dataset = minari.load_dataset(name) if name in local else None
    except ImportError as error:
        # Minari raises one of its own for a package that reads its files.
        inner = error.__context__ if isinstance(error.__context__, ImportError) else error
        raise missing_extra(f"demonstrations {place}", "minari", inner) from error
    if dataset is None:
        listed = ", ".join(local) or "none"
        raise UsageError(
            f"demonstrations {place}: there is no local dataset {name!r}; there are {listed}."
            f"{closest(name, local)} `minari download {name}` downloads one"
        )
    parts: dict[str, list[Any]] = {"observation": [], "action": []}
    episodes, rewards = [], []
    for number, episode in enumerate(dataset.iterate_episodes()):
        count = len(episode.rewards)
        for kind, whole in (("observation", episode.observations), ("action", episode.actions)):
            where = f"demonstrations {place}, episode {number}, {kind}"
            parts[kind].append(_flat(whole, where)[:count])  # without the last observation
        episodes.append(np.full(count, number))
        rewards.append(np.asarray(episode.rewards, dtype=np.float64))
    if not sum(map(len, episodes)):
        raise UsageError(f"demonstrations {place}: the dataset has no step")
    joined = np.concatenate(episodes).astype(np.int64)

    def at(row: int, kind: str, column: int) -> str:
        first = int(np.flatnonzero(joined == joined[row])[0])
        return (
            f"demonstrations {place}, episode {joined[row]}, step {row - first}, {kind}[{column}]"
        )

    observations, actions = (np.concatenate(parts[kind]) for kind in parts)
    return Rows(
        observations, actions, joined, np.concatenate(rewards), at, f"demonstrations {place}"
    )


def _flat(values: Any, where: str) -> Any:
    """Return numbers [T, ...] as float64 [T, F]."""
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        raise UsageError(
            f"{where}: got a {type(values).__name__}, expected numbers of a Box or Discrete space; "
            "write the decisions to a file of columns instead"
        )
    size = math.prod(values.shape[1:])
    return values.reshape(len(values), size).astype(np.float64)
