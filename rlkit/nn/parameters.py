"""The parameters of all seeds as one matrix."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from rlkit.nn.layers import Array


class Parameters:
    """The named parameters of S seeds: one matrix [S, P], and a differentiable view of each array.

    Args:
        seeds: for each seed, a mapping from a name to the arrays it holds (the same shapes in all).
    """

    def __init__(self, seeds: Iterable[Mapping[str, Sequence[Array]]]) -> None:
        rows: list[Array] = []
        shapes: dict[str, list[tuple[int, ...]]] = {}
        for seed in seeds:  # each is in double precision, so only one is kept at a time
            shapes = {name: [np.shape(a) for a in arrays] for name, arrays in seed.items()}
            flat = [np.ravel(a).astype(np.float32) for arrays in seed.values() for a in arrays]
            rows.append(np.concatenate(flat))
        self.matrix = torch.from_numpy(np.stack(rows))
        self._views: dict[str, list[Tensor]] = {}
        start = 0
        for name, of_arrays in shapes.items():
            self._views[name] = []
            for shape in of_arrays:
                size = math.prod(shape)
                part = self.matrix[:, start : start + size]
                self._views[name].append(part.view(len(rows), *shape).requires_grad_())
                start += size

    def row(self, s: int) -> Parameters:
        """Return the parameters of one seed, as Parameters with S = 1 that share their memory."""
        one = object.__new__(Parameters)
        one.matrix = self.matrix[s : s + 1]
        one._views = {
            name: [view.detach()[s : s + 1].requires_grad_() for view in views]
            for name, views in self._views.items()
        }
        return one

    def __getitem__(self, name: str) -> list[Tensor]:
        return self._views[name]

    def gradient(self, losses: Tensor) -> Tensor:
        """Return the gradient [S, P] of each seed's loss [S] by its own parameters."""
        views = [view for views in self._views.values() for view in views]
        parts = torch.autograd.grad(losses, views, torch.ones_like(losses))
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def detached(self) -> dict[str, list[Tensor]]:
        """Return a copy of all arrays that later updates do not change."""
        return {name: [v.detach().clone() for v in views] for name, views in self._views.items()}

    def finite(self) -> Array:
        """Return whether all parameters of each seed are finite, bool [S]."""
        finite: Array = torch.isfinite(self.matrix).all(dim=1).numpy()
        return finite
