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


def line(*, num_epochs: int = 3, patience: int = 0, **options: Any) -> tuple[Line, ExampleTrainer]:
    module = Line(torch.arange(10.0))
    config = SFTConfig(num_epochs=num_epochs, batch_size=4, weight_decay=0.0, patience=patience)
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

    def held_out() -> dict[str, float]:
        assert not torch.is_grad_enabled()
        weights.append(module.weight.item())
        return {"held_out_loss": next(losses)}

    def finish() -> None:
        order.append("finish")
        assert module.weight.item() == weights[1]

    module, stage = line(
        held_out=held_out,
        finish=finish,
        warning=lambda metrics: "2" if metrics["held_out_loss"] >= 2 else None,
    )
    metrics = [stage.update() for _ in range(9)]
    assert order == ["finish"]
    assert module.weight.item() == weights[1] not in (weights[0], weights[2])
    assert [m.get("held_out_loss") for m in metrics[2::3]] == [2.0, 1.0, 3.0]
    assert not any("held_out_loss" in m for m in metrics[0::3])
    assert stage.notes == ["2"]  # once
    assert stage.metrics == ("loss", "gradient_norm", "learning_rate", "held_out_loss")


def stopping() -> tuple[Line, ExampleTrainer]:
    """One whose held-out loss is lowest after epoch 2 of 6, and whose patience is 2 epochs."""
    module: Line

    def held_out() -> dict[str, float]:
        losses = {1: 2.0, 2: 1.0, 3: 1.5, 4: 1.0}  # equal is not lower
        return {"held_out_loss": losses[len(module.seen) // 3]}

    module, stage = line(held_out=held_out, num_epochs=6, patience=2)
    return module, stage


def test_training_stops_when_patience_ends_and_keeps_the_best_epoch() -> None:
    module, stage = stopping()
    metrics, weights = [], []
    for _ in range(18):
        metrics.append(stage.update())
        weights.append(module.weight.item())
    assert len(module.seen) == 12  # four epochs of three steps
    assert metrics[12:] == [{}] * 6
    assert metrics[11]["best_epoch"] == 2
    assert metrics[11]["best_held_out_loss"] == 1
    assert weights[-1] == weights[5] != weights[16]
    (note,) = stage.notes
    assert "after epoch 4 of 6: the held-out loss was lowest, 1, after epoch 2" in note


@pytest.mark.parametrize("updates", [7, 12, 14])
def test_a_stage_that_is_resumed_stops_where_it_would_have(updates: int) -> None:
    module, stage = stopping()
    for _ in range(updates):
        stage.update()
    other_module, other = stopping()
    other.load_state_dict(stage.state_dict())
    other_module.seen = list(module.seen)
    for _ in range(18 - updates):
        assert stage.update() == other.update()
    assert module.weight.item() == other_module.weight.item()
    assert len(other_module.seen) == 12


@pytest.mark.parametrize(("learning_rate", "num_notes"), [(3e-3, 0), (3.0, 1)])
def test_a_loss_that_rises_from_the_start_is_noted(learning_rate: float, num_notes: int) -> None:
    module = Line(torch.full((10,), 0.5))
    config = SFTConfig(num_epochs=4, batch_size=4, learning_rate=learning_rate)
    stage = ExampleTrainer(module, 10, module.loss, config, STREAMS)
    for _ in range(12):
        stage.update()
    assert len(stage.notes) == num_notes
    assert all("rising loss: 0.125 at the first update" in note for note in stage.notes)


@pytest.mark.parametrize(
    ("losses", "is_noted"),
    [
        ([2.0, 1.0, 0.9], True),
        ([2.0, 0.9, 1.0], False),  # it rose
        ([2.0, 1.0, 0.97], False),  # as far as a falling learning rate brings it
        ([2e-2, 8e-3, 1e-3], False),  # nothing is left to learn
        ([0.9], False),  # one epoch shows no direction
    ],
)
def test_a_held_out_loss_that_falls_to_the_end_is_noted(
    losses: list[float], is_noted: bool
) -> None:
    def trainer(module: Line) -> ExampleTrainer:
        held_out = {"held_out": lambda: {"held_out_loss": losses[len(module.seen) // 3 - 1]}}
        config = SFTConfig(num_epochs=len(losses), batch_size=4)
        return ExampleTrainer(module, 10, module.loss, config, STREAMS, **held_out)

    module = Line(torch.arange(10.0))
    whole = trainer(module)
    for index in range(whole.num_updates):
        if index == whole.num_updates - 1:  # the note does not depend on an interruption
            resumed = Line(torch.arange(10.0))
            rest = trainer(resumed)
            rest.load_state_dict(whole.state_dict())
            resumed.seen = list(module.seen)
            rest.update()
        whole.update()
    assert len(whole.notes) == is_noted
    assert rest.notes == whole.notes
    if is_noted:
        assert "still fell in the last of 3 epochs, to 0.9 from 1 before" in whole.notes[0]
        assert "(--num-epochs), to 6" in whole.notes[0]


def test_divergence_is_reported_with_its_update() -> None:
    module, stage = line()
    stage.update()
    module.examples[:] = torch.nan
    with pytest.raises(Diverged, match=r"update 2: the loss is nan .* smaller learning_rate"):
        stage.update()
    assert math.isfinite(module.weight.item())  # before it reaches a parameter


def test_a_forecast_counts_the_tokens_of_all_epochs_and_the_memory_of_adam() -> None:
    _, stage = line(row_length=7, rows_per_example=2)
    assert stage.forecast == (3 * 10 * 2 * 7, 16)  # one weight, its gradient and two moments
