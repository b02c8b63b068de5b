"""Which texts cannot be used, and that the message names their file and line."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from rlkit.errors import UsageError
from rlkit.rlhf.data.text_task import TextTask
from rlkit.rlhf.data.tokenizer import Tokenizer, TokenizerKind
from tests.rlhf.data.test_text_task import (
    DEMONSTRATIONS,
    PREFERENCES,
    PROMPTS,
    ReadsSpecialTokens,
    write,
)


def test_a_response_that_is_too_long_is_rejected_with_its_line(tmp_path: Path) -> None:
    demos = write(tmp_path / "demos.jsonl", DEMONSTRATIONS)
    TextTask.from_files(demonstrations=demos, max_new_tokens=5)
    with pytest.raises(UsageError, match=r"demos.jsonl:2: the response 'dcba' has 5 tokens, EOS"):
        TextTask.from_files(demonstrations=demos, max_new_tokens=4)
    pairs = write(tmp_path / "pairs.jsonl", [PREFERENCES[0] | {"chosen": "d"}, PREFERENCES[1]])
    with pytest.raises(UsageError, match=r"pairs.jsonl:2: the response 'dd' has 3 tokens"):
        TextTask.from_files(preferences=pairs, max_new_tokens=2)


def test_a_prompt_without_room_for_a_response_is_rejected_with_its_line(tmp_path: Path) -> None:
    prompts = write(tmp_path / "prompts.jsonl", PROMPTS)
    TextTask.from_files(prompts=prompts, max_new_tokens=6, context_length=10)
    with pytest.raises(UsageError, match=r"prompts.jsonl:2: the prompt has 4 tokens.*of 9"):
        TextTask.from_files(prompts=prompts, max_new_tokens=6, context_length=9)
    with pytest.raises(UsageError, match=r"demonstrations:3: the prompt has 3 tokens"):
        TextTask.from_files(demonstrations=DEMONSTRATIONS, context_length=7)


def test_where_a_prompt_has_no_room_for_the_longest_response_its_line_is_named() -> None:
    rows = [{"prompt": "ab", "response": "c"}, {"prompt": "a", "response": "ccccc"}]
    longest = r"demonstrations:1: the prompt has 2 .* 6 more for the longest response \(.*:2\)"
    with pytest.raises(UsageError, match=longest):
        TextTask.from_files(demonstrations=rows, context_length=7)
    with pytest.raises(UsageError, match=r"max_new_tokens = 9 more it .* give a smaller max_new_"):
        TextTask.from_files(demonstrations=rows, context_length=10, max_new_tokens=9)


@pytest.mark.parametrize("response", ["1. mix\n2. bake", "two  spaces", " leading", "tab\there"])
def test_white_space_that_a_tokenizer_does_not_keep_is_known(response: str) -> None:
    rows = [{"prompt": "a\nb", "response": "plain"}, {"prompt": "a b", "response": response}]
    for kind in get_args(TokenizerKind):
        task = TextTask.from_files(demonstrations=rows, tokenizer=kind)
        assert task.unkept == (response if kind == "word" else None)
    assert TextTask.from_files(demonstrations=rows[:1], tokenizer="word").unkept is None


def test_a_text_that_a_given_tokenizer_does_not_know_is_rejected_with_its_line() -> None:
    known = Tokenizer.train(["abc"], "char")
    with pytest.raises(UsageError, match=r"demonstrations:1: the response: .*'d' is not in"):
        TextTask.from_files(demonstrations=DEMONSTRATIONS, tokenizer=known)
    with pytest.raises(UsageError, match=r"prompts:2: the prompt: .*'d' is not in"):
        TextTask.from_files(prompts=PROMPTS, tokenizer=known, max_new_tokens=3)


def test_unknown_tokens_may_stand_in_prompts_but_not_in_responses() -> None:
    known = Tokenizer.train(["abc"], "char", allow_unknown=True)
    task = TextTask.from_files(prompts=PROMPTS, tokenizer=known, max_new_tokens=3)
    drawn = task.sample_prompts(np.random.default_rng(0), 2)
    assert {known.unk} == set(drawn[drawn >= task.num_actions]) - {task.pad}
    with pytest.raises(UsageError, match=r"demonstrations:1: .* that no model can generate"):
        TextTask.from_files(demonstrations=DEMONSTRATIONS, tokenizer=known)


def test_a_text_without_tokens_is_rejected() -> None:
    for rows, what in (
        ([{"prompt": " ", "response": "a"}], "prompt"),
        ([{"prompt": "a", "response": "\n"}], "response"),
    ):
        with pytest.raises(UsageError, match=rf"demonstrations:1: the {what} .* has no tokens"):
            TextTask.from_files(demonstrations=rows, tokenizer="word")


@pytest.mark.parametrize(
    ("prompt", "response", "tokenizer", "glued"),
    [
        ("the sky", "is blue today", "char", "skyis"),
        ("the sky", "is blue today", "word", None),
        ("the sky", " is blue today", "char", None),
        ("the sky ", "is blue today", "char", None),
        ("the sky?", "is blue today", "char", None),
        ([{"role": "user", "content": "the sky"}], "is blue today", "char", None),
    ],
)
def test_words_that_run_into_each_other_are_known(
    prompt: object, response: str, tokenizer: TokenizerKind, glued: str | None
) -> None:
    rows = [{"prompt": prompt, "response": response}] * 3
    assert TextTask.from_files(demonstrations=rows, tokenizer=tokenizer).glued == glued
    other: object = "the sun."
    other = other if isinstance(prompt, str) else [{"role": "user", "content": other}]
    few = [*rows, *[{"prompt": other, "response": "It"}] * 4]
    assert TextTask.from_files(demonstrations=few, tokenizer=tokenizer).glued is None


def test_two_responses_of_the_same_tokens_are_rejected_with_their_line(tmp_path: Path) -> None:
    rows = [PREFERENCES[0], {"prompt": "b", "chosen": "c d", "rejected": "c\td"}]
    pairs = write(tmp_path / "pairs.jsonl", rows)
    TextTask.from_files(preferences=pairs, tokenizer="char")  # they differ by a character
    message = r"pairs.jsonl:2: chosen 'c d' and rejected 'c\\td' are the same tokens"
    with pytest.raises(UsageError, match=message):
        TextTask.from_files(preferences=pairs, tokenizer="word")


def test_a_text_that_spells_eos_or_padding_is_rejected() -> None:
    codec = ReadsSpecialTokens()
    task = TextTask.from_files(demonstrations=DEMONSTRATIONS, tokenizer=codec)
    assert task.demonstrations()[0][0].tolist() == [5, 4, 0, 1]  # what it starts prompts with stays
    assert task.token_names == ("a", "b", "c", "d", "", "")
    for row in (
        {"prompt": "a.b", "response": "c"},
        {"prompt": "a_b", "response": "c"},
        {"prompt": "a", "response": ".c"},
        {"prompt": "a", "response": "c_"},
    ):
        with pytest.raises(UsageError, match=r"demonstrations:1: .* spells a special token"):
            TextTask.from_files(demonstrations=[row], tokenizer=codec)
