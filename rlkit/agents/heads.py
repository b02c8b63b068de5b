"""Distributions over actions, parametrised by the outputs of a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from rlkit.environments.views.actions import ActionLayout
from rlkit.maths import distributions
from rlkit.maths.divergences import categorical_kl, gaussian_kl

Array = NDArray[Any]


class CategoricalHead:
    """Actions 0..n-1 with probabilities softmax(outputs)."""

    def __init__(self, space: spaces.Discrete) -> None:
        self.num_outputs = int(space.n)

    def extra_parameters(self) -> list[Array]:
        return []

    def noise(self, rng: np.random.Generator, length: int, num_envs: int) -> Array:
        """Draw the numbers that choose `length` actions of `num_envs` environments."""
        return rng.random((length, num_envs), dtype=np.float32)

    def sample(self, outputs: Tensor, extra: Sequence[Tensor], noise: Tensor) -> Tensor:
        return distributions.categorical_sample(outputs, noise)

    def mode(self, outputs: Tensor) -> Tensor:
        return distributions.categorical_mode(outputs)

    def log_prob_and_entropy(
        self, outputs: Tensor, extra: Sequence[Tensor], actions: Tensor
    ) -> tuple[Tensor, Tensor]:
        return distributions.categorical_log_prob_and_entropy(outputs, actions)

    def kl(
        self, outputs: Tensor, extra: Sequence[Tensor], other: Tensor, other_extra: Sequence[Tensor]
    ) -> Tensor:
        """Return the divergence of another distribution from this one, nats [S, M]."""
        return categorical_kl(outputs, other)


class GaussianHead:
    """Real actions with mean `outputs` and a standard deviation that is a parameter of its own.

    The action that is stored and scored is the raw sample; the environment clips it to its bounds.
    """

    def __init__(self, space: spaces.Box, *, initial_std: float = 1.0) -> None:
        self._shape = space.shape
        self.num_outputs = int(np.prod(space.shape, dtype=np.int64))
        self._initial_log_std = math.log(initial_std)

    def extra_parameters(self) -> list[Array]:
        return [np.full(self.num_outputs, self._initial_log_std)]

    def noise(self, rng: np.random.Generator, length: int, num_envs: int) -> Array:
        return rng.standard_normal((length, num_envs, self.num_outputs), dtype=np.float32)

    def sample(self, outputs: Tensor, extra: Sequence[Tensor], noise: Tensor) -> Tensor:
        actions = distributions.gaussian_sample(outputs, extra[0].unsqueeze(1), noise)
        return actions.reshape(*outputs.shape[:-1], *self._shape)

    def mode(self, outputs: Tensor) -> Tensor:
        return outputs.reshape(*outputs.shape[:-1], *self._shape)

    def log_prob_and_entropy(
        self, outputs: Tensor, extra: Sequence[Tensor], actions: Tensor
    ) -> tuple[Tensor, Tensor]:
        log_std = extra[0].unsqueeze(1).expand_as(outputs)
        flat = actions.reshape(outputs.shape)
        return (
            distributions.gaussian_log_prob(outputs, log_std, flat),
            distributions.gaussian_entropy(log_std),
        )

    def kl(
        self, outputs: Tensor, extra: Sequence[Tensor], other: Tensor, other_extra: Sequence[Tensor]
    ) -> Tensor:
        return gaussian_kl(outputs, extra[0].unsqueeze(1), other, other_extra[0].unsqueeze(1))


class JointHead:
    """Independent parts: discrete ones with softmax probabilities, real ones with a Gaussian each.

    log pi(a) and the entropy are sums over the parts. An action is a row of numbers, as
    `ActionLayout` has it.
    """

    def __init__(self, layout: ActionLayout, *, initial_std: float = 1.0) -> None:
        self._blocks: list[tuple[slice, slice, int, int]] = []  # columns, outputs, number, size
        column = output = 0
        for number, size in layout.blocks:
            end = output + number * max(1, size)
            self._blocks.append((slice(column, column + number), slice(output, end), number, size))
            column, output = column + number, end
        self.num_outputs = output
        self._num_real = int((layout.sizes == 0).sum())
        self._initial_log_std = math.log(initial_std)
        self._dtype = torch.int64 if layout.is_discrete else torch.float32

    def extra_parameters(self) -> list[Array]:
        return [np.full(self._num_real, self._initial_log_std)] if self._num_real else []

    def noise(self, rng: np.random.Generator, length: int, num_envs: int) -> Array:
        parts = []
        for _, _, number, size in self._blocks:
            shape = (length, num_envs, number)
            if size:
                parts.append(rng.random(shape, dtype=np.float32))
            else:
                parts.append(rng.standard_normal(shape, dtype=np.float32))
        return np.concatenate(parts, axis=-1)

    def sample(self, outputs: Tensor, extra: Sequence[Tensor], noise: Tensor) -> Tensor:
        chosen = []
        for columns, x, log_std in self._parts(outputs, extra):
            own_noise = noise[..., columns].contiguous()
            if log_std is None:
                chosen.append(distributions.categorical_sample(x, own_noise))
            else:
                chosen.append(distributions.gaussian_sample(x, log_std, own_noise))
        return torch.cat([part.to(self._dtype) for part in chosen], dim=-1)

    def mode(self, outputs: Tensor) -> Tensor:
        chosen = [
            x if size == 0 else distributions.categorical_mode(x)
            for (_, _, _, size), x in zip(self._blocks, self._split(outputs), strict=True)
        ]
        return torch.cat([part.to(self._dtype) for part in chosen], dim=-1)

    def log_prob_and_entropy(
        self, outputs: Tensor, extra: Sequence[Tensor], actions: Tensor
    ) -> tuple[Tensor, Tensor]:
        log_prob = outputs.new_zeros(outputs.shape[:-1])
        entropy = torch.zeros_like(log_prob)
        for columns, x, log_std in self._parts(outputs, extra):
            own = actions[..., columns]
            if log_std is None:
                each, each_entropy = distributions.categorical_log_prob_and_entropy(
                    x, own.to(torch.int64)
                )
                log_prob, entropy = log_prob + each.sum(-1), entropy + each_entropy.sum(-1)
            else:
                log_std = log_std.expand_as(x)
                log_prob = log_prob + distributions.gaussian_log_prob(x, log_std, own)
                entropy = entropy + distributions.gaussian_entropy(log_std)
        return log_prob, entropy

    def kl(
        self, outputs: Tensor, extra: Sequence[Tensor], other: Tensor, other_extra: Sequence[Tensor]
    ) -> Tensor:
        kl = outputs.new_zeros(outputs.shape[:-1])
        both = zip(self._parts(outputs, extra), self._parts(other, other_extra), strict=True)
        for (_, x, log_std), (_, y, other_log_std) in both:
            if log_std is None or other_log_std is None:
                kl = kl + categorical_kl(x, y).sum(-1)
            else:
                kl = kl + gaussian_kl(x, log_std, y, other_log_std)
        return kl

    def allowed_outputs(self, masks: Tensor) -> Tensor:
        """Return masks [..., choices] as masks of all outputs; those of real parts are True."""
        is_choice = np.concatenate(
            [np.full(number * max(1, size), size > 0) for _, _, number, size in self._blocks]
        )
        allowed = torch.ones(*masks.shape[:-1], self.num_outputs, dtype=torch.bool)
        allowed[..., torch.from_numpy(is_choice)] = masks
        return allowed

    def _split(self, outputs: Tensor) -> list[Tensor]:
        """Return the outputs of each block: logits [..., number, size], or means [..., number]."""
        return [
            outputs[..., own].reshape(*outputs.shape[:-1], number, size).contiguous()
            if size
            else outputs[..., own].contiguous()
            for _, own, number, size in self._blocks
        ]

    def _parts(
        self, outputs: Tensor, extra: Sequence[Tensor]
    ) -> list[tuple[slice, Tensor, Tensor | None]]:
        """Return columns, outputs and, for real parts, log standard deviations of each block."""
        parts, first = [], 0
        for (columns, _, number, size), x in zip(self._blocks, self._split(outputs), strict=True):
            log_std = None
            if not size:
                log_std = extra[0][..., first : first + number].unsqueeze(1)
                first += number
            parts.append((columns, x, log_std))
        return parts


Head = CategoricalHead | GaussianHead | JointHead


def make_head(space: spaces.Space[Any], *, initial_std: float = 1.0) -> Head:
    """Return the head for an action space.

    Args:
        space: of the actions.
        initial_std: the standard deviation of real numbers before training.
    """
    if isinstance(space, spaces.Discrete):
        return CategoricalHead(space)
    if isinstance(space, spaces.Box):
        return GaussianHead(space, initial_std=initial_std)
    return JointHead(ActionLayout(space), initial_std=initial_std)


def restricted(head: Head, outputs: Tensor, masks: Array | Tensor | None) -> Tensor:
    """Return outputs with -inf for the actions that masks [..., choices] forbid.

    Such an action has probability 0, is never sampled, and passes no gradient to its output.
    """
    if masks is None or isinstance(head, GaussianHead):
        return outputs
    allowed = torch.as_tensor(masks)
    if isinstance(head, JointHead):
        allowed = head.allowed_outputs(allowed)
    return outputs.masked_fill(~allowed, -math.inf)
