"""Causal language models of Hugging Face, from a local folder, as policies.

    policy = HuggingFaceModel("models/gpt2", adapter=LoRA(rank=8), rng=rng)
    reference = policy.reference_copy()

To save a trained model for others: `policy.model.save_pretrained(folder)`.
"""

from __future__ import annotations

import copy
import inspect
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rlkit.errors import UsageError
from rlkit.rlhf.models.huggingface.adapters import (
    LoRA,
    new_adapters,
    switched_off,
    trained_adapters,
)
from rlkit.rlhf.models.huggingface.folder import (
    import_optional,
    longest_context,
    model_folder,
    read_config,
    read_tokenizer,
)
from rlkit.rlhf.models.huggingface.weights import read_model
from rlkit.rlhf.models.language_model import LanguageModel, Targets
from rlkit.rlhf.models.layers import evaluating
from rlkit.rlhf.models.memory import Sizes

__all__ = ["Cache", "FrozenAdapters", "HuggingFaceModel", "LoRA"]

Precision = Literal["float32", "bfloat16", "float16"]


class HuggingFaceModel(LanguageModel):
    """A causal language model from a local folder; see `LanguageModel` for what it can do.

    Hidden states and logits are float32 whatever the precision of the layers, because the rounding
    of a softmax in half precision exceeds what one step of PPO changes. Padding is no action: it
    has either no logit, or one of -1e9.

    Args:
        path: a folder as `save_pretrained` writes it, with a tokenizer.
        adapter: new adapters, or the folder of trained ones; None = all parameters are trained.
        dtype: precision of the layers.
        rng: draws the initial values of new adapters.
        num_actions: only ids below this are generated, where the others are words of prompts;
            None = all tokens but padding.

    Raises:
        UsageError: the folder is not one of a causal language model with its tokenizer, padding is
            the end-of-sequence token, adapters do not fit, or the model does more to its logits
            than a linear layer.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        adapter: LoRA | str | Path | None = None,
        dtype: Precision = "float32",
        rng: np.random.Generator | None = None,
        num_actions: int | None = None,
    ) -> None:
        super().__init__()
        if dtype not in ("float32", "bfloat16", "float16"):
            raise UsageError(f"dtype: expected float32, bfloat16 or float16, got {dtype!r}")
        folder = model_folder(path)
        config = read_config(folder)
        _, vocabulary = read_tokenizer(folder, config)
        self.vocabulary = vocabulary if num_actions is None else vocabulary.limited(num_actions)
        self.vocab_size, self.num_actions = self.vocabulary.size, self.vocabulary.num_actions
        self.model: Any = read_model(folder, getattr(torch, dtype), self.vocabulary)
        self.adapted = False
        config = self.model.config.get_text_config()
        self.context_length = longest_context(folder, config)
        self.width = int(self.model.get_output_embeddings().in_features)
        self.sizes = _sizes(config, self.width, self.num_actions)
        names = inspect.signature(self.model.base_model.forward).parameters
        self._takes_positions = "position_ids" in names
        # transformers renamed it in 5.24.
        self._cache_name = "cache" if "cache" in names else "past_key_values"
        if adapter is not None:
            self._adapt(adapter, rng)
        self.eval()

    def _adapt(self, adapter: LoRA | str | Path, rng: np.random.Generator | None) -> None:
        if not isinstance(adapter, LoRA):
            self.model = trained_adapters(self.model, Path(adapter))
        elif rng is None:
            raise UsageError("new adapters start at random: pass rng, a numpy Generator")
        else:
            self.model = new_adapters(self.model, adapter, rng)
        self.adapted = True

    def _causal(self) -> Any:
        return self.model.get_base_model() if self.adapted else self.model

    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        cache: Cache | None = None,
        num_last: int | None = None,
    ) -> Tensor:
        """See `LanguageModel`; the states are float32."""
        start = 0 if cache is None else cache.length
        batch, total = len(tokens), start + tokens.shape[1]
        self._require_inputs(tokens, total, token_mask)
        if token_mask is None:
            # Passed even though nothing is hidden: without it transformers warns about padding.
            token_mask = torch.ones(batch, total, dtype=torch.bool, device=tokens.device)
        inputs: dict[str, Any] = {"attention_mask": token_mask.long()}
        if self._takes_positions:
            # Positions count from 0 at the first token that is not padding.
            inputs["position_ids"] = (token_mask.cumsum(1) - 1).clamp_(min=0)[:, start:]
        if cache is not None:
            inputs[self._cache_name] = cache.dynamic
        decoder = self._causal().base_model
        states = decoder(input_ids=tokens, use_cache=cache is not None, **inputs)
        hidden: Tensor = states.last_hidden_state
        return hidden[:, 0 if num_last is None else hidden.shape[1] - num_last :].float()

    def unembed(self, hidden: Tensor) -> Tensor:
        """See `LanguageModel`; the logits are float32."""
        head = self._causal().get_output_embeddings()
        weight = head.weight[: self.num_actions].float()
        bias = None if head.bias is None else head.bias[: self.num_actions].float()
        logits = F.linear(hidden.float(), weight, bias)
        if self.vocabulary.pad < self.num_actions:
            # Finite, because entropies multiply it with its probability, which is 0.
            is_pad = torch.arange(self.num_actions, device=logits.device) == self.vocabulary.pad
            logits = logits.masked_fill(is_pad, -1e9)
        return logits

    def new_cache(self, batch_size: int, max_length: int) -> Cache:
        """See `LanguageModel`."""
        self._require_context(max_length)
        return Cache(self._causal().config)

    def adapters_off(self) -> AbstractContextManager[None]:
        """See `LanguageModel`."""
        self.require_adapters("switch off")
        return switched_off(self.model)

    def fold_adapters(self) -> None:
        """See `LanguageModel`."""
        self.require_adapters("fold")
        self.model = self.model.merge_and_unload()
        self.adapted = False
        self.requires_grad_(True)

    def reference_copy(self) -> LanguageModel:
        """Return a frozen copy of the model as it is now, to keep a policy near it.

        With adapters only these are copied, and the base is shared. This, and not the bare base, is
        the reference of a policy that starts from trained adapters; where they are new, and B still
        0, the two are the same.
        """
        return FrozenAdapters(self) if self.adapted else super().reference_copy()

    def _new_adapters(
        self, rank: int, alpha: float, rng: np.random.Generator, targets: Targets
    ) -> None:
        self._adapt(LoRA(rank=rank, alpha=alpha, targets=targets), rng)

    def require_adapters(self, verb: str) -> None:
        """Raise a UsageError where there are no adapters to `verb`."""
        if not self.adapted:
            raise UsageError(
                f"there are no adapters to {verb}: load the model with adapter=LoRA(...), or take "
                "model.reference_copy() as the reference"
            )


def _sizes(config: Any, width: int, num_logits: int) -> Sizes:
    """Return the sizes in a configuration of transformers, guessed where it does not name them."""
    num_heads = int(getattr(config, "num_attention_heads", 0) or 1)
    head = int(getattr(config, "head_dim", 0) or width // num_heads)
    num_shared = int(getattr(config, "num_key_value_heads", 0) or num_heads)
    names = ("intermediate_size", "ffn_dim", "n_inner")
    inner = next((x for name in names if (x := getattr(config, name, 0))), 4 * width)
    layers = int(getattr(config, "num_hidden_layers", 0) or 1)
    return Sizes(layers, width, num_shared * head, int(inner), num_heads, num_logits)


class Cache:
    """Keys and values of the tokens read so far."""

    def __init__(self, config: Any) -> None:
        self.dynamic = import_optional("transformers").DynamicCache(config=config)

    @property
    def length(self) -> int:
        """Tokens held per row."""
        return int(self.dynamic.get_seq_length())


class FrozenAdapters(LanguageModel):
    """A Hugging Face model with its adapters as they are now; the base is shared with the model.

    Its parameters are only the copies of the adapters. A copy of it, by `copy.deepcopy`, is a whole
    `HuggingFaceModel` with these adapters, base included, from which a critic can start.
    """

    def __init__(self, model: HuggingFaceModel) -> None:
        super().__init__()
        model.require_adapters("copy")
        self.vocab_size, self.num_actions = model.vocab_size, model.num_actions
        self.context_length, self.width = model.context_length, model.width
        self.sizes, self.memory_gb = model.sizes, model.memory_gb
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._names = list(trained)
        self.adapters = nn.ParameterList(
            nn.Parameter(p.detach().clone(), requires_grad=False) for p in trained.values()
        )
        # In a tuple, so that the shared base is no part of this module.
        self._shared = (model,)
        self.freeze()

    def forward(
        self,
        tokens: Tensor,
        *,
        token_mask: Tensor | None = None,
        cache: Cache | None = None,
        num_last: int | None = None,
    ) -> Tensor:
        """See `LanguageModel`; without dropout or gradient, whatever the shared model's mode."""
        (model,) = self._shared
        model.require_adapters("exchange")
        own = dict(zip(self._names, self.adapters, strict=True))
        options = {"token_mask": token_mask, "cache": cache, "num_last": num_last}
        with evaluating(model):
            hidden: Tensor = torch.func.functional_call(model, own, (tokens,), options)
        return hidden

    def unembed(self, hidden: Tensor) -> Tensor:
        """See `LanguageModel`."""
        return self._shared[0].unembed(hidden)

    def new_cache(self, batch_size: int, max_length: int) -> Cache:
        """See `LanguageModel`."""
        return self._shared[0].new_cache(batch_size, max_length)

    def adapters_off(self) -> AbstractContextManager[None]:
        """See `LanguageModel`."""
        raise UsageError(_CONSTANT)

    def fold_adapters(self) -> None:
        """See `LanguageModel`."""
        raise UsageError(_CONSTANT)

    def _new_adapters(
        self, rank: int, alpha: float, rng: np.random.Generator, targets: Targets
    ) -> None:
        raise UsageError(_CONSTANT)

    def reference_copy(self) -> LanguageModel:
        """Return the model itself, which never changes."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> HuggingFaceModel:
        # Not with `memo`: were the model copied along, the two copies would be one.
        whole = copy.deepcopy(self._shared[0])
        parameters = dict(whole.named_parameters())
        with torch.no_grad():
            for name, value in zip(self._names, self.adapters, strict=True):
                parameters[name].copy_(value)
        return whole.eval()


_CONSTANT = "a reference is constant: change the adapters of a copy of it, copy.deepcopy(reference)"
