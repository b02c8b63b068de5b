"""Reference policies: taken from an actor, and as the outputs of a head."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from rlkit.agent import Actor, ActorTraits
from rlkit.agents.cloning.diffusion_policy import DiffusionActor
from rlkit.agents.heads import Head, JointHead, make_head, restricted
from rlkit.agents.networks import Features
from rlkit.errors import UsageError
from rlkit.nn.layers import mlp
from rlkit.nn.reference import UNIFORM, ReferencePolicy

Array = NDArray[Any]


def policy_of(
    actor: Actor,
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    name: str,
    option: str = "reference",
) -> ReferencePolicy:
    """Return the policy of an actor with one seed as plain arrays, for an option of another run.

    Args:
        actor: its exploring policy, so that no probability is 0.
        observation_space: as agents see it.
        action_space: likewise.
        name: of the run that it comes from, for messages.
        option: what it is for, likewise: "reference", or "init" to start from it.

    Raises:
        UsageError: it has no probabilities, or one of them is 0.
    """
    if isinstance(actor, DiffusionActor):
        reason = {
            "reference": "the density of its actions cannot be computed, so neither can the "
            "divergence from it",
            "init": "its network predicts noise, not the parameters of a distribution",
        }[option]
        raise UsageError(
            f"{option} {name}: it is a diffusion policy: {reason}; clone the same demonstrations "
            "with --method gaussian"
        )
    of_network: Any = getattr(actor, "arrays", None)  # of one with a learned reward, too
    if of_network is not None:
        arrays, activation = of_network()
        return ReferencePolicy("network", arrays, activation)
    probabilities = ActorTraits.of(actor).probabilities
    if (
        probabilities is None
        or not isinstance(observation_space, spaces.Discrete)
        or not isinstance(action_space, spaces.Discrete)
    ):
        raise UsageError(
            f"{option} {name}: its policy is neither a network that gives the parameters of a "
            "distribution nor a table of probabilities; use a run of ppo or reinforce"
        )
    table = probabilities(np.arange(int(observation_space.n))[None])[0].astype(np.float64)
    if not (table > 0).all():
        state, action = np.argwhere(table <= 0)[0].tolist()
        raise UsageError(
            f"{option} {name}: its policy never takes action {action} in state {state}, so the "
            "divergence from it would be infinite; use a run of ppo or reinforce, or of an agent "
            "whose exploration has not ended, as q-learning with --epsilon-end 0.05"
        )
    return ReferencePolicy("table", {"probabilities": table})


class ReferenceOutputs:
    """The reference as what a head turns into distributions, for S seeds.

    Args:
        policy: the reference; every seed has a copy, so that its bytes do not depend on the others.
        observation_space: as agents see it.
        head: of the policy that is kept near it.
        num_seeds: S.
    """

    def __init__(
        self,
        policy: ReferencePolicy,
        observation_space: spaces.Space[Any],
        head: Head,
        num_seeds: int,
    ) -> None:
        self._policy, self._head = policy, head
        copies = {
            name: np.repeat(np.asarray(array)[None], num_seeds, axis=0)
            for name, array in policy.arrays.items()
            if name != "probabilities"
        }
        self.extra = [torch.from_numpy(copies["log_std"])] if "log_std" in copies else []
        layers = [name for name in policy.arrays if name.startswith("layer ")]
        self._layers = [torch.from_numpy(copies[f"layer {i}"]) for i in range(len(layers))]
        self._features = Features(observation_space, num_seeds, normalise="moments" in copies)
        if "moments" in copies:
            self._features.load_state_dict({"features": copies["moments"]})
        if policy.kind == "table":
            logs = np.log(policy.arrays["probabilities"])
            self._logs = torch.from_numpy(logs.astype(np.float32))

    @torch.no_grad()
    def __call__(self, obs: Array, action_masks: Array | None = None) -> Tensor:
        """Return its outputs [S, M, A] for raw observations [S, M, ...]."""
        if self._policy.kind == UNIFORM:
            outputs = torch.zeros(*obs.shape[:2], self._head.num_outputs)
        elif self._policy.kind == "table":
            outputs = self._logs[torch.from_numpy(obs.astype(np.int64))]
        else:
            features = self._features(obs)
            outputs = mlp(features, self._layers, activation=self._policy.activation)
        return restricted(self._head, outputs, action_masks)


def probabilities_of(
    policy: ReferencePolicy, observation_space: spaces.Discrete, action_space: spaces.Discrete
) -> Array:
    """Return the probability of each action in each state, float64 [num_states, num_actions]."""
    states = np.arange(int(observation_space.n))[None]
    outputs = ReferenceOutputs(policy, observation_space, make_head(action_space), 1)(states)
    probabilities: Array = torch.softmax(outputs[0].double(), dim=-1).numpy()
    return probabilities


def require_fit(
    policy: ReferencePolicy,
    observation_space: spaces.Space[Any],
    action_space: spaces.Space[Any],
    head: Head,
) -> None:
    """Require that a reference has the shapes of the environment's spaces.

    Raises:
        UsageError: it has not, or all actions being equally likely has no meaning.
    """
    real = isinstance(action_space, spaces.Box)
    if isinstance(head, JointHead):
        real = bool(head.extra_parameters())
    if policy.kind == UNIFORM and real:
        raise UsageError(
            f"reference uniform: the actions {action_space} have real numbers, over which no "
            "distribution is uniform; give a run of ppo or reinforce"
        )
    try:
        shape = observation_space.shape or ()
        ReferenceOutputs(policy, observation_space, head, 1)(np.zeros((1, 1, *shape)))
    except (RuntimeError, IndexError, ValueError, KeyError) as error:
        raise UsageError(
            f"the reference does not fit the observations {observation_space} and the actions "
            f"{action_space}: {error}"
        ) from error
