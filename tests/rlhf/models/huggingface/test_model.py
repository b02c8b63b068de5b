"""Hugging Face models, tiny and random, saved here; the oracle is transformers' own forward."""

from __future__ import annotations

import copy
import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from rlkit.errors import UsageError
from rlkit.maths.distributions import categorical_log_prob_and_entropy
from rlkit.rlhf.data.sampling import generate
from rlkit.rlhf.data.sequences import pack, response_log_probs
from rlkit.rlhf.models.huggingface.folder import HuggingFaceCodec, silenced_transformers
from rlkit.rlhf.models.huggingface.model import HuggingFaceModel, LoRA

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
tokenizers = pytest.importorskip("tokenizers")

from tests.rlhf.models.huggingface.small_models import (  # noqa: E402
    CLOSE,
    EOS,
    KINDS,
    PAD,
    WORDS,
    Task,
    adapted,
    alone,
    answers,
    build,
    log_probs,
    padded,
    ragged,
    rng,
    save_model,
    save_tokenizer,
    shake,
)


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

    def test_a_sequence_beyond_the_context_is_rejected(self, folders: Any, kind: str) -> None:
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


def test_a_whole_model_is_copied_as_its_own_reference(folders: Any) -> None:
    policy = HuggingFaceModel(folders["gpt2"])
    before, reference = answers(policy), policy.reference_copy()
    shake(policy)
    assert torch.equal(answers(reference), before)
    assert not any(p.requires_grad for p in reference.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_sampled_log_probs_are_those_of_the_forward_in_training(folders: Any, kind: str) -> None:
    model = HuggingFaceModel(folders[kind])
    samples = generate(model, Task(), Task().sample_prompts(rng(2), 64), rng(3))
    with torch.no_grad():
        log_prob, _, _ = response_log_probs(model, samples.sequences)
    torch.testing.assert_close(samples.log_prob, log_prob, **CLOSE)
    lengths = samples.sequences.lengths
    assert len(lengths.unique()) > 2  # some rows had ended while others went on


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


@pytest.mark.long
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

    @pytest.mark.claim(36)
    @pytest.mark.parametrize("pad", ["[EOS]", None])
    def test_padding_that_is_the_end_gets_an_id_of_its_own(
        self, pad: str | None, tmp_path: Path
    ) -> None:
        save_model(tmp_path, pad=pad)
        codec, model = HuggingFaceCodec(tmp_path), HuggingFaceModel(tmp_path)
        assert codec.eos == EOS
        assert codec.pad == codec.vocab_size - 1 == 8  # after the six words, [EOS] and [UNK]
        assert model.num_actions == 8
        assert model.unembed(model(torch.tensor([[0, 1]]))).shape[-1] == 8

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
