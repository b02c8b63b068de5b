"""The contract of everything that converts texts into ids and back, and the words of a task.

Ids below `num_actions` can be generated, EOS among them; the others, such as PAD, are only read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rlkit.errors import UsageError
from rlkit.rlhf.data.task import LanguageTask


class TextCodec(Protocol):
    """Converts texts into ids and back; `check_codec` checks the layout of its ids."""

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        ...

    @property
    def num_actions(self) -> int:
        """Ids below this one can be generated."""
        ...

    @property
    def eos(self) -> int:
        """The id that ends a response, below num_actions."""
        ...

    @property
    def pad(self) -> int:
        """The id that fills batches, which is never generated."""
        ...

    def encode(self, text: str, *, prompt: bool = False) -> list[int]:
        """Return the ids of a text, without EOS; a UsageError if a part of it has no id.

        prompt: whether a sequence starts here, for tokenizers with a token for that.
        """
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without EOS and PAD."""
        ...


def check_codec(codec: TextCodec) -> None:
    """Reject a codec with unusable special ids.

    Raises:
        UsageError: EOS cannot be generated, or PAD is EOS or no id at all.
    """
    if codec.pad == codec.eos:
        raise UsageError(
            f"the tokenizer has one id, {codec.eos}, for both PAD and EOS: a model that "
            "ignores its padding could then not learn to stop; give PAD an id of its own"
        )
    if not 0 <= codec.eos < codec.num_actions <= codec.vocab_size:
        raise UsageError(
            f"the tokenizer's EOS, {codec.eos}, must be an id that can be generated: expected "
            f"0 <= EOS < num_actions = {codec.num_actions} <= vocab_size = {codec.vocab_size}"
        )
    if not 0 <= codec.pad < codec.vocab_size:
        raise UsageError(
            f"the tokenizer's PAD, {codec.pad}, must be one of its ids: expected it in "
            f"[0, vocab_size) = [0, {codec.vocab_size})"
        )


class TaskCodec:
    """The words of a built-in task, as a `TextCodec`."""

    def __init__(self, task: LanguageTask) -> None:
        self._task = task
        self.names = tuple(task.token_names)
        self.vocab_size = len(self.names)
        self.num_actions = int(task.num_actions)
        self.eos = int(task.eos)
        self.pad = int(task.pad)
        check_codec(self)

    def encode(self, text: str, *, prompt: bool = False) -> list[int]:
        """Return the ids of words; a UsageError for an unknown word, EOS or PAD."""
        try:
            ids = [int(i) for i in self._task.parse(text)]
        except ValueError as error:
            raise UsageError(str(error)) from error
        for special in (self.eos, self.pad):
            if special in ids:
                raise UsageError(
                    f"the text {text!r} has the special token {self.names[special]!r}; remove "
                    "it, ends and padding are added automatically"
                )
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Return the words of ids, without EOS and PAD."""
        return self._task.text([int(i) for i in ids if i not in (self.eos, self.pad)])
