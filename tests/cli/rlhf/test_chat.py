"""`rlkit rlhf chat`."""

from __future__ import annotations

import io
from typing import Any

import pytest

from tests.cli.rlhf.commands import said


@pytest.mark.long
def test_chat_shows_both_sides_explains_unknown_tokens_and_ends_at_an_empty_line(ppo: str) -> None:
    typed = io.StringIO("<about-A>\n<about-Z>\nA B\n<about-B>\n\n<about-C>\n")
    printed, _ = said("chat", ppo, "--num", 2, stdin=typed)
    assert "tokens of prompts: <about-A> <about-B> <about-C> <about-D>" in printed
    assert "example of a prompt: <about-" in printed
    assert printed.count("┃ policy ") == printed.count("┃ reference ") == 2
    assert "'<about-Z>' is not one of the" in printed
    assert "'A B' is not a prompt of the task enumerable; a prompt is, for example" in printed
    assert typed.readline() == "<about-C>\n"  # not read any more


def test_chat_ends_with_its_input_and_by_ctrl_c(text_sft: str) -> None:
    printed, _ = said("chat", text_sft, "--num", 1, stdin=io.StringIO("hi\nhü\ngood day!\nhi"))
    assert printed.count("policy ") >= 2
    assert "'ü' is not in the tokenizer's vocabulary" in printed

    class Interrupted(io.StringIO):
        def readline(self, *_: Any) -> str:
            raise KeyboardInterrupt

    said("chat", text_sft, stdin=Interrupted())
