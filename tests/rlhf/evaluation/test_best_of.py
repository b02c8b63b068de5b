"""Best of n by sampling, against its exact distribution; and its expectation from fewer samples."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from rlkit.errors import UsageError
from rlkit.rlhf.evaluation import best_of as module
from rlkit.rlhf.evaluation.best_of import best_of_n, expected_best
from rlkit.rlhf.exact import best_of_n as exact


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.slow
@pytest.mark.claim(47)
@pytest.mark.parametrize("n", [1, 4, 16])
def test_the_best_of_samples_follows_the_exact_distribution(small: Any, n: int) -> None:
    key, repeats = small.key, 1500
    prompts = small.task.prompts.repeat(repeats, axis=0)
    best = best_of_n(small.reference, small.task, prompts, small.score, n, rng(n))
    policy = exact.best_of_n(key.reference_log_prob, key.gold, n)
    index = key.completions.index(best.sequences.responses.numpy()).reshape(-1, repeats)
    for q in range(len(prompts) // repeats):
        expected = float(np.exp(policy[q]) @ key.gold[q])
        scores = best.scores.reshape(-1, repeats)[q]
        error = max(scores.std() / repeats**0.5, 1e-3)
        assert abs(scores.mean() - expected) < 4 * error
        # Not the score alone: each of the likeliest responses comes as often as it should, so
        # ties are broken evenly.
        share = np.bincount(index[q], minlength=policy.shape[1]) / repeats
        p = np.exp(policy[q])
        for c in np.argsort(p)[-5:]:
            assert abs(share[c] - p[c]) < 4 * np.sqrt(p[c] * (1 - p[c]) / repeats)


def test_the_chosen_response_belongs_to_its_prompt_and_has_the_highest_score(small: Any) -> None:
    prompts = small.task.sample_prompts(rng(1), 50)
    best = best_of_n(small.reference, small.task, prompts, small.score, 5, rng(2))
    np.testing.assert_array_equal(best.sequences.prompts.numpy(), prompts)
    np.testing.assert_array_equal(best.scores, best.all_scores.max(1))
    np.testing.assert_array_equal(small.score(best.sequences), best.scores)
    np.testing.assert_array_equal(small.score(best.all_sequences).reshape(50, 5), best.all_scores)
    own = best.all_sequences.prompts.reshape(50, 5)
    assert (own == torch.from_numpy(prompts)).all()


def test_best_of_one_is_the_policy_itself(small: Any) -> None:
    prompts = small.task.sample_prompts(rng(3), 20)
    best = best_of_n(small.reference, small.task, prompts, small.score, 1, rng(4))
    assert torch.equal(best.sequences.tokens, best.all_sequences.tokens)


def test_responses_of_other_prompts_would_be_seen(
    small: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = module.sample_all

    def shuffled(model: Any, task: Any, prompts: Any, *arguments: Any) -> Any:
        return right(model, task, prompts.reshape(-1, 5).T.reshape(-1, 1), *arguments)

    monkeypatch.setattr(module, "sample_all", shuffled)
    prompts = small.task.sample_prompts(rng(5), 50)
    best = best_of_n(small.reference, small.task, prompts, small.score, 5, rng(6))
    assert (best.sequences.prompts.numpy() != prompts).any()


def test_fewer_than_one_sample_are_rejected(small: Any) -> None:
    with pytest.raises(UsageError, match="expected n >= 1, got 0"):
        best_of_n(small.reference, small.task, small.task.prompts, small.score, 0, rng())


@pytest.mark.parametrize("num_samples", [1, 5, 7])
def test_the_expected_best_is_the_mean_over_all_subsets(num_samples: int) -> None:
    generator = rng(7)
    scores = generator.permuted(np.tile(np.arange(num_samples) * 1.5, (3, 1)), axis=1)
    values = generator.normal(size=scores.shape)
    for n in range(1, num_samples + 1):
        expected = [
            np.mean([
                values[q, max(subset, key=lambda i: scores[q, i])]
                for subset in itertools.combinations(range(num_samples), n)
            ])
            for q in range(3)
        ]  # fmt: skip
        np.testing.assert_allclose(expected_best(scores, values, n), expected, atol=1e-12)


def test_the_expected_best_of_the_score_itself_counts_ties_once() -> None:
    scores = np.array([[1.0, 2.0, 2.0, 0.0]])
    for n in (1, 2, 3, 4):
        subsets = itertools.combinations(scores[0], n)
        expected = np.mean([max(subset) for subset in subsets])
        assert expected_best(scores, scores, n)[0] == pytest.approx(expected, abs=1e-12)


def test_the_expected_best_does_not_overflow() -> None:
    scores = rng(8).normal(size=(1, 20_000))
    for n in (1, 1000, 20_000):
        found = expected_best(scores, np.ones_like(scores), n)[0]
        assert found == pytest.approx(1.0, abs=1e-9)  # the weights add up to one


def test_the_expected_best_has_the_exact_mean(small: Any) -> None:
    """From 32 samples the best of 8, over many prompts, against the exact distribution."""
    prompts = small.task.prompts.repeat(300, axis=0)
    best = best_of_n(small.reference, small.task, prompts, small.score, 32, rng(9))
    found = expected_best(best.all_scores, best.all_scores, 8).reshape(-1, 300)
    policy = np.exp(exact.best_of_n(small.key.reference_log_prob, small.key.gold, 8))
    expected = (policy * small.key.gold).sum(1)
    error = found.std(1) / 300**0.5
    assert (np.abs(found.mean(1) - expected) < 4 * error).all()


@pytest.mark.parametrize("n", [0, 4])
def test_the_best_of_more_than_there_are_is_rejected(n: int) -> None:
    with pytest.raises(ValueError, match="expected n from 1 to 3"):
        expected_best(np.zeros((1, 3)), np.zeros((1, 3)), n)
