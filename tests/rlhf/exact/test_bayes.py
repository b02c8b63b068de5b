"""The posterior and the evidence lower bound, against plain loops, counting and identities."""

from __future__ import annotations

import math

import numpy as np
import pytest

from rlkit.rlhf.exact import bayes
from rlkit.rlhf.exact.answer_key import AnswerKey
from rlkit.rlhf.models.gpt import GPT, GPTConfig
from tests.rlhf.exact.tables import Floats, random_policy, small

KL_COEFS = (0.1, 0.3, 1.0, 5.0)


def random_table() -> tuple[Floats, Floats]:
    """Gold of 40 responses to each of 2 prompts, and a random prior over them."""
    gold = small().gold
    return random_policy(np.random.default_rng(9), *gold.shape), gold


def brute_force(
    policy: Floats, prior: Floats, reward: Floats, kl_coef: float
) -> tuple[float, float, float]:
    """Log evidence, ELBO and KL to the posterior of one prompt, one response at a time."""
    evidence = 0.0
    for y in range(len(prior)):
        evidence += math.exp(prior[y]) * math.exp(reward[y] / kl_coef)
    bound = divergence = 0.0
    for y in range(len(prior)):
        p, q = math.exp(prior[y]), math.exp(policy[y])
        posterior = p * math.exp(reward[y] / kl_coef) / evidence
        bound += q * (reward[y] / kl_coef + math.log(p) - math.log(q))
        divergence += q * (math.log(q) - math.log(posterior))
    return math.log(evidence), bound, divergence


@pytest.mark.parametrize("kl_coef", KL_COEFS)
def test_evidence_and_bound_are_plain_sums_over_all_responses(kl_coef: float) -> None:
    prior, gold = random_table()
    policy = random_policy(np.random.default_rng(0), *prior.shape)
    evidence = bayes.log_evidence(prior, gold, kl_coef)
    bound = bayes.elbo(policy, prior, gold, kl_coef)
    posterior = bayes.posterior(prior, gold, kl_coef)
    for q in range(len(prior)):
        log_z, elbo, divergence = brute_force(policy[q], prior[q], gold[q], kl_coef)
        # Float64 sums over 40 responses.
        assert evidence[q] == pytest.approx(log_z, abs=1e-10)
        assert bound[q] == pytest.approx(elbo, abs=1e-10)
        measured = np.exp(policy[q]) @ (policy[q] - posterior[q])
        assert measured == pytest.approx(divergence, abs=1e-10)


@pytest.mark.parametrize("kl_coef", KL_COEFS)
def test_the_gap_of_the_bound_is_the_divergence_from_the_posterior(kl_coef: float) -> None:
    prior, gold = random_table()
    rng = np.random.default_rng(1)
    posterior = bayes.posterior(prior, gold, kl_coef)
    evidence = bayes.log_evidence(prior, gold, kl_coef)
    for _ in range(50):
        policy = random_policy(rng, *prior.shape)
        bound = bayes.elbo(policy, prior, gold, kl_coef)
        divergence = (np.exp(policy) * (policy - posterior)).sum(1)
        np.testing.assert_allclose(evidence - bound, divergence, rtol=0, atol=1e-10)
        assert (bound < evidence).all()


@pytest.mark.parametrize("kl_coef", KL_COEFS)
def test_the_bound_is_tight_at_the_posterior_alone(kl_coef: float) -> None:
    prior, gold = random_table()
    posterior = bayes.posterior(prior, gold, kl_coef)
    np.testing.assert_allclose(np.exp(posterior).sum(1), 1, rtol=0, atol=1e-12)
    evidence = bayes.log_evidence(prior, gold, kl_coef)
    reached = bayes.elbo(posterior, prior, gold, kl_coef)
    np.testing.assert_allclose(reached, evidence, rtol=0, atol=1e-10)
    rng = np.random.default_rng(2)
    for step in (0.01, 0.1, 1.0):
        other = posterior + step * rng.normal(size=posterior.shape)
        other -= np.log(np.exp(other).sum(1, keepdims=True))
        assert (bayes.elbo(other, prior, gold, kl_coef) < evidence).all()


def test_bayes_rule_by_counting() -> None:
    # Of 24 responses 12 are A, 8 are B and 4 are C; 1 in 4 A, 1 in 2 B and all C pass a check.
    counts, passed = np.array([[12, 8, 4]]), np.array([[3, 4, 4]])
    kl_coef = 0.7
    reward = kl_coef * np.log(passed / counts)  # so that exp(reward / kl_coef) is the likelihood
    prior = np.log(counts / 24)
    posterior = np.exp(bayes.posterior(prior, reward, kl_coef))
    np.testing.assert_allclose(posterior, [[3 / 11, 4 / 11, 4 / 11]], rtol=1e-12)
    evidence = bayes.log_evidence(prior, reward, kl_coef)
    assert evidence[0] == pytest.approx(math.log(11 / 24), abs=1e-12)


def test_responses_that_the_prior_never_gives_contribute_nothing() -> None:
    prior = np.array([[math.log(0.5), math.log(0.5), -math.inf]])
    reward = np.array([[0.0, 1.0, 1000.0]])
    evidence = math.log((1 + math.e) / 2)
    assert bayes.log_evidence(prior, reward, 1.0)[0] == pytest.approx(evidence, abs=1e-12)
    posterior = bayes.posterior(prior, reward, 1.0)
    np.testing.assert_allclose(np.exp(posterior), [[1 / (1 + math.e), 1 / (1 + 1 / math.e), 0]])
    assert bayes.elbo(posterior, prior, reward, 1.0)[0] == pytest.approx(evidence, abs=1e-12)


def test_a_constant_in_the_reward_moves_evidence_and_bound_alike_and_not_the_posterior() -> None:
    prior, gold = random_table()
    policy = random_policy(np.random.default_rng(3), *prior.shape)
    for function in (bayes.log_evidence, lambda *a: bayes.elbo(policy, *a)):
        moved = function(prior, gold + 0.6, 0.3) - function(prior, gold, 0.3)
        np.testing.assert_allclose(moved, 0.6 / 0.3, rtol=0, atol=1e-10)
    np.testing.assert_allclose(
        bayes.posterior(prior, gold + 0.6, 0.3),
        bayes.posterior(prior, gold, 0.3),
        rtol=0,
        atol=1e-10,
    )


@pytest.mark.parametrize("kl_coef", [0.0, -1.0, math.nan])
def test_without_a_positive_kl_coefficient_there_is_no_posterior(kl_coef: float) -> None:
    prior, gold = random_table()
    for call in (
        lambda: bayes.log_evidence(prior, gold, kl_coef),
        lambda: bayes.posterior(prior, gold, kl_coef),
        lambda: bayes.elbo(prior, prior, gold, kl_coef),
    ):
        with pytest.raises(ValueError, match="expected kl_coef > 0"):
            call()


def test_the_evidence_of_an_answer_key_is_the_mean_over_prompts_and_its_divergence_the_gap() -> (
    None
):
    task = small().task
    config = GPTConfig(
        vocab_size=task.vocab_size,
        num_actions=task.num_actions,
        context_length=task.prompt_length + task.max_new_tokens,
        width=8,
        num_layers=1,
        num_heads=1,
    )
    key = AnswerKey(task, GPT(config, np.random.default_rng(4)))
    policy = key.log_probs(GPT(config, np.random.default_rng(5)))
    found = key.evidence(policy, key.gold, 0.3)
    rows = [
        brute_force(policy[q], key.reference_log_prob[q], key.gold[q], 0.3)
        for q in range(task.num_prompts)
    ]
    np.testing.assert_allclose(found, np.mean(rows, axis=0), rtol=0, atol=1e-10)
    assert found.log_evidence - found.elbo == pytest.approx(found.posterior_kl, abs=1e-10)
    gap = key.values(policy, key.gold, 0.3).gap
    assert gap == pytest.approx(0.3 * found.posterior_kl, abs=1e-10)
