"""Adapters against the formula, against peft, and against the base that they must leave alone."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rlkit.errors import UsageError
from rlkit.rlhf.models.gpt import GPT, GPTConfig
from rlkit.rlhf.models.heads import ScalarHead
from rlkit.rlhf.models.layers import torch_seeded
from rlkit.rlhf.models.lora import (
    TARGETS,
    LoRALinear,
    adapter_parameters,
    adapters_off,
    add_adapters,
    fold_adapters,
)
from rlkit.rlhf.models.state import load_trained_state, trained_state

RANK, ALPHA = 3, 6.0
FLOAT32 = 1e-5  # float32 sums in another order, logits of order 1


def base_gpt(**options: Any) -> GPT:
    config = GPTConfig(vocab_size=13, num_actions=11, context_length=12, width=32, **options)
    rng = np.random.default_rng(0)
    gpt = GPT(config, rng)
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.add_(torch.from_numpy(rng.normal(0, 0.2, parameter.shape)))
    return gpt


def adapted_gpt(seed: int = 1, **options: Any) -> GPT:
    gpt = base_gpt(**options)
    add_adapters(gpt, RANK, ALPHA, np.random.default_rng(seed))
    return gpt


TOKENS = torch.from_numpy(np.random.default_rng(2).integers(0, 11, (5, 9)))


def loss_of(gpt: nn.Module) -> Tensor:
    logits = gpt.unembed(gpt(TOKENS[:, :-1]))
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), TOKENS[:, 1:].flatten())


def train(gpt: GPT, steps: int = 5) -> None:
    optimiser = torch.optim.Adam(adapter_parameters(gpt), lr=0.05)
    for _ in range(steps):
        optimiser.zero_grad()
        loss_of(gpt).backward()
        optimiser.step()


@torch.no_grad()
def logits_of(gpt: GPT) -> Tensor:
    logits: Tensor = gpt.unembed(gpt(TOKENS))
    return logits


def largest(difference: Tensor) -> float:
    return float(difference.detach().abs().max())


def layers_of(gpt: GPT) -> list[LoRALinear]:
    return [module for module in gpt.modules() if isinstance(module, LoRALinear)]


# --- the formula ----------------------------------------------------------------------------------


def test_an_adapted_layer_is_the_base_plus_the_scaled_low_rank_product() -> None:
    rng = np.random.default_rng(0)
    layer = LoRALinear(nn.Linear(7, 4, device="meta").to_empty(device="cpu"), 2, 5.0, rng).double()
    for parameter in layer.parameters():
        parameter.data = torch.from_numpy(rng.normal(size=parameter.shape))
    w, b, down, up = (
        p.detach().numpy() for p in (layer.base.weight, layer.base.bias, layer.down, layer.up)
    )
    for x in rng.normal(size=(3, 7)):
        expected = w @ x + b + 5.0 / 2 * (up @ (down @ x))
        # The same sums in another order of float64 operations.
        np.testing.assert_allclose(layer(torch.from_numpy(x)).detach(), expected, rtol=1e-12)


@pytest.mark.claim(42)
def test_outputs_and_gradients_are_those_of_peft() -> None:
    peft = pytest.importorskip("peft")
    ours, theirs = adapted_gpt(), base_gpt()
    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(TARGETS))
    with torch_seeded(0):
        peft.inject_adapter_in_model(config, theirs)
    others = [m for m in theirs.modules() if isinstance(m, peft.tuners.lora.Linear)]
    assert len(others) == len(layers_of(ours)) == 8
    rng = np.random.default_rng(3)
    for mine, other in zip(layers_of(ours), others, strict=True):
        mine.up.data = torch.from_numpy(rng.normal(0, 0.1, mine.up.shape)).float()
        other.lora_A["default"].weight.data = mine.down.data.clone()
        other.lora_B["default"].weight.data = mine.up.data.clone()
    assert largest(logits_of(ours) - logits_of(theirs)) < FLOAT32
    assert largest(logits_of(ours) - logits_of(base_gpt())) > 0.1
    loss_of(ours).backward()
    loss_of(theirs).backward()
    for mine, other in zip(layers_of(ours), others, strict=True):
        for a, b in ((mine.down, other.lora_A), (mine.up, other.lora_B)):
            assert a.grad is not None
            assert largest(a.grad) > 1e-3
            assert largest(a.grad - b["default"].weight.grad) < FLOAT32


# --- the base stays -------------------------------------------------------------------------------


@pytest.mark.claim(41)
def test_new_adapters_leave_every_bit_of_the_output() -> None:
    assert torch.equal(logits_of(adapted_gpt()), logits_of(base_gpt()))


@pytest.mark.claim(41)
def test_with_adapters_off_a_trained_model_is_the_base_to_the_last_bit() -> None:
    gpt, base = adapted_gpt(), logits_of(base_gpt())
    train(gpt)
    trained = logits_of(gpt)
    assert largest(trained - base) > 0.1
    with adapters_off(gpt):
        assert torch.equal(logits_of(gpt), base)
    assert torch.equal(logits_of(gpt), trained)


def test_a_step_that_touches_the_base_is_noticed() -> None:
    gpt, base = adapted_gpt(), logits_of(base_gpt())
    gpt.requires_grad_(True)  # the mutant: nothing is frozen
    optimiser = torch.optim.Adam(gpt.parameters(), lr=0.05)
    loss_of(gpt).backward()
    optimiser.step()
    with adapters_off(gpt):
        assert largest(logits_of(gpt) - base) > 0.1


@pytest.mark.claim(41)
def test_only_adapters_get_gradients() -> None:
    gpt, head = base_gpt(), ScalarHead(32, "reward", np.random.default_rng(0))
    add_adapters(gpt, RANK, ALPHA, np.random.default_rng(1))
    (loss_of(gpt) + head(gpt(TOKENS)).mean()).backward()
    own = {id(p) for p in adapter_parameters(gpt)}
    for name, parameter in gpt.named_parameters():
        assert (parameter.grad is not None) == (id(parameter) in own), name
        assert parameter.requires_grad == (id(parameter) in own), name
    assert all(p.grad is not None for p in head.parameters())
    assert len(own) == 2 * 4 * 2  # A and B of four linear layers in two blocks


def test_training_changes_the_adapters_and_nothing_else() -> None:
    gpt = adapted_gpt()
    before = copy.deepcopy(gpt.state_dict())
    train(gpt)
    own = trained_state(gpt, "policy")
    for name, tensor in gpt.state_dict().items():
        assert torch.equal(tensor, before[name]) == (f"policy/{name}" not in own), name


# --- the switch -----------------------------------------------------------------------------------


def states(gpt: GPT) -> set[bool]:
    return {layer.enabled for layer in layers_of(gpt)}


@pytest.mark.claim(44)
def test_adapters_come_back_after_an_exception() -> None:
    def fail(gpt: GPT) -> None:
        with adapters_off(gpt):
            assert states(gpt) == {False}
            raise KeyError

    gpt = adapted_gpt()
    with pytest.raises(KeyError):
        fail(gpt)
    assert states(gpt) == {True}


@pytest.mark.claim(44)
def test_nested_switches_end_with_the_outermost() -> None:
    gpt = adapted_gpt()
    with adapters_off(gpt):
        with adapters_off(gpt):
            assert states(gpt) == {False}
        assert states(gpt) == {False}
    assert states(gpt) == {True}


def test_a_layer_that_was_off_before_stays_off() -> None:
    gpt = adapted_gpt()
    first = layers_of(gpt)[0]
    first.enabled = False
    with adapters_off(gpt):
        pass
    assert [layer.enabled for layer in layers_of(gpt)] == [False, *[True] * 7]


@pytest.mark.claim(44)
def test_adapters_learn_after_they_were_off() -> None:
    switched, never = adapted_gpt(), adapted_gpt()
    for gpt in (switched, never):
        train(gpt, steps=1)
        if gpt is switched:
            with adapters_off(gpt):
                logits_of(gpt)
        train(gpt, steps=1)
    assert torch.equal(logits_of(switched), logits_of(never))


def test_a_frozen_copy_keeps_the_adapter_that_training_started_from() -> None:
    gpt = adapted_gpt()
    train(gpt)
    reference, before = copy.deepcopy(gpt).requires_grad_(False), logits_of(gpt)
    train(gpt)
    assert torch.equal(logits_of(reference), before)
    assert largest(logits_of(gpt) - before) > 1e-3


# --- folding --------------------------------------------------------------------------------------


@pytest.mark.claim(41)
def test_a_folded_model_gives_the_outputs_of_the_adapted_one() -> None:
    gpt = adapted_gpt()
    train(gpt)
    adapted = logits_of(gpt)
    fold_adapters(gpt)
    assert largest(logits_of(gpt) - adapted) < FLOAT32
    assert set(gpt.state_dict()) == set(base_gpt().state_dict())


def test_a_plain_model_with_the_folded_weights_is_the_folded_model() -> None:
    gpt, plain = adapted_gpt(), base_gpt()
    train(gpt)
    for adapted in layers_of(gpt):
        name = next(name for name, module in gpt.named_modules() if module is adapted)
        with torch.no_grad():
            change = (adapted.up.double() @ adapted.down.double()) * (ALPHA / RANK)
            plain.get_submodule(name).weight.add_(change)
    fold_adapters(gpt)
    assert largest(logits_of(gpt) - logits_of(plain)) < FLOAT32


@pytest.mark.claim(41)
def test_a_folded_model_learns_again_with_all_parameters_or_with_new_adapters() -> None:
    gpt = adapted_gpt()
    train(gpt)
    fold_adapters(gpt)
    folded = logits_of(gpt)
    loss_of(gpt).backward()
    assert all(p.grad is not None for p in gpt.parameters())
    add_adapters(gpt, RANK, ALPHA, np.random.default_rng(3))
    train(gpt)
    assert largest(logits_of(gpt) - folded) > 0.01
    with adapters_off(gpt):
        assert torch.equal(logits_of(gpt), folded)


# --- the state ------------------------------------------------------------------------------------


@pytest.mark.claim(41)
def test_adapters_alone_are_saved_and_bring_the_model_back() -> None:
    gpt, other = adapted_gpt(), adapted_gpt(seed=7)
    train(gpt)
    state = trained_state(gpt, "policy")
    assert len(state) == 16
    assert {name.rpartition(".")[2] for name in state} == {"down", "up"}
    load_trained_state(other, state, "policy")
    assert torch.equal(logits_of(other), logits_of(gpt))


def test_adapters_of_another_kind_are_rejected() -> None:
    state, gpt = trained_state(adapted_gpt(), "policy"), base_gpt()
    add_adapters(gpt, RANK + 1, ALPHA, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"qkv\.down.*\(3, 32\), expected.*\(4, 32\)"):
        load_trained_state(gpt, state, "policy")
    few = base_gpt()
    add_adapters(few, RANK, ALPHA, np.random.default_rng(0), targets=["qkv"])
    with pytest.raises(ValueError, match=r"project\.down.*which does not belong there"):
        load_trained_state(few, state, "policy")


# --- making them ----------------------------------------------------------------------------------


def test_initial_adapters_are_determined_by_the_generator() -> None:
    before = torch.get_rng_state()
    first, same, other = (adapter_parameters(adapted_gpt(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    for a, b, c in zip(first[::2], same[::2], other[::2], strict=True):  # A of each
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
        bound = 1 / math.sqrt(a.shape[1])
        # The largest of 96 or more uniform numbers; the bound itself may be rounded up to float32.
        assert 0.9 * bound < largest(a) <= bound * (1 + 1e-6)
    assert all((b == 0).all() for b in first[1::2])


def test_targets_choose_the_layers() -> None:
    gpt = base_gpt(num_layers=3)
    add_adapters(gpt, RANK, ALPHA, np.random.default_rng(0), targets=["qkv", "expand"])
    names = [name for name, module in gpt.named_modules() if isinstance(module, LoRALinear)]
    parts = ("attention.qkv", "feed_forward.expand")
    assert names == [f"blocks.{i}.{part}" for i in range(3) for part in parts]


def test_unusable_adapters_are_rejected() -> None:
    gpt, rng = base_gpt(), np.random.default_rng(0)
    with pytest.raises(UsageError, match=r"named 'expnd'.*Did you mean 'expand'"):
        add_adapters(gpt, RANK, ALPHA, rng, targets=["expnd"])
    with pytest.raises(UsageError, match="rank >= 1"):
        add_adapters(gpt, 0, ALPHA, rng)
    with pytest.raises(UsageError, match="alpha > 0"):
        add_adapters(gpt, RANK, 0.0, rng)
    assert all(p.requires_grad for p in gpt.parameters())
    add_adapters(gpt, RANK, ALPHA, rng)
    with pytest.raises(UsageError, match="adapters already"):
        add_adapters(gpt, RANK, ALPHA, rng)


def test_a_model_without_adapters_cannot_be_switched() -> None:
    def switch() -> None:
        with adapters_off(base_gpt()):
            pass

    with pytest.raises(UsageError, match="no adapters"):
        switch()
    with pytest.raises(UsageError, match="no adapters"):
        fold_adapters(base_gpt())
