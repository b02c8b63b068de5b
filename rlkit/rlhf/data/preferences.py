"""Preferences between two responses to a prompt, and labels of single responses.

From a known gold reward both are drawn by the Bradley-Terry model, so that the accuracy of the best
possible reward model is known exactly:

    P(y1 > y2 | x) = sigmoid(scale (gold(x, y1) - gold(x, y2))),    P(label = 1) = sigmoid(gold)

All pairs of K responses to a prompt can be compared (Ouyang et al. 2022, section 3.5, with K from 4
to 9): K (K - 1) / 2 labels for K forward passes. Because they share responses, they stay together,
in one minibatch and on one side of the held-out split. A file is a list of pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor

from rlkit.errors import UsageError
from rlkit.rlhf.data.sampling import generate
from rlkit.rlhf.data.sequences import Sequences, from_arrays
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.models.language_model import LanguageModel

Gold = Callable[[Sequences], Any]  # a batch of B -> the true reward of each, [B]


@dataclass(frozen=True, eq=False)
class Preferences:
    """N pairs of responses to the same prompt."""

    chosen: Sequences
    rejected: Sequences
    margin: Tensor  # [N], least difference of the scores; 0 where it is unknown
    # Whether equal pairs may be copies of one, as in a file; pairs that were drawn are independent.
    may_repeat: bool = False

    def select(self, index: Tensor | NDArray[np.int64] | slice) -> Preferences:
        """Return some of the pairs."""
        return Preferences(
            self.chosen.select(index),
            self.rejected.select(index),
            self.margin[index],
            self.may_repeat,
        )

    def __len__(self) -> int:
        return len(self.margin)


@dataclass(frozen=True, eq=False)
class Comparisons:
    """G prompts with K responses to each, of which all pairs were compared."""

    sequences: Sequences  # [G K], the responses to a prompt one after another
    # bool [G, K (K - 1) / 2], whether the first is preferred: of (0, 1), (0, 2), ..., (1, 2), ...
    first_wins: Tensor

    @property
    def num_responses(self) -> int:
        """K."""
        return len(self.sequences.tokens) // len(self.first_wins)

    def select(self, index: Tensor | NDArray[np.int64] | slice) -> Comparisons:
        """Return some of the prompts, with their responses and comparisons."""
        kept = (self._by_prompt(x)[index].flatten(0, 1) for x in self.sequences)
        return Comparisons(Sequences(*kept), self.first_wins[index])

    def chosen_and_rejected(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Arrange values of the responses, [G K], by comparison: [G, K (K - 1) / 2] each."""
        first, second = torch.tensor(list(combinations(range(self.num_responses), 2))).T
        values = self._by_prompt(values)
        a, b = values[:, first], values[:, second]
        return torch.where(self.first_wins, a, b), torch.where(self.first_wins, b, a)

    def _by_prompt(self, x: Tensor) -> Tensor:
        return x.view(len(self), self.num_responses, *x.shape[1:])

    def __len__(self) -> int:
        return len(self.first_wins)


@dataclass(frozen=True, eq=False)
class Labels:
    """N single responses, each with a label in [0, 1]."""

    sequences: Sequences
    label: Tensor  # [N]
    may_repeat: bool = False  # whether equal responses may be copies of one, as in a file

    def select(self, index: Tensor | NDArray[np.int64] | slice) -> Labels:
        """Return some of the responses."""
        return Labels(self.sequences.select(index), self.label[index], self.may_repeat)

    def __len__(self) -> int:
        return len(self.label)


def responses_from(
    model: LanguageModel, task: LanguageTask, rng: np.random.Generator, n: int, *, copies: int = 1
) -> list[Sequences]:
    """Sample `copies` independent responses of a model to each of n prompts of a task."""
    prompts = np.asarray(task.sample_prompts(rng, n))
    return [generate(model, task, prompts, rng).sequences for _ in range(copies)]


def sample_preferences(
    model: LanguageModel,
    task: LanguageTask,
    gold: Gold,
    rng: np.random.Generator,
    n: int,
    *,
    scale: float = 1.0,
) -> Preferences:
    """Draw n preferences between two different responses; see `sample_comparisons`."""
    both = sample_comparisons(model, task, gold, rng, n, 2, scale=scale)
    first, second = (both.sequences.select(slice(k, None, 2)) for k in range(2))
    won = both.first_wins
    chosen = Sequences(*(torch.where(won, x, y) for x, y in zip(first, second, strict=True)))
    rejected = Sequences(*(torch.where(won, y, x) for x, y in zip(first, second, strict=True)))
    return Preferences(chosen, rejected, torch.zeros(n))


def sample_comparisons(
    model: LanguageModel,
    task: LanguageTask,
    gold: Gold,
    rng: np.random.Generator,
    n: int,
    num_responses: int,
    *,
    scale: float = 1.0,
) -> Comparisons:
    """Draw responses of a model to n prompts, and a preference between each two of a prompt.

    Args:
        model: samples the responses; normally the fine-tuned one.
        task: gives the prompts.
        gold: the reward that the preferences follow.
        rng: draws prompts, responses and preferences.
        n: number of prompts, >= 1. A prompt with equal responses is drawn again, so likely
            responses are rarer than under the model, the more so the larger K is.
        num_responses: K, responses per prompt, >= 2.
        scale: multiplies differences of gold; 0 = coin flips.

    Raises:
        UsageError: the model hardly ever gives K different responses to a prompt.
    """
    if num_responses < 2 or n < 1:
        raise UsageError(
            "comparisons need at least two responses and one prompt, got num_responses = "
            f"{num_responses} and n = {n}"
        )
    pairs = list(combinations(range(num_responses), 2))
    parts = []
    count, draws = 0, 0
    while count < n:
        drawn = responses_from(model, task, rng, n, copies=num_responses)
        differ = torch.ones(n, dtype=torch.bool)
        for i, j in pairs:
            a, b = drawn[i], drawn[j]
            differ &= (a.tokens != b.tokens).any(1) | (a.response_mask != b.response_mask).any(1)
        kept = [sequences.select(differ) for sequences in drawn]
        rewards = [np.asarray(gold(sequences)) for sequences in kept]
        probability = np.stack([expit(scale * (rewards[i] - rewards[j])) for i, j in pairs], axis=1)
        wins = torch.from_numpy(rng.random(probability.shape) < probability)
        joined = (torch.stack(columns, dim=1).flatten(0, 1) for columns in zip(*kept, strict=True))
        parts.append(Comparisons(Sequences(*joined), wins))
        count += len(wins)
        draws += n
        if draws > 20 * n and count < n:
            raise UsageError(
                f"drawing preferences for {n} prompts failed: of {draws} prompts only {count} got "
                f"{num_responses} different responses; the model repeats itself too often"
                + (", so ask for fewer (--responses-per-prompt)" if num_responses > 2 else "")
            )
    sequences = Sequences.concatenate(part.sequences for part in parts)
    return Comparisons(sequences, torch.cat([part.first_wins for part in parts])).select(slice(n))


def sample_labels(
    model: LanguageModel, task: LanguageTask, gold: Gold, rng: np.random.Generator, n: int
) -> Labels:
    """Draw n responses of a model, each accepted (1) or not (0) with probability sigmoid(gold)."""
    (sequences,) = responses_from(model, task, rng, n)
    accepted = rng.random(n) < expit(np.asarray(gold(sequences)))
    return Labels(sequences, torch.from_numpy(accepted.astype(np.float32)))


def demonstrations_of(task: LanguageTask, rng: np.random.Generator, n: int) -> Sequences:
    """Draw n demonstrations from a task."""
    prompts, responses = task.demonstrations(rng, n)
    return from_arrays(np.asarray(prompts), np.asarray(responses), pad=task.pad)
