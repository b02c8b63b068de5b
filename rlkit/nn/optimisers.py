"""Gradient clipping, and optimisers with a seed axis and weight decay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.errors import UsageError
from rlkit.nn.layers import Array
from rlkit.options import require_choice, require_range


def clip_gradient_norm(gradient: Tensor, max_norm: float) -> Tensor:
    """Scale each seed's gradient in place to a norm of at most `max_norm`.

    Args:
        gradient: [S, P]; changed.
        max_norm: of the joint gradient of all parameters of a seed.

    Returns:
        the norms before scaling, [S]
    """
    norm: Tensor = torch.linalg.vector_norm(gradient, dim=1)
    gradient.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0).unsqueeze(1))
    return norm


Decay = Literal["l2", "decoupled"]


class Adam:
    """Adam with bias correction (Kingma and Ba 2015, algorithm 1) for each seed by itself.

        m <- beta1 m + (1 - beta1) g        v <- beta2 v + (1 - beta2) g^2
        theta <- theta - rate * (m / (1 - beta1^k)) / (sqrt(v / (1 - beta2^k)) + eps)

    `eps` stands outside the root of the corrected v, as in torch. Weight decay comes first:

        l2:         g <- g + lambda theta                   (the gradient of lambda |theta|^2 / 2)
        decoupled:  theta <- theta - rate lambda theta      (AdamW: Loshchilov and Hutter 2019)

    Args:
        matrix: the parameters [S, P].
        eps: added to the root.
        weight_decay: lambda, >= 0; 0 = no decay.
        decay: how it enters.
    """

    def __init__(
        self,
        matrix: Tensor,
        *,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decay: Decay = "l2",
    ) -> None:
        self._betas, self._eps = (0.9, 0.999), eps
        self._weight_decay, self._decay = weight_decay, decay
        self._m, self._v = torch.zeros_like(matrix), torch.zeros_like(matrix)
        self._num_steps = np.zeros(len(matrix), dtype=np.int64)

    @torch.no_grad()
    def step(
        self,
        matrix: Tensor,
        gradient: Tensor,
        learning_rate: float,
        *,
        seeds: NDArray[np.int64] | None = None,
    ) -> None:
        """Update the parameters [S, P] in place, for all seeds or only for those listed."""
        if seeds is not None:
            part = Adam(
                matrix[seeds], eps=self._eps, weight_decay=self._weight_decay, decay=self._decay
            )
            part.load_state_dict({name: a[seeds] for name, a in self.state_dict().items()})
            updated = matrix[seeds]
            part.step(updated, gradient[seeds], learning_rate)
            matrix[seeds], self._m[seeds], self._v[seeds] = updated, part._m, part._v
            self._num_steps[seeds] = part._num_steps
            return
        if self._weight_decay and self._decay == "l2":
            gradient = gradient + self._weight_decay * matrix
        elif self._weight_decay:
            matrix.mul_(1.0 - learning_rate * self._weight_decay)
        self._num_steps += 1
        beta1, beta2 = self._betas
        corrections = 1.0 - np.array([[beta1], [beta2]]) ** self._num_steps
        factors = np.stack([-learning_rate / corrections[0], 1.0 / np.sqrt(corrections[1])])
        rate, root = torch.from_numpy(factors.astype(np.float32)).unsqueeze(2).unbind()
        self._m.lerp_(gradient, 1.0 - beta1)
        self._v.mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
        denominator = self._v.sqrt().mul_(root).add_(self._eps)
        matrix.addcdiv_(self._m * rate, denominator)

    def state_dict(self) -> dict[str, Array]:
        return {
            "adam_m": self._m.numpy().copy(),
            "adam_v": self._v.numpy().copy(),
            "adam_num_steps": self._num_steps.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        self._m.copy_(torch.from_numpy(state["adam_m"]))
        self._v.copy_(torch.from_numpy(state["adam_v"]))
        self._num_steps[:] = state["adam_num_steps"]


class GradientDescent:
    """Plain gradient descent, theta <- theta - rate * (g + lambda theta).

    Without moments, both kinds of weight decay are this.

    Args:
        weight_decay: lambda, >= 0; 0 = no decay.
    """

    def __init__(self, *, weight_decay: float = 0.0) -> None:
        self._weight_decay = weight_decay

    @torch.no_grad()
    def step(
        self,
        matrix: Tensor,
        gradient: Tensor,
        learning_rate: float,
        *,
        seeds: NDArray[np.int64] | None = None,
    ) -> None:
        """Update the parameters [S, P] in place, for all seeds or only for those listed."""
        rows = slice(None) if seeds is None else seeds
        step = gradient[rows]
        if self._weight_decay:
            step = step + self._weight_decay * matrix[rows]
        matrix[rows] -= learning_rate * step

    def state_dict(self) -> dict[str, Array]:
        return {}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        pass


Optimiser = Adam | GradientDescent


def require_decay(config: Any) -> None:
    """Check the options `weight_decay` and `decay` of a configuration.

    Raises:
        UsageError: a value does not fit, or `decay` is given where there is no weight decay.
    """
    require_range(config, "weight_decay", low=0)
    require_choice(config, "decay", among=Decay)
    (default,) = (field.default for field in fields(config) if field.name == "decay")
    if config.decay != default and not config.weight_decay:
        raise UsageError(
            f"option decay (--decay): {config.decay!r} has no effect while weight_decay is 0; set "
            "weight_decay (--weight-decay), or omit decay"
        )


def make_optimiser(
    name: str, matrix: Tensor, *, weight_decay: float = 0.0, decay: Decay = "l2"
) -> Optimiser:
    """Return the optimiser called "adam" or "sgd" for parameters [S, P]."""
    if name == "adam":
        return Adam(matrix, weight_decay=weight_decay, decay=decay)
    return GradientDescent(weight_decay=weight_decay)
