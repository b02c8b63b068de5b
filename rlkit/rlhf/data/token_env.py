"""Writing text as an environment: B sequences grow by one token a step.

The state is the prompt and the tokens chosen so far, the action is the next token, and EOS is an
action like any other. An episode terminates with EOS and is truncated after T tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agent import State
from rlkit.rlhf.data.task import LanguageTask

Ids = NDArray[np.int64]
Score = Callable[[Ids, Ids], NDArray[np.floating[Any]]]


class TokenEnv:
    """B sequences of a task, as a grid [1, B] of environments that do not reset themselves.

    The observation of a sequence is all of its P + T places: the prompt, then the response so far,
    then padding. There is ONE buffer of them: what `reset` and `step` return are views of it, and
    the next step changes them. So a whole rollout costs B * (P + T) integers, and what a policy
    sees at step t is the first P + t columns.

    Args:
        task: the language, and where prompts come from.
        num_envs: B.
        rng: draws prompts where `reset` is given none. It stays the caller's, to save and restore.
        score: (prompts [n, P], responses [n, T]) -> [n], the reward of sequences, given in the step
            in which they end; without it all rewards are 0.

    Attributes:
        ended: bool [1, B], the sequence has its EOS or has no place left.
        position: tokens that the sequences which have not ended have by now.
    """

    num_seeds = 1

    def __init__(
        self,
        task: LanguageTask,
        num_envs: int,
        rng: np.random.Generator | None = None,
        *,
        score: Score | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"{task.name}: expected num_envs to be at least 1, got {num_envs}")
        self.task, self.num_envs = task, num_envs
        self._rng, self._score = rng, score
        width = task.prompt_length + task.max_new_tokens
        self.observation_space = spaces.Box(0, task.vocab_size - 1, (width,), np.int64)
        self.action_space = spaces.Discrete(task.num_actions)
        self._tokens = np.full((1, num_envs, width), task.pad, dtype=np.int64)
        self.ended = np.ones((1, num_envs), dtype=np.bool_)
        self.position = 0

    @property
    def prompts(self) -> Ids:
        """[B, P], a view."""
        return self._tokens[0, :, : self.task.prompt_length]

    @property
    def responses(self) -> Ids:
        """[B, T], a view; `pad` where nothing was chosen."""
        return self._tokens[0, :, self.task.prompt_length :]

    def reset(self, prompts: Ids | None = None) -> Ids:
        """Start all sequences again.

        Args:
            prompts: [B, P] to start from; drawn from the task if left out.

        Returns:
            The buffer of observations, int64 [1, B, P + T].
        """
        if prompts is None:
            if self._rng is None:
                raise ValueError(f"{self.task.name}: reset: give prompts, there is no generator")
            prompts = self.task.sample_prompts(self._rng, self.num_envs)
        if prompts.shape != self.prompts.shape:
            raise ValueError(
                f"{self.task.name}: reset: expected prompts of shape {self.prompts.shape}, "
                f"got {prompts.shape}"
            )
        self._tokens.fill(self.task.pad)
        self.prompts[...] = prompts
        self.ended = np.zeros((1, self.num_envs), dtype=np.bool_)
        self.position = 0
        return self._tokens

    def step(
        self, actions: NDArray[np.integer[Any]]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Ids, Ids]:
        """Append a token to every sequence that has not ended; the others stay as they are.

        Args:
            actions: [1, B], the tokens; those of sequences that have ended are ignored.

        Returns:
            reward, terminated (it was EOS), truncated (it was the last place, and not EOS), each
            [1, B], and the buffer of observations twice.

        Raises:
            ValueError: the shape is wrong, or a token is not one that can be chosen.
        """
        live = ~self.ended
        reward = np.zeros(self.ended.shape)
        terminated, truncated = np.zeros_like(live), np.zeros_like(live)
        if actions.shape != live.shape or actions.dtype.kind not in "iu":
            raise ValueError(
                f"{self.task.name}: step: expected integers of shape {live.shape}, got "
                f"{actions.dtype} of shape {actions.shape}"
            )
        chosen = actions[live]
        if ((chosen < 0) | (chosen >= self.task.num_actions)).any():
            raise ValueError(
                f"{self.task.name}: step: expected tokens from 0 to {self.task.num_actions - 1}, "
                f"got some from {chosen.min()} to {chosen.max()}"
            )
        if chosen.size:
            self._tokens[:, :, self.task.prompt_length + self.position][live] = chosen
            self.position += 1
            terminated[live] = chosen == self.task.eos
            truncated = live & ~terminated & (self.position == self.task.max_new_tokens)
            over = terminated | truncated
            if self._score is not None and over.any():
                reward[over] = self._score(self.prompts[over[0]], self.responses[over[0]])
            self.ended = self.ended | over
        return reward, terminated, truncated, self._tokens, self._tokens

    def state_dict(self) -> State:
        """Everything that changes, except the generator of prompts, which is the caller's."""
        return {
            "tokens": self._tokens.copy(),
            "ended": self.ended.copy(),
            "position": np.array([self.position]),
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from what `state_dict` returned."""
        self._tokens[...] = state["tokens"]
        self.ended = np.array(state["ended"])
        self.position = int(state["position"][0])

    def close(self) -> None:
        """Nothing is held open."""
