"""The list of all responses, and a model's probabilities of them, against scoring one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlkit.rlhf.data.sequences import from_arrays, response_log_probs
from rlkit.rlhf.exact import enumeration
from rlkit.rlhf.exact import optimum as exact
from rlkit.rlhf.models.gpt import GPT, GPTConfig
from rlkit_envs.enumerable import EnumerableTask
from tests.rlhf.exact.tables import Enumerated, random_policy, small


def model_for(task: EnumerableTask, seed: int = 0, **options: float) -> GPT:
    """A GPT whose weights are large enough to make its probabilities depend on the text."""
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


# --- the list of responses ------------------------------------------------------------------------


def test_there_are_19531_responses_of_five_tokens_and_six_places(
    full: Enumerated,
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
def test_the_index_of_an_invalid_response_is_rejected(bad: int) -> None:
    completions = enumeration.all_completions(4, 1, 3, 9)
    with pytest.raises(ValueError, match=f"token {bad} in a response is not an action"):
        completions.index(np.array([[0, bad, 1]]))


@pytest.mark.parametrize(("eos", "pad", "length"), [(4, 4, 3), (0, 2, 3), (-1, 4, 3), (0, 4, 0)])
def test_a_pad_that_is_an_action_is_rejected(eos: int, pad: int, length: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= eos < num_actions <= pad"):
        enumeration.all_completions(4, eos, length, pad)


# --- log-probabilities of a model -----------------------------------------------------------------


def test_enumerated_probabilities_of_a_model_add_up_to_one(
    full: Enumerated,
) -> None:
    task, completions = full[:2]
    log_prob = enumeration.completion_log_probs(model_for(task), task.prompts, completions)
    assert log_prob.shape == (4, 19_531)
    # 2e-7 is float32; each token's distribution is normalised in float64.
    np.testing.assert_allclose(np.exp(log_prob).sum(1), 1, rtol=0, atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_enumeration_agrees_with_scoring_each_response_alone(temperature: float) -> None:
    task, completions, *_ = small()
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
    task, completions, *_ = small()
    model = model_for(task)
    whole = enumeration.all_token_log_probs(model, task.prompts, completions, chunk=1000)
    parts = enumeration.all_token_log_probs(model, task.prompts, completions, chunk=chunk)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)  # float32, other shapes of matrices


def test_enumeration_switches_dropout_off_and_restores_the_mode() -> None:
    task, completions, *_ = small()
    model = model_for(task, dropout=0.5).train()
    first = enumeration.completion_log_probs(model, task.prompts, completions)
    assert model.training
    np.testing.assert_array_equal(
        first, enumeration.completion_log_probs(model.eval(), task.prompts, completions)
    )
    assert not model.training


def test_distributions_of_tokens_and_of_responses_determine_each_other() -> None:
    rng = np.random.default_rng(0)
    completions = enumeration.all_completions(4, 2, 3, 4)
    log_prob = random_policy(rng, 2, len(completions.responses))
    levels = enumeration.tokens_from_responses(log_prob, completions)
    for level in levels:
        np.testing.assert_allclose(np.exp(level).sum(-1), 1, rtol=1e-12)
    # Float64, sums over 40 responses.
    np.testing.assert_allclose(
        enumeration.responses_from_tokens(levels, completions), log_prob, rtol=0, atol=1e-12
    )


def test_a_prefix_that_is_never_reached_has_no_nan_after_it() -> None:
    completions = enumeration.all_completions(3, 2, 3, 3)
    log_prob = np.full((1, len(completions.responses)), -np.inf)
    log_prob[0, 0] = 0.0  # EOS at once
    levels = enumeration.tokens_from_responses(log_prob, completions)
    assert not any(np.isnan(level).any() for level in levels)
    np.testing.assert_array_equal(enumeration.responses_from_tokens(levels, completions), log_prob)
    best = exact.per_token_optimum(log_prob, np.zeros_like(log_prob), 1.0, completions)
    assert not any(np.isnan(values).any() for values in best.values)
