"""Weights of GPT-2 in our own transformer: the logits are those of transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from rlkit.errors import UsageError
from rlkit.rlhf.models.gpt2_weights import gpt2_state, load_gpt2_weights
from rlkit.rlhf.models.layers import torch_seeded
from tests.rlhf.models.test_gpt import (
    CONTEXT,
    FLOAT32,
    VOCAB,
    largest,
    logits_of,
    our_gpt2,
    random_tokens,
)


def huggingface_gpt2() -> Any:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        vocab_size=VOCAB,
        n_positions=CONTEXT,
        n_embd=32,
        n_layer=3,
        n_head=4,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch_seeded(5):
        model = transformers.GPT2LMHeadModel(config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_logits_are_those_of_huggingface_gpt2_with_the_same_weights(
    tied: bool, padded: bool
) -> None:
    theirs, ours = huggingface_gpt2(), our_gpt2(tied=tied)
    load_gpt2_weights(ours, theirs.state_dict())
    tokens = random_tokens(5, 12, high=VOCAB)
    real = torch.arange(12) >= torch.tensor([0, 11, 3, 7, 1])[:, None]
    options: dict[str, Any] = {}
    if padded:
        positions = (real.long().cumsum(1) - 1).clamp(min=0)
        options = {"attention_mask": real.long(), "position_ids": positions}
    with torch.no_grad():
        expected = theirs(tokens, **options).logits
    got = logits_of(ours, tokens, real if padded else None)
    assert largest(expected) > 1
    assert largest((got - expected)[real]) < FLOAT32


@pytest.mark.parametrize("tied", [False, True])
def test_weights_go_back_to_huggingface_gpt2_as_they_came(tied: bool) -> None:
    theirs, ours = huggingface_gpt2(), our_gpt2(tied=tied)
    load_gpt2_weights(ours, theirs.state_dict())
    back = gpt2_state(ours)
    original = theirs.state_dict()
    assert set(original) - set(back) == ({"lm_head.weight"} if tied else set())
    assert all(torch.equal(original[name], tensor) for name, tensor in back.items())
    with pytest.raises(UsageError, match="logits for all 13"):
        gpt2_state(our_gpt2(num_actions=VOCAB - 1))
    with pytest.raises(UsageError, match="gelu_tanh"):
        gpt2_state(our_gpt2(activation="gelu"))


def test_gpt2_weights_of_another_size_are_rejected_by_name() -> None:
    state = huggingface_gpt2().state_dict()
    with pytest.raises(UsageError, match=r"wte\.weight.*\(20, 32\).*\(13, 32\)"):
        load_gpt2_weights(our_gpt2(vocab_size=20), state)
    with pytest.raises(UsageError, match=r"h\.3\.ln_1\.weight.*got nothing"):
        load_gpt2_weights(our_gpt2(num_layers=4), state)
    with pytest.raises(UsageError, match="gelu_tanh"):
        load_gpt2_weights(our_gpt2(activation="gelu"), state)
