"""A language model in the common loop: its environment appends the token that it chose."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.agent import Transition
from rlkit.loop import interact
from rlkit.maths.distributions import categorical_log_prob, categorical_mode, categorical_sample
from rlkit.rlhf.data.sequences import Sequences
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.data.token_env import TokenEnv
from rlkit.rlhf.models.language_model import LanguageModel

Array = NDArray[Any]


class Samples(NamedTuple):
    """Responses as they were sampled."""

    sequences: Sequences
    log_prob: Tensor  # of each token under the distribution that it was drawn from, [B, T]
    truncated: Tensor  # bool [B]: cut at the length limit, so without EOS


class Sampler:
    """Acts in a `TokenEnv` with a language model, one token for every sequence at a time.

    It is an agent that learns nothing. The model reads each token once: what it computed for
    earlier ones is kept in its cache.

    Args:
        model: the language model; it is put into evaluation mode, so that no dropout is active.
        prompt_mask: bool [B, P], True = a token of the prompt.
        uniforms: random numbers [T, B] in [0, 1), one for each token that may be drawn; None = take
            the likeliest token.
        temperature: divides the logits.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompt_mask: Array,
        uniforms: Array | None,
        *,
        temperature: float = 1.0,
        max_new_tokens: int,
    ) -> None:
        model.eval()
        self._model, self._temperature = model, temperature
        self._uniforms = None if uniforms is None else torch.from_numpy(uniforms)
        self._prompt_mask = torch.from_numpy(prompt_mask)
        batch, self._prompt_length = prompt_mask.shape
        self._unpadded = bool(prompt_mask.all())
        self._cache = model.new_cache(batch, self._prompt_length + max_new_tokens)
        self._step = 0
        self._log_prob = torch.zeros(batch, max_new_tokens)
        self._mask = torch.zeros(batch, max_new_tokens, dtype=torch.bool)
        self._ended = torch.zeros(batch, dtype=torch.bool)
        self.truncated = torch.zeros(batch, dtype=torch.bool)

    @torch.no_grad()
    def act(self, obs: Array) -> Array:
        """The next token of each sequence, [1, B], for the tokens so far, [1, B, P + T]."""
        tokens = torch.from_numpy(obs[0])
        column = self._prompt_length + self._step
        new = tokens[:, :column] if self._step == 0 else tokens[:, column - 1 : column]
        token_mask = None
        if not self._unpadded:
            ones = torch.ones(len(tokens), self._step, dtype=torch.bool)
            token_mask = torch.cat([self._prompt_mask, ones], dim=1)
        hidden = self._model(new, token_mask=token_mask, cache=self._cache)[:, -1]
        logits = self._model.unembed(hidden) / self._temperature
        if self._uniforms is None:
            actions = categorical_mode(logits)
        else:
            actions = categorical_sample(logits, self._uniforms[self._step])
        self._log_prob[:, self._step] = categorical_log_prob(logits, actions)
        self._mask[:, self._step] = ~self._ended
        chosen: Array = actions.numpy()[None]
        return chosen

    def learn(self, transition: Transition) -> dict[str, Array]:
        """Note which sequences have ended; nothing is learned."""
        self._step += 1
        self._ended |= torch.from_numpy(transition.terminated[0] | transition.truncated[0])
        self.truncated |= torch.from_numpy(transition.truncated[0])
        return {}

    @property
    def finished(self) -> bool:
        """Whether every sequence has ended."""
        return bool(self._ended.all())

    def samples(self, tokens: Array) -> Samples:
        """What was sampled, given the tokens [1, B, P + T] that the environment ended with."""
        sequences = Sequences(
            torch.from_numpy(tokens[0].copy()), self._prompt_mask, self._mask.clone()
        )
        log_prob = self._log_prob.masked_fill(~self._mask, 0.0)
        return Samples(sequences, log_prob, self.truncated.clone())


def generate(
    model: LanguageModel,
    task: LanguageTask,
    prompts: NDArray[np.int64],
    rng: np.random.Generator | None,
    *,
    temperature: float = 1.0,
) -> Samples:
    """Sample one response to each prompt, through the common loop.

    Args:
        model: the language model.
        task: says which id ends a response, which is padding, and where a response is cut (T).
        prompts: ids [B, P], padded on the left.
        rng: where the randomness comes from; None = take the likeliest token.
        temperature: divides the logits.

    Returns:
        responses of up to T tokens. The loop stops when all have ended; the width is always T.
    """
    length = task.max_new_tokens
    env = TokenEnv(task, len(prompts))
    uniforms = None if rng is None else rng.random((length, len(prompts)))
    sampler = Sampler(
        model, prompts != task.pad, uniforms, temperature=temperature, max_new_tokens=length
    )
    obs = env.reset(prompts)
    for _ in interact(sampler, env, length, obs=obs):  # type: ignore[arg-type]
        if sampler.finished:
            break
    return sampler.samples(obs)
