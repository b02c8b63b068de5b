"""Diffusion policies: actions of a Box that begin as noise and become likely ones.

A network predicts the noise in a noisy action; see `rlkit.maths.diffusion` for the process. Such a
policy can have several modes, but no density that could be computed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from rlkit.agents.cloning.scaling import Scaling
from rlkit.agents.networks import Features
from rlkit.maths.diffusion import (
    cosine_alphas,
    diffusion_marginal,
    predicted_start,
    reverse_posterior,
)
from rlkit.nn.layers import init_mlp, mlp
from rlkit.nn.parameters import Parameters
from rlkit.seeding import NoiseBlocks, SeedStreams

Array = NDArray[Any]

_FREQUENCIES = (1, 2, 4, 8)  # of the sines and cosines that tell the network the step
_GAIN = 2.0**0.5


class DiffusionModel:
    """A network that predicts eps from x_t, the observation and t.

    The loss of a decision is the mean square of eps - its prediction over the numbers of an action,
    for one t in 1..T and one eps that are drawn.

    Args:
        observation_space: as agents see it.
        action_space: likewise, a Box.
        hidden_sizes: widths of the layers.
        activation: of the hidden layers.
        num_steps: T.
    """

    num_draws = 2048  # of t and eps in a held-out loss, at least

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Box,
        *,
        hidden_sizes: tuple[int, ...],
        activation: str,
        num_steps: int,
    ) -> None:
        self._space, self.shape, self.num_steps = observation_space, action_space.shape, num_steps
        self.size = math.prod(action_space.shape)
        self._num_features = Features(observation_space, 1, normalise=False).size
        self._activation = activation
        num_inputs = self.size + self._num_features + 2 * len(_FREQUENCIES)
        self.widths = (num_inputs, *hidden_sizes, self.size)
        alphas = cosine_alphas(num_steps)
        self.alphas, self.bars = alphas.float(), alphas.cumprod(0).float()
        angles = torch.arange(1, num_steps + 1)[:, None] / num_steps * math.pi
        waves = angles * torch.tensor(_FREQUENCIES)
        self._times = torch.cat([waves.sin(), waves.cos()], dim=1)  # [T, 8]

    def init(self, rng: np.random.Generator) -> dict[str, list[Array]]:
        """Draw the parameters of one seed."""
        layers = init_mlp(rng, self.widths, init="orthogonal", hidden_gain=_GAIN, output_gain=0.01)
        return {"denoiser": layers}

    def inputs(self, observations: Array, scaling: Scaling) -> Tensor:
        """Return observations [D, ...] as inputs float32 [D, F]; discrete ones are unit vectors."""
        if isinstance(self._space, spaces.Discrete):
            indices = torch.from_numpy(observations.astype(np.int64))
            return one_hot(indices, self._num_features).float()
        return torch.from_numpy(scaling.observations(observations.reshape(len(observations), -1)))

    def targets(self, actions: Array, scaling: Scaling) -> Tensor:
        """Return actions [D, ...] as x_0, float32 [D, A]."""
        return torch.from_numpy(scaling.actions(actions))

    def noise(self, rng: np.random.Generator, num_rows: int) -> Tensor:
        """Draw t, counted from 0, and eps of each row, [B, 1 + A]."""
        t = rng.integers(self.num_steps, size=(num_rows, 1)).astype(np.float32)
        eps = rng.standard_normal((num_rows, self.size), dtype=np.float32)
        return torch.from_numpy(np.concatenate([t, eps], axis=1))

    def losses(
        self,
        parameters: Parameters,
        inputs: Tensor,
        targets: Tensor,
        noise: Tensor,
        scaling: Scaling,
    ) -> Tensor:
        """Return the squared error of the predicted noise of decisions [S, B]."""
        t, eps = noise[..., 0].long(), noise[..., 1:]
        noisy = diffusion_marginal(targets, self.bars[t].unsqueeze(-1), eps)
        predicted = self.predict(parameters["denoiser"], noisy, inputs, self._times[t])
        return (predicted - eps).square().mean(-1)

    def predict(
        self, layers: Sequence[Tensor], noisy: Tensor, inputs: Tensor, times: Tensor
    ) -> Tensor:
        """Return the predicted noise [S, B, A] of x_t [S, B, A] at the encoded times [S, B, 8]."""
        return mlp(torch.cat([noisy, inputs, times], dim=-1), layers, activation=self._activation)

    def constrain(self, parameters: Parameters) -> None:
        """Change nothing: no parameter has bounds."""

    def denoised(
        self, layers: Sequence[Tensor], inputs: Tensor, noise: Tensor, scaling: Scaling
    ) -> Tensor:
        """Return actions x_0 [S, M, A] from noise [S, M, T, A], the first of which is x_T."""
        low, high = (torch.from_numpy(x.astype(np.float32)) for x in (scaling.low, scaling.high))
        x = noise[..., 0, :]
        for t in reversed(range(self.num_steps)):
            times = self._times[t].expand(*x.shape[:-1], -1)
            predicted = self.predict(layers, x, inputs, times)
            start = predicted_start(x, predicted, self.bars[t]).clamp(low, high)
            x, variance = reverse_posterior(x, start, self.alphas[t], self.bars[t])
            if t:
                x = x + variance.sqrt() * noise[..., self.num_steps - t, :]
        return x

    def actor(
        self,
        parameters: Parameters,
        scaling: Scaling,
        streams: Sequence[SeedStreams],
        *,
        greedy: bool,
    ) -> DiffusionActor:
        """Return the policy, which samples whether it is to be greedy or not."""
        return DiffusionActor(self, parameters.detached()["denoiser"], scaling, streams)


class DiffusionActor:
    """A diffusion policy at one moment. Its actions are samples: it has no greedy ones.

    Args:
        model: of the policy.
        layers: of its network, for each seed.
        scaling: of observations and actions.
        streams: of each seed.
    """

    def __init__(
        self,
        model: DiffusionModel,
        layers: Sequence[Tensor],
        scaling: Scaling,
        streams: Sequence[SeedStreams],
    ) -> None:
        self._model, self._layers, self._scaling = model, layers, scaling
        self._streams = streams
        self.restart()

    def restart(self, *part: int) -> None:
        """Restart the stream of noise; each part of an evaluation has its own."""
        self._part = part
        self._noise: dict[int, NoiseBlocks] = {}  # by the number of environments acted in

    @torch.no_grad()
    def act(self, obs: Array) -> Array:
        num_seeds, num_envs = obs.shape[:2]
        model, scaling = self._model, self._scaling
        if num_envs not in self._noise:
            shape = (num_envs, model.num_steps, model.size)
            self._noise[num_envs] = NoiseBlocks(
                [s.generator("exploration", num_envs, *self._part) for s in self._streams],
                functools.partial(_normal, shape=shape),
                block_length=4,
            )
        noise = torch.from_numpy(self._noise[num_envs].next())
        inputs = model.inputs(obs.reshape(num_seeds * num_envs, *obs.shape[2:]), scaling)
        inputs = inputs.view(num_seeds, num_envs, -1)
        x = model.denoised(self._layers, inputs, noise, scaling).numpy()
        actions = x * scaling.action_std + scaling.action_mean
        flat: Array = actions.astype(np.float32).reshape(num_seeds, num_envs, *model.shape)
        return flat


def _normal(rng: np.random.Generator, length: int, *, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal((length, *shape), dtype=np.float32)
