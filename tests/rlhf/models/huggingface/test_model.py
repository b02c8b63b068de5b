"""Hugging Face models, tiny and random, saved here; the oracle is transformers' own forward."""

from __future__ import annotations

import copy
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlkit.errors import UsageError
from rlkit.maths.distributions import categorical_log_prob_and_entropy
from rlkit.rlhf.data.sampling import generate
from rlkit.rlhf.data.sequences import pack, response_log_probs
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.models.huggingface.folder import HuggingFaceCodec, silenced_transformers
from rlkit.rlhf.models.huggingface.model import HuggingFaceModel, LoRA
from rlkit.rlhf.models.state import load_trained_state, trained_state
from rlkit.rlhf.training.configs import PPOConfig
from rlkit.rlhf.training.policy import KLPenalisedPolicy
from rlkit.seeding import SeedStreams

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
tokenizers = pytest.importorskip("tokenizers")

# float32 sums in another order: 1e-6 is usual for logits of order 1, so 1e-5 leaves room.
CLOSE = {"rtol": 0.0, "atol": 1e-5}
WORDS = ("a", "b", "c", "d", "e", "f")
EOS, PAD = 6, 7
KINDS = ("gpt2", "llama")


def save_tokenizer(
    folder: Path, *, words: tuple[str, ...] = WORDS, eos: str | None = "[EOS]", pad: str | None
) -> int:
    """Write a tokenizer of words, then [EOS], [PAD], [UNK]; return its size."""
    special = ["[EOS]", *([pad] if pad not in (None, "[EOS]") else []), "[UNK]"]
    ids = {word: i for i, word in enumerate([*words, *special])}
    words_only = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[UNK]"))
    words_only.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words_only, eos_token=eos, pad_token=pad, unk_token="[UNK]"
    )
    fast.save_pretrained(folder)
    return len(ids)


def build(kind: str, rows: int, dropout: float = 0.0, seed: int = 0) -> Any:
    """A random model; weights are large, so that an error is not lost in rounding."""
    if kind == "gpt2":
        config = transformers.GPT2Config(
            **{"vocab_size": rows, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2},
            **{"resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout},
            **{"initializer_range": 0.3, "bos_token_id": None, "eos_token_id": EOS},
        )
        make = transformers.GPT2LMHeadModel
    else:
        config = transformers.LlamaConfig(
            **{"vocab_size": rows, "max_position_embeddings": 32, "hidden_size": 16},
            **{"intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2},
            **{"num_key_value_heads": 1, "attention_dropout": dropout, "initializer_range": 0.3},
            **{"bos_token_id": None, "eos_token_id": EOS},
        )
        make = transformers.LlamaForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(config).eval()


def save_model(
    folder: Path,
    kind: str = "gpt2",
    *,
    pad: str | None = "[PAD]",
    dropout: float = 0.0,
    seed: int = 0,
    extra_rows: int = 0,
) -> Path:
    with silenced_transformers():
        rows = save_tokenizer(folder, pad=pad) + extra_rows
        build(kind, rows, dropout, seed).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    made = {kind: save_model(root / kind, kind) for kind in KINDS}
    made |= {f"{k} dropout": save_model(root / f"{k}-dropout", k, dropout=0.1) for k in KINDS}
    return made


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A GPT-2 that a test may damage."""
    return Path(shutil.copytree(folders["gpt2"], tmp_path / "model"))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ragged(seed: int = 1) -> list[list[int]]:
    """Sequences of words of different lengths."""
    lengths = (9, 4, 7, 2, 9)
    return [rng(seed).integers(0, len(WORDS), n).tolist() for n in lengths]


def padded(rows: list[list[int]], *, left: int, right: int = 0) -> tuple[torch.Tensor, Any]:
    """Tokens [B, left + longest + right], each row behind at least `left` columns of padding."""
    width = max(map(len, rows))
    tokens = torch.full((len(rows), left + width + right), PAD)
    real = torch.zeros(tokens.shape, dtype=torch.bool)
    for i, row in enumerate(rows):
        start = left + width - len(row)
        tokens[i, start : start + len(row)] = torch.tensor(row)
        real[i, start:] = True
    return tokens, real


@torch.no_grad()
def alone(model: Any, row: list[int]) -> torch.Tensor:
    """Log-probabilities [L, A] that transformers' own model gives with padding as no action."""
    logits = model(input_ids=torch.tensor([row])).logits[0].clone()
    logits[:, PAD] = -torch.inf
    return logits.log_softmax(-1)


def log_probs(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    return model.unembed(hidden).log_softmax(-1)


@torch.no_grad()
def shake(model: HuggingFaceModel, seed: int = 5) -> None:
    """Move what is trained, in the place of training."""
    generator = rng(seed)
    for parameter in (p for p in model.parameters() if p.requires_grad):
        step = 0.2 * generator.standard_normal(tuple(parameter.shape))
        parameter.add_(torch.from_numpy(step))


@torch.no_grad()
def answers(model: Any) -> torch.Tensor:
    tokens, real = padded(ragged(), left=1)
    return model.unembed(model(tokens, token_mask=real))[real]


@pytest.mark.parametrize("kind", KINDS)
class TestForward:
    def test_log_probs_are_those_of_transformers(self, folders: Any, kind: str) -> None:
        model, oracle = HuggingFaceModel(folders[kind]), build(kind, 9)
        for row in ragged():
            got = log_probs(model, model(torch.tensor([row])))[0].detach()
            wanted = alone(oracle, row)
            real = wanted.isfinite()
            torch.testing.assert_close(got[real], wanted[real], **CLOSE)
            assert (got[~real] < -1e8).all()

    def test_sizes_are_those_of_the_configuration(self, folders: Any, kind: str) -> None:
        model = HuggingFaceModel(folders[kind])
        assert (model.vocab_size, model.num_actions) == (9, 9)
        assert (model.context_length, model.width) == (32, 16)
        assert not model.training

    @pytest.mark.claim(10)
    @pytest.mark.parametrize(("left", "right"), [(0, 0), (1, 0), (6, 0), (0, 5), (3, 3)])
    def test_log_probs_do_not_depend_on_padding_or_on_the_batch(
        self, folders: Any, kind: str, left: int, right: int
    ) -> None:
        model, oracle = HuggingFaceModel(folders[kind]), build(kind, 9)
        rows = ragged()
        tokens, real = padded(rows, left=left, right=right)
        with torch.no_grad():
            hidden = model(tokens, token_mask=real)
            assert hidden.isfinite().all()
            got = log_probs(model, hidden)
        for i, row in enumerate(rows):
            start = tokens.shape[1] - right - len(row)
            mine, theirs = got[i, start : start + len(row)], alone(oracle, row)
            keep = theirs.isfinite()
            torch.testing.assert_close(mine[keep], theirs[keep], **CLOSE)

    @pytest.mark.claim(8)
    @pytest.mark.parametrize("left", [0, 2])
    def test_the_cache_gives_the_full_forward_with_padding_and_finished_rows(
        self, folders: Any, kind: str, left: int
    ) -> None:
        model = HuggingFaceModel(folders[kind])
        tokens, real = padded(ragged(), left=left)
        continued = torch.from_numpy(rng(3).integers(0, 6, (len(tokens), 6)))
        continued[1, 2:] = torch.tensor([EOS, PAD, PAD, PAD])  # has ended, but stays in the batch
        real = torch.cat([real, torch.ones(continued.shape, dtype=torch.bool)], dim=1)
        tokens = torch.cat([tokens, continued], dim=1)
        prompt = tokens.shape[1] - 6
        with torch.no_grad():
            full = log_probs(model, model(tokens, token_mask=real))
            cache = model.new_cache(len(tokens), tokens.shape[1])
            assert cache.length == 0
            steps = [model(tokens[:, :prompt], token_mask=real[:, :prompt], cache=cache)]
            for column in range(prompt, tokens.shape[1]):
                assert cache.length == column
                new = tokens[:, column : column + 1]
                steps.append(model(new, token_mask=real[:, : column + 1], cache=cache))
            cached = log_probs(model, torch.cat(steps, dim=1))
        keep = real[..., None].expand_as(full) & (full > -1e8)
        torch.testing.assert_close(cached[keep], full[keep], **CLOSE)

    def test_the_cache_needs_no_mask_where_nothing_is_padded(self, folders: Any, kind: str) -> None:
        model, row = HuggingFaceModel(folders[kind]), torch.tensor([[0, 3, 2, 5, 1]])
        cache = model.new_cache(1, 5)
        with torch.no_grad():
            parts = [model(row[:, :3], cache=cache), model(row[:, 3:], cache=cache)]
            torch.testing.assert_close(torch.cat(parts, 1), model(row), **CLOSE)

    def test_evaluation_has_no_dropout(self, folders: Any, kind: str) -> None:
        model, without = (HuggingFaceModel(folders[k]) for k in (f"{kind} dropout", kind))
        assert torch.equal(answers(model), answers(without))
        model.train()
        assert not torch.equal(answers(model), answers(without))

    @pytest.mark.claim(8)
    def test_half_precision_ends_in_a_float32_softmax(self, folders: Any, kind: str) -> None:
        model = HuggingFaceModel(folders[kind], dtype="bfloat16")
        assert next(model.parameters()).dtype == torch.bfloat16
        with torch.no_grad():
            hidden = model(torch.tensor([[0, 1, 2, 3]]))
            logits = model.unembed(hidden)
            assert hidden.dtype == logits.dtype == torch.float32
            head = model.model.get_output_embeddings().weight.double()
            wanted = hidden.double() @ head.T
        keep = torch.arange(9) != PAD
        torch.testing.assert_close(logits.double()[..., keep], wanted[..., keep], **CLOSE)
        # In bfloat16 neighbours of 8 are 1/16 apart; the head must be finer than that.
        assert (logits[..., keep] != logits[..., keep].bfloat16()).any()

    def test_all_parameters_are_trained_without_adapters(self, folders: Any, kind: str) -> None:
        model = HuggingFaceModel(folders[kind])
        sequences = pack([[0, 1], [2]], [[3, EOS], [4, 5, 1]], pad=PAD)
        log_prob, entropy, _ = response_log_probs(model, sequences)
        (log_prob.sum() + entropy.sum()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        assert all(p.requires_grad for p in model.parameters())

    def test_a_copy_is_independent(self, folders: Any, kind: str) -> None:
        model = HuggingFaceModel(folders[kind])
        before, other = answers(model), copy.deepcopy(model)
        shake(model)
        assert torch.equal(answers(other), before)
        assert not torch.equal(answers(model), before)

    def test_a_sequence_beyond_the_context_is_refused(self, folders: Any, kind: str) -> None:
        model = HuggingFaceModel(folders[kind])
        with pytest.raises(UsageError, match=r"33 tokens.*context_length of 32"):
            model(torch.zeros(1, 33, dtype=torch.int64))
        with pytest.raises(UsageError, match="33 tokens"):
            model.new_cache(1, 33)
        with pytest.raises(UsageError, match=r"expected token_mask of shape \(1, 4\)"):
            model(
                torch.zeros(1, 4, dtype=torch.int64), token_mask=torch.ones(1, 3, dtype=torch.bool)
            )


@pytest.mark.claim(9)
def test_positions_from_the_column_instead_of_the_first_token_are_noticed(folders: Any) -> None:
    model = HuggingFaceModel(folders["gpt2"])
    right = answers(model)
    model._takes_positions = False
    assert (answers(model) - right).abs().max() > 0.1


def test_padding_is_never_sampled_and_has_no_part_in_the_entropy(folders: Any) -> None:
    model = HuggingFaceModel(folders["gpt2"])
    tokens = torch.tensor([[0, 1, 2]])
    logits = model.unembed(model(tokens))
    log_prob, entropy = categorical_log_prob_and_entropy(logits, torch.full((1, 3), PAD))
    assert (log_prob.exp() == 0).all()
    wanted = torch.distributions.Categorical(
        logits=torch.cat([logits[..., :PAD], logits[..., 8:]], -1)
    )
    torch.testing.assert_close(entropy, wanted.entropy(), **CLOSE)
    entropy.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


class TestVocabulary:
    def test_a_tokenizer_without_padding_gets_a_row_that_is_never_generated(
        self, tmp_path: Path
    ) -> None:
        model = HuggingFaceModel(save_model(tmp_path, pad=None))
        oracle = build("gpt2", 8)  # six words, [EOS] and [UNK]
        assert (model.vocab_size, model.num_actions, model.vocabulary.pad) == (9, 8, 8)
        for row in ragged():
            got = model.unembed(model(torch.tensor([row])))[0].detach()
            wanted = oracle(input_ids=torch.tensor([row])).logits[0].detach()
            torch.testing.assert_close(got, wanted, **CLOSE)
        codec = HuggingFaceCodec(tmp_path)
        assert codec.vocabulary == model.vocabulary
        assert codec.decode([0, 8, 8]) == "a"

    def test_a_spare_row_of_the_model_serves_as_padding(self, tmp_path: Path) -> None:
        model = HuggingFaceModel(save_model(tmp_path, pad=None, extra_rows=3))
        assert (model.vocab_size, model.num_actions, model.vocabulary.pad) == (11, 8, 8)

    def test_a_special_token_named_padding_is_taken(self, tmp_path: Path) -> None:
        save_model(tmp_path, pad="<|right_pad|>")
        file = tmp_path / "tokenizer_config.json"
        settings = json.loads(file.read_text())
        del settings["pad_token"]
        file.write_text(json.dumps(settings))
        assert HuggingFaceCodec(tmp_path).pad == PAD

    def test_ids_from_num_actions_on_are_read_but_not_generated(self, folders: Any) -> None:
        model, oracle = HuggingFaceModel(folders["gpt2"], num_actions=7), build("gpt2", 9)
        row = torch.tensor([[8, 2, 0]])
        got = model.unembed(model(row)).detach()
        torch.testing.assert_close(got, oracle(input_ids=row).logits[..., :7].detach(), **CLOSE)
        assert (model.vocab_size, model.num_actions) == (9, 7)
        for wrong in (6, 10):
            with pytest.raises(UsageError, match=f"expected 7 .* to 9, got {wrong}"):
                HuggingFaceModel(folders["gpt2"], num_actions=wrong)

    def test_other_tokens_for_the_same_ids_are_another_vocabulary(
        self, folders: Any, tmp_path: Path
    ) -> None:
        vocabulary = HuggingFaceModel(folders["gpt2"]).vocabulary
        assert vocabulary == HuggingFaceModel(folders["llama"]).vocabulary
        assert vocabulary == HuggingFaceCodec(folders["llama"]).vocabulary
        fewer = HuggingFaceModel(save_model(tmp_path / "fewer", pad=None)).vocabulary
        assert (vocabulary.num_actions, fewer.num_actions) == (9, 8)
        save_model(tmp_path / "other")
        save_tokenizer(tmp_path / "other", words=("b", "a", *WORDS[2:]), pad="[PAD]")
        other = HuggingFaceModel(tmp_path / "other").vocabulary
        assert other != vocabulary
        assert other.digest != vocabulary.digest
        assert replace(other, digest=vocabulary.digest) == vocabulary


class TestCodec:
    def test_encoding_and_decoding_are_inverse_for_whole_words(self, folders: Any) -> None:
        codec = HuggingFaceCodec(folders["gpt2"])
        assert codec.encode("c a f") == [2, 0, 5]
        assert codec.decode([2, 0, 5, EOS, PAD]) == "c a f"
        assert (codec.eos, codec.pad, codec.vocab_size, codec.num_actions) == (EOS, PAD, 9, 9)

    def test_an_unknown_id_is_named(self, folders: Any) -> None:
        with pytest.raises(UsageError, match=r"the id 9: .* has the ids 0\.\.8"):
            HuggingFaceCodec(folders["gpt2"]).decode([0, 9])

    def test_a_prompt_starts_as_the_tokenizer_starts_it_and_never_ends(self, folder: Path) -> None:
        file = folder / "tokenizer.json"
        state = tokenizers.Tokenizer.from_file(str(file))
        state.post_processor = tokenizers.processors.TemplateProcessing(
            single="f $A [EOS]", special_tokens=[("f", 5), ("[EOS]", EOS)]
        )
        state.save(str(file))
        codec = HuggingFaceCodec(folder)
        assert codec.encode("a b") == [0, 1]
        assert codec.encode("a b", prompt=True) == [5, 0, 1]

    @pytest.mark.claim(6)
    def test_text_of_sampled_ids_may_encode_to_other_ids(self, folder: Path) -> None:
        # Why ids are trained on as they were sampled: "a" then "b" reads as the one token "ab".
        ids = {"a": 0, "b": 1, "ab": 2, "[EOS]": 3, "[PAD]": 4}
        pairs = tokenizers.Tokenizer(tokenizers.models.BPE(ids, [("a", "b")]))
        pairs.decoder = tokenizers.decoders.Fuse()
        fast = transformers.PreTrainedTokenizerFast(
            tokenizer_object=pairs, eos_token="[EOS]", pad_token="[PAD]"
        )
        fast.save_pretrained(folder)
        codec = HuggingFaceCodec(folder)
        sampled = [0, 1, 2]
        assert codec.decode(sampled) == "abab"
        assert codec.encode(codec.decode(sampled)) == [2, 2] != sampled


def adapted(path: Path, seed: int = 0, **options: Any) -> HuggingFaceModel:
    return HuggingFaceModel(path, adapter=LoRA(rank=4, **options), rng=rng(seed))


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


def answers_with_grad(model: Any) -> torch.Tensor:
    tokens, real = padded(ragged(), left=1)
    logits: torch.Tensor = model.unembed(model(tokens, token_mask=real))[real]
    return logits[:, :6]  # not the padding's


def test_a_whole_model_is_copied_as_its_own_reference(folders: Any) -> None:
    policy = HuggingFaceModel(folders["gpt2"])
    before, reference = answers(policy), policy.reference_copy()
    shake(policy)
    assert torch.equal(answers(reference), before)
    assert not any(p.requires_grad for p in reference.parameters())


class Task(LanguageTask):
    """Prompts of one to four words; whatever is generated ends after six tokens."""

    name = "words"
    eos, pad, num_actions, vocab_size = EOS, PAD, 9, 9
    prompt_length, max_new_tokens = 4, 6

    def sample_prompts(self, generator: np.random.Generator, n: int) -> np.ndarray[Any, Any]:
        prompts = generator.integers(0, len(WORDS), (n, 4))
        prompts[np.arange(4) < generator.integers(0, 4, (n, 1))] = PAD
        return prompts


@pytest.mark.parametrize("kind", KINDS)
def test_sampled_log_probs_are_those_of_the_forward_in_training(folders: Any, kind: str) -> None:
    model = HuggingFaceModel(folders[kind])
    samples = generate(model, Task(), Task().sample_prompts(rng(2), 64), rng(3))
    with torch.no_grad():
        log_prob, _, _ = response_log_probs(model, samples.sequences)
    torch.testing.assert_close(samples.log_prob, log_prob, **CLOSE)
    lengths = samples.sequences.lengths
    assert len(lengths.unique()) > 2  # some rows had ended while others went on


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
def test_the_bare_base_is_refused_as_the_reference_of_trained_adapters(folders: Any) -> None:
    policy = adapted(folders["gpt2"])
    shake(policy)
    with pytest.raises(UsageError, match="adapters are trained already"):
        KLPenalisedPolicy(
            policy, None, lambda s: np.zeros(len(s.tokens)), Task(), PPOConfig(), SeedStreams(0, 0)
        )


def test_quiet_is_quiet_and_loud_again() -> None:
    logging = transformers.utils.logging
    before = (logging.get_verbosity(), logging.is_progress_bar_enabled())
    with silenced_transformers():
        assert logging.get_verbosity() == logging.ERROR
        assert not logging.is_progress_bar_enabled()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_loading_uses_no_network_prints_nothing_and_draws_nothing(
    folders: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    calls: list[Any] = []

    def refuse(*address: Any, **_: Any) -> None:
        calls.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    state = torch.get_rng_state()
    model = adapted(folders["gpt2"])
    HuggingFaceCodec(folders["gpt2"]).decode([0, 1])
    tokens, real = padded(ragged(), left=2)
    model(tokens, token_mask=real)
    model(tokens)
    with model.adapters_off(), model.adapters_off():
        model(tokens)
    assert calls == []
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), state)


def test_importing_the_module_imports_neither_transformers_nor_peft() -> None:
    code = (
        "import sys, rlkit.rlhf.models.huggingface.model as m; "
        "print({'transformers', 'peft'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


class TestBadInput:
    def refused(self, path: Path, match: str, **options: Any) -> None:
        with pytest.raises(UsageError, match=match):
            HuggingFaceModel(path, **options)

    def test_a_missing_folder(self, tmp_path: Path) -> None:
        self.refused(tmp_path / "none", "no such folder.*not downloaded")

    @pytest.mark.parametrize(
        ("file", "match"),
        [
            ("config.json", "has no config.json"),
            ("model.safetensors", "has no weights in safetensors format"),
            ("tokenizer.json", "has no tokenizer"),
        ],
    )
    def test_a_missing_file(self, folder: Path, file: str, match: str) -> None:
        (folder / file).unlink()
        self.refused(folder, match)

    def test_weights_that_could_execute(self, folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        self.refused(folder, "pytorch_model.bin is not read")

    @pytest.mark.parametrize(
        ("file", "match"),
        [
            ("config.json", "cannot load the configuration"),
            ("model.safetensors", "cannot load the weights"),
            ("tokenizer.json", "cannot load the tokenizer"),
        ],
    )
    def test_a_damaged_file(self, folder: Path, file: str, match: str) -> None:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: len(content) // 2])
        self.refused(folder, match)

    @pytest.mark.parametrize(
        ("field", "value", "match"),
        [
            ("model_type", "no_such_type", "cannot load the configuration"),
            ("architectures", ["GPT2ForSequenceClassification"], "not a causal language model"),
            ("architectures", None, "its architectures are none"),
            ("n_embd", 32, "not those of the model in config.json|cannot load the weights"),
            ("n_layer", 3, "not those of the model in config.json"),
        ],
    )
    def test_a_configuration_of_another_model(
        self, folder: Path, field: str, value: Any, match: str
    ) -> None:
        self.edit(folder / "config.json", field, value)
        self.refused(folder, match)

    def edit(self, file: Path, field: str, value: Any) -> None:
        content = json.loads(file.read_text())
        file.write_text(json.dumps({**content, field: value}))

    def test_a_model_that_is_no_causal_one(self, folder: Path) -> None:
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = transformers.BertConfig(vocab_size=9, intermediate_size=16, **sizes)
        with silenced_transformers():
            transformers.BertForMaskedLM(config).save_pretrained(folder)
        self.refused(folder, "architectures are BertForMaskedLM")

    def test_a_model_that_scales_its_logits(self, folder: Path) -> None:
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = transformers.CohereConfig(
            vocab_size=9, intermediate_size=16, logit_scale=0.5, **sizes, pad_token_id=PAD
        )
        with silenced_transformers():
            transformers.CohereForCausalLM(config).save_pretrained(folder)
        self.refused(folder, "more to its logits than one linear layer")

    @pytest.mark.claim(36)
    def test_padding_that_is_the_end(self, tmp_path: Path) -> None:
        save_model(tmp_path, pad="[EOS]")
        self.refused(tmp_path, r"pads with its end-of-sequence token '\[EOS\]'.*Take \"pad_token\"")
        with pytest.raises(UsageError, match="cannot be told from padding"):
            HuggingFaceCodec(tmp_path)

    def test_following_that_advice_helps(self, tmp_path: Path) -> None:
        save_model(tmp_path, pad="[EOS]")
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            if (tmp_path / name).exists():
                content = json.loads((tmp_path / name).read_text())
                content.pop("pad_token", None)
                (tmp_path / name).write_text(json.dumps(content))
        model = HuggingFaceModel(tmp_path)
        assert model.vocabulary.pad == model.num_actions == 8

    def test_a_tokenizer_without_an_end(self, folder: Path) -> None:
        save_tokenizer(folder, eos=None, pad="[PAD]")
        self.refused(folder, "no end-of-sequence token")

    def test_a_tokenizer_of_another_model(self, folder: Path) -> None:
        save_tokenizer(folder, words=(*WORDS, "g"), pad="[PAD]")
        self.refused(folder, "ids up to 9, but the model only those up to 8")

    def test_a_precision_that_there_is_not(self, folders: Any) -> None:
        self.refused(folders["gpt2"], "expected float32, bfloat16 or float16", dtype="float8")

    def test_adapters_for_layers_that_there_are_not(self, folders: Any) -> None:
        lora = LoRA(targets=("q_proj",))
        self.refused(folders["gpt2"], "layers are.*c_attn", adapter=lora, rng=rng())

    def test_adapters_on_the_output_layer(self, folders: Any) -> None:
        lora = LoRA(targets=("lm_head",))
        self.refused(folders["llama"], "output layer are not supported", adapter=lora, rng=rng())

    def test_new_adapters_without_a_generator(self, folders: Any) -> None:
        self.refused(folders["gpt2"], "pass rng", adapter=LoRA())

    @pytest.mark.parametrize("option", [{"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}])
    def test_options_of_adapters_out_of_range(self, option: dict[str, Any]) -> None:
        with pytest.raises(UsageError, match=f"option {next(iter(option))}"):
            LoRA(**option)

    def test_a_folder_without_adapters(self, folders: Any) -> None:
        self.refused(folders["gpt2"], "has no adapters", adapter=folders["llama"])

    def test_adapters_of_another_model(self, folders: Any, tmp_path: Path) -> None:
        with silenced_transformers():
            adapted(folders["llama"]).model.save_pretrained(tmp_path, save_embedding_layers=False)
        self.refused(folders["gpt2"], "adapters", adapter=tmp_path)

    def test_a_switch_without_adapters(self, folders: Any) -> None:
        model = HuggingFaceModel(folders["gpt2"])
        with pytest.raises(UsageError, match="no adapters to switch off"), model.adapters_off():
            pass

    @pytest.mark.parametrize("package", ["transformers", "peft"])
    def test_a_package_that_is_not_installed(
        self, folders: Any, monkeypatch: pytest.MonkeyPatch, package: str
    ) -> None:
        monkeypatch.setitem(sys.modules, package, None)
        self.refused(folders["gpt2"], r'pip install "rlkit\[hf\]"', adapter=LoRA(), rng=rng())
