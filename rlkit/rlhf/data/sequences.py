"""Batches of prompts and responses, and the log-probabilities of responses under a model.

A batch has one layout everywhere: the prompt ends at column P, padded on the left; the response
starts there, padded on the right. So the state in which response token t was chosen is in column
P + t - 1, whatever the lengths are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rlkit.maths.distributions import categorical_log_prob_and_entropy
from rlkit.rlhf.models.device import device_of
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.models.layers import evaluating

# Numbers of float32; a constant, so that results do not depend on the machine. It is above what the
# vocabularies of built-in tasks and of characters and words need.
LOGITS_AT_ONCE = 2**24


class Sequences(NamedTuple):
    """B prompts with their responses."""

    tokens: Tensor  # int64 [B, P + T]
    prompt_mask: Tensor  # bool [B, P], True = a token of the prompt, False = padding on the left
    response_mask: Tensor  # bool [B, T], True = a sampled token, EOS included; False after it

    @property
    def prompt_length(self) -> int:
        """P, the width of the prompts."""
        return self.prompt_mask.shape[1]

    @property
    def prompts(self) -> Tensor:
        """[B, P]"""
        return self.tokens[:, : self.prompt_length]

    @property
    def responses(self) -> Tensor:
        """[B, T]"""
        return self.tokens[:, self.prompt_length :]

    @property
    def lengths(self) -> Tensor:
        """Tokens of each response, EOS included, int64 [B]."""
        return self.response_mask.sum(1)

    @property
    def last_tokens(self) -> Tensor:
        """The last token of each response, EOS where it has one, int64 [B]."""
        return self.responses.gather(1, (self.lengths - 1).unsqueeze(1)).squeeze(1)

    def select(self, index: Tensor | NDArray[np.int64] | slice) -> Sequences:
        """Return some of the rows."""
        return Sequences(*(x[index] for x in self))

    def split(self, batch_size: int) -> Iterator[Sequences]:
        """Yield the rows in batches, of which the last may be smaller."""
        for start in range(0, len(self.tokens), batch_size):
            yield self.select(slice(start, start + batch_size))

    @classmethod
    def concatenate(cls, batches: Iterable[Sequences]) -> Sequences:
        """Join batches of the same widths."""
        return cls(*(torch.cat(parts) for parts in zip(*batches, strict=True)))

    def truncate(self, max_new_tokens: int) -> Sequences:
        """Drop the response columns from `max_new_tokens` on."""
        tokens = self.tokens[:, : self.prompt_length + max_new_tokens]
        return Sequences(tokens, self.prompt_mask, self.response_mask[:, :max_new_tokens])

    def token_mask(self) -> Tensor | None:
        """Mark all but the padding on the left, bool [B, P + T]; None where there is none."""
        if bool(self.prompt_mask.all()):
            return None
        return torch.cat([self.prompt_mask, torch.ones_like(self.response_mask)], dim=1)


def pack(
    prompts: Sequence[Sequence[int]] | NDArray[np.int64],
    responses: Sequence[Sequence[int]],
    *,
    pad: int,
    prompt_length: int | None = None,
    max_new_tokens: int | None = None,
) -> Sequences:
    """Pack ids of different lengths into one batch.

    Args:
        prompts: ids of each prompt, without padding.
        responses: ids of each response, EOS included where there is one, without padding.
        pad: the id that fills the rest.
        prompt_length: P; None = that of the longest prompt.
        max_new_tokens: T; None = that of the longest response.

    Raises:
        ValueError: the numbers of prompts and responses differ, one is longer than allowed, or a
            prompt has no token: there would be no state for the choice of the first token.
    """
    if len(prompts) != len(responses):
        raise ValueError(f"pack: {len(prompts)} prompts, but {len(responses)} responses")
    left = max(map(len, prompts)) if prompt_length is None else prompt_length
    right = max(map(len, responses)) if max_new_tokens is None else max_new_tokens
    tokens = np.full((len(prompts), left + right), pad, dtype=np.int64)
    mask = np.zeros(tokens.shape, dtype=bool)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        if len(prompt) > left or len(response) > right:
            raise ValueError(
                f"pack: row {row} has {len(prompt)} prompt and {len(response)} response tokens, "
                f"expected at most {left} and {right}"
            )
        if not len(prompt):
            raise ValueError(f"pack: the prompt of row {row} is empty, expected at least one token")
        columns = slice(left - len(prompt), left + len(response))
        tokens[row, columns] = [*prompt, *response]
        mask[row, columns] = True
    both = torch.from_numpy(mask)
    return Sequences(torch.from_numpy(tokens), both[:, :left], both[:, left:])


def from_arrays(prompts: NDArray[np.int64], responses: NDArray[np.int64], *, pad: int) -> Sequences:
    """Return the batch of padded prompts [B, P] and responses [B, T]; `pad` fills the rest."""
    tokens = torch.from_numpy(np.concatenate([prompts, responses], axis=1))
    mask = tokens != pad
    left = prompts.shape[1]
    return Sequences(tokens, mask[:, :left], mask[:, left:])


def response_states(model: LanguageModel, sequences: Sequences) -> Tensor:
    """Return the hidden state in which each response token was chosen, [B, T, width]."""
    device, token_mask = device_of(model), sequences.token_mask()
    states: Tensor = model(
        sequences.tokens[:, :-1].to(device),
        token_mask=None if token_mask is None else token_mask[:, :-1].to(device),
        num_last=sequences.responses.shape[1],
    )
    return states


def final_states(model: LanguageModel, sequences: Sequences) -> Tensor:
    """Return the hidden state of the last token of each response, EOS included, [B, width]."""
    device, token_mask = device_of(model), sequences.token_mask()
    hidden: Tensor = model(
        sequences.tokens.to(device),
        token_mask=None if token_mask is None else token_mask.to(device),
    )
    # Located by the number of tokens, never by a search for the padding's id: padding may be a
    # token of the response, and the batch may be wider than the longest response.
    position = sequences.prompt_length + sequences.lengths - 1
    return hidden[torch.arange(len(position), device=device), position.to(device)]


def response_log_probs(
    model: LanguageModel, sequences: Sequences, temperature: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the log-probability of each response token under a model.

        log pi(a_t|s_t) = log softmax(logits(s_t) / temperature)[a_t]

    Args:
        model: the language model.
        sequences: B prompts with responses of up to T tokens.
        temperature: divides the logits, as in sampling.

    Returns:
        log-probability [B, T] and entropy [B, T], both 0 outside the response mask, and the hidden
        states [B, T, width].
    """
    hidden = response_states(model, sequences)
    log_prob, entropy = state_log_probs(model, hidden, sequences, temperature)
    return log_prob, entropy, hidden


def state_log_probs(
    model: LanguageModel, hidden: Tensor, sequences: Sequences, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the first two results of `response_log_probs` from the states [B, T, width]."""

    def of(states: Tensor, tokens: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        return token_log_probs(model.unembed(states), tokens, mask, temperature)

    inputs = (hidden, sequences.responses, sequences.response_mask)
    log_prob, entropy = by_positions(of, inputs, model.num_actions)
    return log_prob, entropy


def by_positions(
    function: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor], num_actions: int
) -> tuple[Tensor, ...]:
    """Return function(*inputs), whose logits of all positions are never there at once.

    Where there would be more than `LOGITS_AT_ONCE`, the positions go in parts, and with a gradient
    the logits of each part are computed again in the backward pass rather than kept. The results
    differ from those of the whole by rounding.

    Args:
        function: takes tensors [N, ...] and returns tensors [N]; any N positions, of [B, T] too.
        inputs: tensors [B, T, ...].
        num_actions: logits of each position.

    Returns:
        tensors [B, T], on the processor; the function is called on the device of the first input.
    """
    batch, length = inputs[0].shape[:2]
    inputs = [x.to(inputs[0].device) for x in inputs]
    size = max(1, LOGITS_AT_ONCE // num_actions)
    if batch * length <= size:
        return tuple(x.cpu() for x in function(*inputs))
    flat = [torch.split(x.reshape(batch * length, *x.shape[2:]), size) for x in inputs]
    parts = [_recomputed(function, part) for part in zip(*flat, strict=True)]
    return tuple(torch.cat(part).view(batch, length).cpu() for part in zip(*parts, strict=True))


def _recomputed(
    function: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    if not torch.is_grad_enabled():
        return function(*inputs)
    results: tuple[Tensor, ...] = checkpoint(
        function, *inputs, use_reentrant=False, preserve_rng_state=False
    )
    return results


def batched_log_probs(
    model: LanguageModel, sequences: Sequences, temperature: float = 1.0, *, batch_size: int = 512
) -> Tensor:
    """Return the log-probabilities of `response_log_probs` for any number of sequences, [N, T].

    No dropout is active, and there is no gradient. A batch has as many rows as fit into the model's
    `memory_gb`, at most `batch_size`.
    """
    batch_size = model.rows_at_once(sequences.tokens.shape[1], batch_size)
    with evaluating(model):
        return torch.cat(
            [
                response_log_probs(model, batch, temperature)[0]
                for batch in sequences.split(batch_size)
            ]
        )


def token_log_probs(
    logits: Tensor, tokens: Tensor, mask: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return log-probability and entropy of tokens [B, T] under logits [B, T, A]; 0 if masked."""
    # Padding is not an action: any valid index stands for it where the mask is False.
    actions = tokens.masked_fill(~mask, 0)
    if temperature != 1.0:
        logits = logits / temperature
    log_prob, entropy = categorical_log_prob_and_entropy(logits, actions)
    return log_prob.masked_fill(~mask, 0.0), entropy.masked_fill(~mask, 0.0)
