"""The low-rank adapters of a run, and of those that it started from, as one folder of peft.

Each stage folds its adapters into the weights, so those of a chain of stages add up:

    W + 2 B1 A1 + 2 B2 A2 = W + 2 [B1 B2] [A1; A2]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rlkit.errors import UsageError
from rlkit.rlhf.models.huggingface.folder import import_optional, silenced_transformers
from rlkit.rlhf.models.huggingface.model import HuggingFaceModel
from rlkit.rlhf.models.state import load_trained_state
from rlkit.rlhf.stages.loading import POLICY_PREFIX
from rlkit.rlhf.stages.sources import load_sources, stored_parent
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.seeding import SeedStreams


class Adapter(NamedTuple):
    """The adapter of one layer, W + scale B A."""

    down: Tensor  # A [rank, in]
    up: Tensor  # B [out, rank]
    scale: float


def chain_of(
    run: StageRun, run_seed: int, at: int | None
) -> list[tuple[StageRun, int, int | None]]:
    """Return the stages from the pretrained model to a run, each with its seed and checkpoint.

    Raises:
        UsageError: one of them did not train adapters of a pretrained model.
    """
    stages = [(run, run_seed, at)]
    while stages[0][0].stage != "sft":
        last, seed, _ = stages[0]
        parent = stored_parent(last, "policy")
        stages.insert(0, (parent.open(), parent.seed_for(seed), None))
    for each, _, _ in stages:
        model = each.content["model"]
        if not model.get("digest"):
            raise UsageError(
                f"{each.folder} has a GPT of its own, without a pretrained model below its "
                "adapters: export the whole model, without --adapter"
            )
        if model["adapter_rank"] is None:
            raise UsageError(
                f"all weights were trained in {each.folder}, so {run.folder} is no adapter of the "
                "pretrained model: export the whole model, without --adapter, or train each stage "
                "with --adapter-rank"
            )
    return stages


def read_adapters(stages: list[tuple[StageRun, int, int | None]]) -> dict[str, list[Adapter]]:
    """Return the adapters of each layer, by its name, in the order of the stages."""
    path = load_sources(stages[0][0])[1].path
    assert path is not None
    model = HuggingFaceModel(path)
    layers: dict[str, list[Adapter]] = {}
    for run, seed, at in stages:
        load_sources(run)[1].add_adapters(model, SeedStreams(run.experiment_seed, seed))
        load_trained_state(model, run.state(seed, at=at), POLICY_PREFIX[run.stage])
        for name, module in model.model.get_base_model().named_modules():
            if hasattr(module, "lora_A"):
                down, up = (x["default"].weight.detach() for x in (module.lora_A, module.lora_B))
                adapter = Adapter(down.clone(), up.clone(), float(module.scaling["default"]))
                layers.setdefault(name, []).append(adapter)
        model.model = model.model.unload()
        model.adapted = False
    return layers


def peft_model(base: Any, layers: dict[str, list[Adapter]], source: Path) -> Any:
    """Return peft's model with the sum of the adapters of each layer.

    Args:
        base: a causal language model of transformers, changed in place.
        layers: as `read_adapters` returns them.
        source: the folder of the base, which peft's folder names.
    """
    peft = import_optional("peft")
    conv1d = import_optional("transformers.pytorch_utils").Conv1D
    ranks = {name: sum(len(each.down) for each in parts) for name, parts in layers.items()}
    rank, scale = max(ranks.values()), next(iter(layers.values()))[0].scale
    smaller = {name: own for name, own in ranks.items() if own != rank}
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=str(source),
        r=rank,
        lora_alpha=scale * rank,
        rank_pattern=smaller,
        alpha_pattern={name: scale * own for name, own in smaller.items()},
        target_modules=sorted(layers),
        fan_in_fan_out=any(isinstance(module, conv1d) for module in base.modules()),
    )
    with silenced_transformers():
        adapted = peft.get_peft_model(base, config)
    modules = dict(adapted.get_base_model().named_modules())
    with torch.no_grad():
        for name, parts in layers.items():
            module = modules[name]
            # Were the scales ever to differ, B would carry the difference.
            ups = [each.up * (each.scale / scale) for each in parts]
            module.lora_A["default"].weight.copy_(torch.cat([each.down for each in parts]))
            module.lora_B["default"].weight.copy_(torch.cat(ups, dim=1))
    return adapted.eval()
