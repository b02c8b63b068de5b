"""The loop of PPO over minibatches: stopping, the check of ratios, means of metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rlkit.agents.ppo_objective import Batch, Objective
from rlkit.agents.ppo_update import ppo_update
from rlkit.errors import RlkitError
from tests.agents.ppo_table import (
    OBJECTIVE,
    Accumulating,
    S,
    Table,
    U,
    batch,
    token_mask,
    update,
)


def test_metrics_are_means_over_the_minibatches_of_the_last_epoch() -> None:
    part, table = batch(), Table()
    order = torch.arange(U).repeat(S, 1)
    minibatches = list(order.split(4, dim=1))
    metrics = update(table, part, epochs=[minibatches, minibatches])
    assert (metrics["num_gradient_steps"] == 4).all()
    assert len(table.losses) == 4

    again, rows = Table(), []
    update(again, part, epochs=[minibatches])
    for index in minibatches:
        chosen = part.select(index)
        log_prob, entropy, _ = again.evaluate(chosen.inputs)
        log_ratio = (log_prob - chosen.behaviour_log_prob).detach().double()
        rows.append(
            {
                "entropy": entropy.detach().double().mean(dim=(1, 2)),
                "approx_kl": (log_ratio.exp() - 1 - log_ratio).mean(dim=(1, 2)),
                "clip_fraction": ((log_ratio.exp() - 1).abs() > 0.1).double().mean(dim=(1, 2)),
            }
        )
        ppo_update(part, OBJECTIVE, [[index]], evaluate=again.evaluate, descend=again.descend)
    for name in rows[0]:
        expected = np.mean([row[name].numpy() for row in rows], axis=0)
        np.testing.assert_allclose(metrics[name], expected, rtol=1e-4, atol=1e-6)
    assert (metrics["clip_fraction"] > 0).all()
    assert (metrics["clip_fraction"] < 1).all()


def stopping(target_kl: float | None) -> Objective:
    return Objective(clip_epsilon=0.2, value_coef=0.5, entropy_coef=0.0, target_kl=target_kl)


def on_policy(seeds: list[int], scale: list[float]) -> tuple[Batch, Table]:
    """Rollouts of the current policy; the advantages decide how far a step moves a seed."""
    whole, table = batch((4, 8)), Table(4)
    with torch.no_grad():
        log_prob, _, values = table.evaluate(whole.inputs)
    size = torch.tensor(scale).unsqueeze(1)
    part = Batch(whole.inputs, log_prob, values, whole.advantages * size, values)
    rows = torch.tensor(seeds)
    chosen = Batch(tuple(x[rows] for x in part.inputs), *(x[rows] for x in part[1:5]))  # type: ignore[index]
    small = Table(4)
    small.logits = table.logits.detach()[rows].clone().requires_grad_()
    small.values = table.values.detach()[rows].clone().requires_grad_()
    small.rate = 1.0
    return chosen, small


SCALE = [0.01, 5.0, 0.01, 1.0]


def run_until(seeds: list[int], target_kl: float | None, num_epochs: int = 6) -> Any:
    part, table = on_policy(seeds, SCALE)
    objective = Objective(
        clip_epsilon=0.2,
        value_coef=0.5,
        entropy_coef=0.0,
        standardise_advantages=False,
        target_kl=target_kl,
    )
    order = torch.arange(8).repeat(len(seeds), 1)
    epochs = [list(order.split(3, dim=1))] * num_epochs
    metrics = update(table, part, objective, epochs)
    return metrics, table


def test_target_kl_stops_a_seed_and_only_that_seed() -> None:
    metrics, table = run_until([0, 1, 2, 3], 0.02)
    steps = metrics["num_gradient_steps"]
    assert steps[0] == steps[2] == 18
    assert 1 <= steps[1] < 18
    free, free_table = run_until([0, 1, 2, 3], None)
    assert (free["num_gradient_steps"] == 18).all()
    for s in (0, 2):
        assert torch.equal(table.logits[s], free_table.logits[s])
    assert not torch.equal(table.logits[1], free_table.logits[1])


def test_a_stopped_seed_keeps_the_parameters_that_went_too_far() -> None:
    metrics, table = run_until([0, 1, 2, 3], 0.02)
    stopped = int(metrics["num_gradient_steps"][1])
    # Taking exactly that many steps without the rule gives the same parameters.
    part, other = on_policy([0, 1, 2, 3], SCALE)
    order = torch.arange(8).repeat(4, 1)
    minibatches = (list(order.split(3, dim=1)) * 6)[:stopped]
    objective = Objective(
        clip_epsilon=0.2, value_coef=0.5, entropy_coef=0.0, standardise_advantages=False
    )
    update(other, part, objective, [minibatches])
    assert torch.equal(other.logits[1], table.logits[1])


@pytest.mark.parametrize("target_kl", [0.001, 0.005, 0.02, 0.1])
def test_a_seed_that_stops_has_the_same_metrics_and_parameters_alone(target_kl: float) -> None:
    together, table = run_until([0, 1, 2, 3], target_kl)
    for s in range(4):
        alone, own = run_until([s], target_kl)
        for name, value in alone.items():
            assert value[0].tobytes() == together[name][s].tobytes(), (name, s)
        assert torch.equal(own.logits[0], table.logits[s])
        assert torch.equal(own.values[0], table.values[s])


def test_nothing_is_computed_once_every_seed_has_stopped() -> None:
    metrics, table = run_until([1], 1e-6, num_epochs=1000)
    assert len(table.losses) == metrics["num_gradient_steps"][0] < 10


def test_seeds_stop_in_parts_as_they_do_at_once() -> None:
    objective = Objective(
        clip_epsilon=0.2,
        value_coef=0.5,
        entropy_coef=0.0,
        standardise_advantages=False,
        target_kl=0.02,
    )

    def run(size: int | None, rows: list[int]) -> Any:
        chosen, small = on_policy(rows, SCALE)
        table = Accumulating(len(rows))
        table.logits, table.values, table.rate = small.logits, small.values, 1.0
        metrics = ppo_update(
            chosen,
            objective,
            [[None]] * 6,
            evaluate=table.evaluate,
            descend=table.descend,
            accumulate=table.accumulate,
            microbatch_size=size,
        )
        return metrics, table

    metrics, _ = run(None, [0, 1, 2, 3])
    again, _ = run(3, [0, 1, 2, 3])
    assert (again["num_gradient_steps"] == metrics["num_gradient_steps"]).all()
    assert 1 <= metrics["num_gradient_steps"][1] < 6
    # Where no seed is left, nothing stays behind for the next rollout and nothing moves.
    metrics, table = run(3, [1])
    assert table.kept is None
    assert table.updated[-1] == []
    assert len(table.updated) == metrics["num_gradient_steps"][0] + 1


def recorded(mask: Tensor | None = None) -> Batch:
    """A batch whose log-probabilities are those of the table before its first step."""
    part = batch(mask=mask)
    with torch.no_grad():
        return part._replace(behaviour_log_prob=Table().evaluate(part.inputs)[0])


def checked(part: Batch, epochs: Any = ([None], [None]), **options: Any) -> Any:
    table = Accumulating()
    metrics = ppo_update(
        part,
        OBJECTIVE,
        epochs,
        evaluate=table.evaluate,
        descend=table.descend,
        accumulate=table.accumulate,
        check_ratio=True,
        **options,
    )
    return metrics, table


@pytest.mark.trap("T28")
@pytest.mark.parametrize("size", [None, 2])
def test_the_first_ratio_of_a_sound_update_is_one(size: int | None) -> None:
    mask = token_mask()
    part = recorded(mask)
    part = part._replace(behaviour_log_prob=part.behaviour_log_prob.masked_fill(~mask, np.nan))
    metrics, table = checked(part, microbatch_size=size)
    assert (metrics["first_ratio_error"] < 1e-5).all()
    assert (metrics["approx_kl"] > 1e-5).all()  # later ratios may differ, and do
    assert len(table.gradients) == 2


@pytest.mark.trap("T28")
@pytest.mark.parametrize("size", [None, 2])
@pytest.mark.parametrize("wrong", [0.002, -0.002, 3.0, float("nan"), float("-inf")])
def test_one_ratio_that_is_not_one_stops_the_update_before_its_first_step(
    wrong: float, size: int | None
) -> None:
    part = recorded()
    part.behaviour_log_prob[2, 1, 3] += wrong
    with pytest.raises(RlkitError, match=r"row 2 of the seeds: .*dropout") as caught:
        checked(part, microbatch_size=size)
    message = str(caught.value)
    for cause in ("dropout", "temperature", "padding", "half precision", "tokenised again"):
        assert cause in message
    table = Accumulating()
    with pytest.raises(RlkitError):
        ppo_update(
            part,
            OBJECTIVE,
            [[None]],
            evaluate=table.evaluate,
            descend=table.descend,
            check_ratio=True,
        )
    assert not table.gradients


def test_only_the_first_minibatch_is_checked() -> None:
    order = torch.arange(U).repeat(S, 1)
    metrics, table = checked(recorded(), [list(order.split(2, dim=1))] * 2)
    assert len(table.gradients) == 6
    assert (metrics["first_ratio_error"] < 1e-5).all()


def test_without_the_check_no_ratio_is_looked_at() -> None:
    metrics = update(Table(), batch())
    assert "first_ratio_error" not in metrics


@pytest.mark.parametrize("options", [{"microbatch_size": 0}, {"accumulate": None}])
def test_a_wrong_microbatch_is_named(options: dict[str, Any]) -> None:
    table = Accumulating()
    arguments: dict[str, Any] = {"microbatch_size": 4, "accumulate": table.accumulate} | options
    with pytest.raises(ValueError, match="microbatch_size of at least 1, together with accumulate"):
        ppo_update(
            batch(),
            OBJECTIVE,
            [[None]],
            evaluate=table.evaluate,
            descend=table.descend,
            **arguments,
        )
