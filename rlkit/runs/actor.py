"""A trained policy in the terms of the environment itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agent import Actor
from rlkit.errors import UsageError


class ActorBySeed:
    """Actors of one seed each, as one actor over a grid [S, M]."""

    def __init__(self, actors: Sequence[Actor]) -> None:
        self._actors = actors
        if all(hasattr(actor, "probabilities") for actor in actors):
            self.probabilities = self._probabilities

    def act(self, obs: NDArray[Any]) -> NDArray[Any]:
        parts = [actor.act(obs[s : s + 1]) for s, actor in enumerate(self._actors)]
        return np.concatenate(parts)

    def _probabilities(self, obs: NDArray[Any]) -> NDArray[Any]:
        actors: Any = self._actors
        parts = [actor.probabilities(obs[s : s + 1]) for s, actor in enumerate(actors)]
        return np.concatenate(parts)


class SingleActor:
    """The policy of one seed, in the terms of the environment itself.

    Actions are what `env.step` takes: counted from the start of a discrete space, inside a box.
    """

    def __init__(
        self,
        make_actor: Callable[[bool], Actor],
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        greedy: bool,
    ) -> None:
        # By whether it is greedy; the exploring one is made when first asked for.
        self._actor = functools.cache(make_actor)
        self._greedy = greedy
        self._actor(greedy)  # so that what is wrong is said at once
        self._observation_space, self._action_space = observation_space, action_space

    def act(self, obs: Any) -> Any:
        """Return the action for one observation."""
        return self.predict(obs)[0]

    def predict(
        self,
        observation: Any,
        state: None = None,
        episode_start: Any = None,
        deterministic: bool | None = None,
    ) -> tuple[Any, None]:
        """Return the action for one observation, or actions for a batch, and None for a state.

        The signature is Stable-Baselines3's, so that its `evaluate_policy` and others' tools work.
        `deterministic` chooses between the greedy policy and the one that explores; left out, it
        is as the actor was asked for.
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
        greedy = self._greedy if deterministic is None else deterministic
        actions = self._actor(greedy).act(batch)[0]
        space = self._action_space
        if isinstance(space, spaces.Discrete):
            actions = actions + int(space.start)
            return (int(actions[0]) if single else actions), None
        assert isinstance(space, spaces.Box)
        actions = np.clip(actions, space.low, space.high).astype(space.dtype)
        return (actions[0] if single else actions), None
