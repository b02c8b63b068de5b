"""The one loop: act, step, learn; and whole episodes for evaluation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import Actor, ActorTraits, Agent, Transition
from rlkit.determinism import apart
from rlkit.environments.actions import action_check
from rlkit.environments.batch_env import BatchEnv, BatchStep, masks_around, masks_of
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.environments.views.viewed_env import ViewedBatchEnv, copies_in
from rlkit.errors import PlayStopped as PlayStopped  # `play` raises it
from rlkit.errors import UsageError

Array = NDArray[Any]


def interact(
    agent: Agent,
    env: BatchEnv,
    num_steps: int,
    *,
    obs: Array | None = None,
    seeds: Sequence[int] | None = None,
    reward: Callable[[Transition], Array] | None = None,
) -> Iterator[tuple[Transition, Mapping[str, Array]]]:
    """Let an agent act and learn; yield each transition with the metrics of its updates.

    Args:
        agent: acts on [S, N, ...] and learns from each transition.
        env: the environments.
        num_steps: of each environment.
        obs: the observations to continue from; without them the environments are reset.
        seeds: the index of each seed in the experiment, for messages; default 0 to S - 1.
        reward: (transition) -> [S, N], which the agent learns from in place of the environment's
            reward. The transitions that are yielded have the environment's.

    Raises:
        UsageError: the agent returned something that does not have the shape or type of actions.
        AgentFault: an action of one seed is NaN, out of range or masked.
    """
    check = action_check(
        type(agent).__name__, env.action_space, (env.num_seeds, env.num_envs), seeds
    )
    # Others may change the arrays that they are given, and return the same one each time.
    is_known = type(agent).__module__.startswith("rlkit.")
    if obs is None:
        obs = apart(env.reset)
    for _ in range(num_steps):
        masks = masks_of(env)
        action = check(_act(agent, obs, masks), env.ended, masks)
        if not is_known:
            action = np.array(action)
        step = BatchStep(*apart(env.step, action))
        transition = Transition(obs=obs, action=action, **step._asdict())
        lesson = transition if is_known else Transition(*map(np.array, transition))
        if reward is not None:
            lesson = lesson._replace(reward=reward(transition))
        if masks is None:
            metrics = agent.learn(lesson)
        else:
            learn: Any = agent.learn  # of an agent that takes masks
            metrics = learn(lesson, masks_around(env, masks))
        yield transition, metrics
        obs = transition.following_obs


def _act(policy: Agent | Actor, obs: Array, masks: Array | None) -> Any:
    """Return what a policy does, within the masks if there are any."""
    if masks is None:
        return policy.act(obs)
    act: Any = policy.act  # of one that takes masks
    return act(obs, masks)


class Episodes(NamedTuple):
    """Whole episodes, one of each environment of the grid [S, M]."""

    returns: Array  # undiscounted sum of the raw rewards
    lengths: Array  # in steps
    stopped_early: Array  # bool: by `max_steps`, not by the environment
    learned_returns: Array  # sum of the rewards that the policy was trained on; NaN = not learned


def play(
    actor: Actor,
    env: BatchEnv,
    *,
    max_steps: int | Array,
    env_offset: int = 0,
    seeds: Sequence[int] | None = None,
    stop: Callable[[], int] | None = None,
    reward: Callable[[Transition], Array] | None = None,
) -> Episodes:
    """Play one episode in each environment, and count each of them, long or short.

    The episodes of a seed depend on its own limit only. An environment whose seed has reached its
    limit is marked in `env.ended`, so that it is not stepped again.

    Args:
        actor: the policy.
        env: built with `autoreset=False`.
        max_steps: the steps after which an episode is stopped, >= 0: one limit for all seeds, or
            [S], one per seed.
        env_offset: of a `GymBatchEnv`: which of a seed's episodes is the first, see its `reset`.
        seeds: the index of each seed in the experiment, for messages; default 0 to S - 1.
        stop: called at every step, and by a `GymBatchEnv` before it resets or steps an
            environment; once it returns True, no further step is taken.
        reward: (transition) -> [S, N], the reward that the policy was trained on, where the actor
            does not have it.

    Raises:
        PlayStopped: `stop` returned True. The environments must be reset before they are used.
        UsageError: a limit is not such a number, or the actor returned something other than
            actions.
        AgentFault: an action of one seed is NaN or out of range.
    """
    shape = (env.num_seeds, env.num_envs)
    check = action_check(type(actor).__name__, env.action_space, shape, seeds)
    limits = _limits(max_steps, env.num_seeds)
    learned_reward = ActorTraits.of(actor).reward
    returns, lengths = np.zeros(shape), np.zeros(shape, dtype=np.int64)
    is_known = learned_reward is not None or reward is not None
    learned = np.full(shape, 0.0 if is_known else np.nan)
    has_ended = np.zeros(shape, dtype=bool)
    with asking(env, stop) as ask:
        if isinstance(env, GymBatchEnv | ViewedBatchEnv):
            obs = apart(env.reset, env_offset=env_offset)
        else:
            obs = apart(env.reset)
        for t in range(int(limits.max())):
            ask()
            idle = has_ended | (t >= limits)[:, None]
            env.ended[t >= limits] = True
            lengths += ~idle
            masks = masks_of(env)
            actions = check(_act(actor, obs, masks), idle, masks)
            if learned_reward is not None:
                learned += np.where(idle, 0.0, learned_reward(obs, actions))
            step = BatchStep(*apart(env.step, actions))
            if reward is not None:
                transition = Transition(obs=obs, action=actions, **step._asdict())
                learned += np.where(idle, 0.0, reward(transition))
            returns += np.where(idle, 0.0, step.reward)
            has_ended |= ~idle & (step.terminated | step.truncated)
            obs = step.following_obs
            if (has_ended | (t + 1 >= limits)[:, None]).all():
                break
    return Episodes(returns, lengths, ~has_ended, learned)


def _limits(max_steps: int | Array, num_seeds: int) -> Array:
    limits = np.asarray(max_steps)
    if limits.dtype.kind not in "iu" or limits.shape not in ((), (num_seeds,)) or limits.min() < 0:
        raise UsageError(
            f"play: expected max_steps to be an integer >= 0, or {num_seeds} of them, "
            f"got {max_steps!r}"
        )
    return np.broadcast_to(limits, num_seeds)


@contextlib.contextmanager
def asking(env: BatchEnv, stop: Callable[[], int] | None) -> Iterator[Callable[[], None]]:
    """Yield a function that raises once `stop` returns True; the copies of `env` call it too."""

    def ask() -> None:
        if stop is not None and stop():
            raise PlayStopped("playing episodes was stopped before all of them had ended")

    copies = copies_in(env)
    if stop is None or copies is None:
        yield ask
        return
    copies.before_each = ask
    try:
        yield ask
    finally:
        copies.before_each = None
