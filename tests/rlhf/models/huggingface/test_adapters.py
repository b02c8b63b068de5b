"""Adapters by peft: the base stays, only they are trained, and references have them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlkit.errors import UsageError
from rlkit.rlhf.data.sequences import pack, response_log_probs
from rlkit.rlhf.models.huggingface.adapters import LoRA, new_adapters
from rlkit.rlhf.models.huggingface.folder import silenced_transformers
from rlkit.rlhf.models.huggingface.model import HuggingFaceModel
from rlkit.rlhf.models.state import load_trained_state, trained_state
from rlkit.rlhf.training.configs import PPOConfig
from rlkit.rlhf.training.policy import KLPenalisedPolicy
from rlkit.seeding import SeedStreams

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
tokenizers = pytest.importorskip("tokenizers")

from tests.rlhf.models.huggingface.small_models import (  # noqa: E402
    CLOSE,
    EOS,
    KINDS,
    PAD,
    Task,
    adapted,
    alone,
    answers,
    answers_with_grad,
    build,
    log_probs,
    ragged,
    shake,
)


@pytest.mark.parametrize("kind", KINDS)
class TestAdapters:
    def test_new_adapters_change_nothing(self, folders: Any, kind: str) -> None:
        base = answers(HuggingFaceModel(folders[kind]))
        assert torch.equal(answers(adapted(folders[kind])), base)

    @pytest.mark.claim(41)
    def test_switched_off_after_training_they_leave_the_bare_base(
        self, folders: Any, kind: str
    ) -> None:
        model, base = adapted(folders[kind]), answers(HuggingFaceModel(folders[kind]))
        shake(model)
        trained = answers(model)
        assert (trained - base).abs().max() > 0.01
        with model.adapters_off():
            assert torch.equal(answers(model), base)
        assert torch.equal(answers(model), trained)

    @pytest.mark.claim(44)
    def test_the_switch_goes_back_after_an_exception_and_when_nested(
        self, folders: Any, kind: str
    ) -> None:
        model = adapted(folders[kind])
        shake(model)
        with model.adapters_off():
            base = answers(model)
        trained = answers(model)
        flags = [p.requires_grad for p in model.parameters()]
        with pytest.raises(RuntimeError, match="inside"), model.adapters_off():
            raise RuntimeError("inside")
        assert torch.equal(answers(model), trained)
        with model.adapters_off():
            with model.adapters_off():
                assert torch.equal(answers(model), base)
            assert torch.equal(answers(model), base)
        assert torch.equal(answers(model), trained)
        assert [p.requires_grad for p in model.parameters()] == flags

    def test_frozen_adapters_stay_frozen_through_the_switch(self, folders: Any, kind: str) -> None:
        model = adapted(folders[kind]).requires_grad_(False)
        with model.adapters_off():
            pass
        assert not any(p.requires_grad for p in model.parameters())

    @pytest.mark.claim(41)
    def test_folded_they_answer_the_same_and_others_can_be_put_on(
        self, folders: Any, kind: str
    ) -> None:
        model = adapted(folders[kind])
        shake(model)
        trained = answers(model)
        model.fold_adapters()
        folded = answers(model)
        torch.testing.assert_close(folded, trained, **CLOSE)
        assert not any("lora_" in name for name, _ in model.named_parameters())
        assert all(p.requires_grad for p in model.parameters())
        with pytest.raises(UsageError, match="no adapters to fold"):
            model.fold_adapters()
        model.add_adapters(4, SeedStreams(0, 0))
        assert torch.equal(answers(model), folded)
        shake(model)
        assert not torch.equal(answers(model), folded)
        with model.adapters_off():
            assert torch.equal(answers(model), folded)

    @pytest.mark.claim(41)
    def test_only_they_are_trained_and_saved(self, folders: Any, kind: str) -> None:
        model = adapted(folders[kind])
        shake(model)
        answers_with_grad(model).sum().backward()
        with_grad = {name for name, p in model.named_parameters() if p.grad is not None}
        state = trained_state(model, "policy")
        assert set(state) == {f"policy/{name}" for name in with_grad}
        assert all("lora_" in name for name in state)
        other = adapted(folders[kind], seed=9)
        load_trained_state(other, state, "policy")
        assert torch.equal(answers(other), answers(model))
        name = next(iter(state))
        for odd in ({**state, name: state[name][:1]}, {**state, "policy/odd": np.zeros(1)}):
            with pytest.raises(ValueError, match=r"expected float32|does not belong there"):
                load_trained_state(other, odd, "policy")
        assert torch.equal(answers(other), answers(model))

    @pytest.mark.claim(42)
    def test_the_update_is_scaled_b_a_on_the_weight_of_the_layer(
        self, folders: Any, kind: str
    ) -> None:
        model = adapted(folders[kind], alpha=12.0)
        shake(model)
        plain = build(kind, 9)
        state = trained_state(model, "policy")
        for name, a in state.items():
            if "lora_A" not in name:
                continue
            b = state[name.replace("lora_A", "lora_B")]
            layer = plain.get_submodule(
                name.removeprefix("policy/model.base_model.model.").split(".lora_A")[0]
            )
            update = torch.from_numpy(12.0 / 4 * b @ a)  # [out, in]
            with torch.no_grad():
                layer.weight += update.T if kind == "gpt2" else update
        for row in ragged():
            got, wanted = log_probs(model, model(torch.tensor([row])))[0], alone(plain, row)
            keep = wanted.isfinite()
            torch.testing.assert_close(got[keep], wanted[keep], **CLOSE)

    @pytest.mark.claim(43)
    def test_the_reference_of_a_trained_adapter_is_a_frozen_copy_of_it(
        self, folders: Any, kind: str, tmp_path: Path
    ) -> None:
        first = adapted(folders[kind])
        shake(first)
        with silenced_transformers():
            first.model.save_pretrained(tmp_path, save_embedding_layers=False)
        policy = HuggingFaceModel(folders[kind], adapter=tmp_path)
        assert torch.equal(answers(policy), answers(first))
        reference = policy.reference_copy()
        sequences = pack([[0, 1], [2]], [[3, EOS], [4, 5, 1]], pad=PAD)
        own, _, _ = response_log_probs(policy, sequences)
        theirs, _, _ = response_log_probs(reference, sequences)
        assert torch.equal(own, theirs)  # the divergence is 0 exactly, before the first update
        with policy.adapters_off():
            bare, _, _ = response_log_probs(policy, sequences)
        assert (own - bare).abs().max() > 0.01  # what the bare base would have made of it
        before = [p.clone() for p in reference.parameters()]
        shake(policy)
        again, _, _ = response_log_probs(reference, sequences)
        assert torch.equal(again, theirs)
        assert not any(p.requires_grad for p in reference.parameters())
        assert all(map(torch.equal, before, reference.parameters()))
        assert not torch.equal(response_log_probs(policy, sequences)[0], own)

    def test_the_reference_shares_the_base(self, folders: Any, kind: str) -> None:
        policy = adapted(folders[kind])
        assert sum(p.numel() for p in policy.reference_copy().parameters()) == sum(
            p.numel() for p in policy.parameters() if p.requires_grad
        )

    def test_evaluating_the_reference_leaves_the_gradient_of_the_policy_alone(
        self, folders: Any, kind: str
    ) -> None:
        gradients = []
        for interrupted in (False, True):
            policy = adapted(folders[kind])
            shake(policy)
            reference = policy.reference_copy()
            loss = answers_with_grad(policy).square().sum()
            if interrupted:
                answers(reference)
            loss.backward()
            gradients.append([p.grad for p in policy.parameters() if p.requires_grad])
        assert all(map(torch.equal, *gradients))

    @pytest.mark.claim(11)
    def test_no_mode_of_the_policy_puts_dropout_into_the_reference(
        self, folders: Any, kind: str
    ) -> None:
        whole = HuggingFaceModel(folders[f"{kind} dropout"])
        lora = adapted(folders[f"{kind} dropout"], dropout=0.5)
        shake(lora)
        for policy in (whole, lora):
            wanted, reference = answers(policy), policy.reference_copy()
            policy.train()
            reference.train()
            assert torch.equal(answers(reference), wanted)
            assert not torch.equal(answers(policy), wanted)
            assert policy.training
            policy.eval()
            assert torch.equal(answers(policy), wanted)

    def test_the_adapters_of_a_reference_cannot_be_changed(self, folders: Any, kind: str) -> None:
        reference = adapted(folders[kind]).reference_copy()
        assert reference.reference_copy() is reference
        changes: list[Callable[[], Any]] = [
            reference.fold_adapters,
            reference.adapters_off,
            lambda: reference.add_adapters(2, SeedStreams(0, 0)),
        ]
        for change in changes:
            with pytest.raises(UsageError, match="a reference is constant"):
                change()

    def test_a_copy_of_the_reference_is_a_whole_model_that_can_be_trained(
        self, folders: Any, kind: str
    ) -> None:
        policy = adapted(folders[kind])
        shake(policy)
        reference, wanted = policy.reference_copy(), answers(policy)
        shake(policy)
        both = copy.deepcopy((policy, reference))
        trunk = both[1].requires_grad_(True)
        assert isinstance(trunk, HuggingFaceModel)
        assert torch.equal(answers(trunk), wanted)
        assert torch.equal(answers(both[0]), answers(policy))
        answers_with_grad(trunk).sum().backward()
        assert all(p.grad is None for p in policy.parameters())
        assert all(p.grad is not None for p in trunk.parameters())

    def test_the_reference_may_be_sampled_from_with_a_cache(self, folders: Any, kind: str) -> None:
        policy = adapted(folders[kind])
        shake(policy)
        reference, row = policy.reference_copy(), torch.tensor([[0, 3, 2, 5, 1]])
        with torch.no_grad():
            wanted = policy(row)
            shake(policy)
            cache = reference.new_cache(1, 5)
            parts = [reference(row[:, :3], cache=cache), reference(row[:, 3:], cache=cache)]
        torch.testing.assert_close(torch.cat(parts, 1), wanted, **CLOSE)

    def test_their_initial_values_come_from_the_generator_alone(
        self, folders: Any, kind: str
    ) -> None:
        state = torch.get_rng_state()
        first, same, other = (
            trained_state(adapted(folders[kind], seed), "policy") for seed in (1, 1, 2)
        )
        assert torch.equal(torch.get_rng_state(), state)
        assert all(np.array_equal(first[name], same[name]) for name in first)
        drawn = [name for name in first if "lora_A" in name]
        assert drawn
        for name in drawn:
            assert not np.array_equal(first[name], other[name])
            assert 0 < np.abs(first[name]).max() <= 16**-0.5


@pytest.mark.parametrize("kind", KINDS)
def test_ppo_trains_the_adapters_and_nothing_else(folders: Any, kind: str) -> None:
    policy = adapted(folders[kind])
    reference = policy.reference_copy()
    trained = {name for name, p in policy.named_parameters() if p.requires_grad}
    before = {n: p.detach().clone() for n, p in policy.named_parameters()}
    config = PPOConfig(num_updates=2, batch_size=16, minibatch_size=8, num_epochs=2)
    agent = KLPenalisedPolicy(
        policy,
        reference,
        lambda sequences: (sequences.responses == 0).sum(1).numpy(),
        Task(),
        config,
        SeedStreams(0, 0),
    )
    # No divergence before the first step; what was sampled with a cache differs by rounding.
    assert abs(agent.update()["kl"]) < 1e-5
    assert agent.update()["kl"] != 0
    for name, parameter in policy.named_parameters():
        assert torch.equal(parameter, before[name]) == (name not in trained), name
    assert all("lora_" in name for name in trained)
    state = {n: p for n, p in before.items() if n in trained}
    assert all(map(torch.equal, reference.parameters(), state.values()))


@pytest.mark.claim(43)
def test_the_bare_base_is_rejected_as_the_reference_of_trained_adapters(folders: Any) -> None:
    policy = adapted(folders["gpt2"])
    shake(policy)
    with pytest.raises(UsageError, match="adapters are trained already"):
        KLPenalisedPolicy(
            policy, None, lambda s: np.zeros(len(s.tokens)), Task(), PPOConfig(), SeedStreams(0, 0)
        )


def test_a_family_without_known_targets_gets_adapters_on_all_linear_layers() -> None:
    with torch.random.fork_rng(devices=[]):
        model = transformers.Phi3ForCausalLM(
            transformers.Phi3Config(
                **{"vocab_size": 9, "hidden_size": 16, "intermediate_size": 24},
                **{
                    "num_hidden_layers": 1,
                    "num_attention_heads": 2,
                    "pad_token_id": 0,
                    "eos_token_id": 1,
                },
            )
        )
    adapted = new_adapters(model, LoRA(rank=2), np.random.default_rng(0))
    layers = {name.split(".")[-4] for name, _ in adapted.named_parameters() if "lora_A" in name}
    assert layers == {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}
