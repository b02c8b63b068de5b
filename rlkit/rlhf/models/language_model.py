"""The base class of language models: what sampling, training and adapters need of one.

Our own transformer is one, and so is a Hugging Face model from a local folder; code written for the
base class runs with either.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any, Self

import numpy as np
from torch import Tensor, nn

from rlkit.errors import UsageError
from rlkit.rlhf.models.memory import MEMORY_GB, Sizes
from rlkit.seeding import SeedStreams

Targets = tuple[str, ...] | None  # names of layers with adapters


class LanguageModel(nn.Module, ABC):
    """A causal language model over ids, of which the first `num_actions` can be generated."""

    vocab_size: int  # ids that can be read
    num_actions: int  # ids 0..num_actions-1 can be generated
    context_length: int  # the longest sequence, padding included
    width: int  # of the hidden states
    sizes: Sizes | None = None  # on which its memory depends; None = unknown
    memory_gb: float = MEMORY_GB  # for what the rows of a batch need beside the weights

    def __repr__(self) -> str:
        """Return one line; `list(model.named_modules())` has the layers."""
        number = sum(parameter.numel() for parameter in self.parameters())
        return (
            f"{type(self).__name__}({number:,} parameters, {self.vocab_size:,} tokens, width "
            f"{self.width}, context of {self.context_length:,})"
        )

    @abstractmethod
    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        cache: Any = None,
        num_last: int | None = None,
    ) -> Tensor:
        """Return the states after the last layer norm, [B, L, width], of tokens int64 [B, L].

        Args:
            tokens: with a cache, only those that it does not hold yet.
            token_mask: bool [B, cached + L], False = padding on the left; None = there is none.
            cache: what `new_cache` returned; the tokens are appended to it.
            num_last: return only the states of this many tokens at the end, [B, num_last, width].

        Raises:
            UsageError: the sequences are longer than the context, `token_mask` does not cover all
                tokens, those in the cache included, or the cache does not fit.
        """

    @abstractmethod
    def unembed(self, hidden: Tensor) -> Tensor:
        """Return the logits [..., num_actions] of states [..., width]."""

    @abstractmethod
    def new_cache(self, batch_size: int, max_length: int) -> Any:
        """Return an empty cache for `max_length` tokens per row; its `length` counts those held."""

    @abstractmethod
    def adapters_off(self) -> AbstractContextManager[None]:
        """Use the base model alone within the block, and restore the previous state after it."""

    @abstractmethod
    def fold_adapters(self) -> None:
        """Add the adapters to the weights below them, permanently; all parameters can learn again.

        New adapters can be added afterwards.
        """

    @abstractmethod
    def _new_adapters(
        self, rank: int, alpha: float, rng: np.random.Generator, targets: Targets
    ) -> None: ...

    def add_adapters(self, rank: int, streams: SeedStreams, targets: Targets = None) -> None:
        """Add new low-rank adapters; from here on only they are trained.

        Args:
            rank: their inner width, >= 1; they are scaled by alpha / rank = 2.
            streams: of the seed that draws them.
            targets: last parts of the names of the layers that get one; None = those that suit
                the model.
        """
        self._new_adapters(rank, 2.0 * rank, streams.generator("init", 2), targets)

    def rows_at_once(self, length: int, most: int, *, gradient: bool = False) -> int:
        """Return how many rows of `length` tokens to compute at once, at most `most`."""
        if self.sizes is None:
            return most
        return min(most, self.sizes.rows_within(self.memory_gb, length, gradient=gradient))

    def freeze(self) -> Self:
        """Make the model constant: no dropout and no gradients. Return the model itself."""
        self.eval()
        return self.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; a model whose parameters are all frozen has no other."""
        return super().train(mode and any(p.requires_grad for p in self.parameters()))

    def reference_copy(self) -> LanguageModel:
        """Return a frozen copy of the model as it is now, to keep a policy near it."""
        return copy.deepcopy(self).freeze()

    def _require_inputs(self, tokens: Tensor, total: int, token_mask: Tensor | None) -> None:
        """Check the shapes of a forward pass after which each row has `total` tokens."""
        self._require_context(total)
        if token_mask is not None and token_mask.shape != (len(tokens), total):
            raise UsageError(
                f"expected token_mask of shape {(len(tokens), total)}, one column per token read "
                f"so far, including those in the cache; got {tuple(token_mask.shape)}"
            )

    def _require_context(self, length: int) -> None:
        if length > self.context_length:
            raise UsageError(
                f"sequences of {length} tokens exceed the model's context_length of "
                f"{self.context_length}: shorten prompts or responses, or use a model with a "
                "longer context"
            )
