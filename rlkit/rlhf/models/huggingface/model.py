"""Causal language models of Hugging Face, from a local folder, as policies.

    policy = HuggingFaceModel("models/gpt2", adapter=LoRA(rank=8), rng=rng)
    reference = reference_copy(policy)

The model keeps the interface `LanguageModel`, so whatever runs with our own transformer runs with
it. To keep what was trained for others: `policy.model.save_pretrained(folder)`.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from rlkit.errors import UsageError
from rlkit.rlhf.models.huggingface.adapters import (
    LoRA,
    merged_into_base,
    new_adapters,
    switched_off,
    trained_adapters,
)
from rlkit.rlhf.models.huggingface.folder import (
    Vocabulary,
    extra,
    loaded,
    model_folder,
    quiet,
    read_config,
    read_tokenizer,
)

__all__ = ["Cache", "HuggingFaceModel", "LoRA"]

Precision = Literal["float32", "bfloat16", "float16"]


class HuggingFaceModel(nn.Module):
    """A causal language model from a local folder; see `LanguageModel` for its interface.

    Hidden states and logits are float32 whatever the precision of the layers, because a softmax
    in half precision is off by more than a step of PPO changes it. Padding is no action: it has
    either no logit, or one of -1e9.

    Args:
        path: a folder as `save_pretrained` writes it, with a tokenizer.
        adapter: new adapters, or the folder of trained ones; None = all parameters are trained.
        dtype: precision of the layers.
        rng: draws the initial values of new adapters.
        num_actions: only ids below this are generated, where those from it on are words of prompts;
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
        if isinstance(adapter, LoRA) and rng is None:
            raise UsageError("new adapters start at random: pass rng, a numpy Generator")
        folder = model_folder(path)
        config = read_config(folder)
        _, vocabulary = read_tokenizer(folder, config)
        self.vocabulary = vocabulary if num_actions is None else vocabulary.limited(num_actions)
        self.vocab_size, self.num_actions = self.vocabulary.size, self.vocabulary.num_actions
        model = _read_model(folder, getattr(torch, dtype), self.vocabulary)
        _check_head(folder, model)
        self.model: Any = model
        self.adapted, self._merged = adapter is not None, False
        if isinstance(adapter, LoRA):
            assert rng is not None
            self.model = new_adapters(model, adapter, rng)
        elif adapter is not None:
            self.model = trained_adapters(model, Path(adapter))
        config = model.config.get_text_config()
        self.context_length = int(config.max_position_embeddings)
        self.width = int(model.get_output_embeddings().in_features)
        names = inspect.signature(self._causal().base_model.forward).parameters
        self._takes_positions = "position_ids" in names
        # transformers renamed it in 5.24.
        self._cache_name = "cache" if "cache" in names else "past_key_values"
        self.frozen = False
        self.eval()

    def train(self, mode: bool = True) -> HuggingFaceModel:
        """As of any module; has no effect on a frozen reference."""
        return super().train(mode and not self.frozen)

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
        """Return the last states, float32 [B, num_last or L, width]; see `LanguageModel`.

        Raises:
            ValueError: the sequences are longer than the context, or `token_mask` does not cover
                all tokens, those in the cache included.
        """
        start = 0 if cache is None else cache.length
        batch, total = len(tokens), start + tokens.shape[1]
        if total > self.context_length:
            raise UsageError(_too_long(total, self.context_length))
        if token_mask is None:
            # Given even though nothing is hidden: without it transformers warns about padding.
            token_mask = torch.ones(batch, total, dtype=torch.bool, device=tokens.device)
        elif token_mask.shape != (batch, total):
            raise UsageError(
                f"expected token_mask of shape {(batch, total)}, a column for each token read so "
                f"far, those in the cache included; got {tuple(token_mask.shape)}"
            )
        inputs: dict[str, Any] = {"attention_mask": token_mask.long()}
        if self._takes_positions:
            # Positions count from 0 at the first real token, wherever its column is.
            inputs["position_ids"] = (token_mask.cumsum(1) - 1).clamp_(min=0)[:, start:]
        if cache is not None:
            inputs[self._cache_name] = cache.dynamic
        decoder = self._causal().base_model
        states = decoder(input_ids=tokens, use_cache=cache is not None, **inputs)
        hidden: Tensor = states.last_hidden_state
        return hidden[:, 0 if num_last is None else hidden.shape[1] - num_last :].float()

    def unembed(self, hidden: Tensor) -> Tensor:
        """Logits, float32 [..., num_actions], of states [..., width]."""
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
        """An empty cache for `max_length` tokens a row."""
        if max_length > self.context_length:
            raise UsageError(_too_long(max_length, self.context_length))
        return Cache(self._causal().config)

    @contextlib.contextmanager
    def adapters_off(self) -> Iterator[None]:
        """The bare base model inside the block; the state before it returns, come what may.

        Raises:
            UsageError: there are no adapters, or they are merged just now.
        """
        self._require_adapters("switch off")
        with switched_off(self.model):
            yield

    @contextlib.contextmanager
    def merged(self) -> Iterator[None]:
        """Adapters added to the base's weights inside the block, for speed, e.g. while sampling.

        Raises:
            UsageError: there are no adapters, or they are merged already.
        """
        self._require_adapters("merge")
        self._merged = True
        try:
            with merged_into_base(self.model):
                yield
        finally:
            self._merged = False

    def _require_adapters(self, verb: str) -> None:
        if not self.adapted:
            raise UsageError(
                f"there are no adapters to {verb}: load the model with adapter=LoRA(...), or take "
                "reference_copy(model) as the reference"
            )
        if self._merged:
            raise UsageError(f"cannot {verb} adapters inside `with model.merged()`")

    def trainable_state(self) -> dict[str, NDArray[Any]]:
        """Copies of the parameters that are trained: with adapters, only these."""
        trained = {name: p for name, p in self.named_parameters() if p.requires_grad}
        return {name: p.detach().float().cpu().numpy().copy() for name, p in trained.items()}

    def load_trainable_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Put back what `trainable_state` returned.

        Raises:
            UsageError: the names or shapes are not those of this model's trained parameters.
        """
        trained = {name: p for name, p in self.named_parameters() if p.requires_grad}
        expected = {name: tuple(p.shape) for name, p in trained.items()}
        found = {name: np.shape(value) for name, value in state.items()}
        if expected != found:
            odd = sorted(dict(expected.items() ^ found.items()))
            raise UsageError(
                f"the state is of another model or of other adapters: {len(odd)} entries differ in "
                f"name or shape, the first of them {odd[0]}"
            )
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(torch.from_numpy(np.asarray(state[name])))


class Cache:
    """Keys and values of the tokens read so far."""

    def __init__(self, config: Any) -> None:
        self.dynamic = extra("transformers").DynamicCache(config=config)

    @property
    def length(self) -> int:
        """Tokens held of each row."""
        return int(self.dynamic.get_seq_length())


def _read_model(folder: Path, dtype: torch.dtype, vocabulary: Vocabulary) -> Any:
    auto = extra("transformers").AutoModelForCausalLM

    def read() -> Any:
        return auto.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )

    model, info = loaded("weights", folder, read)
    if info["missing_keys"] or info["mismatched_keys"]:
        lacking = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
        raise UsageError(
            f"{folder}: the weights are not those of the model in config.json; {len(lacking)} are "
            f"missing or of another shape, the first of them {lacking[0]}"
        )
    _fuse_gelu(model)
    embedding = model.get_input_embeddings()
    if vocabulary.size > len(embedding.weight):
        with quiet(), torch.no_grad():
            model.resize_token_embeddings(vocabulary.size, mean_resizing=False)
            model.get_input_embeddings().weight[vocabulary.pad] = 0
    return model


def _fuse_gelu(model: nn.Module) -> None:
    """Let torch's own tanh-approximated gelu stand for GPT-2's, which is eight operations."""
    slow = extra("transformers.activations").NewGELUActivation
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, slow):
                setattr(module, name, nn.GELU(approximate="tanh"))


@torch.no_grad()
def _check_head(folder: Path, model: Any) -> None:
    """Refuse a model whose logits are not head(state), such as one that caps or scales them."""
    tokens = torch.arange(min(4, model.get_input_embeddings().weight.shape[0]))[None]
    with quiet():
        states = model.eval().base_model(input_ids=tokens, use_cache=False).last_hidden_state
        expected = model(input_ids=tokens, use_cache=False).logits
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear) or not torch.equal(head(states), expected):
        raise UsageError(
            f"{folder}: {type(model).__name__} does more to its logits than one linear layer, "
            "which is not supported; expected a model such as GPT-2 or Llama"
        )


def _too_long(length: int, context_length: int) -> str:
    return (
        f"sequences of {length} tokens are longer than the model's context_length of "
        f"{context_length}: shorten prompts or responses, or take a model with a longer context"
    )
