"""Folders of tiny random models of several families, with a tokenizer of words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from rlkit.rlhf.models.huggingface.folder import silenced_transformers
from tests.rlhf.models.huggingface.small_models import save_tokenizer

transformers = pytest.importorskip("transformers")

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
}
GATED = {**SIZES, "intermediate_size": 24, "num_key_value_heads": 1, "head_dim": 8}
# The options of each configuration, whose initial weights are large so that no error is lost.
FAMILIES: dict[str, dict[str, Any]] = {
    "GPT2": {"n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2},
    "Llama": GATED,
    "GPTNeoX": {**SIZES, "intermediate_size": 24},
    "Mistral": GATED,
    "Qwen2": GATED,
    "Qwen3": GATED,
    "Gemma": GATED,
    "Phi": {**SIZES, "intermediate_size": 24},
    "OPT": {**SIZES, "ffn_dim": 24, "word_embed_proj_dim": 16},
    "Falcon": SIZES,
}


def save_family(
    folder: Path, family: str, *, dtype: str = "float32", pad: str | None = "[PAD]", **options: Any
) -> Path:
    with silenced_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rows = save_tokenizer(folder, pad=pad)
        config = getattr(transformers, f"{family}Config")(
            vocab_size=rows,
            initializer_range=0.3,
            **{"bos_token_id": None, "eos_token_id": 6, "pad_token_id": None},
            **FAMILIES[family],
            **options,
        )
        name = f"{family}LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM"
        model = getattr(transformers, name)(config)
        model.to(getattr(torch, dtype)).save_pretrained(folder)
    return folder
