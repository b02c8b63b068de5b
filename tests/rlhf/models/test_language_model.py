"""What every language model can do, whichever kind it is; see also `huggingface/test_model.py`."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from rlkit.errors import UsageError
from rlkit.rlhf.models.gpt import GPT, GPTConfig
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.training.reward_model import RewardModel
from rlkit.seeding import SeedStreams

TOKENS = torch.tensor([[0, 3, 2], [1, 1, 4]])


@pytest.fixture
def model() -> GPT:
    config = GPTConfig(vocab_size=6, num_actions=5, context_length=8, width=8, dropout=0.5)
    return GPT(config, np.random.default_rng(0))


@torch.no_grad()
def logits_of(model: LanguageModel) -> Tensor:
    return model.unembed(model(TOKENS))


@torch.no_grad()
def move(model: LanguageModel) -> None:
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(0.1)


def test_a_class_that_lacks_a_method_cannot_be_made() -> None:
    class Half(LanguageModel):
        def unembed(self, hidden: Tensor) -> Tensor:
            return hidden

    with pytest.raises(TypeError, match="abstract"):
        Half()  # type: ignore[abstract]


def test_a_frozen_model_has_no_gradients_and_no_training_mode(model: GPT) -> None:
    expected = logits_of(model.eval())
    assert model.train().training
    assert model.freeze() is model
    assert not any(p.requires_grad for p in model.parameters())
    # A stage that trains a module around it calls train() on all of its parts.
    torch.nn.ModuleList([model]).train()
    assert not any(part.training for part in model.modules())
    assert torch.equal(logits_of(model), expected)
    copied = copy.deepcopy(model).requires_grad_(True)
    assert copied.train().training


def test_a_reference_is_a_frozen_copy_of_the_model_as_it_was(model: GPT) -> None:
    expected = logits_of(model.eval())
    reference = model.train().reference_copy()
    move(model)
    assert torch.equal(logits_of(reference), expected)
    assert not torch.equal(logits_of(model.eval()), expected)
    assert not any(p.requires_grad for p in reference.parameters())
    assert all(p.requires_grad for p in model.parameters())


def test_the_reference_of_an_adapted_model_has_its_adapters(model: GPT) -> None:
    model.add_adapters(2, SeedStreams(0, 0))
    move(model)
    expected = logits_of(model.eval())
    reference = model.reference_copy()
    move(model)
    assert torch.equal(logits_of(reference), expected)


def test_adapters_come_from_the_streams_of_the_seed_scaled_by_two(model: GPT) -> None:
    state = torch.get_rng_state()
    first, same, other = (copy.deepcopy(model) for _ in range(3))
    for each, seed in ((first, 3), (same, 3), (other, 4)):
        each.add_adapters(2, SeedStreams(0, seed))
        move(each)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(logits_of(first.eval()), logits_of(same.eval()))
    assert not torch.equal(logits_of(first), logits_of(other.eval()))
    layer = first.get_submodule("blocks.0.attention.qkv")
    assert layer.scale == 2.0


def test_adapters_are_switched_off_and_folded_through_the_model(model: GPT) -> None:
    base = logits_of(model.eval())
    model.add_adapters(2, SeedStreams(0, 0))
    assert sum(p.requires_grad for p in model.parameters()) == 16
    move(model)
    adapted = logits_of(model)
    assert not torch.equal(adapted, base)
    with model.adapters_off():
        assert torch.equal(logits_of(model), base)
    model.fold_adapters()
    # The same sum, W + (alpha / rank) B A, is now computed once.
    assert torch.equal(logits_of(model), adapted)
    assert all(p.requires_grad for p in model.parameters())


def test_inputs_that_do_not_fit_are_rejected(model: GPT) -> None:
    with pytest.raises(UsageError, match=r"9 tokens exceed.*context_length of 8"):
        model(torch.zeros(1, 9, dtype=torch.int64))
    with pytest.raises(UsageError, match="9 tokens exceed"):
        model.new_cache(1, 9)
    with pytest.raises(UsageError, match=r"token_mask of shape \(2, 3\).*got \(2, 2\)"):
        model(TOKENS, token_mask=torch.ones(2, 2, dtype=torch.bool))


def test_a_reward_model_is_shown_in_one_line_as_its_trunk_is(model: GPT) -> None:
    scorer = RewardModel(model, np.random.default_rng(0))
    assert repr(scorer) == f"RewardModel({model!r})"
    assert "\n" not in repr(scorer)
