"""Makes, loads and switches off low-rank adapters on a Hugging Face model, by peft.

Our own transformer has its own adapters, in `lora`. With peft, adapters can be exchanged with other
programs. This file guarantees three things: random numbers come from a given generator, only
adapters are trained, and a context manager restores the previous state.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from rlkit.errors import UsageError
from rlkit.options import require_range, require_whole
from rlkit.rlhf.models.huggingface.folder import (
    import_optional,
    load_or_explain,
    silenced_transformers,
)


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """New adapters: W + (alpha / rank) B A, with B = 0 at the start (Hu et al. 2022)."""

    rank: int = 8  # rows of A, >= 1
    alpha: float = 16.0  # the product B A is scaled by alpha / rank, > 0
    dropout: float = 0.0  # share of an adapter's inputs dropped in training mode, in [0, 1)
    # names of layers; None = peft's defaults for the model, or all linear layers but the output
    targets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        require_whole(self, "rank", at_least=1)
        require_range(self, "alpha", low=0, open_low=True)
        require_range(self, "dropout", low=0, high=1, open_high=True)


def new_adapters(model: Any, lora: LoRA, rng: np.random.Generator) -> Any:
    """Put new adapters into a model of transformers; all other parameters are frozen.

    Args:
        model: changed in place.
        lora: size and place of the adapters.
        rng: draws A from U(-1/sqrt(in), 1/sqrt(in)), as peft does.

    Returns:
        peft's model around it.

    Raises:
        UsageError: no layer is named by the targets, or the output layer is.
    """
    peft = import_optional("peft")
    conv1d = import_optional("transformers.pytorch_utils").Conv1D
    known = peft.utils.constants.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    targets: Any = None if lora.targets is None else list(lora.targets)
    if targets is None and model.config.model_type not in known:
        targets = "all-linear"
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        # GPT-2's Conv1D stores its weight [in, out]; without this, peft corrects it with a warning.
        fan_in_fan_out=any(isinstance(module, conv1d) for module in model.modules()),
    )
    with silenced_transformers():
        try:
            adapted = peft.get_peft_model(model, config)
        except ValueError as error:
            linear = (nn.Linear, conv1d)
            layers = {n.split(".")[-1] for n, m in model.named_modules() if isinstance(m, linear)}
            raise UsageError(
                f"LoRA targets: {str(error).splitlines()[0]} The model's layers are "
                f"{', '.join(sorted(layers))}."
            ) from error
    _require_plain_head(adapted)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_A" in name:
                bound = 1 / math.sqrt(parameter.shape[1])
                drawn = rng.uniform(-bound, bound, tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(drawn))
    return adapted


def trained_adapters(model: Any, path: Path) -> Any:
    """Load adapters that peft has saved into a model of transformers, to train them further.

    Raises:
        UsageError: the folder holds no LoRA adapters, or those of another model.
    """
    file = path / "adapter_config.json"
    if not file.is_file() or not (path / "adapter_model.safetensors").is_file():
        raise UsageError(
            f"{path} has no adapters; expected a folder with adapter_config.json and "
            "adapter_model.safetensors, as peft's `save_pretrained` writes it"
        )
    kind = load_or_explain("adapters", path, lambda: json.loads(file.read_text())).get("peft_type")
    if kind != "LORA":
        raise UsageError(f"{path} holds adapters of the type {kind}; expected LORA")
    peft = import_optional("peft")
    adapted = load_or_explain(
        "adapters",
        path,
        lambda: peft.PeftModel.from_pretrained(
            model, str(path), is_trainable=True, local_files_only=True
        ),
    )
    stored = load_or_explain(
        "adapters", path, lambda: peft.utils.load_peft_weights(str(path), "cpu")
    )
    own = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    odd = sorted(set(stored) ^ set(own))
    if odd:
        raise UsageError(f"{path}: the adapters belong to another model; they differ in {odd[0]}")
    _require_plain_head(adapted)
    return adapted


@contextlib.contextmanager
def switched_off(adapted: Any) -> Iterator[None]:
    """Use the base model within the block, and restore the previous state after it."""
    # peft marks adapters as trainable when it switches them on again, even frozen ones.
    trained = [(p, p.requires_grad) for p in adapted.parameters()]
    try:
        with silenced_transformers(), adapted.disable_adapter():
            yield
    finally:
        for parameter, flag in trained:
            parameter.requires_grad_(flag)


def _require_plain_head(adapted: Any) -> None:
    if not isinstance(adapted.get_base_model().get_output_embeddings(), nn.Linear):
        raise UsageError(
            "adapters on the output layer are not supported: it is used without its module, in "
            "float32; remove it from the targets"
        )
