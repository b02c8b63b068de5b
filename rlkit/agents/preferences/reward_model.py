"""A reward learned from preferences between segments (Christiano et al. 2017, arXiv 1706.03741).

    P(first > second) = sigmoid(sum_t r(o_t, a_t) - sum_t r(o'_t, a'_t))

r is the mean over an ensemble of networks, each trained by binary cross-entropy on a bootstrap
sample of the preferences, stopped at the epoch with the lowest loss on the pairs outside its
sample. All networks of all seeds are trained as one batch.

Preferences determine sums of r where episodes end early, so its level has a meaning and is never
shifted. Its scale has none for a policy: each network is divided by the root mean square of its
rewards of the labelled steps, so that they are about 1 for any labeller.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from rlkit.agent import State
from rlkit.agents.preferences.reward_inputs import RewardInputs
from rlkit.agents.preferences.segments import Segments
from rlkit.maths.losses import binary_cross_entropy_loss
from rlkit.nn.layers import init_mlp, mlp
from rlkit.nn.optimisers import Adam
from rlkit.nn.parameters import Parameters
from rlkit.seeding import SeedStreams

Array = NDArray[Any]

_LARGEST_INPUT = 5.0  # standard deviations; beyond, rewards are those at the border
_HIDDEN_GAIN, _OUTPUT_GAIN = 2.0**0.5, 0.1


@dataclass(frozen=True, kw_only=True)
class RewardOptions:
    """How the networks are built and trained."""

    ensemble_size: int
    hidden_sizes: tuple[int, ...]
    learning_rate: float
    weight_decay: float
    num_epochs: int
    minibatch_size: int  # pairs


class RewardEnsemble:
    """The learned reward of S seeds, K networks each.

    Args:
        observation_space: as the agent sees it.
        action_space: likewise.
        num_seeds: S.
        options: of the networks.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        num_seeds: int,
        options: RewardOptions,
    ) -> None:
        self._inputs = RewardInputs(observation_space, action_space)
        self._options, self._num_seeds = options, num_seeds
        self._sizes = (self._inputs.size, *options.hidden_sizes, 1)
        self._parameters = self._zeros()
        num_numbers = 0 if self._inputs.is_index else self._inputs.size
        self._mean = np.zeros((num_seeds, num_numbers))
        self._std = np.ones((num_seeds, num_numbers))
        self._scale = torch.ones(
            num_seeds * options.ensemble_size
        )  # a network's output is multiplied by it

    def __call__(self, obs: Array, actions: Array) -> Array:
        """Return the rewards [S, M] of observations and actions [S, M, ...]."""
        size = self._options.ensemble_size
        inputs = self._encoded(obs, actions).repeat_interleave(size, dim=0)
        with torch.no_grad():
            outputs = mlp(inputs, self._parameters["reward"], activation="tanh").squeeze(-1)
            scaled = outputs * self._scale.unsqueeze(1)
            members = scaled.view(self._num_seeds, size, scaled.shape[1])
            rewards: Array = members.mean(1).numpy()
        return rewards

    def returns(self, segments: Segments) -> Array:
        """Return the sums of rewards of segments [S, P, 2] -> [S, P, 2]."""
        shape = segments.rewards.shape
        steps = (shape[0], math.prod(shape[1:]))
        obs, actions = (
            part.reshape(*steps, *part.shape[len(shape) :])
            for part in (segments.obs, segments.actions)
        )
        rewards = self(obs, actions).reshape(shape)
        sums: Array = np.where(segments.is_step, rewards, 0.0).sum(-1)
        return sums

    def fit(
        self, streams: Sequence[SeedStreams], number: int, pairs: Segments, preferred: Array
    ) -> Array:
        """Train new networks on preferences.

        Seeds are trained one after another: the steps of a minibatch of all seeds together would
        not fit into the cache of a processor, which makes training about twice as slow.

        Args:
            streams: of each seed.
            number: of this fit, from 0; each has random numbers of its own.
            pairs: [S, P, 2]
            preferred: how far the first is preferred, [S, P].

        Returns:
            the loss of each seed on pairs outside the samples, in nats, [S].
        """
        self._standardise(pairs)
        inputs, steps = self._encoded(pairs.obs, pairs.actions), pairs.is_step
        matrices, scales, losses = [], [], []
        for s, stream in enumerate(streams):
            data = _Pairs.of(inputs[s], steps[s], preferred[s])
            members = range(self._options.ensemble_size)
            parameters = Parameters(
                self._draw(stream.generator("init", 1, number, k)) for k in members
            )
            shufflers = [stream.generator("minibatch", 1, number, k) for k in members]
            losses.append(float(_train(parameters, data, shufflers, self._options).mean()))
            matrices.append(parameters.matrix)
            scales.append(_scale(parameters, data))
        self._parameters = self._zeros()
        self._parameters.matrix.copy_(torch.cat(matrices))
        self._scale = torch.cat(scales)
        return np.array(losses)

    def _draw(self, rng: np.random.Generator) -> dict[str, list[Array]]:
        """Draw the weights of one network."""
        gains = {"hidden_gain": _HIDDEN_GAIN, "output_gain": _OUTPUT_GAIN}
        return {"reward": init_mlp(rng, self._sizes, init="orthogonal", **gains)}

    def _zeros(self) -> Parameters:
        """Return zeros for the parameters of all networks."""
        shapes = [s for i, o in itertools.pairwise(self._sizes) for s in ((i, o), (o,))]
        zeros = {"reward": [np.zeros(shape) for shape in shapes]}
        return Parameters(zeros for _ in range(self._num_seeds * self._options.ensemble_size))

    def _standardise(self, pairs: Segments) -> None:
        """Set mean and standard deviation of the inputs to those of the labelled steps."""
        if self._inputs.is_index:
            return
        inputs, steps = self._inputs(pairs.obs, pairs.actions), pairs.is_step
        for s in range(self._num_seeds):
            own = inputs[s][steps[s]]
            self._mean[s], std = own.mean(axis=0), own.std(axis=0)
            self._std[s] = np.where(std > 1e-6, std, 1.0)

    def _encoded(self, obs: Array, actions: Array) -> Tensor:
        """Return inputs of steps [S, ...]: int64, or float32 [S, ..., F] at unit scale."""
        inputs = self._inputs(obs, actions)
        if self._inputs.is_index:
            return torch.from_numpy(inputs)
        shape = (self._num_seeds, *(1,) * (inputs.ndim - 2), -1)
        scaled = (inputs - self._mean.reshape(shape)) / self._std.reshape(shape)
        return torch.from_numpy(np.clip(scaled, -_LARGEST_INPUT, _LARGEST_INPUT).astype(np.float32))

    def copy(self) -> RewardEnsemble:
        """Return the same reward, which a later fit does not change."""
        twin = object.__new__(RewardEnsemble)
        twin.__dict__ |= self.__dict__
        twin._mean, twin._std = self._mean.copy(), self._std.copy()
        return twin

    def state_dict(self) -> State:
        matrix = self._parameters.matrix
        per_seed = matrix.view(self._num_seeds, -1, matrix.shape[1])
        return {
            "parameters": per_seed.numpy().copy(),
            "mean": self._mean.copy(),
            "std": self._std.copy(),
            "scale": self._scale.view(self._num_seeds, -1).numpy().copy(),
        }

    def load_state_dict(self, state: State) -> None:
        self._parameters.matrix.copy_(torch.from_numpy(np.array(state["parameters"])).flatten(0, 1))
        self._mean[...], self._std[...] = state["mean"], state["std"]
        self._scale = torch.from_numpy(np.array(state["scale"])).flatten()


@dataclass(frozen=True)
class _Pairs:
    """The preferences of one seed as tensors."""

    inputs: Tensor  # [P, 2, L] or [P, 2, L, F]
    is_step: Tensor  # float32 [P, 2, L]
    preferred: Tensor  # [P]

    @classmethod
    def of(cls, inputs: Tensor, is_step: Array, preferred: Array) -> _Pairs:
        steps = torch.from_numpy(is_step.astype(np.float32))
        return cls(inputs, steps, torch.from_numpy(preferred.astype(np.float32)))

    def rewards(self, layers: list[Tensor], chosen: Tensor) -> Tensor:
        """Return the reward of every step of the pairs chosen for each network, [K, B, 2, L]."""
        inputs = self.inputs[chosen]
        return mlp(inputs.flatten(1, 3), layers, activation="tanh").view(inputs.shape[:4])

    def losses(self, layers: list[Tensor], chosen: Tensor) -> Tensor:
        """Return the loss of each network on pairs chosen for it, [K, B]."""
        returns = (self.rewards(layers, chosen) * self.is_step[chosen]).sum(-1)
        difference = returns[..., 0] - returns[..., 1]
        return binary_cross_entropy_loss(difference, self.preferred[chosen])

    def all(self, num_networks: int) -> Tensor:
        """Return the indices of all pairs for each network, [K, P]."""
        return torch.arange(len(self.preferred)).expand(num_networks, -1)


def _train(
    parameters: Parameters,
    data: _Pairs,
    shufflers: Sequence[np.random.Generator],
    options: RewardOptions,
) -> Tensor:
    """Train each network on a bootstrap sample, and keep its best epoch.

    Args:
        parameters: of K networks, changed.
        data: of their seed.
        shufflers: the generator of each network.
        options: of the training.

    Returns:
        the loss on the pairs outside the sample at that epoch, [K].
    """
    count, num_networks = len(data.preferred), len(shufflers)
    samples = [rng.integers(count, size=count) for rng in shufflers]
    adam = Adam(parameters.matrix, weight_decay=options.weight_decay, decay="decoupled")
    outside = torch.ones(num_networks, count)
    for k, sample in enumerate(samples):
        outside[k, sample] = 0.0
    number = outside.sum(1)
    best = parameters.matrix.clone()
    lowest = torch.full((num_networks,), torch.inf)
    for _ in range(options.num_epochs):
        orders = [rng.permutation(own) for rng, own in zip(shufflers, samples, strict=True)]
        order = torch.from_numpy(np.stack(orders))
        for chosen in torch.split(order, options.minibatch_size, dim=1):
            losses = data.losses(parameters["reward"], chosen).mean(1)
            adam.step(parameters.matrix, parameters.gradient(losses), options.learning_rate)
        with torch.no_grad():
            each = data.losses(parameters["reward"], data.all(num_networks))
            # Of very few pairs all may be in the sample; then the last epoch is kept.
            loss = (each * outside).sum(1) / number.clamp(min=1.0)
            better = (loss < lowest) | (number == 0)
            best[better] = parameters.matrix[better]
            lowest = torch.where(better, loss, lowest)
    parameters.matrix.copy_(best)
    return lowest


@torch.no_grad()
def _scale(parameters: Parameters, data: _Pairs) -> Tensor:
    """Return 1 over the root mean square of each network's rewards of the labelled steps, [K]."""
    chosen = data.all(len(parameters.matrix))
    squares = data.rewards(parameters["reward"], chosen).square() * data.is_step[chosen]
    mean = squares.flatten(1).sum(1) / data.is_step.sum()
    return 1.0 / mean.sqrt().clamp(min=1e-6)
