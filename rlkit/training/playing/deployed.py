"""A trained policy that acts on observations of the environment itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agent import Actor, ActorTraits
from rlkit.determinism import own_settings
from rlkit.environments.bins import Bins
from rlkit.environments.views.action_view import ActionView
from rlkit.environments.views.actions import ActionLayout
from rlkit.environments.views.masks import MaskReader
from rlkit.environments.views.observations import FlatBox, ObservationEncoder, seen_by_agents
from rlkit.errors import UsageError
from rlkit.evaluation import restart

Array = NDArray[Any]

# Whether a policy takes action masks: it was trained with them, it can be given them, or neither.
MaskUse = Literal["required", "optional", "none"]

# Optional methods of an actor; see docs/writing-an-agent.md.
_OPTIONAL = ("probabilities", "value", "action_values", "reward")


class ActorBySeed:
    """Actors of single seeds, combined into one actor over a grid [S, M].

    It has `probabilities`, `value`, `action_values` and `reward` if all of them do.
    """

    def __init__(self, actors: Sequence[Actor]) -> None:
        self._actors = actors
        for name in _OPTIONAL:
            if all(getattr(ActorTraits.of(actor), name) is not None for actor in actors):
                setattr(self, name, functools.partial(self._by_seed, name))

    def act(self, obs: Array, action_masks: Array | None = None) -> Array:
        return self._by_seed("act", obs, action_masks)

    def restart(self, *part: int) -> None:
        """Restart the streams of exploration."""
        for actor in self._actors:
            restart(actor, *part)

    def _by_seed(self, method: str, obs: Array, more: Array | None = None) -> Array:
        parts = []
        for s, actor in enumerate(self._actors):
            arguments = () if more is None else (more[s : s + 1],)
            parts.append(getattr(actor, method)(obs[s : s + 1], *arguments))
        return np.concatenate(parts)


class SingleActor:
    """The policy of one seed, for the environment itself.

    Observations are those of `env.reset` and `env.step`. Actions are those of `env.step`: counted
    from the start of a discrete space, inside a box.

    Bins of its observations and the way in which its agent saw actions are part of it. A policy
    that was trained with action masks must be given one with each observation; see
    `rlkit.environments.views.masks`.

    It is self-contained: it can be pickled, copied and sent to other processes, and acts without
    the folder of the run. A copy that explores continues the same random numbers.
    """

    # Actors that older versions pickled have none of these.
    _bins: Bins | None = None
    _masks: MaskUse = "none"

    def __init__(
        self,
        make_actor: Callable[[bool], Actor],
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        *,
        greedy: bool,
        agent: str,
        bins: Bins | None = None,
        actions: ActionView | None = None,
        masks: MaskUse = "none",
    ) -> None:
        # By whether it is greedy. Both are made now, before the run can change.
        self._actors = {choice: make_actor(choice) for choice in (greedy, not greedy)}
        self._greedy, self._agent = greedy, agent
        self._observation_space, self._action_space = observation_space, action_space
        self._bins, self._masks = bins, masks
        self._view = actions or ActionView(action_space)

    def act(self, obs: Any, action_masks: Any = None) -> Any:
        """Return the action for one observation."""
        return self.predict(obs, action_masks=action_masks)[0]

    def predict(
        self,
        observation: Any,
        state: None = None,
        episode_start: Any = None,
        deterministic: bool | None = None,
        action_masks: Any = None,
    ) -> tuple[Any, None]:
        """Return the action for one observation, or actions for a batch, and None for a state.

        The signature is that of Stable-Baselines3, and with `action_masks` that of sb3-contrib, so
        that their `evaluate_policy` and other tools work. `deterministic` chooses between the
        greedy and the exploring policy; if omitted, the choice made when the actor was created
        applies.

        Raises:
            UsageError: the observation is not one of the environment's, or has a NaN; or a mask is
                missing, invalid or not taken.
        """
        batch, single = self._as_seen(observation)
        greedy = self._greedy if deterministic is None else deterministic
        masks = self._seen_masks(action_masks, batch.shape[1])
        with own_settings():
            chosen = self._actors[greedy].act(batch, *masks)
        actions = self._view.to_layout(chosen)[0]
        if single:
            return self._layout.to_env(actions[0]), None
        return self._layout.to_env_batch(actions), None

    def _seen_masks(self, masks: Any, number: int) -> tuple[Array, ...]:
        """Return the masks of so many observations as an argument of the policy, or nothing."""
        if masks is None:
            if self._masks == "required":
                raise UsageError(
                    "this policy was trained with action masks: give the one of each observation, "
                    'as in act(obs, action_masks=info["action_mask"])'
                )
            return ()
        if self._masks == "none":
            raise UsageError(f"action_masks: the agent {self._agent} takes none")
        read = MaskReader(self._layout)
        rows = list(masks) if np.ndim(masks) == 2 and len(masks) == number else [masks]
        if len(rows) != number:
            raise UsageError(
                f"action_masks: expected one mask for each of {number} observations, got "
                f"{np.shape(masks)}"
            )
        try:
            checked = np.stack([read.checked(row, "the mask") for row in rows])
        except ValueError as error:
            raise UsageError(f"action_masks: {error}") from error
        return (self._view.masks(checked[None]),)

    # Actors that older versions pickled had actions of their spaces.
    @functools.cached_property
    def _view(self) -> ActionView:
        return ActionView(self._action_space)

    @functools.cached_property
    def _layout(self) -> ActionLayout:
        return ActionLayout(self._action_space)

    @functools.cached_property
    def _encode(self) -> ObservationEncoder:
        return ObservationEncoder(self._observation_space)

    def probabilities(self, obs: Any, action_masks: Any = None) -> Array:
        """Return the probability of each action under the actor's policy, greedy or exploring.

        Args:
            obs: one observation, or a batch of B.
            action_masks: its mask, or theirs.

        Returns:
            float64 [A], or [B, A] for a batch; entry i belongs to action
            `action_space.start + i`. A greedy policy has 1 for one action and 0 for the others.

        Raises:
            UsageError: the actions are a Box, the agent has no probabilities, or the
                observation is not one of the environment's.
        """
        if not isinstance(self._view.space, spaces.Discrete):
            raise UsageError(
                f"probabilities: the actions are {self._action_space}; only the actions of a "
                "Discrete space have probabilities"
            )
        batch, single = self._as_seen(obs)
        masks = self._seen_masks(action_masks, batch.shape[1])
        answers = self._of_batch("probabilities", batch, *masks)
        return np.asarray(answers[0]) if single else answers

    def policy_table(self) -> Array:
        """Return the probability of each action in each state, float64 [num_states, num_actions].

        `rlkit.tabular.evaluate` takes it, or the actor itself.

        Raises:
            UsageError: observations or actions are not discrete, or the agent has no
                probabilities.
        """
        space = self._observation_space
        states = seen_by_agents(space) if self._bins is None else self._bins.space
        if not isinstance(states, spaces.Discrete):
            raise UsageError(
                f"policy_table: the observations are {space}; only a policy of discrete "
                "observations is a table"
            )
        if self._masks == "required":
            raise UsageError(
                "policy_table: this policy was trained with action masks, so it is not a function "
                "of the observation alone; use probabilities(obs, action_masks=...)"
            )
        return self._of_batch("probabilities", np.arange(int(states.n))[None])

    def value(self, obs: Any) -> Any:
        """Return the discounted return that the agent expects from an observation onwards.

        PPO's critic, REINFORCE's baseline, max_a Q(s, a) of Q-learning, V* of value iteration;
        all with the discount that the agent learned with. With `scale_rewards`, PPO's values are
        in units of the scaled reward.

        Args:
            obs: one observation, or a batch of B.

        Returns:
            a float, or float64 [B] for a batch.

        Raises:
            UsageError: the agent keeps no values of states, or the observation is not one of the
                environment's.
        """
        values = self._ask("value", obs)
        return float(values) if values.ndim == 0 else values

    def _as_seen(self, observation: Any) -> tuple[Array, bool]:
        """Return observations as the agent sees them, and whether it was a single one."""
        batch, single = as_batch(observation, self._observation_space, self._encode)
        return (batch if self._bins is None else self._bins(batch)), single

    def _ask(self, method: str, obs: Any) -> Array:
        batch, single = self._as_seen(obs)
        answers = self._of_batch(method, batch)
        return np.asarray(answers[0]) if single else answers

    def _of_batch(self, method: str, batch: Array, *masks: Array) -> Array:
        actor = self._actors[self._greedy]
        if getattr(ActorTraits.of(actor), method) is None:
            raise UsageError(
                f"{method}: the agent {self._agent} has none; its actor has no method {method!r}"
            )
        with own_settings():
            return np.asarray(getattr(actor, method)(batch, *masks)[0], dtype=np.float64)


def as_batch(
    observation: Any, space: spaces.Space[Any], encode: ObservationEncoder | None = None
) -> tuple[Array, bool]:
    """Return observations as actors see them, and whether it was a single one.

    Args:
        observation: one element of `space`, or a batch [B, ...] of them.
        space: the environment's.
        encode: the encoder of that space.

    Returns:
        [1, B, ...]: indices from 0 of discrete spaces, values of the space's type of a Box, and
        one vector each of other spaces.

    Raises:
        UsageError: wrong type or shape, not finite, out of the range of a Discrete space, or with
            values that the type of a Box cannot hold.
    """
    pair = isinstance(observation, tuple) and len(observation) == 2
    hint = (
        "; it looks like the return value of env.reset(): use its first part, as in obs, info = "
        "env.reset()"
        if pair and isinstance(observation[1], Mapping)
        else ""
    )
    wanted = f"the policy expects one observation of {space} or a batch of them"
    if not isinstance(space, (spaces.Discrete, spaces.Box)):
        encode = encode or ObservationEncoder(space)
        try:
            rows, single = encode.rows(observation)
        except (ValueError, TypeError) as error:
            subject = " the observation" if isinstance(encode.space, FlatBox) else " "
            raise UsageError(f"{wanted}:{subject}{error}{hint}") from error
        return rows[None], single
    try:
        array = np.asarray(observation)
    except Exception as error:
        raise UsageError(f"{wanted}, which is not an array: {error}{hint}") from error
    if array.dtype.kind not in "biuf":
        kind = f"type {array.dtype}" if array.shape else type(observation).__name__
        raise UsageError(f"{wanted}, made of numbers, got {kind}{hint}")
    shape = space.shape or ()
    single = array.shape == shape
    if not single and (array.ndim == 0 or array.shape[1:] != shape):
        raise UsageError(
            f"the policy expects observations of shape {shape}, or a batch of them, as in {space}, "
            f"got {array.shape}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = np.argwhere(~np.isfinite(array))[0].tolist()
        value = array[tuple(place)]
        raise UsageError(f"{wanted}, got {value}{f' at entry {place}' if place else ''}")
    batch = array.reshape(1, 1 if single else len(array), *shape)
    if isinstance(space, spaces.Discrete):
        return _indices(batch, space, wanted), single
    with np.errstate(invalid="ignore", over="ignore"):
        converted = batch.astype(space.dtype)
    whole = converted.dtype.kind in "iu"
    if not (np.array_equal(converted, batch) if whole else np.isfinite(converted).all()):
        raise UsageError(f"{wanted}, got values that {space.dtype} cannot hold")
    return converted, single


def _indices(batch: Array, space: spaces.Discrete, wanted: str) -> Array:
    start, size = int(space.start), int(space.n)
    with np.errstate(invalid="ignore"):
        whole = batch.astype(np.int64)
    wrong = (whole != batch) | (batch < start) | (batch > start + size - 1)
    if wrong.any():
        raise UsageError(
            f"{wanted}, whole numbers from {start} to {start + size - 1}, got "
            f"{batch[wrong][0].item()}"
        )
    return whole - start
