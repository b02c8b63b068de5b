"""Best of n and frontiers, against sums over all draws, samples and limits."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from rlkit.rlhf.exact import best_of_n
from rlkit.rlhf.exact import optimum as exact
from tests.rlhf.exact.tables import RAMP, UNIFORM, Enumerated, Floats, random_policy


def brute_best_of_n(log_prob: Floats, reward: Floats, n: int) -> Floats:
    """All C^n tuples; the ties of a tuple share its probability evenly."""
    result = np.zeros(len(log_prob))
    for draws in itertools.product(range(len(log_prob)), repeat=n):
        best = [y for y in draws if reward[y] == max(reward[list(draws)])]
        for y in best:
            result[y] += math.exp(sum(log_prob[list(draws)])) / len(best)
    return result


@pytest.mark.claim(47)
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_best_of_n_is_the_sum_over_all_draws(n: int) -> None:
    rng = np.random.default_rng(4)
    log_prob = random_policy(rng, 2, 6)
    reward = rng.integers(3, size=(2, 6)).astype(float)
    best = np.exp(best_of_n.best_of_n(log_prob, reward, n))
    for q in range(2):
        expected = brute_best_of_n(log_prob[q], reward[q], n)
        np.testing.assert_allclose(best[q], expected, rtol=1e-12)


@pytest.mark.claim(47)
def test_best_of_n_agrees_with_sampling(
    full: Enumerated,
) -> None:
    _, _, reference, gold = full
    rng = np.random.default_rng(5)
    n, trials = 8, 20_000
    best = best_of_n.best_of_n(reference, gold, n)
    draws = rng.choice(reference.shape[1], size=(trials, n), p=np.exp(reference[0]))
    # Independent draws: taking the first of the best ones breaks ties evenly.
    chosen = draws[np.arange(trials), gold[0, draws].argmax(1)]
    measured, expected = gold[0, chosen], exact.expectation(best, gold)[0]
    error = measured.std() / math.sqrt(trials)
    assert abs(measured.mean() - expected) < 4 * error
    for value in np.unique(gold[0]):
        p = np.exp(best[0, gold[0] == value]).sum()
        error = math.sqrt(p * (1 - p) / trials)
        assert abs((measured == value).mean() - p) < 4 * error + 1e-4  # groups seen once or never
    # Within the best group the choice follows the reference.
    top = gold[0] == gold[0].max()
    shares = np.exp(reference[0, top]) / np.exp(reference[0, top]).sum()
    hits = top[chosen]
    likeliest = np.flatnonzero(top)[shares.argmax()]
    p = shares.max()
    error = math.sqrt(p * (1 - p) / hits.sum())
    assert abs((chosen[hits] == likeliest).mean() - p) < 4 * error


@pytest.mark.parametrize("n", [1, 2.5, 16, 1024, 16384, 1e6])
def test_the_distribution_of_best_of_n_adds_up_to_one(n: float, full: Enumerated) -> None:
    _, _, reference, gold = full
    noise = np.random.default_rng(6).normal(size=gold.shape)
    for reward in (gold, gold + noise):
        total = np.exp(best_of_n.best_of_n(reference, reward, n)).sum(1)
        # F carries about 1e-16 per response, and F^n n times as much.
        np.testing.assert_allclose(total, 1, rtol=0, atol=1e-12 + 1e-15 * n)


def test_best_of_one_is_the_policy_itself() -> None:
    rng = np.random.default_rng(7)
    log_prob, reward = random_policy(rng, 2, 20), rng.normal(size=(2, 20))
    np.testing.assert_allclose(best_of_n.best_of_n(log_prob, reward, 1), log_prob, atol=1e-12)


def test_best_of_many_is_the_policy_among_the_best() -> None:
    log_prob = np.log([[0.5, 0.1, 0.3, 0.1]])
    best = np.exp(best_of_n.best_of_n(log_prob, np.array([[0.0, 2.0, 2.0, 1.0]]), 1e4))
    np.testing.assert_allclose(best, [[0, 0.25, 0.75, 0]], atol=1e-12)


def test_best_of_n_survives_probabilities_that_underflow() -> None:
    log_prob = np.array([[math.log(0.5), math.log(0.5), -800.0, -np.inf]])
    best = best_of_n.best_of_n(log_prob, np.array([[0.0, 1.0, 2.0, 3.0]]), 4)
    # The limit of (F^n - F-^n) / (F - F-) is n F^(n-1) = 4 at the top.
    assert best[0, 2] == pytest.approx(-800 + math.log(4))
    assert best[0, 3] == -np.inf
    np.testing.assert_allclose(np.exp(best[0, :2]), [1 / 16, 15 / 16], rtol=1e-12)
    for n in (1, 2):
        upside_down = best_of_n.best_of_n(log_prob, np.array([[2.0, 1.0, 0.0, 3.0]]), n)
        assert not np.isnan(upside_down).any()
        assert np.exp(upside_down[0, :2]).sum() == pytest.approx(1)


@pytest.mark.claim(48)
@pytest.mark.parametrize("n", [2, 16, 1024, 16384])
def test_the_bound_on_the_kl_of_best_of_n_is_never_below_the_exact_kl(
    n: int, full: Enumerated
) -> None:
    _, _, reference, gold = full
    for reward in (gold, np.random.default_rng(8).normal(size=gold.shape)):
        divergence = exact.kl(best_of_n.best_of_n(reference, reward, n), reference)
        assert (divergence <= best_of_n.best_of_n_kl_bound(n) + 1e-12).all()


def test_without_ties_and_with_fine_probabilities_the_bound_is_tight() -> None:
    log_prob = np.full((1, 100_000), -math.log(100_000))
    best = best_of_n.best_of_n(log_prob, np.arange(100_000.0)[None], 16)
    # The sum over a grid of 1e5 is the integral within n^2 / 1e5.
    assert exact.kl(best, log_prob)[0] == pytest.approx(best_of_n.best_of_n_kl_bound(16), abs=1e-3)


@pytest.mark.claim(48)
def test_with_ties_the_bound_is_far_above_the_exact_kl(
    full: Enumerated,
) -> None:
    _, _, reference, gold = full
    divergence = exact.kl(best_of_n.best_of_n(reference, gold, 1024), reference).mean()
    top = np.where(gold == gold.max(1, keepdims=True), reference, -np.inf)
    limit = -np.log(np.exp(top).sum(1)).mean()  # the policy among the best responses
    assert divergence == pytest.approx(limit, abs=0.05)
    assert divergence == pytest.approx(4.663, rel=0.02)  # a prototype with other constants
    assert best_of_n.best_of_n_kl_bound(1024) == pytest.approx(5.932, abs=5e-4)  # and its bound
    assert best_of_n.best_of_n_kl_bound(1024) - divergence > 1.0


def test_forgetting_that_responses_can_tie_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    unique = np.unique

    def no_ties(values: Floats, **kwargs: bool) -> tuple[Floats, NDArray[np.int64]]:
        return unique(values + 1e-9 * np.arange(len(values)), **kwargs)

    monkeypatch.setattr(exact.np, "unique", no_ties)
    with pytest.raises(AssertionError):
        test_best_of_n_is_the_sum_over_all_draws(3)


@pytest.mark.parametrize("n", [0, 0.5, -1])
def test_less_than_one_draw_has_no_best(n: float) -> None:
    with pytest.raises(ValueError, match="expected n >= 1"):
        best_of_n.best_of_n(UNIFORM, RAMP, n)


# --- frontiers ------------------------------------------------------------------------------------


def test_a_frontier_is_the_mean_over_prompts_of_its_policies() -> None:
    rng = np.random.default_rng(9)
    reference, proxy, gold = random_policy(rng, 3, 20), *rng.normal(size=(2, 3, 20))
    cases: list[tuple[Callable[..., best_of_n.Frontier], float, Floats]] = [
        (best_of_n.tilted_frontier, 0.5, exact.optimum(reference, proxy, 0.5).log_prob),
        (best_of_n.best_of_n_frontier, 4, best_of_n.best_of_n(reference, proxy, 4)),
    ]
    for function, setting, log_prob in cases:
        frontier = function(reference, proxy, gold, [1.0, setting])
        p = np.exp(log_prob)
        assert frontier.setting.tolist() == [1.0, setting]
        assert frontier.kl[1] == pytest.approx((p * (log_prob - reference)).sum(1).mean())
        assert frontier.proxy[1] == pytest.approx((p * proxy).sum(1).mean())
        assert frontier.gold[1] == pytest.approx((p * gold).sum(1).mean())


def test_the_frontier_of_gold_is_what_the_constants_were_chosen_for(
    full: Enumerated,
) -> None:
    _, _, reference, gold = full
    scale = exact.scale_under(reference, gold)
    z = scale.apply(gold)
    frontier = best_of_n.tilted_frontier(reference, z, z, [1.0, 0.5, 0.3, 0.2, 0.1, 1e-3])
    # A prototype with other constants had these; a few per cent away is near enough.
    np.testing.assert_allclose(frontier.kl, [0.336, 0.998, 1.98, 3.059, 4.473, 4.664], rtol=0.06)
    np.testing.assert_allclose(frontier.gold, [0.743, 1.195, 1.571, 1.836, 2.052, 2.068], rtol=0.05)


def test_kl_and_reward_of_the_best_policy_grow_as_the_penalty_falls(
    full: Enumerated,
) -> None:
    _, _, reference, gold = full
    inverse = np.geomspace(0.1, 50, 30)
    frontier = best_of_n.tilted_frontier(reference, gold, gold, [1 / x for x in inverse])
    assert (np.diff(frontier.kl) > 0).all()
    assert (np.diff(frontier.proxy) > 0).all()
