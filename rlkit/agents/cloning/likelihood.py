"""Policies that are fitted by maximum likelihood: probabilities of actions, and Gaussians."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from rlkit.agents.cloning.scaling import Scaling
from rlkit.agents.heads import GaussianHead, make_head
from rlkit.agents.networks import Features, NetworkActor, init_policy
from rlkit.nn.layers import mlp
from rlkit.nn.parameters import Parameters
from rlkit.seeding import SeedStreams

Array = NDArray[Any]


class LikelihoodModel:
    """A network whose outputs parametrise the distribution of actions, as in PPO.

    The loss of a decision is -log pi(a|o), in nats and in the original units of actions: cross
    entropy for discrete actions, the negative log-density of a Gaussian for real ones.

    Args:
        observation_space: as agents see it.
        action_space: likewise.
        hidden_sizes: widths of the layers.
        activation: of the hidden layers.
        min_std: the smallest standard deviation of a Gaussian, in those of the demonstrations.
    """

    num_draws = 1  # of the noise of a held-out loss: there is none

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        hidden_sizes: tuple[int, ...],
        activation: str,
        min_std: float,
    ) -> None:
        self._space, self._hidden, self._activation = observation_space, hidden_sizes, activation
        self._inputs = Features(observation_space, 1, normalise=False).size
        self._head = make_head(action_space)
        self._least_log_std = math.log(min_std)
        self.widths = (self._inputs, *hidden_sizes, self._head.num_outputs)

    def init(self, rng: np.random.Generator) -> dict[str, list[Array]]:
        """Draw the parameters of one seed."""
        return init_policy(rng, self._inputs, self._head, self._hidden, "orthogonal")

    def inputs(self, observations: Array, scaling: Scaling) -> Tensor:
        """Return observations [D, ...] as inputs: indices int64 [D], or float32 [D, F]."""
        if isinstance(self._space, spaces.Discrete):
            return torch.from_numpy(observations.astype(np.int64))
        return torch.from_numpy(scaling.observations(observations.reshape(len(observations), -1)))

    def targets(self, actions: Array, scaling: Scaling) -> Tensor:
        """Return actions [D, ...] as what the losses take."""
        if isinstance(self._head, GaussianHead):
            return torch.from_numpy(scaling.actions(actions))
        return torch.from_numpy(actions)

    def noise(self, rng: np.random.Generator, num_rows: int) -> Tensor:
        """Return no random numbers, because the loss needs none, [B, 0]."""
        return torch.zeros(num_rows, 0)

    def losses(
        self,
        parameters: Parameters,
        inputs: Tensor,
        targets: Tensor,
        noise: Tensor,
        scaling: Scaling,
    ) -> Tensor:
        """Return -log pi(a|o) of decisions [S, B]."""
        outputs = mlp(inputs, parameters["policy"], activation=self._activation)
        log_prob, _ = self._head.log_prob_and_entropy(outputs, parameters["extra"], targets)
        return scaling.log_volume - log_prob

    @torch.no_grad()
    def constrain(self, parameters: Parameters) -> None:
        """Keep standard deviations above the smallest; density would else grow without bound."""
        for log_std in parameters["extra"]:
            log_std.clamp_(min=self._least_log_std)

    def actor(
        self,
        parameters: Parameters,
        scaling: Scaling,
        streams: Sequence[SeedStreams],
        *,
        greedy: bool,
    ) -> NetworkActor:
        """Return the policy in the original units of observations and actions."""
        own = parameters.detached()
        layers = [[array[s].numpy() for array in own["policy"]] for s in range(len(streams))]
        extra = [[array[s].numpy() for array in own["extra"]] for s in range(len(streams))]
        if isinstance(self._head, GaussianHead):
            shift = np.log(scaling.action_std)
            extra = [[log_std + shift for log_std in one] for one in extra]
        unscaled = Parameters(
            {"policy": scaling.unscaled(one), "extra": more}
            for one, more in zip(layers, extra, strict=True)
        )
        return NetworkActor(
            Features(self._space, len(streams), normalise=False),
            unscaled,
            self._head,
            activation=self._activation,
            streams=streams,
            greedy=greedy,
        )
