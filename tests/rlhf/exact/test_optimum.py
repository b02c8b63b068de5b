"""The optimum and exact expectations, against closed forms, slow twins and samples."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from rlkit.rlhf.exact import enumeration
from rlkit.rlhf.exact import optimum as exact
from tests.rlhf.exact.tables import RAMP, UNIFORM, Enumerated, Floats, random_policy, small

# --- the optimum ----------------------------------------------------------------------------------


@pytest.mark.trap("T79")
@pytest.mark.parametrize(
    ("kl_coef", "value", "mean", "divergence"),
    # Z = (1 + e^(1/b) + e^(2/b) + e^(3/b)) / 4 by hand
    [(1.0, 2.053895, 2.492653, 0.438757), (0.5, 2.379392, 2.844825, 0.930866)],
)
def test_the_optimum_of_four_responses_is_the_closed_form(
    kl_coef: float, value: float, mean: float, divergence: float
) -> None:
    best = exact.optimum(UNIFORM, RAMP, kl_coef)
    assert best.value[0] == pytest.approx(value, abs=1e-6)
    assert exact.expectation(best.log_prob, RAMP)[0] == pytest.approx(mean, abs=1e-6)
    assert exact.kl(best.log_prob, UNIFORM)[0] == pytest.approx(divergence, abs=1e-6)
    reached = exact.objective(best.log_prob, UNIFORM, RAMP, kl_coef)[0]
    assert reached == pytest.approx(value, abs=1e-6)


def test_the_best_policy_of_four_responses_is_the_closed_form() -> None:
    best = np.exp(exact.optimum(UNIFORM, RAMP, 1.0).log_prob[0])
    np.testing.assert_allclose(best, [0.032059, 0.087144, 0.236883, 0.643914], atol=1e-6)


def test_the_kl_of_four_probabilities_is_the_closed_form() -> None:
    # (ln 2) / 4: -log2 p - 2 is -1, 0, 1, 1 with p = 1/2, 1/4, 1/8, 1/8.
    log_prob = np.log([[0.5, 0.25, 0.125, 0.125]])
    assert exact.kl(log_prob, UNIFORM)[0] == pytest.approx(math.log(2) / 4, abs=1e-12)


def test_kl_ignores_what_never_happens_and_is_infinite_for_what_never_may() -> None:
    certain = np.array([[0.0, -np.inf, -np.inf, -np.inf]])
    assert exact.kl(certain, UNIFORM)[0] == pytest.approx(math.log(4))
    assert exact.kl(UNIFORM, certain)[0] == np.inf
    assert exact.expectation(certain, RAMP + 2)[0] == 2


@pytest.mark.parametrize("kl_coef", [0.1, 1.0, 5.0])
def test_the_gap_of_a_policy_is_its_kl_to_the_best(kl_coef: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        reference, policy = random_policy(rng, 2, 3, 50)
        reward = rng.normal(size=(3, 50))
        best = exact.optimum(reference, reward, kl_coef)
        missed = best.value - exact.objective(policy, reference, reward, kl_coef)
        np.testing.assert_allclose(
            missed, kl_coef * exact.kl(policy, best.log_prob), rtol=0, atol=1e-10
        )
        assert (missed > 0).all()


def test_no_policy_exceeds_the_best_and_only_the_best_reaches_it() -> None:
    rng = np.random.default_rng(2)
    reference, reward = random_policy(rng, 1, 30), rng.normal(size=(1, 30))
    best = exact.optimum(reference, reward, 0.3)
    for step in (0.0, 1e-3, 0.1, 3.0):
        policy = best.log_prob + step * rng.normal(size=(200, 30))
        policy -= np.log(np.exp(policy).sum(-1, keepdims=True))
        reached = exact.objective(policy, reference, reward, 0.3)
        if step:
            assert (reached < best.value).all()
        else:
            np.testing.assert_allclose(reached, best.value[0], atol=1e-12)


@pytest.mark.parametrize("kl_coef", [0.0, -1.0, math.nan])
def test_without_a_positive_kl_coefficient_there_is_no_optimum(kl_coef: float) -> None:
    with pytest.raises(ValueError, match="expected kl_coef > 0"):
        exact.optimum(UNIFORM, RAMP, kl_coef)


def test_the_optimum_token_by_token_multiplies_up_to_the_best_policy() -> None:
    _, completions, log_prob, gold = small()
    best = exact.optimum(log_prob, gold, 0.3)
    stepwise = exact.per_token_optimum(log_prob, gold, 0.3, completions)
    np.testing.assert_allclose(stepwise.values[0][:, 0], best.value, rtol=0, atol=1e-12)
    for level in stepwise.log_prob:
        np.testing.assert_allclose(np.exp(level).sum(-1), 1, rtol=1e-12)
    product = enumeration.responses_from_tokens(stepwise.log_prob, completions)
    np.testing.assert_allclose(product, best.log_prob, rtol=0, atol=1e-12)


def test_the_value_of_a_prefix_is_the_best_objective_of_what_follows() -> None:
    rng = np.random.default_rng(3)
    completions = enumeration.all_completions(3, 0, 3, 3)
    reference = random_policy(rng, 1, len(completions.responses))
    reward = rng.normal(size=reference.shape)
    values = exact.per_token_optimum(reference, reward, 0.5, completions).values
    for length, level in enumerate(values):
        prefixes = itertools.product([1, 2], repeat=length)
        for index, prefix in enumerate(prefixes):
            through = (completions.responses[:, :length] == prefix).all(1)
            follows = reference[:, through]
            follows = follows - np.log(np.exp(follows).sum())
            expected = exact.optimum(follows, reward[:, through], 0.5).value
            np.testing.assert_allclose(level[:, index], expected, rtol=0, atol=1e-12)


def test_the_reward_of_the_best_policy_grows_at_the_rate_of_its_variance(
    full: Enumerated,
) -> None:
    _, _, reference, gold = full
    step, inverse = 1e-4, 2.0
    log_prob = exact.optimum(reference, gold, 1 / inverse).log_prob
    mean = exact.expectation(log_prob, gold)
    variance = exact.expectation(log_prob, (gold - mean[:, None]) ** 2)
    low, high = (
        exact.expectation(exact.optimum(reference, gold, 1 / x).log_prob, gold)
        for x in (inverse - step, inverse + step)
    )
    # The third derivative is of order 1, so the central difference is good to about step^2.
    np.testing.assert_allclose((high - low) / (2 * step), variance, rtol=0, atol=1e-7)


# --- scales and preferences -----------------------------------------------------------------------


def test_standardising_gives_mean_zero_and_variance_one() -> None:
    rng = np.random.default_rng(10)
    log_prob, f = random_policy(rng, 3, 40), 5 + 3 * rng.normal(size=(3, 40))
    scale = exact.scale_under(log_prob, f)
    assert scale.gain > 0
    weights = np.exp(log_prob).ravel()
    z = (scale.apply(f)).ravel()
    assert np.average(z, weights=weights) == pytest.approx(0, abs=1e-12)
    assert np.average(z**2, weights=weights) == pytest.approx(1, abs=1e-12)


def test_a_constant_has_no_scale() -> None:
    with pytest.raises(ValueError, match="f is constant"):
        exact.scale_under(UNIFORM, np.full((1, 4), 0.3))


def test_correlation_is_that_of_a_weighted_sample() -> None:
    rng = np.random.default_rng(11)
    log_prob, f = random_policy(rng, 2, 40), rng.normal(size=(2, 40))
    g = f + rng.normal(size=(2, 40))
    covariance = np.cov(f.ravel(), g.ravel(), aweights=np.exp(log_prob).ravel(), bias=True)
    expected = covariance[0, 1] / math.sqrt(covariance[0, 0] * covariance[1, 1])
    assert exact.correlation(log_prob, f, g) == pytest.approx(expected, abs=1e-12)


def brute_pair_accuracy(log_prob: Floats, score: Floats, gold: Floats, scale: float) -> float:
    right = counted = 0.0
    for q in range(len(log_prob)):
        for i, j in itertools.product(range(log_prob.shape[1]), repeat=2):
            p = math.exp(log_prob[q, i] + log_prob[q, j])
            if math.isinf(scale):
                if gold[q, i] == gold[q, j]:
                    continue
                label = float(gold[q, i] > gold[q, j])
            else:
                label = 1 / (1 + math.exp(-scale * (gold[q, i] - gold[q, j])))
            judged = 0.5 * (1 + np.sign(score[q, i] - score[q, j]))
            right += p * (judged * label + (1 - judged) * (1 - label))
            counted += p
    return right / counted


@pytest.mark.parametrize("scale", [0.5, 1.0, math.inf])
@pytest.mark.parametrize("ties_in_score", [False, True])
def test_the_accuracy_of_a_score_is_the_sum_over_all_pairs(
    scale: float, ties_in_score: bool
) -> None:
    rng = np.random.default_rng(12)
    log_prob, gold = random_policy(rng, 2, 15), rng.integers(5, size=(2, 15)).astype(float)
    score = gold + 2 * rng.normal(size=gold.shape)
    if ties_in_score:
        score = score.round()
    expected = brute_pair_accuracy(log_prob, score, gold, scale)
    assert exact.pair_accuracy(log_prob, score, gold, scale) == pytest.approx(expected, abs=1e-12)


@pytest.mark.claim(39)
def test_gold_is_as_right_as_its_noisy_labels_allow() -> None:
    # Two equally likely responses one unit apart: half of the pairs tie.
    log_prob = np.log([[0.5, 0.5]])
    expected = 0.5 * 0.5 + 0.5 / (1 + math.exp(-2.0))
    gold = np.array([[0.0, 1.0]])
    assert exact.bayes_accuracy(log_prob, gold, scale=2.0) == pytest.approx(expected, abs=1e-12)
    rng = np.random.default_rng(13)
    log_prob, gold = random_policy(rng, 1, 20), rng.normal(size=(1, 20))
    ceiling = exact.bayes_accuracy(log_prob, gold)
    for _ in range(50):
        score = gold + rng.normal(size=gold.shape)
        assert exact.pair_accuracy(log_prob, score, gold) <= ceiling + 1e-12
    assert exact.pair_accuracy(log_prob, -gold, gold) == pytest.approx(1 - ceiling, abs=1e-12)
    assert exact.pair_accuracy(log_prob, gold, gold, math.inf) == pytest.approx(1.0)


def test_the_bayes_accuracy_is_that_of_sampled_preferences(
    full: Enumerated,
) -> None:
    task, _, reference, gold = full
    scale = exact.scale_under(reference, gold)
    rng, n = np.random.default_rng(14), 40_000
    prompts = task.sample_prompts(rng, n)
    first, second = (
        scale.apply(task.gold(prompts, task.demonstrate(rng, prompts))) for _ in range(2)
    )
    label = rng.random(n) < 1 / (1 + np.exp(second - first))
    right = np.where(first == second, 0.5, (first > second) == label)
    expected = exact.bayes_accuracy(reference, scale.apply(gold))
    assert abs(right.mean() - expected) < 4 * right.std() / math.sqrt(n)
    assert expected == pytest.approx(0.72, abs=1e-3)  # what the constants were chosen for
