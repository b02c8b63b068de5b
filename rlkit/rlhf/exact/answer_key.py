"""What is exactly known of a task whose responses can all be listed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.rlhf.data.sequences import Sequences, from_arrays
from rlkit.rlhf.exact import enumeration
from rlkit.rlhf.exact import optimum as exact
from rlkit.rlhf.models.language_model import LanguageModel

Array = NDArray[np.float64]

MOST_RESPONSES = 200_000  # of all prompts together that are listed without being asked


def is_enumerable(task: Any) -> bool:
    """Whether all responses to all prompts of a task are few enough to be listed."""
    if not hasattr(task, "prompts") or not hasattr(task, "gold"):
        return False
    content = task.num_actions - 1
    lengths = range(task.max_new_tokens + 1)
    return bool(len(task.prompts) * sum(content**k for k in lengths) <= MOST_RESPONSES)


class Values(NamedTuple):
    """Exact values of a policy, averaged over prompts."""

    kl: float  # KL(policy || reference), nats
    proxy: float  # expected trained reward
    gold: float  # expected gold reward
    objective: float  # proxy - kl_coef * kl
    gap: float  # optimum - objective, never negative


class AnswerKey:
    """All responses of a task with their probabilities under the reference, and their gold rewards.

    Args:
        task: one that `is_enumerable`.
        reference: the reference policy.
        temperature: of its sampling.

    Attributes:
        reference_log_prob: [Q, C]
        gold: [Q, C], with mean 0 and deviation 1 under the reference.
        gain, bias: what made the task's raw gold so.
    """

    def __init__(self, task: Any, reference: LanguageModel, *, temperature: float = 1.0) -> None:
        self.task, self.temperature = task, temperature
        self.completions = enumeration.all_completions(
            task.num_actions, task.eos, task.max_new_tokens, task.pad
        )
        self.reference_log_prob = self.log_probs(reference)
        responses = self.completions.responses
        raw = np.stack(
            [task.gold(np.tile(prompt, (len(responses), 1)), responses) for prompt in task.prompts]
        )
        self.gain, self.bias = exact.standardise_under(self.reference_log_prob, raw)
        self.gold = self.gain * raw + self.bias

    def log_probs(self, policy: LanguageModel) -> Array:
        """log pi(y|x) of every response, [Q, C]."""
        return enumeration.completion_log_probs(
            policy, self.task.prompts, self.completions, self.temperature
        )

    def tabulate(self, score: Any) -> Array:
        """The scores, by a function of a batch, of every response, [Q, C]."""
        responses = self.completions.responses
        rows = [
            np.asarray(score(from_arrays(tiled, responses, pad=self.task.pad)), dtype=np.float64)
            for tiled in (np.tile(prompt, (len(responses), 1)) for prompt in self.task.prompts)
        ]
        return np.stack(rows)

    def standardised(self, table: Array) -> Array:
        """A table of scores with mean 0 and deviation 1 under the reference."""
        gain, bias = exact.standardise_under(self.reference_log_prob, table)
        return gain * table + bias

    def values(self, log_prob: Array, proxy: Array, kl_coef: float) -> Values:
        """What a policy [Q, C] is worth when `proxy` [Q, C] was its reward."""
        reference = self.reference_log_prob
        objective = float(exact.objective(log_prob, reference, proxy, kl_coef).mean())
        if kl_coef > 0:
            optimum = float(exact.optimum(reference, proxy, kl_coef).value.mean())
        else:
            optimum = float(proxy.max(axis=1).mean())
        return Values(
            float(exact.kl(log_prob, reference).mean()),
            float(exact.expectation(log_prob, proxy).mean()),
            float(exact.expectation(log_prob, self.gold).mean()),
            objective,
            optimum - objective,
        )

    def bayes_accuracy(self, scale: float = 1.0) -> float:
        """The accuracy that no reward model can exceed."""
        return exact.bayes_accuracy(self.reference_log_prob, self.gold, scale)


class TableScore:
    """Scores that are read from a table [Q, C] of an answer key."""

    def __init__(self, key: AnswerKey, table: Array) -> None:
        self._key, self._table = key, table

    def __call__(self, sequences: Sequences) -> Array:
        """Scores [B]."""
        prompts, responses = sequences.prompts.numpy(), sequences.responses.numpy()
        rows = self._key.task.prompt_index(prompts)
        scores: Array = self._table[rows, self._key.completions.index(responses)]
        return scores


class GoldScore:
    """A task's gold reward, shifted and scaled by the reference's samples.

    Args:
        task: has `gold`.
        samples: responses of the reference policy.
    """

    def __init__(self, task: Any, samples: Sequences) -> None:
        self._task = task
        raw = self._raw(samples)
        self._mean, self._std = float(raw.mean()), float(raw.std())

    def _raw(self, sequences: Sequences) -> Array:
        raw = self._task.gold(sequences.prompts.numpy(), sequences.responses.numpy())
        return np.asarray(raw, dtype=np.float64)

    def __call__(self, sequences: Sequences) -> Array:
        """Scores [B]."""
        return (self._raw(sequences) - self._mean) / self._std
