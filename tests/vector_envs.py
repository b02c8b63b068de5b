"""Vector environments as third parties make them, in each autoreset mode, sound and broken."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from tests.faulty_envs import Drifting


def walks(num_envs: int, mode: str = "NextStep", length: int = 5) -> VectorEnv[Any, Any, Any]:
    """Gymnasium's own, of walks of which each has another length."""
    return SyncVectorEnv([lambda: Drifting(length)] * num_envs, autoreset_mode=AutoresetMode(mode))


class Walks(VectorEnv[Any, Any, Any]):
    """A batched walk that is no collection of environments.

    A walk ends with probability 1/8 at each step, by the generator of its copy.

    Args:
        num_envs: copies.
        mode: of autoreset; None for none.
        masks: whether single copies can be reset.
        final: the name of the last observations in SAME_STEP mode.
    """

    def __init__(
        self,
        num_envs: int = 1,
        mode: str | None = "NextStep",
        masks: bool = True,
        final: str = "final_obs",
    ) -> None:
        single = Drifting()
        self.num_envs, self.masks, self.final = num_envs, masks, final
        self.metadata = {} if mode is None else {"autoreset_mode": AutoresetMode(mode)}
        self.mode = None if mode is None else AutoresetMode(mode)
        self.single_observation_space = single.observation_space
        self.single_action_space = single.action_space
        self.observation_space = gym.vector.utils.batch_space(single.observation_space, num_envs)
        self.action_space = gym.vector.utils.batch_space(single.action_space, num_envs)
        self.obs = np.zeros((num_envs, 2), np.float32)  # one buffer for all results
        self.generators: list[Any] = [None] * num_envs
        self.over = np.zeros(num_envs, bool)
        self.num_steps = self.num_resets = 0

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        mask = np.ones(self.num_envs, bool)
        if options and "reset_mask" in options:
            if not self.masks:
                raise NotImplementedError("no masks")
            mask = options.pop("reset_mask")  # as Gymnasium does
        seeds = [seed + n for n in range(self.num_envs)] if isinstance(seed, int) else seed
        for n in np.flatnonzero(mask):
            self.begin(n, None if seeds is None else seeds[n])
        return self.obs, {}

    def begin(self, n: int, seed: int | None) -> None:
        if seed is not None:
            self.generators[n] = np.random.default_rng(seed)
        self.over[n] = False
        self.num_resets += 1
        self.obs[n] = [0, self.generators[n].standard_normal()]

    def step(self, actions: Any) -> Any:
        reward = np.zeros(self.num_envs)
        ended, truncated = np.zeros((2, self.num_envs), bool)
        final = np.full(self.num_envs, None, object)
        for n in range(self.num_envs):
            if self.over[n] and self.mode == AutoresetMode.NEXT_STEP:
                self.begin(n, None)
                continue
            assert not self.over[n], "a step after the end"
            self.num_steps += 1
            reward[n] = float(self.obs[n, 1]) + int(actions[n])
            self.obs[n] += [1, 0.3 * actions[n] + self.generators[n].standard_normal()]
            ended[n] = self.over[n] = self.generators[n].random() < 1 / 8
            truncated[n] = ended[n] and self.obs[n, 1] > 0
            if ended[n] and self.mode == AutoresetMode.SAME_STEP:
                final[n] = self.obs[n].copy()
                self.begin(n, None)
        info = {self.final: final, f"_{self.final}": ended} if ended.any() else {}
        return self.obs, reward, ended & ~truncated, truncated, info


class WalksInNoMode(Walks):
    def __init__(self, num_envs: int = 1) -> None:
        super().__init__(num_envs, None)


class AsOne(gym.Env[Any, Any]):
    """The same walk as a single environment, written anew."""

    def __init__(self) -> None:
        single = Drifting()
        self.observation_space, self.action_space = single.observation_space, single.action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.rng = np.random.default_rng(seed)
        self.obs = np.array([0, self.rng.standard_normal()], np.float32)
        return self.obs.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(self.obs[1]) + action
        self.obs += [1, 0.3 * action + self.rng.standard_normal()]
        ended = bool(self.rng.random() < 1 / 8)
        positive = bool(self.obs[1] > 0)
        return self.obs.copy(), reward, ended and not positive, ended and positive, {}


class MaskedWalk(gym.Env[Any, Any]):
    """A walk whose mask is drawn with each observation; episodes end in both ways.

    Only an action that the mask allows is no error.
    """

    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gym.spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.steps = 0
        return self.seen()

    def seen(self) -> tuple[Any, dict[str, Any]]:
        self.mask = self.rng.random(4) < 0.4
        self.mask[self.rng.integers(4)] = True
        code = float(self.mask @ [1, 2, 4, 8])  # so that an observation says what its mask is
        return np.array([self.steps, code], np.float32), {"action_mask": self.mask.copy()}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.mask[action], f"{action} is not allowed by {self.mask}"
        self.steps += 1
        ended = bool(self.rng.random() < 0.2)
        return_code = self.seen()
        is_cut = ended and bool(self.rng.random() < 0.5)
        return return_code[0], float(action), ended and not is_cut, is_cut, return_code[1]


def masked_walks(
    num_envs: int, mode: str = "NextStep", form: str = "array"
) -> VectorEnv[Any, Any, Any]:
    """Gymnasium's own vector environment of such walks.

    Args:
        num_envs: copies.
        mode: of autoreset.
        form: of the masks: "array" as Gymnasium gives them, "list" without presence arrays, or
            "no final" without those of last observations.
    """
    return InForm(SyncVectorEnv([MaskedWalk] * num_envs, autoreset_mode=AutoresetMode(mode)), form)


class InForm(gym.vector.VectorWrapper[Any, Any, Any, Any, Any]):
    """Gives masks in another form."""

    def __init__(self, env: Any, form: str) -> None:
        super().__init__(env)
        self.form = form

    def reset(self, **arguments: Any) -> Any:
        obs, info = self.env.reset(**arguments)
        return obs, self.formed(info)

    def step(self, actions: Any) -> Any:
        *rest, info = self.env.step(actions)
        return *rest, self.formed(info)

    def formed(self, info: Any) -> Any:
        if self.form == "no final":
            info.pop("final_info", None)
        if self.form == "list":
            info["action_mask"] = info["action_mask"].tolist()
            info.pop("_action_mask")
            info["version"] = np.array(3)  # without a copy
            info["note"] = "for all"
        return info
