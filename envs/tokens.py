"""Names of token ids, shared by the language tasks; conversion to and from text."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


class Vocabulary:
    """Names of token ids, from 0.

    Args:
        names: one word each, without spaces, all different.
        pad: the id that fills empty places; it is omitted from texts.

    Raises:
        ValueError: a name is empty, has a space or occurs twice; or `pad` is not an id.
    """

    def __init__(self, names: Iterable[str], *, pad: int) -> None:
        self.names = tuple(names)
        for name in self.names:
            if name.split() != [name] or self.names.count(name) > 1:
                raise ValueError(f"vocabulary: {name!r} must be one word and occur once")
        if not 0 <= pad < len(self.names):
            raise ValueError(f"vocabulary: pad is {pad}, expected 0 to {len(self.names) - 1}")
        self.pad = pad
        self._ids = {name: index for index, name in enumerate(self.names)}

    def text(self, ids: Iterable[int]) -> str:
        """Return the names of ids joined by spaces, without padding."""
        return " ".join(self.names[index] for index in ids if index != self.pad)

    def parse(self, text: str) -> Ids:
        """Return the ids of names separated by spaces.

        Raises:
            ValueError: a word is not a token.
        """
        unknown = [word for word in text.split() if word not in self._ids]
        if unknown:
            raise ValueError(
                f"parse: {unknown[0]!r} is not one of the {len(self.names)} tokens of this task"
            )
        return np.array([self._ids[word] for word in text.split()], dtype=np.int64)


def before_end(
    responses: Ids, eos: int, num_actions: int, width: int, task: str
) -> NDArray[np.bool_]:
    """Return which tokens belong to each response, EOS included: bool [n, T].

    Args:
        responses: [n, T].
        eos: the token that ends a response; tokens after the first are ignored.
        num_actions: the tokens of a response are below this.
        width: T.
        task: its name, for messages.

    Raises:
        ValueError: the width is wrong, or a token before the end is not an action.
    """
    if responses.ndim != 2 or responses.shape[1] != width:
        raise ValueError(
            f"{task}: expected responses of shape [n, {width}], got {list(responses.shape)}"
        )
    ends = responses == eos
    written: NDArray[np.bool_] = ends.cumsum(1) - ends == 0
    wrong = written & ((responses < 0) | (responses >= num_actions))
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise ValueError(
            f"{task}: response {row} has token {responses[row, column]} at place {column}, before "
            f"any EOS; expected 0 to {num_actions - 1}"
        )
    return written
