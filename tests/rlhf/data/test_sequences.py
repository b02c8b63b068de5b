"""The layout of a batch, and that log-probabilities do not depend on it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from rlkit.rlhf.data import sequences as module
from rlkit.rlhf.data.sequences import (
    Sequences,
    batched_log_probs,
    from_arrays,
    pack,
    response_log_probs,
    response_states,
    token_log_probs,
)

EOS, PAD = 6, 7
PROMPTS = [[8], [9, 10, 11], [11, 8, 8, 9, 10]]
RESPONSES = [[0, 1, EOS], [2, 3, 4, 5, 0, 1], [EOS]]
FLOAT32 = 1e-5  # float32 sums in another order


def batch(**widths: int) -> Sequences:
    return pack(PROMPTS, RESPONSES, pad=PAD, **widths)


@pytest.mark.claim(1)
def test_eos_is_an_action_and_nothing_after_it_is() -> None:
    packed = pack([[8]], [[0, 1, EOS]], pad=PAD, max_new_tokens=5)
    assert packed.response_mask.tolist() == [[True, True, True, False, False]]
    assert packed.tokens.tolist() == [[8, 0, 1, EOS, PAD, PAD]]
    assert packed.lengths.tolist() == [3]


def test_prompts_end_and_responses_start_at_the_same_column() -> None:
    packed = batch()
    assert packed.prompt_length == 5
    for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
        assert packed.prompts[row, 5 - len(prompt) :].tolist() == prompt
        assert packed.prompt_mask[row].tolist() == [False] * (5 - len(prompt)) + [True] * len(
            prompt
        )
        assert packed.responses[row, : len(response)].tolist() == response
    assert (packed.tokens == PAD).sum() == 6 + 8  # left, and right


def test_arrays_with_padding_are_the_same_batch() -> None:
    packed = batch()
    again = from_arrays(packed.prompts.numpy(), packed.responses.numpy(), pad=PAD)
    for ours, theirs in zip(packed, again, strict=True):
        assert torch.equal(ours, theirs)


def test_only_padding_on_the_left_needs_a_mask() -> None:
    real = batch().token_mask()
    assert real is not None
    assert real[:, 5:].all()  # what is on the right is never looked at
    assert pack([[8], [9]], [[0], [1, EOS]], pad=PAD).token_mask() is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[8]], [[0], [1]]), "1 prompts, but 2 responses"),
        (([[8], []], [[0], [1]]), "prompt of row 1 is empty"),
        (([[8, 8]], [[0]], {"prompt_length": 1}), "row 0 has 2 prompt"),
        (([[8]], [[0, 1]], {"max_new_tokens": 1}), "2 response tokens"),
    ],
)
def test_ids_that_do_not_fit_are_rejected(arguments: Any, message: str) -> None:
    prompts, responses, *options = arguments
    with pytest.raises(ValueError, match=message):
        pack(prompts, responses, pad=PAD, **(options[0] if options else {}))


@pytest.mark.claim(10)
@pytest.mark.parametrize("temperature", [0.7, 1.0])
@pytest.mark.parametrize("widths", [{}, {"prompt_length": 9}, {"max_new_tokens": 14}])
def test_a_response_has_the_log_probability_it_has_alone(
    ragged: Any, widths: dict[str, int], temperature: float
) -> None:
    packed = batch(**widths)
    with torch.no_grad():
        log_prob, entropy, hidden = response_log_probs(ragged.reference, packed, temperature)
        for row, (prompt, response) in enumerate(zip(PROMPTS, RESPONSES, strict=True)):
            # Alone and without padding, one token at a time, in float64 after the model.
            for t, token in enumerate(response):
                state = ragged.reference(torch.tensor([prompt + response[:t]]))[0, -1]
                law = (ragged.reference.unembed(state).double() / temperature).log_softmax(0)
                assert float(log_prob[row, t]) == pytest.approx(float(law[token]), abs=FLOAT32)
                expected = -float((law.exp() * law).sum())
                assert float(entropy[row, t]) == pytest.approx(expected, abs=FLOAT32)
                torch.testing.assert_close(hidden[row, t], state, atol=1e-4, rtol=0)
            assert not log_prob[row, len(response) :].any()
            assert not entropy[row, len(response) :].any()


def test_a_state_one_column_late_is_noticed(ragged: Any) -> None:
    packed = batch()
    with torch.no_grad():
        right, _, _ = response_log_probs(ragged.reference, packed)
        hidden = ragged.reference(packed.tokens, token_mask=packed.token_mask())[
            :, packed.prompt_length :
        ]
        late, _ = token_log_probs(
            ragged.reference.unembed(hidden), packed.responses, packed.response_mask, 1.0
        )
    assert float((late - right).abs().max()) > 0.5


@pytest.mark.parametrize("garbage", [0, PAD, 11])
def test_what_stands_after_the_end_does_not_matter(ragged: Any, garbage: int) -> None:
    packed = batch(max_new_tokens=8)
    tokens = packed.tokens.clone()
    tokens[:, 5:][~packed.response_mask] = garbage
    with torch.no_grad():
        before, _, _ = response_log_probs(ragged.reference, packed)
        after, _, _ = response_log_probs(ragged.reference, packed._replace(tokens=tokens))
    assert torch.equal(before, after)


def test_padding_leaves_no_nan_and_no_gradient() -> None:
    logits = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    tokens = torch.tensor([[1, 2, 99], [3, 99, 99]])  # 99 is no action
    log_prob, entropy = token_log_probs(logits, tokens, mask, 1.3)
    (log_prob.sum() + entropy.sum()).backward()
    assert logits.grad is not None
    assert not logits.grad[~mask].any()
    assert logits.grad[mask].isfinite().all()


def test_equal_logits_make_all_actions_equally_likely_at_any_temperature() -> None:
    tokens, mask = torch.tensor([[0, 2]]), torch.ones(1, 2, dtype=torch.bool)
    for temperature in (0.5, 1.0, 2.0):
        log_prob, entropy = token_log_probs(torch.zeros(1, 2, 5), tokens, mask, temperature)
        assert log_prob[0].tolist() == pytest.approx([-math.log(5)] * 2, abs=1e-6)
        assert entropy[0].tolist() == pytest.approx([math.log(5)] * 2, abs=1e-6)


def test_rows_are_selected_from_every_part() -> None:
    packed = batch()
    some = packed.select(np.array([2, 0]))
    assert torch.equal(some.tokens, packed.tokens[[2, 0]])
    assert torch.equal(some.response_mask, packed.response_mask[[2, 0]])
    assert torch.equal(some.prompt_mask, packed.prompt_mask[[2, 0]])


def test_batches_joined_are_what_was_split() -> None:
    packed = batch()
    batches = list(packed.split(2))
    assert [len(part.tokens) for part in batches] == [2, 1]
    for ours, theirs in zip(Sequences.concatenate(batches), packed, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("batch_size", [1, 2, 512])
def test_log_probs_in_batches_are_those_of_all_without_dropout_or_gradient(
    ragged: Any, batch_size: int
) -> None:
    packed = batch()
    model = ragged.policy()
    model.blocks[0].dropout = 0.5
    expected, _, _ = response_log_probs(model.eval(), packed, 0.7)
    assert not torch.equal(response_log_probs(model.train(), packed, 0.7)[0], expected)
    got = batched_log_probs(model, packed, 0.7, batch_size=batch_size)
    torch.testing.assert_close(got, expected, atol=FLOAT32, rtol=0)
    assert not got.requires_grad
    assert model.training


def test_states_are_those_before_each_token(ragged: Any) -> None:
    packed = batch()
    with torch.no_grad():
        states = response_states(ragged.reference, packed)
        changed = packed.tokens.clone()
        changed[1, 5 + 3] = 0  # the fourth token of the second response
        moved = response_states(ragged.reference, packed._replace(tokens=changed))
    differs = (states != moved).any(2)
    assert differs.nonzero().tolist() == [[1, 4], [1, 5]]


@pytest.mark.parametrize("at_once", [1, 20, 49])
def test_logits_in_parts_give_the_same_log_probs_entropies_and_gradients(
    ragged: Any, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    packed = batch()

    def results() -> tuple[list[Any], list[int]]:
        model = ragged.policy()
        sizes: list[int] = []
        original = model.unembed

        def counted(hidden: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = original(hidden)
            sizes.append(logits.numel())
            return logits

        model.unembed = counted
        log_prob, entropy, _ = response_log_probs(model, packed, 0.7)
        (log_prob.sum() + (0.3 * entropy).sum()).backward()
        return [log_prob, entropy, *(p.grad for p in model.parameters())], sizes

    whole, sizes = results()
    assert sizes == [whole[0].numel() * 7]
    monkeypatch.setattr(module, "LOGITS_AT_ONCE", at_once)
    parts, sizes = results()
    assert max(sizes) <= max(at_once, 7)
    assert sum(sizes) == 2 * whole[0].numel() * 7  # once more in the backward pass
    for ours, theirs in zip(parts, whole, strict=True):
        torch.testing.assert_close(ours, theirs, atol=FLOAT32, rtol=1e-5)
