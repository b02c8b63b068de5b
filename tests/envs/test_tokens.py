"""Names of tokens, and where responses end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlkit_envs.tokens import Vocabulary, before_end

WORDS = Vocabulary(["yes", "no", "<eos>", "<pad>"], pad=3)


def test_text_omits_padding() -> None:
    assert WORDS.text([3, 0, 1, 2, 3, 3]) == "yes no <eos>"


@given(st.lists(st.integers(0, 2)))
def test_parsing_a_text_gives_its_ids(ids: list[int]) -> None:
    assert WORDS.parse(WORDS.text(ids)).tolist() == ids


def test_an_unknown_word_is_named() -> None:
    with pytest.raises(ValueError, match="'maybe' is not one of the 4 tokens"):
        WORDS.parse("yes maybe no")


@pytest.mark.parametrize("name", ["", "two words", " yes", "no"])
def test_a_name_that_text_could_not_carry_is_rejected(name: str) -> None:
    with pytest.raises(ValueError, match="must be one word and occur once"):
        Vocabulary(["no", name], pad=0)


@pytest.mark.parametrize("pad", [-1, 2])
def test_a_pad_outside_the_vocabulary_is_rejected(pad: int) -> None:
    with pytest.raises(ValueError, match=f"pad is {pad}, expected 0 to 1"):
        Vocabulary(["a", "b"], pad=pad)


def test_a_response_ends_with_its_first_eos() -> None:
    responses = np.array([[0, 2, 2, -7], [2, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 2]])
    mask = before_end(responses, eos=2, num_actions=3, width=4, task="t")
    np.testing.assert_array_equal(mask, [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]])


def test_padding_in_the_middle_of_a_response_is_rejected() -> None:
    with pytest.raises(ValueError, match="t: response 1 has token 3 at place 2, before any EOS"):
        before_end(np.array([[0, 0, 2], [0, 0, 3]]), eos=2, num_actions=3, width=3, task="t")
    with pytest.raises(ValueError, match=r"expected responses of shape \[n, 4\], got \[1, 3\]"):
        before_end(np.array([[0, 0, 2]]), eos=2, num_actions=3, width=4, task="t")
