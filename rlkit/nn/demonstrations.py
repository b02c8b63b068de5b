"""Demonstrations as plain arrays: what was observed, and what an expert did."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.nn.reference import arrays_digest, from_npz, to_npz

Array = NDArray[Any]

_ARRAYS = ("observations", "actions", "episodes")


@dataclass(frozen=True)
class Demonstrations:
    """Decisions of an expert, as agents see observations and actions.

    Args:
        observations: [D, ...] of D decisions.
        actions: [D, ...], one for each.
        episodes: int64 [D], the number of the episode of each decision.
        expert_return: the mean return of the expert's episodes, exact where it is known; NaN =
            unknown.
    """

    observations: Array
    actions: Array
    episodes: Array
    expert_return: float = math.nan

    def __post_init__(self) -> None:
        lengths = {len(self.observations), len(self.actions), len(self.episodes)}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(
                f"expected as many observations as actions and episodes, at least one, got "
                f"{len(self.observations)}, {len(self.actions)} and {len(self.episodes)}"
            )

    @property
    def num_episodes(self) -> int:
        """The number of episodes."""
        return len(np.unique(self.episodes))

    @property
    def _arrays(self) -> dict[str, Array]:
        arrays = {name: np.asarray(getattr(self, name)) for name in _ARRAYS}
        return arrays | {"expert_return": np.array(self.expert_return, dtype=np.float64)}

    @property
    def identity(self) -> dict[str, str]:
        """What the demonstrations are, as plain data: the same for equal arrays."""
        return {"sha256": arrays_digest(self._arrays)}

    def to_bytes(self) -> bytes:
        """Return the demonstrations as the content of a file."""
        # Not the names of a user's file: these arrays are as one agent sees them.
        return to_npz({f"/{name}": array for name, array in self._arrays.items()})

    @classmethod
    def from_bytes(cls, data: bytes) -> Demonstrations:
        """Return the demonstrations that `to_bytes` wrote.

        Raises:
            ValueError: it is no such file.
        """
        held = from_npz(data, "demonstrations")
        try:
            observations, actions, episodes = (held[f"/{name}"] for name in _ARRAYS)
            return cls(observations, actions, episodes, float(held["/expert_return"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"it holds no demonstrations ({error!r})") from error
