"""Samples responses: a language model acts in an environment that appends the token it chose."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.loop import play
from rlkit.maths.distributions import categorical_log_prob, categorical_mode, categorical_sample
from rlkit.rlhf.data.sequences import Sequences
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.data.token_env import TokenEnv
from rlkit.rlhf.models.device import device_of
from rlkit.rlhf.models.language_model import LanguageModel

Array = NDArray[Any]


class Samples(NamedTuple):
    """Responses as they were sampled."""

    sequences: Sequences
    log_prob: Tensor  # of each token under the distribution that it was drawn from, [B, T]
    truncated: Tensor  # bool [B]: stopped by the length limit, so without EOS


class Sampler:
    """A language model as an `Actor` in a `TokenEnv`, for one rollout.

    The model reads each token once: its cache keeps the keys and values of earlier ones.

    Args:
        model: the language model; it is put into evaluation mode, so that no dropout is active.
        prompt_mask: bool [B, P], True = a token of the prompt.
        uniforms: random numbers [T, B] in [0, 1), one for each token that may be drawn; None = take
            the likeliest token.
        temperature: divides the logits.
        max_new_tokens: T.
    """

    def __init__(
        self,
        model: LanguageModel,
        prompt_mask: Tensor,
        uniforms: Tensor | None,
        *,
        temperature: float,
        max_new_tokens: int,
    ) -> None:
        model.eval()
        self._model, self._uniforms, self._temperature = model, uniforms, temperature
        self._device = device_of(model)
        batch, self._prompt_length = prompt_mask.shape
        width = self._prompt_length + max_new_tokens
        self._cache = model.new_cache(batch, width)
        self._token_mask = None
        if not prompt_mask.all():
            self._token_mask = torch.ones(batch, width, dtype=torch.bool)
            self._token_mask[:, : self._prompt_length] = prompt_mask
            self._token_mask = self._token_mask.to(self._device)
        self._step = 0
        self.log_prob = torch.zeros(batch, max_new_tokens)  # of the tokens drawn so far

    @torch.no_grad()
    def act(self, obs: Array) -> Array:
        """Return the next token of each sequence, [1, B], for the tokens so far, [1, B, P + T]."""
        tokens = torch.from_numpy(obs[0])
        seen = self._prompt_length + self._step
        hidden = self._model(
            tokens[:, self._cache.length : seen].to(self._device),
            token_mask=None if self._token_mask is None else self._token_mask[:, :seen],
            cache=self._cache,
        )[:, -1]
        logits = self._model.unembed(hidden).cpu() / self._temperature
        if self._uniforms is None:
            actions = categorical_mode(logits)
        else:
            actions = categorical_sample(logits, self._uniforms[self._step])
        self.log_prob[:, self._step] = categorical_log_prob(logits, actions)
        self._step += 1
        next_tokens: Array = actions.numpy()[None]
        return next_tokens


def generate(
    model: LanguageModel,
    task: LanguageTask,
    prompts: NDArray[np.int64],
    rng: np.random.Generator | None,
    *,
    temperature: float = 1.0,
) -> Samples:
    """Sample one response to each prompt, each as an episode of the common loop.

    Args:
        model: the language model.
        task: says which id ends a response, which is padding, and the length limit T.
        prompts: ids [B, P], padded on the left.
        rng: where the randomness comes from; None = take the likeliest token.
        temperature: divides the logits.

    Returns:
        responses of up to T tokens. The loop stops when all have ended; the width is always T. If
        there are more rows than fit into the model's `memory_gb`, they go in parts.
    """
    length = task.max_new_tokens
    # Drawn for all, so that no draw depends on how many rows are sampled at once.
    uniforms = None if rng is None else torch.from_numpy(rng.random((length, len(prompts))))
    size = model.rows_at_once(prompts.shape[1] + length, len(prompts))
    parts = []
    for start in range(0, len(prompts), size):
        rows = slice(start, start + size)
        own = None if uniforms is None else uniforms[:, rows]
        parts.append(_generate(model, task, prompts[rows], own, temperature))
    if len(parts) == 1:
        return parts[0]
    sequences, log_prob, truncated = zip(*parts, strict=True)
    return Samples(Sequences.concatenate(sequences), torch.cat(log_prob), torch.cat(truncated))


def _generate(
    model: LanguageModel,
    task: LanguageTask,
    prompts: NDArray[np.int64],
    uniforms: Tensor | None,
    temperature: float,
) -> Samples:
    """Sample one response to each prompt, all at once."""
    length = task.max_new_tokens
    env = TokenEnv(task, prompts)
    prompt_mask = torch.from_numpy(prompts != task.pad)
    sampler = Sampler(model, prompt_mask, uniforms, temperature=temperature, max_new_tokens=length)
    episodes = play(sampler, env, max_steps=length)
    response_mask = torch.arange(length) < torch.from_numpy(episodes.lengths[0]).unsqueeze(1)
    sequences = Sequences(torch.from_numpy(env.tokens), prompt_mask, response_mask)
    return Samples(
        sequences,
        sampler.log_prob.masked_fill(~response_mask, 0.0),
        truncated=sequences.last_tokens != task.eos,
    )
