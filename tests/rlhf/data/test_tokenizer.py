"""Tokenizers: texts to ids and back, held to the `tokenizers` library and to round trips."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any, Literal

import numpy as np
import pytest
import tokenizers as library
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.errors import UsageError
from rlkit.rlhf.data.codec import check_codec
from rlkit.rlhf.data.tokenizer import Tokenizer

TEXTS = ["the cat sat on the mat", "the hat", "a cat in the hat"]
KINDS: tuple[Literal["char", "word", "bpe"], ...] = ("char", "word", "bpe")


def bpe_with_other_spellings() -> tuple[Tokenizer, list[int], list[int]]:
    """A tokenizer, ids that a policy may sample, and the ids that their text is encoded to."""
    tokenizer = Tokenizer.train(TEXTS, "bpe", vocab_size=280)
    sampled = [tokenizer.names.index(letter) for letter in "the"]
    return tokenizer, sampled, [tokenizer.names.index("the")]


# --- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unknown", [False, True])
def test_tokens_come_first_then_eos_and_padding_is_last(kind: Any, unknown: bool) -> None:
    if kind == "bpe" and unknown:
        return
    tokenizer = Tokenizer.train(TEXTS, kind, allow_unknown=unknown)
    check_codec(tokenizer)
    ids = {i for text in TEXTS for i in tokenizer.encode(text)}
    assert max(ids) < tokenizer.eos == tokenizer.num_actions - 1
    assert tokenizer.pad == tokenizer.vocab_size - 1 >= tokenizer.num_actions
    assert tokenizer.vocab_size - tokenizer.num_actions == 1 + unknown
    assert tokenizer.unk == (tokenizer.num_actions if unknown else None)
    assert len(tokenizer.names) == len(set(tokenizer.names)) == tokenizer.vocab_size


def test_characters_and_words_have_the_ids_of_the_library() -> None:
    for kind, cut in (
        ("char", library.pre_tokenizers.Split(library.Regex(r"[\s\S]"), "isolated")),
        ("word", library.pre_tokenizers.WhitespaceSplit()),
    ):
        tokenizer = Tokenizer.train(TEXTS, kind)  # type: ignore[arg-type]
        vocabulary = {token: i for i, token in enumerate(tokenizer.tokens)}
        twin = library.Tokenizer(library.models.WordLevel(vocabulary, unk_token="?"))
        twin.pre_tokenizer = cut
        for text in [*TEXTS, "hat  cat\tmat" if kind == "word" else "tam  tac"]:
            assert tokenizer.encode(text) == twin.encode(text).ids


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=50, deadline=None)
@given(texts=st.lists(st.text(max_size=30), min_size=1, max_size=4).filter(any))
def test_decoding_gives_back_what_was_encoded(kind: Any, texts: list[str]) -> None:
    if not any(text.split() for text in texts):
        return
    tokenizer = Tokenizer.train(texts, kind)
    for text in texts:
        ids = tokenizer.encode(text)
        assert tokenizer.decode([*ids, tokenizer.eos, tokenizer.pad]) == (
            " ".join(text.split()) if kind == "word" else text
        )


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=50))
def test_byte_level_pair_encoding_knows_every_text(text: str) -> None:
    assert BPE.decode(BPE.encode(text)) == text


BPE = Tokenizer.train(TEXTS, "bpe", vocab_size=280)


def test_vocab_size_counts_every_id_and_is_reached_where_pairs_are_left() -> None:
    assert Tokenizer.train(TEXTS, "bpe", vocab_size=258).vocab_size == 258
    assert Tokenizer.train(TEXTS, "bpe", vocab_size=262).vocab_size == 262
    assert Tokenizer.train(TEXTS, "bpe", vocab_size=10_000).vocab_size < 300  # no pair occurs twice


def test_encoding_what_was_decoded_may_give_other_ids() -> None:
    tokenizer, sampled, encoded = bpe_with_other_spellings()
    assert tokenizer.decode(sampled) == "the"
    assert tokenizer.encode("the") == encoded != sampled
    # Half of a character is shown as U+FFFD, from which its byte cannot be found again.
    half = tokenizer.encode("é")[:1]
    assert tokenizer.decode(half) == "\ufffd"
    assert tokenizer.encode(tokenizer.decode(half)) != half


# --- special tokens -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_text_that_spells_special_tokens_is_only_text(kind: Any) -> None:
    texts = ["<eos> a <pad> b <unk>", "<<eos>> <|endoftext|> [PAD]"]
    tokenizer = Tokenizer.train(texts, kind)
    assert len(set(tokenizer.names)) == tokenizer.vocab_size
    for text in texts:
        ids = tokenizer.encode(text)
        assert max(ids) < tokenizer.eos
        assert tokenizer.decode(ids) == text


def test_special_tokens_are_omitted_from_text_and_unknown_ones_are_printed() -> None:
    tokenizer = Tokenizer.train(["a b"], "word", allow_unknown=True)
    a, unknown = tokenizer.encode("a z")
    assert unknown == tokenizer.unk
    assert tokenizer.decode([tokenizer.pad, a, unknown, tokenizer.eos]) == "a <unk>"


@pytest.mark.parametrize("kind", ["char", "word"])
def test_unknown_tokens_are_rejected_by_name(kind: Any) -> None:
    tokenizer = Tokenizer.train(TEXTS, kind)
    with pytest.raises(UsageError, match=r"'z'.* not in the tokenizer's vocabulary.*bpe tokenizer"):
        tokenizer.encode("the z")


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_are_no_ids_are_rejected(kind: Any) -> None:
    tokenizer = Tokenizer.train(TEXTS, kind)
    for wrong in (-1, tokenizer.vocab_size):
        with pytest.raises(ValueError, match=f"got {wrong}"):
            tokenizer.decode([0, wrong])


# --- training and storing -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_the_texts_does_not_count(kind: Any) -> None:
    first = Tokenizer.train(TEXTS, kind)
    assert Tokenizer.train(TEXTS[::-1], kind).to_json() == first.to_json()


def test_another_process_makes_the_same_bytes() -> None:
    code = (
        "import sys; from rlkit.rlhf.data.tokenizer import Tokenizer; "
        f"print(Tokenizer.train({TEXTS!r}, 'bpe', vocab_size=280).digest, 'torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [BPE.digest, "False"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_tokenizer_comes_back(kind: Any) -> None:
    tokenizer = Tokenizer.train([*TEXTS, "é ☃"], kind, allow_unknown=kind != "bpe")
    again = Tokenizer.from_json(tokenizer.to_json())
    assert again == tokenizer
    assert again.to_json() == tokenizer.to_json()
    assert again.encode(TEXTS[2]) == tokenizer.encode(TEXTS[2])
    assert Tokenizer.from_dict(json.loads(json.dumps(tokenizer.to_dict()))) == tokenizer


def test_files_that_are_not_tokenizers_are_rejected() -> None:
    good = Tokenizer.train(TEXTS, "word").to_dict()
    for bad in (
        {},
        [],
        good | {"kind": "letters"},
        good | {"tokens": ["a", "a"]},
        good | {"tokens": [1, 2]},
        good | {"tokens": None},
        good | {"unknown": 1},
        good | {"merges": [["a", "b"]]},
        good | {"kind": "bpe", "merges": [["a", "b", "c"]]},
        good | {"kind": "bpe", "merges": [["the", "nothing"]]},
    ):
        with pytest.raises(UsageError, match="not a stored tokenizer"):
            Tokenizer.from_json(json.dumps(bad).encode())
    for junk in (b"", b"{", b"\xff"):
        with pytest.raises(UsageError, match="not a stored tokenizer"):
            Tokenizer.from_json(junk)


def test_options_that_do_not_belong_to_a_kind_are_rejected() -> None:
    for kind, options, message in (
        ("chars", {}, "expected one of 'char', 'word', 'bpe'.*Did you mean 'char'"),
        ("char", {"vocab_size": 300}, "vocab_size is an option of 'bpe' only"),
        ("bpe", {"vocab_size": 257}, "vocab_size .*expected a whole number >= 258, got 257"),
        ("bpe", {"vocab_size": 300.0}, "vocab_size .*write 300, not 300.0"),
        ("bpe", {"vocab_size": True}, "vocab_size .*got True"),
        ("bpe", {"allow_unknown": True}, "omit allow_unknown"),
    ):
        with pytest.raises(UsageError, match=message):
            Tokenizer.train(TEXTS, kind, **options)  # type: ignore[arg-type]
    size: Any = np.int64(258)
    assert Tokenizer.train(TEXTS, "bpe", vocab_size=size).vocab_size == 258
    for kind in KINDS:
        with pytest.raises(UsageError, match="texts to train it on are empty"):
            Tokenizer.train([""], kind)
    with pytest.raises(UsageError, match="not valid Unicode"):
        BPE.encode("\ud83d")


def test_without_the_library_pair_encoding_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UsageError, match=r'pip install "rlkit\[hf\]"'):
        Tokenizer.train(TEXTS, "bpe")
    for kind in ("char", "word"):  # these need no library
        tokenizer = Tokenizer.train(TEXTS, kind)  # type: ignore[arg-type]
        assert tokenizer.decode(tokenizer.encode(TEXTS[0])) == TEXTS[0]
