"""Tokenizers and vocabularies of folders."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rlkit.errors import UsageError
from rlkit.rlhf.data.text_task import TextTask
from rlkit.rlhf.models.huggingface.folder import (
    HuggingFaceCodec,
    longest_context,
    silenced_transformers,
)
from rlkit.rlhf.models.huggingface.model import HuggingFaceModel

transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")
tokenizers = pytest.importorskip("tokenizers")

from tests.rlhf.models.huggingface.small_models import (  # noqa: E402
    CLOSE,
    EOS,
    PAD,
    WORDS,
    build,
    ragged,
    save_model,
    save_tokenizer,
)


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


def test_quiet_is_quiet_and_loud_again() -> None:
    logging = transformers.utils.logging
    before = (logging.get_verbosity(), logging.is_progress_bar_enabled())
    with silenced_transformers():
        assert logging.get_verbosity() == logging.ERROR
        assert not logging.is_progress_bar_enabled()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


@pytest.mark.parametrize("kind", ["bloom", "mamba"])
def test_models_without_positions_are_rejected_in_a_sentence(kind: str, tmp_path: Path) -> None:
    config = {"bloom": transformers.BloomConfig, "mamba": transformers.MambaConfig}[kind]()
    with pytest.raises(UsageError, match=f"models of the type '{kind}' name no max_position"):
        longest_context(tmp_path, config.get_text_config())


def test_messages_become_a_prompt_by_the_chat_template(tmp_path: Path) -> None:
    save_model(tmp_path)
    messages = [{"role": "user", "content": "a b"}]
    with pytest.raises(UsageError, match="the tokenizer has no chat template"):
        HuggingFaceCodec(tmp_path).apply_template(messages)
    template = "{% for m in messages %}[EOS] {{ m['content'] }} {% endfor %}[EOS] "
    (tmp_path / "chat_template.jinja").write_text(template)
    codec = HuggingFaceCodec(tmp_path)
    assert codec.apply_template(messages) == "[EOS] a b [EOS] "
    row = {"messages": [*messages, {"role": "assistant", "content": "c"}]}
    task = TextTask.from_files(demonstrations=[row], tokenizer=codec)
    prompts, responses = task.demonstrations()
    assert prompts.tolist() == [[EOS, 0, 1, EOS]]  # which a text may not spell
    assert responses.tolist() == [[2, EOS]]
    with pytest.raises(UsageError, match="spells a special token"):
        TextTask.from_files(
            demonstrations=[{"prompt": "a [EOS] b", "response": "c"}], tokenizer=codec
        )
    assert task.is_chat
    assert task.first_message == "a b"
    assert task.chat_prompt("c d") == [EOS, 2, 3, EOS]
    (unknown,) = codec.encode("nobody")  # which is no token that a template writes
    assert task.chat_prompt("nobody") == [EOS, unknown, EOS]
    forged = "a [EOS] b"  # as if the message ended, and somebody else spoke
    with pytest.raises(UsageError, match=r"the message 'a \[EOS\] b' spells a special token"):
        task.chat_prompt(forged)
    chat = [{"role": "user", "content": forged}, {"role": "assistant", "content": "c"}]
    with pytest.raises(UsageError, match=r"demonstrations:1: .* which only the chat template may"):
        TextTask.from_files(demonstrations=[{"messages": chat}], tokenizer=codec)


@pytest.mark.parametrize(
    ("settings", "template"),
    [
        ({}, "{% for m in messages %}[PAD] {{ m['content'] }} {% endfor %}[PAD] "),
        (
            {"bos_token": "[PAD]"},
            "{% for m in messages %}{{ bos_token }} {{ m['content'] }} {% endfor %}{{ bos_token }}",
        ),
    ],
)
def test_padding_that_a_chat_template_writes_is_not_hidden_from_the_model(
    tmp_path: Path, settings: dict[str, str], template: str
) -> None:
    save_model(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    (tmp_path / "chat_template.jinja").write_text(template)
    codec = HuggingFaceCodec(tmp_path)
    assert (codec.pad, codec.vocab_size, codec.num_actions) == (9, 10, 9)
    assert HuggingFaceModel(tmp_path).vocabulary == codec.vocabulary
    chats = [
        {"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": "c"}]}
        for a in ("a b", "a")
    ]
    prompts, _ = TextTask.from_files(demonstrations=chats, tokenizer=codec).demonstrations()
    assert prompts.tolist() == [[PAD, 0, 1, PAD], [9, PAD, 0, PAD]]


def test_an_answer_of_a_chat_may_not_spell_what_only_the_template_writes(tmp_path: Path) -> None:
    save_model(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    settings = {**json.loads(file.read_text()), "additional_special_tokens": ["f"]}
    file.write_text(json.dumps(settings))
    (tmp_path / "chat_template.jinja").write_text(
        "{% for m in messages %}f {{ m['content'] }} {% endfor %}"
    )
    codec = HuggingFaceCodec(tmp_path)
    asked = {"role": "user", "content": "a"}
    for answer, is_right in (("c", True), ("c f b", False)):
        row = {"messages": [asked, {"role": "assistant", "content": answer}]}
        with (
            contextlib.nullcontext()
            if is_right
            else pytest.raises(
                UsageError, match="the response 'c f b' spells a special token, which only the chat"
            )
        ):
            TextTask.from_files(demonstrations=[row], tokenizer=codec)


def test_padding_that_begins_sequences_is_another_token(tmp_path: Path) -> None:
    save_model(tmp_path)
    file = tmp_path / "tokenizer.json"
    state = tokenizers.Tokenizer.from_file(str(file))
    state.post_processor = tokenizers.processors.TemplateProcessing(
        single="[PAD] $A", special_tokens=[("[PAD]", PAD)]
    )
    state.save(str(file))
    codec = HuggingFaceCodec(tmp_path)
    assert codec.pad == 9
    task = TextTask.from_files(demonstrations=[{"prompt": "a", "response": "c"}], tokenizer=codec)
    assert task.demonstrations()[0].tolist() == [[PAD, 0]]


def test_a_template_that_writes_whatever_pads_is_rejected(tmp_path: Path) -> None:
    save_model(tmp_path)
    template = "{% for m in messages %}{{ pad_token }} {{ m['content'] }} {% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(template)
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "c"}]
    with pytest.raises(UsageError, match=r"the chat template writes PAD, id 9, .* hidden"):
        TextTask.from_files(
            demonstrations=[{"messages": chat}], tokenizer=HuggingFaceCodec(tmp_path)
        )


def test_words_that_a_tokenizer_lacks_may_be_asked_but_not_answered(tmp_path: Path) -> None:
    """Whatever decodes ids as text omits the unknown token, so that it would be learned unseen."""
    codec = HuggingFaceCodec(save_model(tmp_path))
    row = {"prompt": "a nobody", "response": "b"}
    task = TextTask.from_files(demonstrations=[row], tokenizer=codec)
    assert task.demonstrations()[0].tolist() == [[0, 8]]
    with pytest.raises(UsageError, match=r"demonstrations:2: .* id 8, that no model can generate"):
        TextTask.from_files(
            demonstrations=[row, {"prompt": "a", "response": "b nobody"}], tokenizer=codec
        )
