"""Writing text as an environment: B sequences grow by one token per step.

The state is the prompt and the tokens chosen so far, the action is the next token, and EOS is an
action like any other. An episode terminates with EOS and is truncated after T tokens. So a language
model is a policy like any other, and `loop.play` samples from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agent import State
from rlkit.rlhf.data.task import LanguageTask

Ids = NDArray[np.int64]


class TokenEnv:
    """B sequences of a task: a `BatchEnv` of one seed, [1, B], that does not reset itself.

    The observation of a sequence is all of its P + T places: the prompt, then the response so far,
    then padding. There is ONE buffer of them: what `reset` and `step` return are views of it, and
    the next step changes them. So a whole rollout costs B * (P + T) integers, and a policy sees the
    first P + t columns at step t. Rewards are 0: a response is scored as a whole, after its end.

    Args:
        task: the language, and the length limit T.
        prompts: ids [B, P] to start from, padded on the left.

    Attributes:
        ended: bool [1, B], whether the sequence has its EOS or has no place left.
        position: the number of tokens that the sequences which have not ended have so far.
    """

    num_seeds = 1

    def __init__(self, task: LanguageTask, prompts: Ids) -> None:
        if prompts.ndim != 2 or not len(prompts) or prompts.shape[1] != task.prompt_length:
            raise ValueError(
                f"{task.name}: expected prompts of shape [B, {task.prompt_length}] with B >= 1, "
                f"got {list(prompts.shape)}"
            )
        self.task, self.num_envs = task, len(prompts)
        self._prompts = prompts
        width = task.prompt_length + task.max_new_tokens
        self.observation_space = spaces.Box(0, task.vocab_size - 1, (width,), np.int64)
        self.action_space = spaces.Discrete(task.num_actions)
        self._tokens = np.full((1, self.num_envs, width), task.pad, dtype=np.int64)
        self.ended = np.ones((1, self.num_envs), dtype=np.bool_)
        self.position = 0

    @property
    def tokens(self) -> Ids:
        """Prompts and responses, [B, P + T], a view; `pad` where nothing was chosen."""
        view: Ids = self._tokens[0]
        return view

    def reset(self) -> Ids:
        """Return all sequences to their prompts; return the buffer, int64 [1, B, P + T]."""
        self._tokens.fill(self.task.pad)
        self.tokens[:, : self.task.prompt_length] = self._prompts
        self.ended.fill(False)
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
            ValueError: the shape is wrong, or a token cannot be chosen.
        """
        live = ~self.ended
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
            self.ended |= terminated | truncated
        return np.zeros(live.shape), terminated, truncated, self._tokens, self._tokens

    def state_dict(self) -> State:
        """Return everything that changes."""
        return {
            "tokens": self._tokens.copy(),
            "ended": self.ended.copy(),
            "position": np.array([self.position]),
        }

    def load_state_dict(self, state: State) -> None:
        """Continue from a state that `state_dict` returned."""
        self._tokens[...] = state["tokens"]
        self.ended[...] = state["ended"]
        self.position = int(state["position"][0])

    def close(self) -> None:
        """Do nothing: no resource is held."""
