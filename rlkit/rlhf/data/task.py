"""The contracts of a language task, from the least to the most that is known about one.

Every task is a `LanguageTask`. Where the true reward of a response is known it is a `GoldTask` as
well, and where all prompts and responses can be listed, an `EnumerableTask`. Check with
`isinstance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


@runtime_checkable
class LanguageTask(Protocol):
    """Prompts to respond to, and the tokens that prompts and responses are made of.

    Ids below `num_actions` can be generated; `eos` is one of them and ends a response, `pad` is
    not. Prompts are int64 [n, prompt_length], padded on the left; responses [n, max_new_tokens],
    `eos` included and padded on the right.
    """

    name: str
    vocab_size: int
    num_actions: int
    eos: int
    pad: int
    prompt_length: int  # tokens
    max_new_tokens: int

    @property
    def token_names(self) -> Sequence[str]:
        """The name of each id, [vocab_size]."""
        ...

    def sample_prompts(self, rng: np.random.Generator, n: int, /) -> Ids:
        """Draw n prompts, [n, prompt_length]."""
        ...

    def demonstrations(self, rng: np.random.Generator, n: int, /) -> tuple[Ids, Ids]:
        """Draw n prompts [n, prompt_length], each with a response to imitate."""
        ...

    def text(self, ids: Any, /) -> str:
        """Return the text of ids, without EOS and PAD."""
        ...

    def parse(self, text: str, /) -> Any:
        """Return the ids of a text; a ValueError names a word that is unknown."""
        ...


@runtime_checkable
class GoldTask(LanguageTask, Protocol):
    """A task that knows the true reward of any response."""

    def gold(self, prompts: Ids, responses: Ids, /) -> NDArray[np.float64]:
        """Return the gold reward of each response, [n], on a scale of the task's own."""
        ...


@runtime_checkable
class EnumerableTask(GoldTask, Protocol):
    """A task with a list of all its prompts; see `exact.answer_key` for when responses are few."""

    @property
    def prompts(self) -> Ids:
        """All prompts, [Q, prompt_length]."""
        ...

    def prompt_index(self, prompts: Ids, /) -> Ids:
        """Return the row of each prompt in `prompts`, [n]; a ValueError if it is none of them."""
        ...
