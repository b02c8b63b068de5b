"""A grid of environments as its agents see it."""

from __future__ import annotations

from rlkit.agent import State
from rlkit.environments.batch_env import Array, BatchEnv, BatchStep, masks_of
from rlkit.environments.bins import Bins
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.environments.views.action_view import ActionView


class ViewedBatchEnv:
    """A grid whose observations are divided into bins, or whose actions the agent sees differently.

    Args:
        env: the grid of the environments themselves.
        bins: of its observations, or None.
        actions: how its actions are seen.
    """

    def __init__(self, env: BatchEnv, bins: Bins | None, actions: ActionView) -> None:
        self.env, self._bins, self._view = env, bins, actions
        self.num_seeds, self.num_envs = env.num_seeds, env.num_envs
        self.observation_space = env.observation_space if bins is None else bins.space
        self.action_space = actions.space

    @property
    def ended(self) -> Array:
        return self.env.ended

    @property
    def obs(self) -> Array:
        """The observations to act on next, of Gymnasium's environments; [S, N]."""
        assert isinstance(self.env, GymBatchEnv)
        return self._seen(self.env.obs)

    def _seen(self, obs: Array) -> Array:
        return obs if self._bins is None else self._bins(obs)

    def reset(self, *, env_offset: int = 0) -> Array:
        if isinstance(self.env, GymBatchEnv):
            return self._seen(self.env.reset(env_offset=env_offset))
        return self._seen(self.env.reset())

    def step(self, actions: Array) -> BatchStep:
        step = BatchStep(*self.env.step(self._view.to_layout(actions)))
        if self._bins is None:
            return step
        return step._replace(
            next_obs=self._bins(step.next_obs), following_obs=self._bins(step.following_obs)
        )

    @property
    def action_masks(self) -> Array | None:
        """As of a `GymBatchEnv`, of the actions that agents see."""
        masks = masks_of(self.env)
        return None if masks is None else self._view.masks(masks)

    @property
    def next_action_masks(self) -> Array | None:
        masks: Array | None = getattr(self.env, "next_action_masks", None)
        return None if masks is None else self._view.masks(masks)

    def state_dict(self) -> State:
        return self.env.state_dict()

    def load_state_dict(self, state: State) -> None:
        self.env.load_state_dict(state)

    def close(self) -> None:
        self.env.close()


def copies_in(env: BatchEnv) -> GymBatchEnv | None:
    """Return the grid of Gymnasium's environments that a grid is or shows to agents, or None."""
    inner = env.env if isinstance(env, ViewedBatchEnv) else env
    return inner if isinstance(inner, GymBatchEnv) else None
