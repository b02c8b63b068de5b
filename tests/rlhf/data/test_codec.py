"""The contract of codecs, and the words of a built-in task."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from rlkit.errors import UsageError
from rlkit.rlhf.data.codec import TaskCodec, TextCodec, check_codec


def codec(**changes: int) -> TextCodec:
    ids = {"vocab_size": 6, "num_actions": 5, "eos": 4, "pad": 5} | changes
    return SimpleNamespace(encode=list, decode=str, **ids)  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pad": 4}, "both PAD and EOS"),
        ({"eos": 5, "pad": 4}, "must be an id that can be generated"),
        ({"eos": -1}, "must be an id that can be generated"),
        ({"num_actions": 7}, "must be an id that can be generated"),
        ({"pad": 6}, "must be one of its ids"),
        ({"pad": -1}, "must be one of its ids"),
    ],
)
def test_a_codec_whose_special_ids_cannot_work_is_rejected(
    changes: dict[str, int], message: str
) -> None:
    check_codec(codec())
    with pytest.raises(UsageError, match=message):
        check_codec(codec(**changes))


class Words:
    """A task of two words."""

    token_names = ("up", "down", "<eos>", "<start>", "<pad>")
    num_actions, eos, pad = 3, 2, 4

    def text(self, ids: Sequence[int]) -> str:
        return " ".join(self.token_names[i] for i in ids if i != self.pad)

    def parse(self, text: str) -> list[int]:
        for word in text.split():
            if word not in self.token_names:
                raise ValueError(f"unknown word {word!r}")
        return [self.token_names.index(word) for word in text.split()]


def test_a_task_has_the_interface_of_a_tokenizer() -> None:
    words = TaskCodec(Words())
    assert (words.vocab_size, words.num_actions, words.eos, words.pad) == (5, 3, 2, 4)
    assert words.names == Words.token_names
    assert words.encode("<start> up down") == [3, 0, 1]
    assert words.decode([4, 3, 0, 1, 2, 4]) == "<start> up down"
    with pytest.raises(UsageError, match="unknown word 'left'"):
        words.encode("up left")
    for special in ("<eos>", "<pad>"):
        with pytest.raises(UsageError, match=f"special token '{special}'"):
            words.encode(f"up {special}")


def test_a_task_that_pads_with_eos_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Words, "pad", Words.eos)
    with pytest.raises(UsageError, match="both PAD and EOS"):
        TaskCodec(Words())
