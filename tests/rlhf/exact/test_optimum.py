"""Exact sums over all responses, against closed forms, slow twins and Monte Carlo."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from envs.enumerable import EnumerableTask
from rlkit.rlhf.data.sequences import from_arrays, response_log_probs
from rlkit.rlhf.exact import best_of_n, enumeration
from rlkit.rlhf.exact import optimum as exact
from rlkit.rlhf.models.gpt import GPT, GPTConfig

Floats = NDArray[np.float64]

# Four responses of one token, uniform reference, rewards 0 to 3.
UNIFORM = np.log(np.full((1, 4), 0.25))
RAMP = np.arange(4.0)[None]


def softmax_law(rng: np.random.Generator, *shape: int) -> Floats:
    """A random policy with probabilities over several orders of magnitude."""
    logits = 2 * rng.normal(size=shape)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def small() -> tuple[EnumerableTask, enumeration.Completions]:
    task = EnumerableTask(num_content=3, num_prompts=2, max_new_tokens=3)
    return task, enumeration.all_completions(
        task.num_actions, task.eos, task.max_new_tokens, task.pad
    )


def tabulate(task: EnumerableTask, completions: enumeration.Completions) -> tuple[Floats, Floats]:
    """log-probability under the generator, and gold, of every response to every prompt."""
    count = len(completions.responses)
    prompts = np.repeat(task.prompts, count, axis=0)
    responses = np.tile(completions.responses, (task.num_prompts, 1))
    shape = (task.num_prompts, count)
    return (
        task.generator_log_prob(prompts, responses).reshape(shape),
        task.gold(prompts, responses).reshape(shape),
    )


@pytest.fixture(scope="module")
def full() -> tuple[EnumerableTask, enumeration.Completions, Floats, Floats]:
    task = EnumerableTask()
    completions = enumeration.all_completions(6, 5, 6, 6)
    return task, completions, *tabulate(task, completions)


def model_for(task: EnumerableTask, seed: int = 0, **options: float) -> GPT:
    """A GPT whose weights are large enough for its law to depend strongly on the text."""
    config = GPTConfig(
        vocab_size=task.vocab_size,
        num_actions=task.num_actions,
        context_length=task.prompt_length + task.max_new_tokens,
        width=16,
        num_layers=2,
        num_heads=2,
        dropout=options.get("dropout", 0.0),
    )
    model = GPT(config, np.random.default_rng(seed))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


# The list of responses.


def test_there_are_19531_responses_of_five_tokens_and_six_places(
    full: tuple[EnumerableTask, enumeration.Completions, Floats, Floats],
) -> None:
    completions = full[1]
    assert len(completions.responses) == 19_531
    assert completions.ended.sum() == 3_906
    assert len(np.unique(completions.responses, axis=0)) == 19_531


@pytest.mark.parametrize("eos", [0, 1, 3])
def test_the_list_of_responses_is_what_writing_in_all_ways_gives(eos: int) -> None:
    def write(prefix: tuple[int, ...]) -> list[tuple[int, ...]]:
        if len(prefix) == 3 or (prefix and prefix[-1] == eos):
            return [prefix]
        return [text for token in range(4) for text in write((*prefix, token))]

    completions = enumeration.all_completions(4, eos, 3, 9)
    expected = {(*text, 9, 9, 9)[:3]: len(text) for text in write(())}
    rows = [tuple(row) for row in completions.responses.tolist()]
    assert dict(zip(rows, completions.lengths.tolist(), strict=True)) == expected
    assert [eos in row for row in rows] == completions.ended.tolist()


def test_the_index_of_a_response_ignores_what_follows_eos() -> None:
    completions = enumeration.all_completions(4, 1, 3, 9)
    count = np.arange(len(completions.responses))
    np.testing.assert_array_equal(completions.index(completions.responses), count)
    garbage = np.where(completions.responses == 9, 2, completions.responses)
    np.testing.assert_array_equal(completions.index(garbage), count)


@pytest.mark.parametrize("bad", [-1, 4, 9, 100])
def test_the_index_of_what_is_no_response_is_refused(bad: int) -> None:
    completions = enumeration.all_completions(4, 1, 3, 9)
    with pytest.raises(ValueError, match=f"token {bad} in a response is not an action"):
        completions.index(np.array([[0, bad, 1]]))


@pytest.mark.parametrize(("eos", "pad", "length"), [(4, 4, 3), (0, 2, 3), (-1, 4, 3), (0, 4, 0)])
def test_a_pad_that_is_an_action_is_refused(eos: int, pad: int, length: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= eos < num_actions <= pad"):
        enumeration.all_completions(4, eos, length, pad)


# Log-probabilities of a model.


def test_enumerated_probabilities_of_a_model_add_up_to_one(
    full: tuple[EnumerableTask, enumeration.Completions, Floats, Floats],
) -> None:
    task, completions = full[:2]
    log_prob = enumeration.completion_log_probs(model_for(task), task.prompts, completions)
    assert log_prob.shape == (4, 19_531)
    # 2e-7 is float32; the law of each token is normalised in float64.
    np.testing.assert_allclose(np.exp(log_prob).sum(1), 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_enumeration_agrees_with_scoring_each_response_alone(temperature: float) -> None:
    task, completions = small()
    model = model_for(task)
    table = enumeration.completion_log_probs(model, task.prompts, completions, temperature)
    for q, prompt in enumerate(task.prompts):
        for c, response in enumerate(completions.responses):
            sequence = from_arrays(prompt[None], response[None], pad=task.pad)
            with torch.no_grad():
                alone = response_log_probs(model, sequence, temperature)[0].sum()
            assert table[q, c] == pytest.approx(alone.item(), abs=1e-5)  # float32


@pytest.mark.parametrize("chunk", [1, 2, 4, 9])
def test_the_size_of_the_chunks_changes_nothing(chunk: int) -> None:
    task, completions = small()
    model = model_for(task)
    whole = enumeration.all_token_log_probs(model, task.prompts, completions, chunk=1000)
    parts = enumeration.all_token_log_probs(model, task.prompts, completions, chunk=chunk)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)  # float32, other shapes of matrices


def test_enumeration_switches_dropout_off_and_restores_the_mode() -> None:
    task, completions = small()
    model = model_for(task, dropout=0.5).train()
    first = enumeration.completion_log_probs(model, task.prompts, completions)
    assert model.training
    np.testing.assert_array_equal(
        first, enumeration.completion_log_probs(model.eval(), task.prompts, completions)
    )
    assert not model.training


def test_laws_of_tokens_and_of_responses_are_two_forms_of_the_same() -> None:
    rng = np.random.default_rng(0)
    completions = enumeration.all_completions(4, 2, 3, 4)
    log_prob = softmax_law(rng, 2, len(completions.responses))
    laws = enumeration.tokens_from_responses(log_prob, completions)
    for law in laws:
        np.testing.assert_allclose(np.exp(law).sum(-1), 1, rtol=1e-12)
    # Float64, sums over 40 responses.
    np.testing.assert_allclose(
        enumeration.responses_from_tokens(laws, completions), log_prob, rtol=0, atol=1e-12
    )


def test_a_prefix_that_is_never_reached_has_no_nan_after_it() -> None:
    completions = enumeration.all_completions(3, 2, 3, 3)
    log_prob = np.full((1, len(completions.responses)), -np.inf)
    log_prob[0, 0] = 0.0  # EOS at once
    laws = enumeration.tokens_from_responses(log_prob, completions)
    assert not any(np.isnan(law).any() for law in laws)
    np.testing.assert_array_equal(enumeration.responses_from_tokens(laws, completions), log_prob)
    best = exact.per_token_optimum(log_prob, np.zeros_like(log_prob), 1.0, completions)
    assert not any(np.isnan(values).any() for values in best.values)


# The optimum.


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
def test_what_a_policy_misses_is_its_kl_to_the_best(kl_coef: float) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        reference, policy = softmax_law(rng, 2, 3, 50)
        reward = rng.normal(size=(3, 50))
        best = exact.optimum(reference, reward, kl_coef)
        missed = best.value - exact.objective(policy, reference, reward, kl_coef)
        np.testing.assert_allclose(
            missed, kl_coef * exact.kl(policy, best.log_prob), rtol=0, atol=1e-10
        )
        assert (missed > 0).all()


def test_no_policy_exceeds_the_best_and_only_the_best_reaches_it() -> None:
    rng = np.random.default_rng(2)
    reference, reward = softmax_law(rng, 1, 30), rng.normal(size=(1, 30))
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
    task, completions = small()
    log_prob, gold = tabulate(task, completions)
    best = exact.optimum(log_prob, gold, 0.3)
    stepwise = exact.per_token_optimum(log_prob, gold, 0.3, completions)
    np.testing.assert_allclose(stepwise.values[0][:, 0], best.value, rtol=0, atol=1e-12)
    for law in stepwise.log_prob:
        np.testing.assert_allclose(np.exp(law).sum(-1), 1, rtol=1e-12)
    product = enumeration.responses_from_tokens(stepwise.log_prob, completions)
    np.testing.assert_allclose(product, best.log_prob, rtol=0, atol=1e-12)


def test_the_value_of_a_prefix_is_the_best_objective_of_what_follows() -> None:
    rng = np.random.default_rng(3)
    completions = enumeration.all_completions(3, 0, 3, 3)
    reference = softmax_law(rng, 1, len(completions.responses))
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


def test_kl_and_reward_of_the_best_policy_grow_as_the_penalty_falls(
    full: tuple[EnumerableTask, enumeration.Completions, Floats, Floats],
) -> None:
    _, _, reference, gold = full
    inverse = np.geomspace(0.1, 50, 30)
    frontier = best_of_n.tilted_frontier(reference, gold, gold, [1 / x for x in inverse])
    assert (np.diff(frontier.kl) > 0).all()
    assert (np.diff(frontier.proxy) > 0).all()


def test_the_reward_of_the_best_policy_grows_at_the_rate_of_its_variance(
    full: tuple[EnumerableTask, enumeration.Completions, Floats, Floats],
) -> None:
    _, _, reference, gold = full
    step, inverse = 1e-4, 2.0
    law = exact.optimum(reference, gold, 1 / inverse).log_prob
    mean = exact.expectation(law, gold)
    variance = exact.expectation(law, (gold - mean[:, None]) ** 2)
    low, high = (
        exact.expectation(exact.optimum(reference, gold, 1 / x).log_prob, gold)
        for x in (inverse - step, inverse + step)
    )
    # The third derivative is of order 1, so the central difference is good to about step^2.
    np.testing.assert_allclose((high - low) / (2 * step), variance, rtol=0, atol=1e-7)


# Best of n.


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
    log_prob = softmax_law(rng, 2, 6)
    reward = rng.integers(3, size=(2, 6)).astype(float)
    law = np.exp(best_of_n.best_of_n(log_prob, reward, n))
    for q in range(2):
        expected = brute_best_of_n(log_prob[q], reward[q], n)
        np.testing.assert_allclose(law[q], expected, rtol=1e-12)


@pytest.mark.claim(47)
def test_best_of_n_agrees_with_sampling(
    full: tuple[EnumerableTask, enumeration.Completions, Floats, Floats],
) -> None:
    _, _, reference, gold = full
    rng = np.random.default_rng(5)
    n, trials = 8, 20_000
    law = best_of_n.best_of_n(reference, gold, n)
    draws = rng.choice(reference.shape[1], size=(trials, n), p=np.exp(reference[0]))
    # Independent draws: taking the first of the best ones breaks ties evenly.
    chosen = draws[np.arange(trials), gold[0, draws].argmax(1)]
    measured, expected = gold[0, chosen], exact.expectation(law, gold)[0]
    error = measured.std() / math.sqrt(trials)
    assert abs(measured.mean() - expected) < 4 * error
    for value in np.unique(gold[0]):
        p = np.exp(law[0, gold[0] == value]).sum()
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
def test_the_law_of_best_of_n_adds_up_to_one(
    n: float, full: tuple[EnumerableTask, enumeration.Completions, Floats, Floats]
) -> None:
    _, _, reference, gold = full
    noise = np.random.default_rng(6).normal(size=gold.shape)
    for reward in (gold, gold + noise):
        total = np.exp(best_of_n.best_of_n(reference, reward, n)).sum(1)
        # F carries about 1e-16 per response, and F^n n times as much.
        np.testing.assert_allclose(total, 1, rtol=0, atol=1e-12 + 1e-15 * n)


def test_best_of_one_is_the_policy_itself() -> None:
    rng = np.random.default_rng(7)
    log_prob, reward = softmax_law(rng, 2, 20), rng.normal(size=(2, 20))
    np.testing.assert_allclose(best_of_n.best_of_n(log_prob, reward, 1), log_prob, atol=1e-12)


def test_best_of_many_is_the_policy_among_the_best() -> None:
    log_prob = np.log([[0.5, 0.1, 0.3, 0.1]])
    law = np.exp(best_of_n.best_of_n(log_prob, np.array([[0.0, 2.0, 2.0, 1.0]]), 1e4))
    np.testing.assert_allclose(law, [[0, 0.25, 0.75, 0]], atol=1e-12)


def test_best_of_n_survives_probabilities_that_underflow() -> None:
    log_prob = np.array([[math.log(0.5), math.log(0.5), -800.0, -np.inf]])
    law = best_of_n.best_of_n(log_prob, np.array([[0.0, 1.0, 2.0, 3.0]]), 4)
    # The limit of (F^n - F-^n) / (F - F-) is n F^(n-1) = 4 at the top.
    assert law[0, 2] == pytest.approx(-800 + math.log(4))
    assert law[0, 3] == -np.inf
    np.testing.assert_allclose(np.exp(law[0, :2]), [1 / 16, 15 / 16], rtol=1e-12)
    for n in (1, 2):
        upside_down = best_of_n.best_of_n(log_prob, np.array([[2.0, 1.0, 0.0, 3.0]]), n)
        assert not np.isnan(upside_down).any()
        assert np.exp(upside_down[0, :2]).sum() == pytest.approx(1)


@pytest.mark.claim(48)
@pytest.mark.parametrize("n", [2, 16, 1024, 16384])
def test_the_bound_on_the_kl_of_best_of_n_is_never_below_the_exact_kl(
    n: int, full: tuple[EnumerableTask, enumeration.Completions, Floats, Floats]
) -> None:
    _, _, reference, gold = full
    for reward in (gold, np.random.default_rng(8).normal(size=gold.shape)):
        divergence = exact.kl(best_of_n.best_of_n(reference, reward, n), reference)
        assert (divergence <= best_of_n.best_of_n_kl_bound(n) + 1e-12).all()


def test_without_ties_and_with_fine_probabilities_the_bound_is_tight() -> None:
    log_prob = np.full((1, 100_000), -math.log(100_000))
    law = best_of_n.best_of_n(log_prob, np.arange(100_000.0)[None], 16)
    # The sum over a grid of 1e5 is the integral within n^2 / 1e5.
    assert exact.kl(law, log_prob)[0] == pytest.approx(best_of_n.best_of_n_kl_bound(16), abs=1e-3)


@pytest.mark.claim(48)
def test_with_ties_the_bound_is_far_above_the_exact_kl(
    full: tuple[EnumerableTask, enumeration.Completions, Floats, Floats],
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


# Frontiers, scales and preferences.


def test_a_frontier_is_the_mean_over_prompts_of_its_policies() -> None:
    rng = np.random.default_rng(9)
    reference, proxy, gold = softmax_law(rng, 3, 20), *rng.normal(size=(2, 3, 20))
    laws: list[tuple[Callable[..., best_of_n.Frontier], float, Floats]] = [
        (best_of_n.tilted_frontier, 0.5, exact.optimum(reference, proxy, 0.5).log_prob),
        (best_of_n.best_of_n_frontier, 4, best_of_n.best_of_n(reference, proxy, 4)),
    ]
    for function, setting, law in laws:
        frontier = function(reference, proxy, gold, [1.0, setting])
        p = np.exp(law)
        assert frontier.setting.tolist() == [1.0, setting]
        assert frontier.kl[1] == pytest.approx((p * (law - reference)).sum(1).mean())
        assert frontier.proxy[1] == pytest.approx((p * proxy).sum(1).mean())
        assert frontier.gold[1] == pytest.approx((p * gold).sum(1).mean())


def test_standardising_gives_mean_zero_and_variance_one() -> None:
    rng = np.random.default_rng(10)
    log_prob, f = softmax_law(rng, 3, 40), 5 + 3 * rng.normal(size=(3, 40))
    gain, bias = exact.standardise_under(log_prob, f)
    assert gain > 0
    weights = np.exp(log_prob).ravel()
    z = (gain * f + bias).ravel()
    assert np.average(z, weights=weights) == pytest.approx(0, abs=1e-12)
    assert np.average(z**2, weights=weights) == pytest.approx(1, abs=1e-12)


def test_a_constant_has_no_scale() -> None:
    with pytest.raises(ValueError, match="f is constant"):
        exact.standardise_under(UNIFORM, np.full((1, 4), 0.3))


def test_correlation_is_that_of_a_weighted_sample() -> None:
    rng = np.random.default_rng(11)
    log_prob, f = softmax_law(rng, 2, 40), rng.normal(size=(2, 40))
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
    log_prob, gold = softmax_law(rng, 2, 15), rng.integers(5, size=(2, 15)).astype(float)
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
    log_prob, gold = softmax_law(rng, 1, 20), rng.normal(size=(1, 20))
    ceiling = exact.bayes_accuracy(log_prob, gold)
    for _ in range(50):
        score = gold + rng.normal(size=gold.shape)
        assert exact.pair_accuracy(log_prob, score, gold) <= ceiling + 1e-12
    assert exact.pair_accuracy(log_prob, -gold, gold) == pytest.approx(1 - ceiling, abs=1e-12)
    assert exact.pair_accuracy(log_prob, gold, gold, math.inf) == pytest.approx(1.0)


def test_the_bayes_accuracy_is_that_of_sampled_preferences(
    full: tuple[EnumerableTask, enumeration.Completions, Floats, Floats],
) -> None:
    task, _, reference, gold = full
    gain, bias = exact.standardise_under(reference, gold)
    rng, n = np.random.default_rng(14), 40_000
    prompts = task.sample_prompts(rng, n)
    first, second = (
        gain * task.gold(prompts, task.demonstrate(rng, prompts)) + bias for _ in range(2)
    )
    label = rng.random(n) < 1 / (1 + np.exp(second - first))
    right = np.where(first == second, 0.5, (first > second) == label)
    expected = exact.bayes_accuracy(reference, gain * gold + bias)
    assert abs(right.mean() - expected) < 4 * right.std() / math.sqrt(n)
    assert expected == pytest.approx(0.72, abs=1e-3)  # what the constants were chosen for


def test_the_frontier_of_gold_is_what_the_constants_were_chosen_for(
    full: tuple[EnumerableTask, enumeration.Completions, Floats, Floats],
) -> None:
    _, _, reference, gold = full
    gain, bias = exact.standardise_under(reference, gold)
    z = gain * gold + bias
    frontier = best_of_n.tilted_frontier(reference, z, z, [1.0, 0.5, 0.3, 0.2, 0.1, 1e-3])
    # A prototype with other constants had these; a few per cent away is near enough.
    np.testing.assert_allclose(frontier.kl, [0.336, 0.998, 1.98, 3.059, 4.473, 4.664], rtol=0.06)
    np.testing.assert_allclose(frontier.gold, [0.743, 1.195, 1.571, 1.836, 2.052, 2.068], rtol=0.05)
