"""Low-rank adapters on a policy that was loaded, whichever kind of model it is."""

from __future__ import annotations

from typing import Any

import torch

from rlkit.rlhf.models.gpt import GPT
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.models.lora import LoRALinear, add_adapters
from rlkit.seeding import SeedStreams


def with_adapters(model: LanguageModel, rank: int, streams: SeedStreams) -> LanguageModel:
    """The model, changed in place, with new adapters; only they are trained from here on.

    Args:
        model: one without adapters.
        rank: their inner width; they are scaled by alpha / rank = 2.
        streams: of the seed that draws them.
    """
    rng = streams.generator("init", 2)
    if isinstance(model, GPT):
        add_adapters(model, rank=rank, alpha=2.0 * rank, rng=rng)
        return model
    from rlkit.rlhf.models.huggingface.adapters import LoRA, new_adapters

    outer: Any = model
    outer.model = new_adapters(outer.model, LoRA(rank=rank, alpha=2.0 * rank), rng)
    outer.adapted = True
    return model


@torch.no_grad()
def fold_adapters(model: LanguageModel) -> None:
    """Add adapters to the weights below them, for good, so that others can be put on."""
    outer: Any = model
    if isinstance(model, GPT):
        for name, layer in list(model.named_modules()):
            if isinstance(layer, LoRALinear):
                layer.base.weight.copy_(layer.adapted_weight())
                parent, _, last = name.rpartition(".")
                setattr(model.get_submodule(parent), last, layer.base)
    else:
        outer.model = outer.model.merge_and_unload()
        outer.adapted = False
    outer.requires_grad_(True)
