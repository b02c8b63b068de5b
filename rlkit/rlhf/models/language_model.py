"""The interface of a language model: what sampling and training need of one.

Our own transformer has it, and so has a Hugging Face model from a local folder; whatever is written
against it runs with either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from torch import Tensor, nn


class LanguageModel(Protocol):
    """What sampling and training need of a model; every one is a `torch.nn.Module` as well."""

    vocab_size: int  # ids that can be read
    num_actions: int  # ids 0..num_actions-1 can be generated
    context_length: int  # the longest sequence, padding included
    width: int  # of the hidden states

    def __call__(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        cache: Any = None,
        num_last: int | None = None,
    ) -> Any:
        """The states after the last layer norm, [B, L, width], of tokens int64 [B, L].

        Args:
            tokens: with a cache, only those that it does not hold yet.
            token_mask: bool [B, cached + L], False = padding on the left; None = there is none.
            cache: what `new_cache` returned; the tokens are appended to it.
            num_last: return only the states of so many tokens at the end, [B, num_last, width].
        """

    def unembed(self, hidden: Tensor) -> Tensor:
        """Logits [..., num_actions] of states [..., width]."""

    def new_cache(self, batch_size: int, max_length: int) -> Any:
        """An empty cache for `max_length` tokens a row; its `length` is what it holds."""

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any: ...

    def train(self, mode: bool = True) -> Any: ...

    def eval(self) -> Any: ...
