"""The frozen model that a policy is kept near to: a copy of it as it was at the start."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from rlkit.errors import UsageError
from rlkit.rlhf.models.huggingface.model import Cache, HuggingFaceModel


def reference_copy(model: HuggingFaceModel) -> HuggingFaceModel | FrozenAdapters:
    """A frozen copy of the model as it is now, to keep a policy near to where it started.

    With adapters only these are copied, and the base is shared. This, and not the bare base, is the
    reference of a policy that starts from trained adapters; where they are new, and B still 0, the
    two are the same.
    """
    if model.adapted:
        return FrozenAdapters(model)
    reference = copy.deepcopy(model)
    reference.frozen = True
    return reference.eval().requires_grad_(False)


def require_same_tokens(policy: HuggingFaceModel, reference: Any) -> None:
    """Refuse two models, or a model and a codec, that do not mean the same tokens by the same ids.

    Raises:
        UsageError: the vocabularies differ.
    """
    mine, theirs = policy.vocabulary, reference.vocabulary
    if mine != theirs:
        sizes = f"{mine.num_actions} and {theirs.num_actions} actions"
        what = sizes if mine.num_actions != theirs.num_actions else "other tokens for the same ids"
        raise UsageError(
            f"policy and reference have different vocabularies ({what}); their log-probabilities "
            "cannot be compared: take a reference with the policy's tokenizer"
        )


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """No dropout inside the block; afterwards each part is in the mode that it was in."""
    training = [part for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


class FrozenAdapters(nn.Module):
    """A language model as its adapters were at one time; it shares the base with the model.

    Its parameters are only the copies of the adapters. A copy of it, by `copy.deepcopy`, is a
    `HuggingFaceModel` of its own, base included, with these adapters: what a critic can start from.
    """

    def __init__(self, model: HuggingFaceModel) -> None:
        super().__init__()
        model._require_adapters("copy")
        self.vocabulary = model.vocabulary
        self.vocab_size, self.num_actions = model.vocab_size, model.num_actions
        self.context_length, self.width = model.context_length, model.width
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._names = list(trained)
        self.adapters = nn.ParameterList(
            nn.Parameter(p.detach().clone(), requires_grad=False) for p in trained.values()
        )
        # In a tuple, so that the shared base is no part of this module.
        self._shared = (model,)
        self.eval()

    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        cache: Cache | None = None,
        num_last: int | None = None,
    ) -> Tensor:
        """As `HuggingFaceModel.forward`, without dropout whatever mode the model is in."""
        (model,) = self._shared
        model._require_adapters("exchange")
        own = dict(zip(self._names, self.adapters, strict=True))
        with evaluating(model):
            hidden: Tensor = torch.func.functional_call(
                model,
                own,
                (tokens,),
                {"token_mask": token_mask, "cache": cache, "num_last": num_last},
            )
        return hidden

    def unembed(self, hidden: Tensor) -> Tensor:
        """As `HuggingFaceModel.unembed`."""
        return self._shared[0].unembed(hidden)

    def new_cache(self, batch_size: int, max_length: int) -> Cache:
        """As `HuggingFaceModel.new_cache`."""
        return self._shared[0].new_cache(batch_size, max_length)

    def train(self, mode: bool = True) -> FrozenAdapters:
        """Has no effect: what is frozen has no training mode."""
        return super().train(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> HuggingFaceModel:
        # Not with `memo`: were the model copied along, the two copies would be one.
        whole = copy.deepcopy(self._shared[0])
        whole.load_trainable_state(
            {n: p.numpy(force=True) for n, p in zip(self._names, self.adapters, strict=True)}
        )
        return whole.eval()
