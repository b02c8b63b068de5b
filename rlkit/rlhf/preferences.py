"""Preferences between two responses to a prompt, and labels of single responses.

From a known gold reward both are drawn by the Bradley-Terry model, so that it is known exactly how
well the best reward model can do:

    P(y1 > y2 | x) = sigmoid(scale (gold(x, y1) - gold(x, y2))),    P(label = 1) = sigmoid(gold)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from rlkit.errors import UsageError
from rlkit.rlhf.sampling import generate
from rlkit.rlhf.sequences import Sequences
from rlkit.rlhf.token_env import TokenTask
from rlkit.rlhf.transformer import LanguageModel

Gold = Callable[[Sequences], Any]  # a batch of B -> the true reward of each, [B]


@dataclass(frozen=True, eq=False)
class Preferences:
    """N pairs of responses to the same prompt."""

    chosen: Sequences
    rejected: Sequences
    margin: Tensor  # [N], how much better at least; 0 where nothing is known

    def select(self, index: Tensor | NDArray[np.int64] | slice) -> Preferences:
        """Some of the pairs."""
        return Preferences(
            self.chosen.select(index), self.rejected.select(index), self.margin[index]
        )

    def __len__(self) -> int:
        return len(self.margin)


@dataclass(frozen=True, eq=False)
class Labels:
    """N single responses, each with a label in [0, 1]."""

    sequences: Sequences
    label: Tensor  # [N]

    def select(self, index: Tensor | NDArray[np.int64] | slice) -> Labels:
        """Some of the responses."""
        return Labels(self.sequences.select(index), self.label[index])

    def __len__(self) -> int:
        return len(self.label)


def responses_from(
    model: LanguageModel, task: TokenTask, rng: np.random.Generator, n: int, *, copies: int = 1
) -> list[Sequences]:
    """Sample `copies` independent responses of a model to each of n prompts of a task."""
    prompts = np.asarray(task.sample_prompts(rng, n))
    return [generate(model, task, prompts, rng).sequences for _ in range(copies)]


def sample_preferences(
    model: LanguageModel,
    task: TokenTask,
    gold: Gold,
    rng: np.random.Generator,
    n: int,
    *,
    scale: float = 1.0,
) -> Preferences:
    """Draw n preferences between different responses of a model.

    Args:
        model: where the responses come from, normally the fine-tuned one.
        task: gives the prompts.
        gold: the reward that the preferences follow, in the units of `scale`.
        rng: where the randomness comes from.
        n: how many pairs; pairs of equal responses are drawn again.
        scale: how sure the judge is; 0 = coin flips.

    Raises:
        UsageError: the model hardly ever gives two different responses to a prompt.
    """
    first, second, wins = [], [], []
    found, draws = 0, 0
    while found < n:
        a, b = responses_from(model, task, rng, n, copies=2)
        differ = (a.tokens != b.tokens).any(1) | (a.response_mask != b.response_mask).any(1)
        a, b = a.select(differ), b.select(differ)
        probability = expit(scale * (np.asarray(gold(a)) - np.asarray(gold(b))))
        first.append(a)
        second.append(b)
        wins.append(torch.from_numpy(rng.random(len(probability)) < probability))
        found += len(probability)
        draws += n
        if draws > 20 * n and found < n:
            raise UsageError(
                f"drawing {n} preferences failed: of {draws} pairs of responses only {found} "
                "differ; the model gives almost always the same response"
            )
    a, b = concatenate(first).select(slice(n)), concatenate(second).select(slice(n))
    won = torch.cat(wins)[:n].unsqueeze(1)
    chosen = Sequences(*(torch.where(won, x, y) for x, y in zip(a, b, strict=True)))
    rejected = Sequences(*(torch.where(won, y, x) for x, y in zip(a, b, strict=True)))
    return Preferences(chosen, rejected, torch.zeros(n))


def sample_labels(
    model: LanguageModel, task: TokenTask, gold: Gold, rng: np.random.Generator, n: int
) -> Labels:
    """Draw n responses of a model, each accepted (1) or not (0) with probability sigmoid(gold)."""
    (sequences,) = responses_from(model, task, rng, n)
    accepted = rng.random(n) < expit(np.asarray(gold(sequences)))
    return Labels(sequences, torch.from_numpy(accepted.astype(np.float32)))


def concatenate(batches: list[Sequences]) -> Sequences:
    """Join batches of the same widths."""
    return Sequences(*(torch.cat(parts) for parts in zip(*batches, strict=True)))
