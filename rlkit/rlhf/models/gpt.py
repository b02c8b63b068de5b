"""A small decoder-only transformer: GPT-2's architecture, in the manner of nanoGPT.

    x   = E[token] + P[position]
    x   = x + attention(layer_norm(x))           for each block ("pre-norm", Radford et al. 2019)
    x   = x + feed_forward(layer_norm(x))
    out = layer_norm(x),    logits = out @ U.T,    U = E[:num_actions] if tied

A batch is [B, L] with padding on the left only; padding on the right needs no mask, because no
token looks to its right. Ids 0..num_actions-1 can be generated and have logits; the others
(padding, words of prompts) can only be read.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlkit.errors import UsageError
from rlkit.options import ADDED_LATER, require_choice, require_range, require_types, require_whole
from rlkit.rlhf.models.activations import ACTIVATIONS, Activation
from rlkit.rlhf.models.language_model import LanguageModel, Targets
from rlkit.rlhf.models.layers import linear, normal
from rlkit.rlhf.models.lora import TARGETS, adapters_off, add_adapters, fold_adapters
from rlkit.rlhf.models.memory import Sizes

Positions = Literal["learned", "sinusoidal"]


@dataclass(frozen=True, kw_only=True)
class GPTSize:
    """Size and kind of a GPT, whatever its vocabulary.

    Tied embeddings let the input embedding reuse what fine-tuning learned about producing a token,
    which helps a reward model on that trunk; a policy trained on rewards comes nearer to its
    optimum without. GPT-2's `init_std` suits a width of 768: with it the attention of a narrow
    model is nearly flat, and what depends on two tokens together is learned late.
    """

    width: int = 64  # size of the hidden states, a multiple of num_heads, >= 1
    num_layers: int = 2  # number of transformer blocks, >= 1
    num_heads: int = 2  # attention heads per block, >= 1
    # fraction of activations dropped in training, in [0, 1); above 0 the memory of attention is
    # quadratic in the length
    dropout: float = 0.0
    positions: Positions = "learned"  # sinusoidal: fixed (Vaswani et al. 2017, section 3.5)
    # of the feed-forward layers; gelu_tanh: GPT-2's approximation of gelu
    activation: Activation = field(default="gelu", metadata=ADDED_LATER)
    tied: bool = False  # use the token embedding as the output layer as well
    # standard deviation of the initial weights, > 0, smaller for layers that write to the residual
    # stream; small models learn faster with 0.08
    init_std: float = 0.02

    def __post_init__(self) -> None:
        require_whole(self, "width", "num_layers", "num_heads", at_least=1)
        require_range(self, "dropout", low=0, high=1, open_high=True)
        require_range(self, "init_std", low=0, open_low=True)
        require_choice(self, "positions", among=Positions)
        require_choice(self, "activation", among=Activation)
        require_types(self, "tied")
        if self.width % self.num_heads or (self.positions == "sinusoidal" and self.width % 2):
            raise UsageError(
                f"option width (--width): expected a multiple of num_heads = {self.num_heads}, "
                f"and an even number for sinusoidal positions, got {self.width}"
            )


@dataclass(frozen=True, kw_only=True)
class GPTConfig(GPTSize):
    """Size and kind of a GPT, with its vocabulary and context."""

    vocab_size: int  # ids that can be read, padding among them, >= 1
    num_actions: int  # ids 0..num_actions-1 can be generated, in [1, vocab_size]
    context_length: int  # tokens of the longest sequence, padding included, >= 1

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole(self, "vocab_size", "num_actions", "context_length", at_least=1)
        if self.num_actions > self.vocab_size:
            raise UsageError(
                f"option num_actions (--num-actions): expected at most vocab_size = "
                f"{self.vocab_size}, got {self.num_actions}"
            )


class KVCache:
    """Keys and values of the tokens read so far, in buffers that are allocated once.

    Args:
        config: of the model.
        batch_size: rows, B.
        max_length: tokens per row, padding included.
        like: a tensor of the dtype and on the device to use.
    """

    def __init__(self, config: GPTConfig, batch_size: int, max_length: int, like: Tensor) -> None:
        heads = (config.num_heads, config.width // config.num_heads)
        shape = (config.num_layers, batch_size, max_length, 2, *heads)
        # One tensor per layer: a new token's key and value are written by a single copy.
        self._layers = like.new_empty(shape).unbind()
        self.length = 0  # tokens held per row
        self.batch_size, self.max_length = batch_size, max_length
        self.padded = False  # whether some of the tokens held are padding

    def require(self, batch_size: int, total: int, token_mask: Tensor | None) -> None:
        """Check that the cache fits a pass after which each row has `total` tokens."""
        if batch_size != self.batch_size or total > self.max_length:
            raise UsageError(
                f"the cache holds {self.batch_size} rows of at most {self.max_length} tokens; "
                f"got {batch_size} rows that would have {total}"
            )
        if token_mask is None and self.padded:
            raise UsageError("the cache was filled with padding on the left: pass token_mask again")

    def append(self, layer: int, keys_and_values: Tensor) -> Tensor:
        """Store [B, L, 2, heads, head] of one layer; return all held, [B, length + L, ...]."""
        if keys_and_values.requires_grad:
            raise UsageError("a KV cache overwrites in place: use it under torch.no_grad()")
        total = self.length + keys_and_values.shape[1]
        buffer = self._layers[layer]
        buffer[:, self.length : total] = keys_and_values
        return buffer[:, :total]


class Attention(nn.Module):
    """Causal multi-head attention, softmax(Q K^T / sqrt(head)) V in each head.

    One linear layer makes queries, keys and values of all heads.
    """

    def __init__(self, config: GPTConfig, rng: np.random.Generator) -> None:
        super().__init__()
        self.num_heads, self.dropout = config.num_heads, config.dropout
        self.qkv = linear(config.width, 3 * config.width, config.init_std, rng)
        self.project = linear(config.width, config.width, _residual_std(config), rng)

    def forward(
        self, x: Tensor, mask: Tensor | None, cache: KVCache | None, layer: int, num_last: int
    ) -> Tensor:
        """[B, L, width] -> [B, num_last, width], with a mask for these queries."""
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.num_heads, -1)
        query, key, value = qkv.unbind(2)  # [B, L, heads, head] each
        if cache is not None:
            key, value = cache.append(layer, qkv[:, :, 1:]).unbind(2)  # [B, cached + L, ...]
        heads = F.scaled_dot_product_attention(
            query[:, length - num_last :].transpose(1, 2),  # [B, heads, num_last, head]
            key.transpose(1, 2),
            value.transpose(1, 2),
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=mask is None and num_last > 1,
        )
        out: Tensor = self.project(heads.transpose(1, 2).reshape(batch, num_last, width))
        return out


class FeedForward(nn.Module):
    """f(x W1 + b1) W2 + b2, four times as wide inside (Vaswani et al. 2017, section 3.3).

    The activation f is gelu, as in GPT-2, or relu, max(0, x), as in the original transformer.
    """

    def __init__(self, config: GPTConfig, rng: np.random.Generator) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.activation]
        self.expand = linear(config.width, 4 * config.width, config.init_std, rng)
        self.contract = linear(4 * config.width, config.width, _residual_std(config), rng)

    def forward(self, x: Tensor) -> Tensor:
        """[B, L, width] -> [B, L, width]"""
        out: Tensor = self.contract(self.activation(self.expand(x)))
        return out


class Block(nn.Module):
    """Attention, then a feed-forward layer, each added to its input ("pre-norm")."""

    def __init__(self, config: GPTConfig, rng: np.random.Generator) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.attention_norm = nn.LayerNorm(config.width)
        self.attention = Attention(config, rng)
        self.feed_forward_norm = nn.LayerNorm(config.width)
        self.feed_forward = FeedForward(config, rng)

    def forward(
        self, x: Tensor, mask: Tensor | None, cache: KVCache | None, layer: int, num_last: int
    ) -> Tensor:
        """[B, L, width] -> [B, num_last, width]"""
        attended = self.attention(self.attention_norm(x), mask, cache, layer, num_last)
        x = x[:, x.shape[1] - num_last :] + F.dropout(attended, self.dropout, self.training)
        out = self.feed_forward(self.feed_forward_norm(x))
        return x + F.dropout(out, self.dropout, self.training)


class GPT(LanguageModel):
    """A language model of our own; see `LanguageModel` for what it can do.

    Dropout draws from torch's global generator: see `torch_seeded`.

    Args:
        config: its size and kind.
        rng: draws the initial weights by GPT-2's scheme: N(0, init_std^2), divided by
            sqrt(2 num_layers) for the layers that write to the residual stream; biases are zero.
    """

    position_table: Tensor  # [context_length, width]

    def __init__(self, config: GPTConfig, rng: np.random.Generator) -> None:
        super().__init__()
        self.config = config
        self.vocab_size, self.num_actions = config.vocab_size, config.num_actions
        self.context_length, self.width = config.context_length, config.width
        sizes = (config.num_layers, config.width, config.width, 4 * config.width)
        self.sizes = Sizes(*sizes, config.num_heads, config.num_actions)
        std = config.init_std
        self.embedding = nn.Parameter(normal(rng, std, config.vocab_size, config.width))
        if config.positions == "learned":
            table = normal(rng, std, config.context_length, config.width)
            self.position_table = nn.Parameter(table)
        else:
            # Scaled to the size of the initial embeddings, which they would drown otherwise.
            table = sinusoidal_positions(config.context_length, config.width)
            scaled = std * math.sqrt(2) * table
            self.register_buffer("position_table", scaled, persistent=False)
        self.blocks = nn.ModuleList(Block(config, rng) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.width)
        if not config.tied:
            output = normal(rng, std, config.num_actions, config.width)
            self.unembedding = nn.Parameter(output)

    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        cache: KVCache | None = None,
        num_last: int | None = None,
    ) -> Tensor:
        """See `LanguageModel`."""
        start = 0 if cache is None else cache.length
        total = start + tokens.shape[1]
        self._require_inputs(tokens, total, token_mask)
        if cache is not None:
            cache.require(len(tokens), total, token_mask)
        if token_mask is None:
            positions = self.position_table[start:total]
        else:
            positions = F.embedding(token_positions(token_mask)[:, start:], self.position_table)
        x = F.embedding(tokens, self.embedding) + positions  # [B, L, width]
        x = F.dropout(x, self.config.dropout, self.training)
        length = tokens.shape[1]
        mask = attention_mask(token_mask, start, total, x)
        for layer, block in enumerate(self.blocks[:-1]):
            x = block(x, mask, cache, layer, length)
        # Of the earlier tokens the last block needs keys and values only.
        if num_last is None or num_last == length:
            num_last = length
        else:
            mask = attention_mask(token_mask, total - num_last, total, x)
        x = self.blocks[-1](x, mask, cache, len(self.blocks) - 1, num_last)
        if cache is not None:
            cache.length = total
            cache.padded = cache.padded or token_mask is not None
        out: Tensor = self.norm(x)
        return out

    def unembed(self, hidden: Tensor) -> Tensor:
        """See `LanguageModel`."""
        if self.config.tied:
            return F.linear(hidden, self.embedding[: self.num_actions])
        return F.linear(hidden, self.unembedding)

    def new_cache(self, batch_size: int, max_length: int) -> KVCache:
        """See `LanguageModel`."""
        self._require_context(max_length)
        return KVCache(self.config, batch_size, max_length, self.embedding.detach())

    def adapters_off(self) -> AbstractContextManager[None]:
        """See `LanguageModel`."""
        return adapters_off(self)

    def fold_adapters(self) -> None:
        """See `LanguageModel`."""
        fold_adapters(self)

    def _new_adapters(
        self, rank: int, alpha: float, rng: np.random.Generator, targets: Targets
    ) -> None:
        add_adapters(self, rank, alpha, rng, TARGETS if targets is None else targets)


def token_positions(token_mask: Tensor) -> Tensor:
    """Return positions [B, L] that count from 0 at the first token that is not padding."""
    return (token_mask.cumsum(1) - 1).clamp_(min=0)


def attention_mask(
    token_mask: Tensor | None, start: int, total: int, like: Tensor
) -> Tensor | None:
    """Return the term added to the scores of queries start..total-1 for keys 0..total-1.

    Args:
        token_mask: bool [B, total], False = padding on the left; None = there is none.
        like: gives dtype and device.

    Returns:
        0 or -inf, [B or 1, 1, total - start, total]; None where the plain causal mask suffices, or
        no mask for a single last query.
    """
    length = total - start
    if token_mask is None and (start == 0 or length == 1):
        return None
    future = torch.ones(length, total, dtype=torch.bool, device=like.device).triu_(start + 1)
    blocked = future[None]
    if token_mask is not None:
        # A padding token attends to itself alone; an empty row would give NaN.
        blocked = blocked | ~token_mask[:, None, :]
        blocked.diagonal(start, 1, 2).fill_(False)
    return like.new_zeros(blocked.shape).masked_fill_(blocked, -math.inf).unsqueeze(1)


def sinusoidal_positions(length: int, width: int) -> Tensor:
    """Return the table [length, width] of Vaswani et al. 2017, section 3.5, for an even width.

    P[t, 2i] = sin(t / 10000^(2i/width)),    P[t, 2i+1] = cos(t / 10000^(2i/width))
    """
    rate = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angle = torch.arange(length, dtype=torch.float64)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1).float()


def _residual_std(config: GPTConfig) -> float:
    return config.init_std / math.sqrt(2 * config.num_layers)
