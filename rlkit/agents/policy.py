"""Policies as networks: from observations to features, and from a network's outputs to actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from rlkit import distributions
from rlkit.networks import Parameters, init_mlp, mlp
from rlkit.normalise import RunningMoments, standard_score
from rlkit.seeding import NoiseBlocks, SeedStreams

Array = NDArray[Any]


class Features:
    """Turns observations [S, M, ...] into network inputs [S, M, F] of type float32.

    Box observations are flattened, discrete ones become one-hot vectors. With `normalise`, Box
    features are in units of their running standard deviation; only `update` moves the statistics.
    """

    def __init__(self, space: spaces.Space[Any], num_seeds: int, *, normalise: bool) -> None:
        self._one_hot = None
        if isinstance(space, spaces.Discrete):
            self._one_hot = np.eye(int(space.n), dtype=np.float32)
            self.size = int(space.n)
        else:
            self.size = int(np.prod(space.shape or (), dtype=np.int64))
        wanted = normalise and self._one_hot is None
        self._moments = RunningMoments(num_seeds, self.size) if wanted else None

    def update(self, obs: Array) -> None:
        """Take observations [S, N, ...] into the statistics."""
        if self._moments is not None:
            self._moments.update(obs.reshape(*obs.shape[:2], -1))

    def __call__(self, obs: Array) -> Tensor:
        if self._one_hot is not None:
            return torch.from_numpy(self._one_hot[obs])
        flat = obs.reshape(*obs.shape[:2], -1)
        if self._moments is not None:
            return torch.from_numpy(
                standard_score(flat, self._moments.mean, self._moments.variance)
            )
        return torch.from_numpy(flat.astype(np.float32))

    def copy(self) -> Features:
        """The same mapping with statistics that later updates do not change."""
        twin = object.__new__(Features)
        twin._one_hot, twin.size, twin._moments = self._one_hot, self.size, None
        if self._moments is not None:
            twin._moments = RunningMoments(len(self._moments.mean), self.size)
            twin._moments.load(self._moments.state())
        return twin

    def state_dict(self) -> dict[str, Array]:
        return {} if self._moments is None else {"features": self._moments.state()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        if self._moments is not None:
            self._moments.load(state["features"])


class CategoricalHead:
    """Actions 0..n-1 with probabilities softmax(outputs)."""

    def __init__(self, space: spaces.Discrete) -> None:
        self.num_outputs = int(space.n)

    def extra_parameters(self) -> list[Array]:
        return []

    def noise(self, rng: np.random.Generator, length: int, num_envs: int) -> Array:
        """Numbers from which `length` actions of `num_envs` environments are chosen."""
        return rng.random((length, num_envs), dtype=np.float32)

    def sample(self, outputs: Tensor, extra: Sequence[Tensor], noise: Tensor) -> Tensor:
        return distributions.categorical_sample(outputs, noise)

    def mode(self, outputs: Tensor) -> Tensor:
        return distributions.categorical_mode(outputs)

    def log_prob_and_entropy(
        self, outputs: Tensor, extra: Sequence[Tensor], actions: Tensor
    ) -> tuple[Tensor, Tensor]:
        return distributions.categorical_log_prob_and_entropy(outputs, actions)


class GaussianHead:
    """Real actions with mean `outputs` and a standard deviation that is a parameter of its own.

    The action that is stored and scored is the raw sample; the environment clips it to its bounds.
    """

    def __init__(self, space: spaces.Box, *, initial_log_std: float = 0.0) -> None:
        self._shape = space.shape
        self.num_outputs = int(np.prod(space.shape, dtype=np.int64))
        self._initial_log_std = initial_log_std

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


Head = CategoricalHead | GaussianHead


def make_head(space: spaces.Space[Any]) -> Head:
    """Return the head for an action space, which must be Discrete or Box."""
    if isinstance(space, spaces.Discrete):
        return CategoricalHead(space)
    assert isinstance(space, spaces.Box)
    return GaussianHead(space)


# Gains that became customary for policy gradients (Andrychowicz et al. 2021, section 3.2): the
# small one makes the first actions nearly uniform, whatever the observation.
_HIDDEN_GAIN, _POLICY_GAIN, _VALUE_GAIN = 2.0**0.5, 0.01, 1.0


def init_policy(
    rng: np.random.Generator, num_features: int, head: Head, hidden_sizes: Sequence[int], init: str
) -> dict[str, list[Array]]:
    """Draw one seed's policy network, and the parameters its head has besides."""
    sizes = (num_features, *hidden_sizes, head.num_outputs)
    layers = init_mlp(rng, sizes, init=init, hidden_gain=_HIDDEN_GAIN, output_gain=_POLICY_GAIN)
    return {"policy": layers, "extra": head.extra_parameters()}


def init_value(
    rng: np.random.Generator, num_features: int, hidden_sizes: Sequence[int], init: str
) -> dict[str, list[Array]]:
    """Draw one seed's value network."""
    sizes = (num_features, *hidden_sizes, 1)
    layers = init_mlp(rng, sizes, init=init, hidden_gain=_HIDDEN_GAIN, output_gain=_VALUE_GAIN)
    return {"value": layers}


class NetworkActor:
    """A policy network at one moment, with its own copy of everything it needs."""

    def __init__(
        self,
        features: Features,
        parameters: Parameters,
        head: Head,
        *,
        activation: str,
        streams: Sequence[SeedStreams],
        greedy: bool,
    ) -> None:
        copies = parameters.detached()
        self._policy, self._extra = copies["policy"], copies["extra"]
        self._features, self._head, self._activation = features.copy(), head, activation
        self._greedy, self._streams = greedy, streams
        self._noise: dict[int, NoiseBlocks] = {}  # by the number of environments acted in

    @torch.no_grad()
    def outputs(self, obs: Array) -> Tensor:
        """The network's outputs [S, M, A] for observations [S, M, ...]."""
        return mlp(self._features(obs), self._policy, activation=self._activation)

    @torch.no_grad()
    def act(self, obs: Array) -> Array:
        outputs = self.outputs(obs)
        if self._greedy:
            actions: Array = self._head.mode(outputs).numpy()
            return actions
        num_envs = obs.shape[1]
        if num_envs not in self._noise:
            self._noise[num_envs] = NoiseBlocks(
                [stream.generator("exploration", num_envs) for stream in self._streams],
                lambda rng, length: self._head.noise(rng, length, num_envs),
                block_length=64,
            )
        noise = torch.from_numpy(self._noise[num_envs].next())
        sampled: Array = self._head.sample(outputs, self._extra, noise).numpy()
        return sampled

    def probabilities(self, obs: Array) -> Array:
        """The probability of each discrete action, [S, M, A]."""
        outputs = self.outputs(obs)
        if self._greedy:
            modes = self._head.mode(outputs).numpy()
            one_hot: Array = np.eye(outputs.shape[-1])[modes]
            return one_hot
        weights: Array = torch.softmax(outputs, dim=-1).double().numpy()
        probabilities: Array = weights / weights.sum(-1, keepdims=True)
        return probabilities
