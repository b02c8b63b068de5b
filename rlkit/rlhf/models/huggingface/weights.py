"""Loads the weights of a causal language model from a folder, and checks its output layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from rlkit.errors import UsageError
from rlkit.rlhf.models.huggingface.folder import (
    HFVocabulary,
    import_optional,
    load_or_explain,
    silenced_transformers,
)


def read_model(folder: Path, dtype: torch.dtype, vocabulary: HFVocabulary) -> Any:
    """Return the model of a folder, with a row for each id of the vocabulary.

    Raises:
        UsageError: the weights are not those of the configuration, or the model does more to its
            logits than a linear layer.
    """
    auto = import_optional("transformers").AutoModelForCausalLM

    def read() -> Any:
        return auto.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )

    model, info = load_or_explain("weights", folder, read)
    if info["missing_keys"] or info["mismatched_keys"]:
        lacking = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
        raise UsageError(
            f"{folder}: the weights are not those of the model in config.json; {len(lacking)} are "
            f"missing or of another shape, the first of them {lacking[0]}"
        )
    require_finite(folder, model)
    _fuse_gelu(model)
    embedding = model.get_input_embeddings()
    if vocabulary.size > len(embedding.weight):
        with silenced_transformers(), torch.no_grad():
            model.resize_token_embeddings(vocabulary.size, mean_resizing=False)
            model.get_input_embeddings().weight[vocabulary.pad] = 0
    _check_head(folder, model)
    return model


def require_finite(folder: Path, model: nn.Module) -> None:
    """Require weights that are numbers, as those of a training that diverged are not.

    Raises:
        UsageError: one is not; the message names it.
    """
    for name, weight in model.named_parameters():
        if not bool(weight.isfinite().all()):
            raise UsageError(
                f"{folder}: the weights {name} hold NaN or infinity, so every result would; "
                "expected a model whose training did not diverge"
            )


def _fuse_gelu(model: nn.Module) -> None:
    """Replace GPT-2's gelu, which takes eight operations, by torch's tanh approximation."""
    slow = import_optional("transformers.activations").NewGELUActivation
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, slow):
                setattr(module, name, nn.GELU(approximate="tanh"))


@torch.no_grad()
def _check_head(folder: Path, model: Any) -> None:
    """Reject a model whose logits are not head(state), such as one that caps or scales them."""
    tokens = torch.arange(min(4, model.get_input_embeddings().weight.shape[0]))[None]
    with silenced_transformers():
        states = model.eval().base_model(input_ids=tokens, use_cache=False).last_hidden_state
        expected = model(input_ids=tokens, use_cache=False).logits
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Linear) or not torch.equal(head(states), expected):
        raise UsageError(
            f"{folder}: {type(model).__name__} does more to its logits than one linear layer, "
            "which is not supported; expected a model such as GPT-2 or Llama"
        )
