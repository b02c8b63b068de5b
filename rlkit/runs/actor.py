"""A trained policy in the terms of the environment itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from rlkit.agent import Actor
from rlkit.errors import UsageError


class SingleActor:
    """The policy of one seed, in the terms of the environment itself.

    Actions are what `env.step` takes: counted from the start of a discrete space, inside a box.
    """

    def __init__(
        self, actor: Actor, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]
    ) -> None:
        self._actor = actor
        self._observation_space, self._action_space = observation_space, action_space

    def act(self, obs: Any) -> Any:
        """Return the action for one observation."""
        return self.predict(obs)[0]

    def predict(
        self,
        observation: Any,
        state: None = None,
        episode_start: Any = None,
        deterministic: bool = True,
    ) -> tuple[Any, None]:
        """Return the action for one observation, or actions for a batch, and None for a state.

        The signature is Stable-Baselines3's, so that its `evaluate_policy` and others' tools work.
        `deterministic` must be True for a greedy actor; ask for `run.actor(seed, greedy=False)` to
        get one that explores.
        """
        array = np.asarray(observation)
        shape = self._observation_space.shape or ()
        single = array.shape == shape
        if not single and array.shape[1:] != shape:
            raise UsageError(
                f"the policy wants observations of shape {shape}, or a batch of them, "
                f"got {array.shape}"
            )
        batch = array.reshape(1, -1, *shape)
        if isinstance(self._observation_space, spaces.Discrete):
            batch = batch - int(self._observation_space.start)
        actions = self._actor.act(batch)[0]
        space = self._action_space
        if isinstance(space, spaces.Discrete):
            actions = actions + int(space.start)
            return (int(actions[0]) if single else actions), None
        assert isinstance(space, spaces.Box)
        actions = np.clip(actions, space.low, space.high).astype(space.dtype)
        return (actions[0] if single else actions), None
