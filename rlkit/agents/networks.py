"""Policies as networks: features of observations, initial weights, and actors."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import one_hot

from rlkit.agents.heads import CategoricalHead, Head, restricted
from rlkit.environments.views.observations import FlatBox
from rlkit.errors import UsageError
from rlkit.nn.layers import init_mlp, mlp
from rlkit.nn.parameters import Parameters
from rlkit.nn.running_statistics import RunningMoments, standard_score
from rlkit.seeding import NoiseBlocks, SeedStreams

Array = NDArray[Any]


class Features:
    """Turns observations [S, M, ...] into network inputs.

    Discrete observations stay indices, int64 [S, M], with which a network looks up rows of its
    first layer. Box observations are flattened to float32 [S, M, F]; with `normalise` they are
    shifted and scaled by their running mean and standard deviation, which only `update` changes.
    Of flattened observations with discrete parts, only the numbers that come from a Box are scaled.
    """

    def __init__(self, space: spaces.Space[Any], num_seeds: int, *, normalise: bool) -> None:
        self._discrete = isinstance(space, spaces.Discrete)
        # The number of inputs: of states where the observation is an index.
        self.size = (
            int(space.n)
            if isinstance(space, spaces.Discrete)
            else int(np.prod(space.shape or (), dtype=np.int64))
        )
        moments = normalise and not self._discrete
        self._moments = RunningMoments(num_seeds, self.size) if moments else None
        self._scaled = space.is_number if isinstance(space, FlatBox) else None  # [F]; None = all

    def zeros(self, *grid: int) -> Tensor:
        """Return zeros for the features of a grid of observations, such as [T, S, N]."""
        if self._discrete:
            return torch.zeros(grid, dtype=torch.int64)
        return torch.zeros(*grid, self.size)

    def update(self, obs: Array) -> None:
        """Include observations [S, N, ...] in the statistics."""
        if self._moments is not None:
            self._moments.update(obs.reshape(*obs.shape[:2], -1))

    def __call__(self, obs: Array) -> Tensor:
        if self._discrete:
            return torch.from_numpy(obs.astype(np.int64))
        flat = obs.reshape(*obs.shape[:2], -1)
        if self._moments is not None:
            scaled = standard_score(flat, self._moments.mean, self._moments.variance)
            if self._scaled is not None:
                scaled = np.where(self._scaled, scaled, flat.astype(np.float32))
            return torch.from_numpy(scaled)
        return torch.from_numpy(flat.astype(np.float32))

    def copy(self) -> Features:
        """Return the same mapping with statistics that later updates do not change."""
        twin = object.__new__(Features)
        twin._discrete, twin.size, twin._moments = self._discrete, self.size, None
        twin._scaled = self._scaled
        if self._moments is not None:
            twin._moments = RunningMoments(len(self._moments.mean), self.size)
            twin._moments.load(self._moments.state())
        return twin

    def state_dict(self) -> dict[str, Array]:
        return {} if self._moments is None else {"features": self._moments.state()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        if self._moments is not None:
            self._moments.load(state["features"])


# The usual gains for policy gradients (Andrychowicz et al. 2021, section 3.2): the small one makes
# the first actions nearly uniform for every observation.
_HIDDEN_GAIN, _POLICY_GAIN, _VALUE_GAIN = 2.0**0.5, 0.01, 1.0


def init_policy(
    rng: np.random.Generator, num_features: int, head: Head, hidden_sizes: Sequence[int], init: str
) -> dict[str, list[Array]]:
    """Draw one seed's policy network, and the further parameters of its head."""
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
    """A policy network at one moment, with its own copy of everything it needs.

    Args:
        features: the mapping from observations to inputs; copied.
        parameters: hold "policy" and "extra", and "value" if the critic is among them; copied.
        head: the distribution that the outputs parametrise.
        baseline: hold "value" if the critic is separate; copied. None = there is no critic, or it
            is in `parameters`.
        activation: of policy and critic.
        streams: of each seed.
        greedy: take the mode instead of a sample.
    """

    def __init__(
        self,
        features: Features,
        parameters: Parameters,
        head: Head,
        *,
        baseline: Parameters | None = None,
        activation: str,
        streams: Sequence[SeedStreams],
        greedy: bool,
    ) -> None:
        copies = parameters.detached() | ({} if baseline is None else baseline.detached())
        self._policy, self._extra = copies["policy"], copies["extra"]
        self._value = copies.get("value")
        self._features, self._head, self._activation = features.copy(), head, activation
        self._greedy, self._streams = greedy, streams
        self.restart()

    def restart(self, *part: int) -> None:
        """Restart the stream of exploration; each part of an evaluation has its own."""
        self._part = part
        self._noise: dict[int, NoiseBlocks] = {}  # by the number of environments acted in

    @torch.no_grad()
    def outputs(self, obs: Array, action_masks: Array | None = None) -> Tensor:
        """Return the network's outputs [S, M, A] for observations [S, M, ...].

        Those of actions that a mask [S, M, choices] forbids are -inf.
        """
        outputs = mlp(self._features(obs), self._policy, activation=self._activation)
        return restricted(self._head, outputs, action_masks)

    @torch.no_grad()
    def act(self, obs: Array, action_masks: Array | None = None) -> Array:
        outputs = self.outputs(obs, action_masks)
        if self._greedy:
            actions: Array = self._head.mode(outputs).numpy()
            return actions
        num_envs = obs.shape[1]
        if num_envs not in self._noise:
            self._noise[num_envs] = NoiseBlocks(
                [s.generator("exploration", num_envs, *self._part) for s in self._streams],
                functools.partial(self._head.noise, num_envs=num_envs),
                block_length=64,
            )
        noise = torch.from_numpy(self._noise[num_envs].next())
        sampled: Array = self._head.sample(outputs, self._extra, noise).numpy()
        return sampled

    def arrays(self) -> tuple[dict[str, Array], str]:
        """Return the policy of the first seed as the arrays of a reference, and its activation."""
        arrays = {f"layer {i}": x[0].numpy().copy() for i, x in enumerate(self._policy)}
        if self._extra:
            arrays["log_std"] = self._extra[0][0].numpy().copy()
        moments = self._features.state_dict()
        if moments:
            arrays["moments"] = moments["features"][0].copy()
        return arrays, self._activation

    def probabilities(self, obs: Array, action_masks: Array | None = None) -> Array:
        """Return the probability of each discrete action, [S, M, A]."""
        if not isinstance(self._head, CategoricalHead):
            raise UsageError(
                "probabilities: the actions are real numbers, which have a density and no "
                "probabilities, or have several parts; use a policy with a Discrete action space"
            )
        outputs = self.outputs(obs, action_masks)
        if self._greedy:
            modes: Array = one_hot(self._head.mode(outputs), outputs.shape[-1]).double().numpy()
            return modes
        weights: Array = torch.softmax(outputs, dim=-1).double().numpy()
        probabilities: Array = weights / weights.sum(-1, keepdims=True)
        return probabilities

    @torch.no_grad()
    def value(self, obs: Array) -> Array:
        """Return the critic's estimate of the discounted return from each observation, [S, M].

        Raises:
            UsageError: there is no critic.
        """
        if self._value is None:
            raise UsageError(
                "value: the agent was trained without a network for the values of states; use ppo, "
                "or reinforce with baseline=True"
            )
        values = mlp(self._features(obs), self._value, activation=self._activation)
        estimates: Array = values.squeeze(-1).double().numpy()
        return estimates
