"""Modules and optimisers go through a checkpoint without the change of a bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rlkit.rlhf.models.state import (
    load_optimiser_state,
    load_trained_state,
    optimiser_state,
    trained_state,
)
from rlkit.runs import checkpoints, store


class Net(nn.Module):
    """Tied weights, a buffer of integers, a 0-d parameter and one that never gets a gradient."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(seed)
        self.embedding = nn.Embedding(5, 3)
        self.output = nn.Linear(3, 5, bias=False)
        self.output.weight = self.embedding.weight
        self.scale = nn.Parameter(torch.tensor(0.3))
        self.unused = nn.Parameter(torch.zeros(2))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        with torch.no_grad():
            self.embedding.weight.copy_(torch.randn(5, 3, generator=rng))
            self.seen.add_(seed)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.output(self.embedding(tokens)) * self.scale
        return logits


def make(seed: int, kind: str) -> tuple[Net, torch.optim.Adam]:
    net = Net(seed)
    groups = [
        {"params": [net.embedding.weight], "lr": 0.01},
        {"params": [net.unused, net.scale], "lr": 0.1 + 0.2},
    ]
    optimisers: dict[str, Any] = {
        "adam": lambda: torch.optim.Adam(groups),
        "adamw": lambda: torch.optim.AdamW(groups, weight_decay=0.1),
        "amsgrad": lambda: torch.optim.Adam(groups, amsgrad=True),
    }
    return net, optimisers[kind]()


def update(net: Net, optimiser: torch.optim.Adam, num_times: int) -> None:
    for i in range(num_times):
        tokens = torch.tensor([i % 5, 1, 4])
        loss = nn.functional.cross_entropy(net(tokens), torch.tensor([0, 2, 3]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        for group in optimiser.param_groups:
            group["lr"] *= 0.9


def state_of(net: Net, optimiser: torch.optim.Adam) -> dict[str, Any]:
    return trained_state(net, "net") | optimiser_state(optimiser, "adam")


def bits(state: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {name: (a.dtype, a.shape, a.tobytes()) for name, a in state.items()}


@pytest.mark.parametrize("kind", ["adam", "adamw", "amsgrad"])
def test_training_continues_from_a_checkpoint_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    net, optimiser = make(0, kind)
    update(net, optimiser, 3)
    store.prepare_folder(tmp_path)
    checkpoints.save_checkpoint(tmp_path, 0, 3, state_of(net, optimiser))
    update(net, optimiser, 4)

    _, state, _ = checkpoints.newest_checkpoint(tmp_path, 0)
    other_net, other_optimiser = make(1, kind)
    update(other_net, other_optimiser, 1)  # it may have a state of its own before
    load_trained_state(other_net, state, "net")
    load_optimiser_state(other_optimiser, state, "adam")
    assert bits(state_of(other_net, other_optimiser)) == bits(state)
    update(other_net, other_optimiser, 4)
    assert bits(state_of(other_net, other_optimiser)) == bits(state_of(net, optimiser))


def test_a_fresh_optimiser_is_restored_to_no_state() -> None:
    net, optimiser = make(0, "adam")
    before = state_of(net, optimiser)
    update(net, optimiser, 2)
    load_trained_state(net, before, "net")
    load_optimiser_state(optimiser, before, "adam")
    assert not optimiser.state
    assert bits(state_of(net, optimiser)) == bits(before)


def test_the_state_holds_the_step_as_a_0d_array_and_exact_learning_rates() -> None:
    net, optimiser = make(0, "adam")
    state = optimiser_state(optimiser, "adam")
    assert state["adam/learning_rate"].tolist() == [0.01, 0.1 + 0.2]
    update(net, optimiser, 2)
    state = optimiser_state(optimiser, "adam")
    assert state["adam/0/step"].shape == ()
    assert state["adam/0/step"] == 2
    assert not any(name.startswith("adam/1/") for name in state)  # never had a gradient


def test_a_state_is_a_copy_in_both_directions() -> None:
    net, optimiser = make(0, "adam")
    update(net, optimiser, 1)
    state = state_of(net, optimiser)
    before = bits(state)
    update(net, optimiser, 1)
    assert bits(state) == before
    load_trained_state(net, state, "net")
    load_optimiser_state(optimiser, state, "adam")
    update(net, optimiser, 1)
    assert bits(state) == before


def test_loading_keeps_the_tensors_of_the_module() -> None:
    net, _ = make(0, "adam")
    weight = net.embedding.weight
    load_trained_state(net, trained_state(Net(1), "net"), "net")
    assert net.embedding.weight is weight
    assert net.output.weight is weight
    assert torch.equal(weight, Net(1).embedding.weight)


def test_frozen_parameters_are_neither_stored_nor_loaded() -> None:
    net, other = Net(0), Net(1)
    for each in (net, other):
        each.embedding.weight.requires_grad_(False)
    frozen = other.embedding.weight.clone()
    state = trained_state(net, "net")
    assert set(state) == {"net/scale", "net/unused", "net/seen"}
    load_trained_state(other, state, "net")
    assert torch.equal(other.embedding.weight, frozen)
    assert bits(trained_state(other, "net")) == bits(state)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("net/scale", None, r"lacks \['scale'\]"),
        ("net/more", np.zeros(2), r"has \['more'\]"),
        ("net/scale", np.zeros((1,), dtype=np.float32), r"net/scale is float32 \(1,\)"),
        ("net/scale", np.zeros(()), r"float64 \(\), expected float32 \(\)"),
        ("adam/0/step", None, r"'adam/0' lacks \['step'\]"),
        ("adam/0/step", np.zeros(1, dtype=np.float32), r"adam/0/step has the shape"),
        ("adam/0/exp_avg", np.zeros((5, 1), dtype=np.float32), r"adam/0/exp_avg is float32 \(5, 1"),
        ("adam/7/step", np.zeros(()), r"has \['7/step'\]"),
        ("adam/learning_rate", np.zeros(3), "2 groups"),
        ("adam/learning_rate", None, "2 groups"),
    ],
)
def test_a_state_of_another_form_is_rejected_and_changes_nothing(
    name: str, value: Any, message: str
) -> None:
    net, optimiser = make(0, "adam")
    update(net, optimiser, 2)
    before = state_of(net, optimiser)
    wrong = state_of(*make(1, "adam")) | {k: v for k, v in before.items() if "adam" in k}
    if value is None:
        del wrong[name]
    else:
        wrong[name] = value
    part, load = (
        (net, load_trained_state) if name.startswith("net") else (optimiser, load_optimiser_state)
    )
    with pytest.raises(ValueError, match=message):
        load(part, wrong, name.partition("/")[0])
    assert bits(state_of(net, optimiser)) == bits(before)


def test_types_that_numpy_lacks_and_bad_prefixes_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"net/weight is of the type torch.bfloat16"):
        trained_state(nn.Linear(2, 2).to(torch.bfloat16), "net")
    for prefix in ("", "net/"):
        with pytest.raises(ValueError, match="prefix"):
            trained_state(nn.Linear(2, 2), prefix)
