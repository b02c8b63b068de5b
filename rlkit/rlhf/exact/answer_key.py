"""Exact values of policies and rewards on tasks whose responses can all be enumerated."""

from __future__ import annotations

from typing import NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from rlkit.rlhf.data.scores import Score
from rlkit.rlhf.data.sequences import Sequences, from_arrays
from rlkit.rlhf.data.task import EnumerableTask, GoldTask, LanguageTask
from rlkit.rlhf.exact import bayes, enumeration
from rlkit.rlhf.exact import optimum as exact
from rlkit.rlhf.models.language_model import LanguageModel

Array = NDArray[np.float64]

MOST_RESPONSES = 200_000  # over all prompts; tasks with more are not enumerated


def is_enumerable(task: LanguageTask) -> TypeGuard[EnumerableTask]:
    """Return whether a task has few enough responses, over all prompts, to enumerate them."""
    if not isinstance(task, EnumerableTask):
        return False
    content = task.num_actions - 1
    responses = sum(content**length for length in range(task.max_new_tokens + 1))
    return bool(len(task.prompts) * responses <= MOST_RESPONSES)


class PolicyValues(NamedTuple):
    """Exact values of a policy, averaged over prompts."""

    kl: float  # KL(policy || reference), nats
    proxy: float  # expected trained reward
    gold: float  # expected gold reward
    objective: float  # proxy - kl_coef * kl
    gap: float  # optimum - objective, never negative


class AnswerKey:
    """Reference probabilities and gold rewards of all responses of a task.

    Args:
        task: one that `is_enumerable`.
        reference: the reference policy.
        temperature: sampling temperature of the reference and of the policies compared with it.

    Attributes:
        reference_log_prob: [Q, C]
        gold: [Q, C], with mean 0 and standard deviation 1 under the reference.
        scale: the map from raw to standardised gold reward.
    """

    def __init__(
        self, task: EnumerableTask, reference: LanguageModel, *, temperature: float = 1.0
    ) -> None:
        self.task, self.temperature = task, temperature
        self.completions = enumeration.all_completions(
            task.num_actions, task.eos, task.max_new_tokens, task.pad
        )
        self.reference_log_prob = self.log_probs(reference)
        responses = self.completions.responses
        raw = np.stack(
            [task.gold(np.tile(prompt, (len(responses), 1)), responses) for prompt in task.prompts]
        )
        self.scale = exact.scale_under(self.reference_log_prob, raw)
        self.gold = self.scale.apply(raw)

    def log_probs(self, policy: LanguageModel) -> Array:
        """Return log pi(y|x) of every response, [Q, C]."""
        return enumeration.completion_log_probs(
            policy, self.task.prompts, self.completions, self.temperature
        )

    def tabulate(self, score: Score) -> Array:
        """Return the scores of every response, [Q, C]."""
        responses = self.completions.responses
        rows = [
            np.asarray(score(from_arrays(tiled, responses, pad=self.task.pad)), dtype=np.float64)
            for tiled in (np.tile(prompt, (len(responses), 1)) for prompt in self.task.prompts)
        ]
        return np.stack(rows)

    def standardised(self, table: Array) -> Array:
        """Return a table of scores, rescaled to mean 0 and standard deviation 1."""
        return exact.scale_under(self.reference_log_prob, table).apply(table)

    def values(self, log_prob: Array, proxy: Array, kl_coef: float) -> PolicyValues:
        """Return the values of a policy [Q, C] whose reward was `proxy` [Q, C]."""
        reference = self.reference_log_prob
        objective = float(exact.objective(log_prob, reference, proxy, kl_coef).mean())
        if kl_coef > 0:
            optimum = float(exact.optimum(reference, proxy, kl_coef).value.mean())
        else:
            optimum = float(proxy.max(axis=1).mean())
        return PolicyValues(
            float(exact.kl(log_prob, reference).mean()),
            float(exact.expectation(log_prob, proxy).mean()),
            float(exact.expectation(log_prob, self.gold).mean()),
            objective,
            optimum - objective,
        )

    def evidence(self, log_prob: Array, proxy: Array, kl_coef: float) -> bayes.Evidence:
        """Return log evidence and ELBO of a policy [Q, C], and its divergence from the posterior.

        Args:
            log_prob: log pi, [Q, C].
            proxy: the trained reward, [Q, C].
            kl_coef: positive, reward per nat.
        """
        reference = self.reference_log_prob
        posterior = bayes.posterior(reference, proxy, kl_coef)
        return bayes.Evidence(
            float(bayes.log_evidence(reference, proxy, kl_coef).mean()),
            float(bayes.elbo(log_prob, reference, proxy, kl_coef).mean()),
            float(exact.kl(log_prob, posterior).mean()),
        )

    def bayes_accuracy(self, scale: float = 1.0) -> float:
        """Return the accuracy that no reward model can exceed."""
        return exact.bayes_accuracy(self.reference_log_prob, self.gold, scale)


class TableScore:
    """A score that looks responses up in a table [Q, C] of an answer key."""

    def __init__(self, key: AnswerKey, table: Array) -> None:
        self._key, self._table = key, table

    def __call__(self, sequences: Sequences) -> Array:
        """Return the scores, [B]."""
        prompts, responses = sequences.prompts.numpy(), sequences.responses.numpy()
        rows = self._key.task.prompt_index(prompts)
        scores: Array = self._table[rows, self._key.completions.index(responses)]
        return scores


class GoldScore:
    """A task's gold reward, shifted and scaled by samples of the reference.

    Args:
        task: the task.
        samples: responses of the reference policy; their scores get mean 0 and standard
            deviation 1.
    """

    def __init__(self, task: GoldTask, samples: Sequences) -> None:
        self._task = task
        raw = self._raw(samples)
        self._mean, self._std = float(raw.mean()), float(raw.std())

    def _raw(self, sequences: Sequences) -> Array:
        raw = self._task.gold(sequences.prompts.numpy(), sequences.responses.numpy())
        return np.asarray(raw, dtype=np.float64)

    def __call__(self, sequences: Sequences) -> Array:
        """Return the scores, [B]."""
        # As stored runs computed it; a `ScoreScale` would round differently.
        return (self._raw(sequences) - self._mean) / self._std
