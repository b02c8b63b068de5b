"""Policies as networks: features of observations, and distributions over actions from outputs."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from scipy import special
from torch import Tensor
from torch.nn.functional import one_hot

from rlkit.environments.spaces import bounds_of
from rlkit.errors import UsageError
from rlkit.maths import distributions
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
            return torch.from_numpy(
                standard_score(flat, self._moments.mean, self._moments.variance)
            )
        return torch.from_numpy(flat.astype(np.float32))

    def copy(self) -> Features:
        """Return the same mapping with statistics that later updates do not change."""
        twin = object.__new__(Features)
        twin._discrete, twin.size, twin._moments = self._discrete, self.size, None
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


# A policy that starts as a unit Gaussian can explore a range of actions of which two standard
# deviations cover at least this share (all of [-2, 2], 0.2 of [-10, 10]), and which holds at least
# this share of its samples, so that not nearly all are clipped (0.31 fall into [-0.4, 0.4], 0.16
# into [-0.2, 0.2]).
_LEAST_COVERED, _LEAST_INSIDE = 0.25, 0.2


def action_range_remarks(agent: str, space: spaces.Space[Any]) -> list[str]:
    """Return a remark if a unit Gaussian hardly explores the range of Box actions.

    Args:
        agent: its name, for the remark.
        space: of the actions.

    Returns:
        one sentence, or none if every bounded dimension can be explored or is a single point.
    """
    if not isinstance(space, spaces.Box):
        return []
    low, high = bounds_of(space)
    bounded = np.isfinite(low) & np.isfinite(high) & (high > low)
    low, high = low[bounded], high[bounded]
    covered = np.clip(np.minimum(high, 2.0) - np.maximum(low, -2.0), 0.0, None) / (high - low)
    inside = special.ndtr(high) - special.ndtr(low)
    wrong = (covered < _LEAST_COVERED) | (inside < _LEAST_INSIDE)
    if not wrong.any():
        return []
    k = int(wrong.argmax())
    what = (
        f"two standard deviations reach {100 * covered[k]:.2g} % of [{low[k]:g}, {high[k]:g}]"
        if covered[k] < _LEAST_COVERED
        else f"{100 * (1 - inside[k]):.3g} % of them are clipped to [{low[k]:g}, {high[k]:g}]"
    )
    several = f" (so in {wrong.sum()} of {bounded.size} dimensions)" if bounded.size > 1 else ""
    name = str(space) if len(str(space)) < 80 else f"a Box of shape {space.shape}"
    wrapper = (
        "RescaleAction(env, -1.0, 1.0)"
        if bounded.all() and space.dtype.kind == "f"
        else "TransformAction(env, func, space), where space is [-1, 1] and func maps it onto this"
    )
    return [
        f"{agent} starts with actions of mean 0 and standard deviation 1, but the action space is "
        f"{name}: {what}{several}. It may not learn; train on gymnasium.wrappers.{wrapper}"
    ]


Head = CategoricalHead | GaussianHead


def make_head(space: spaces.Space[Any]) -> Head:
    """Return the head for an action space, which must be Discrete or Box."""
    if isinstance(space, spaces.Discrete):
        return CategoricalHead(space)
    assert isinstance(space, spaces.Box)
    return GaussianHead(space)


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
    def outputs(self, obs: Array) -> Tensor:
        """Return the network's outputs [S, M, A] for observations [S, M, ...]."""
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
                [s.generator("exploration", num_envs, *self._part) for s in self._streams],
                functools.partial(self._head.noise, num_envs=num_envs),
                block_length=64,
            )
        noise = torch.from_numpy(self._noise[num_envs].next())
        sampled: Array = self._head.sample(outputs, self._extra, noise).numpy()
        return sampled

    def probabilities(self, obs: Array) -> Array:
        """Return the probability of each discrete action, [S, M, A]."""
        if not isinstance(self._head, CategoricalHead):
            raise UsageError(
                "probabilities: the actions are real numbers, which have a density and no "
                "probabilities; use a policy with a Discrete action space"
            )
        outputs = self.outputs(obs)
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
                "value: the agent was trained without a network for the values of states; train "
                "with baseline=True"
            )
        values = mlp(self._features(obs), self._value, activation=self._activation)
        estimates: Array = values.squeeze(-1).double().numpy()
        return estimates
