"""Estimates of the memory that a language model needs, from its sizes alone.

How many rows are computed at once follows from these and from a stated limit, never from what the
machine has free: the last bits of a matrix product depend on the number of its rows, and so would
results.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor, nn

MEMORY_GB = 2.0  # default of the limit
_FLOAT = 4  # bytes


class Sizes(NamedTuple):
    """The sizes of a transformer on which its memory depends."""

    num_layers: int
    width: int
    key_value_width: int  # of all heads
    feed_forward_width: int
    num_heads: int
    num_logits: int  # of a position

    def row_bytes(self, length: int, *, gradient: bool = False) -> int:
        """Estimate the memory of one row of tokens in a pass, without the weights.

        Without a gradient: keys and values of all layers, the activations of one layer, and the
        logits of one position. With one: the activations of all layers.
        """
        scores = 2 * self.num_heads * length * length
        layer = length * (6 * self.width + 3 * self.feed_forward_width) + scores
        if gradient:
            return _FLOAT * 2 * self.num_layers * layer
        cache = 2 * self.num_layers * self.key_value_width * length
        return _FLOAT * (cache + layer + 6 * self.num_logits)

    def rows_within(self, memory_gb: float, length: int, *, gradient: bool = False) -> int:
        """Return how many rows of `length` tokens need at most `memory_gb`, at least 1."""
        return max(1, int(memory_gb * 1e9) // self.row_bytes(length, gradient=gradient))


def weight_bytes(modules: Iterable[nn.Module]) -> int:
    """Return the memory of the weights of modules; shared ones count once.

    Those that are trained have a gradient and the two moments of Adam as well.
    """
    weights: dict[int, Tensor] = {id(p): p for module in modules for p in module.parameters()}
    return sum(
        p.numel() * (p.element_size() + 3 * _FLOAT * p.requires_grad) for p in weights.values()
    )


class Forecast(NamedTuple):
    """What the training of one seed will need."""

    num_tokens: int  # at most, of prompts and responses, each time that a model reads or writes one
    num_bytes: int  # about, of weights, optimisers and the largest batch

    def text(self, num_updates: int, free: int | None) -> str:
        """Return a sentence for the user.

        Args:
            num_updates: of the seed.
            free: bytes of memory that are free; None = unknown.
        """
        text = (
            f"{num_updates:,} updates with up to {self.num_tokens:,} tokens, in about "
            f"{self.num_bytes / 1e9:.1f} GB"
        )
        if free is None:
            return text
        text += f" ({free / 1e9:.1f} GB are free)"
        if self.num_bytes > free:
            text += (
                ": this will not fit; use a smaller batch_size or memory_gb (--memory-gb), "
                "low-rank adapters (--adapter-rank) or a smaller model"
            )
        return text


def duration(seconds: float) -> str:
    """Return a time in words, such as 3 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
