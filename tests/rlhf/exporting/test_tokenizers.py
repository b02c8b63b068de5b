"""Tokenizers that were trained here, read by plain transformers: the same ids and texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlkit.rlhf.data.codec import TaskCodec
from rlkit.rlhf.data.tokenizer import Tokenizer, TokenizerKind
from rlkit_envs.grammar import GrammarTask

transformers = pytest.importorskip("transformers")

from rlkit.rlhf.exporting.tokenizers import own_tokenizer  # noqa: E402

TEXTS = ["the sea is  blue", "a<eos>b \x1c c\nd", "h\u00e4l \u65e5\u672c \U0001f600", "<pad>"]
CASES = [("char", False), ("char", True), ("word", False), ("word", True), ("bpe", False)]


@pytest.mark.parametrize(("kind", "unknown"), CASES)
def test_ids_and_texts_are_those_of_the_tokenizer_also_where_a_text_spells_a_special_token(
    kind: TokenizerKind, unknown: bool, tmp_path: Path
) -> None:
    ours = Tokenizer.train(TEXTS, kind, allow_unknown=unknown)
    own_tokenizer(ours).save_pretrained(tmp_path)
    read = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (len(read), read.eos_token_id, read.pad_token_id) == (
        *(ours.vocab_size, ours.eos, ours.pad),
    )
    for text in TEXTS:
        ids = ours.encode(text)
        assert read(text).input_ids == ids
        ended = [*ids, ours.eos, ours.pad]
        assert read.decode(ended, skip_special_tokens=True) == ours.decode(ended)
    if unknown:
        assert read("sea Q").input_ids == ours.encode("sea Q")
    elif kind != "bpe":
        with pytest.raises(Exception, match="UNK"):
            read("Q")


def test_the_words_of_a_task_are_a_tokenizer() -> None:
    codec = TaskCodec(GrammarTask())
    words = " ".join(codec.names[:5])
    read = own_tokenizer(codec)
    assert read(words).input_ids == codec.encode(words)
    assert read.pad_token_id == codec.pad
