"""Descent on examples."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rlkit.errors import Diverged
from rlkit.rlhf.training.configs import SFTConfig
from rlkit.rlhf.training.example_trainer import ExampleTrainer
from rlkit.seeding import SeedStreams

STREAMS = SeedStreams(0, 0)


class Line(torch.nn.Module):
    """One weight, whose loss on example i is (w - x_i)^2 / 2."""

    def __init__(self, examples: Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.examples, self.seen = examples, list[list[int]]()

    def loss(self, index: Tensor) -> tuple[Tensor, dict[str, float]]:
        self.seen.append(index.tolist())
        return (self.weight - self.examples[index]).square() / 2, {}


def line(**options: Any) -> tuple[Line, ExampleTrainer]:
    module = Line(torch.arange(10.0))
    config = SFTConfig(num_epochs=3, batch_size=4, weight_decay=0.0)
    return module, ExampleTrainer(module, 10, module.loss, config, STREAMS, **options)


def test_each_epoch_sees_each_example_once_in_an_order_of_its_own() -> None:
    module, stage = line()
    assert stage.num_updates == 9  # 3 epochs of 4 + 4 + 2
    for _ in range(9):
        stage.update()
    epochs = [[i for part in module.seen[k : k + 3] for i in part] for k in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != list(range(10))


def test_updates_are_those_of_adamw_with_a_rate_that_falls_to_zero() -> None:
    module, stage = line()
    metrics = [stage.update() for _ in range(9)]
    twin = torch.nn.Parameter(torch.zeros(()))
    adam = torch.optim.AdamW([twin], weight_decay=0.0)
    for k, rows in enumerate(module.seen):
        adam.param_groups[0]["lr"] = 3e-3 * (1 - k / 9)
        adam.zero_grad()
        loss = ((twin - torch.tensor(rows, dtype=torch.float32)) ** 2 / 2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([twin], 1.0)
        adam.step()
        assert metrics[k]["learning_rate"] == pytest.approx(3e-3 * (1 - k / 9))
        assert metrics[k]["loss"] == pytest.approx(float(loss.detach()), rel=1e-6)
    assert float(module.weight.detach()) == float(twin.detach())


def test_the_best_epoch_by_held_out_loss_is_kept_and_then_finished() -> None:
    losses, weights, order = iter([2.0, 1.0, 3.0]), list[float](), list[str]()

    def held_out() -> float:
        assert not torch.is_grad_enabled()
        weights.append(module.weight.item())
        return next(losses)

    def finish() -> None:
        order.append("finish")
        assert module.weight.item() == weights[1]

    module, stage = line(held_out_loss=held_out, finish=finish)
    metrics = [stage.update() for _ in range(9)]
    assert order == ["finish"]
    assert module.weight.item() == weights[1] not in (weights[0], weights[2])
    assert [m.get("held_out_loss") for m in metrics[2::3]] == [2.0, 1.0, 3.0]
    assert not any("held_out_loss" in m for m in metrics[0::3])
    assert stage.metrics == ("loss", "gradient_norm", "learning_rate", "held_out_loss")


def test_divergence_is_reported_with_its_update() -> None:
    module, stage = line()
    stage.update()
    module.examples[:] = torch.nan
    with pytest.raises(Diverged, match=r"update 2: the loss is nan .* smaller learning_rate"):
        stage.update()
    assert math.isfinite(module.weight.item())  # before it reaches a parameter
