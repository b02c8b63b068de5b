"""The objective of PPO on batches of any shape: losses, weights, parts, metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rlkit.agents import ppo_objective
from rlkit.agents import ppo_update as loop
from rlkit.agents.ppo_objective import Batch, Objective
from rlkit.agents.ppo_update import METRICS, ppo_update
from rlkit.errors import UsageError
from tests.agents.ppo_table import (
    AGGREGATIONS,
    OBJECTIVE,
    Accumulating,
    S,
    T,
    Table,
    U,
    aggregated,
    batch,
    draw,
    in_parts,
    token_mask,
    update,
)


def by_loops(part: Batch, objective: Objective, table: Table, s: int) -> float:
    """The loss of one seed, one decision at a time."""
    log_prob, entropy, values = (x.detach() for x in table.evaluate(part.inputs))
    where = [
        index
        for index in np.ndindex(*part.advantages.shape[1:])
        if part.mask is None or part.mask[(s, *index)]
    ]
    advantages = np.array([part.advantages[(s, *i)].item() for i in where])
    if objective.standardise_advantages:
        advantages = (advantages - advantages.mean()) / advantages.std(ddof=1)
    total = 0.0
    for i, advantage in zip(where, advantages, strict=True):
        at = (s, *i)
        ratio = np.exp(log_prob[at].item() - part.behaviour_log_prob[at].item())
        eps = objective.clip_epsilon
        policy = -min(ratio * advantage, np.clip(ratio, 1 - eps, 1 + eps) * advantage)
        old, new = part.behaviour_values[at].item(), values[at].item()
        target = part.value_targets[at].item()
        value = (new - target) ** 2 / 2
        if objective.value_clip is not None:
            near = old + np.clip(new - old, -objective.value_clip, objective.value_clip)
            value = max(value, (near - target) ** 2 / 2)
        total += policy + objective.value_coef * value
        total -= objective.entropy_coef * entropy[at].item()
    return total / len(where)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("standardised", [False, True])
@pytest.mark.parametrize("value_clip", [None, 0.2])
def test_the_loss_is_the_mean_over_the_decisions_of_a_seed(
    masked: bool, standardised: bool, value_clip: float | None
) -> None:
    objective = Objective(
        clip_epsilon=0.1,
        value_coef=0.7,
        entropy_coef=0.03,
        value_clip=value_clip,
        standardise_advantages=standardised,
    )
    part = batch(mask=token_mask() if masked else None)
    table = Table()
    table.values.data += 0.3 * draw(11, S, 7)  # away from the old values: some are clipped
    expected = [by_loops(part, objective, table, s) for s in range(S)]
    update(table, part, objective, [[None]])
    # float32 sums of at most 30 terms of order 1
    np.testing.assert_allclose(table.losses[0], expected, rtol=1e-5, atol=1e-5)


def test_rows_of_decisions_and_the_same_decisions_one_by_one_give_equal_updates() -> None:
    rows, flat = batch(), batch()
    flat = Batch(
        tuple(x.reshape(S, U * T) for x in flat.inputs),
        *(x.reshape(S, U * T) for x in flat[1:5]),  # type: ignore[union-attr]
    )
    # The same decisions once more among others that do not count.
    wide = torch.zeros(S, U, 2 * T, dtype=torch.bool)
    wide[..., ::2] = True

    def spread(x: Tensor) -> Tensor:
        other = x.flip(-1)
        return torch.stack([x, other], dim=-1).reshape(*x.shape[:-1], 2 * x.shape[-1])

    masked = Batch(
        tuple(spread(x) for x in rows.inputs),
        *(spread(x) for x in rows[1:5]),  # type: ignore[arg-type]
        mask=wide,
    )
    tables = [Table(), Table(), Table()]
    metrics = [
        update(table, part) for table, part in zip(tables, (rows, flat, masked), strict=True)
    ]
    for table, other in zip(tables[1:], metrics[1:], strict=True):
        # The same sums of 30 float32 terms in another order, over two steps
        for k in range(2):
            np.testing.assert_allclose(table.losses[k], tables[0].losses[k], rtol=1e-5, atol=1e-6)
            for a, b in zip(table.gradients[k], tables[0].gradients[k], strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
        for name in METRICS:
            np.testing.assert_allclose(other[name], metrics[0][name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("field", range(7))
def test_values_in_slots_without_a_decision_reach_nothing(field: int, poison: float) -> None:
    mask = token_mask()
    clean = batch(mask=mask)

    def run(poisoned: bool) -> tuple[list[bytes], dict[str, Any]]:
        table = Table()
        part = clean
        evaluate: Callable[..., Any] = table.evaluate
        if poisoned and field < 4:
            fields = [x.clone() for x in clean[1:5]]  # type: ignore[union-attr]
            fields[field][~mask] = poison
            part = Batch(clean.inputs, *fields, mask=mask)
        elif poisoned:

            def evaluate(inputs: Any) -> Any:
                results = list(table.evaluate(inputs))
                results[field - 4] = torch.where(mask, results[field - 4], poison)
                return tuple(results)

        metrics = ppo_update(
            part, OBJECTIVE, [[None], [None]], evaluate=evaluate, descend=table.descend
        )
        record = [x.numpy().tobytes() for pair in table.gradients for x in pair]
        return record, {name: value.tobytes() for name, value in metrics.items()}

    assert run(True) == run(False)


def test_a_seed_without_any_decision_has_no_loss_and_no_gradient() -> None:
    mask = token_mask()
    mask[1] = False
    table = Table()
    update(table, batch(mask=mask), epochs=[[None]])
    assert table.losses[0][1] == 0.0
    assert all((gradient[1] == 0).all() for gradient in table.gradients[0])
    assert all((gradient[[0, 2]] != 0).any() for gradient in table.gradients[0])


def test_select_takes_each_seeds_own_units_whole() -> None:
    part = batch(mask=token_mask())
    index = torch.tensor([[5, 0], [1, 1], [2, 4]])
    chosen = part.select(index)
    for field, whole in zip((*chosen.inputs, *chosen[1:]), (*part.inputs, *part[1:]), strict=True):
        assert isinstance(field, Tensor)
        assert isinstance(whole, Tensor)
        for s in range(S):
            assert torch.equal(field[s], whole[s, index[s]])


@pytest.mark.parametrize("value_clip", [None, 0.2])
def test_each_loss_is_reported_under_its_own_name(value_clip: float | None) -> None:
    part, nothing = batch(), {"entropy_coef": 0.0, "value_clip": value_clip}
    policy = Objective(clip_epsilon=0.1, value_coef=0.0, **nothing)  # type: ignore[arg-type]
    both = Objective(clip_epsilon=0.1, value_coef=1.0, **nothing)  # type: ignore[arg-type]
    metrics = update(Table(), part, policy, [[None]])
    policy_losses = np.array([by_loops(part, policy, Table(), s) for s in range(S)])
    value_losses = np.array([by_loops(part, both, Table(), s) for s in range(S)]) - policy_losses
    # float32 sums of 30 terms of order 1
    np.testing.assert_allclose(metrics["policy_loss"], policy_losses, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(metrics["value_loss"], value_losses, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("log_ratio", "advantage", "moves"),
    [(0.5, 1.0, False), (0.5, -1.0, True), (-0.5, 1.0, True), (-0.5, -1.0, False)],
)
def test_the_policy_has_no_gradient_in_exactly_two_corners(
    log_ratio: float, advantage: float, moves: bool
) -> None:
    whole, table = batch((1, 1, 1)), Table(1)
    with torch.no_grad():
        log_prob, _, values = table.evaluate(whole.inputs)
    part = Batch(
        whole.inputs, log_prob - log_ratio, values, torch.full_like(values, advantage), values
    )
    objective = Objective(
        clip_epsilon=0.2, value_coef=0.0, entropy_coef=0.0, standardise_advantages=False
    )
    update(table, part, objective, [[None]])
    assert bool(table.gradients[0][0].any()) == moves


@pytest.mark.parametrize(
    ("old", "new", "slope"),
    [(0.0, 0.5, 0), (2.0, 1.5, 0), (0.0, 0.1, 1), (2.0, 2.5, 1), (0.0, -0.5, 1)],
)
def test_a_value_that_moved_far_enough_towards_its_target_has_no_gradient(
    old: float, new: float, slope: int
) -> None:
    # The target is 1 and the range 0.2: half the larger of (v - 1)² and (v_clip - 1)².
    whole, table = batch((1, 1)), Table(1)
    table.values.data.fill_(new)
    one = torch.ones(1, 1)
    part = Batch(whole.inputs, whole.behaviour_log_prob, old * one, 0 * one, one)
    objective = Objective(clip_epsilon=0.2, value_coef=1.0, entropy_coef=0.0, value_clip=0.2)
    update(table, part, objective, [[None]])
    near = old + np.clip(new - old, -0.2, 0.2)
    loss = max((new - 1) ** 2, (near - 1) ** 2) / 2
    assert table.losses[0].item() == pytest.approx(loss, rel=1e-6)
    assert table.gradients[0][1].sum().item() == pytest.approx(slope * (new - 1), abs=1e-6)


def weights_by_loops(mask: Tensor, name: str) -> np.ndarray[Any, Any]:
    """The formulas of the names, one unit after another."""
    weights = np.zeros(mask.shape)
    for s in range(len(mask)):
        lengths = [int(unit.sum()) for unit in mask[s]]
        num_units = sum(length > 0 for length in lengths)
        for u, length in enumerate(lengths):
            if length == 0:
                continue
            weight = {
                "token-mean": 1 / sum(lengths),
                "seq-mean-token-sum": 1 / num_units,
                "seq-mean-token-mean": 1 / num_units / length,
                "constant-norm": 1 / num_units / 3.0,
            }[name]
            weights[s, u][mask[s, u].numpy()] = weight
    return weights


@pytest.mark.claim(27)
@pytest.mark.parametrize("name", AGGREGATIONS)
def test_the_loss_is_aggregated_as_its_name_says(name: str) -> None:
    mask, table = token_mask(), Table()
    part = batch(mask=mask)
    objective = aggregated(name, value_clip=None, standardise_advantages=False)
    update(table, part, objective, [[None]])
    log_prob, entropy, values = (x.detach().double().numpy() for x in Table().evaluate(part.inputs))
    old, _, advantages, targets = (x.double().numpy() for x in part[1:5])  # type: ignore[union-attr]
    ratio = np.exp(log_prob - old)
    x = -np.minimum(ratio * advantages, np.clip(ratio, 0.9, 1.1) * advantages)
    x = x + 0.7 * (values - targets) ** 2 / 2 - 0.03 * entropy
    expected = (weights_by_loops(mask, name) * x).sum((1, 2))
    np.testing.assert_allclose(table.losses[0], expected, rtol=1e-5, atol=1e-5)  # float32 sums


@pytest.mark.parametrize("name", ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean"])
def test_where_a_unit_is_one_decision_three_aggregations_are_the_same(name: str) -> None:
    tables = [Table(), Table()]
    mask = torch.from_numpy(np.random.default_rng(2).random((S, U)) < 0.7)
    for part in (batch((S, U)), batch((S, U), mask)):
        for table, objective in zip(tables, (OBJECTIVE, aggregated(name)), strict=True):
            update(table, part, objective)
    for a, b in zip(tables[0].losses, tables[1].losses, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # two orders of float32 sums


def ragged(num_units: int = 64) -> Batch:
    lengths = torch.from_numpy(np.random.default_rng(12).integers(0, T + 1, size=(S, num_units)))
    lengths[:, :16] = lengths[:, :16].clamp(max=1)  # the first quarter is short
    return batch((S, num_units, T), torch.arange(T) < lengths.unsqueeze(-1))


@pytest.mark.claim(27)
@pytest.mark.parametrize("name", AGGREGATIONS)
@pytest.mark.parametrize("size", [16, 24, 1])
def test_a_minibatch_in_parts_has_the_gradient_of_the_whole(name: str, size: int) -> None:
    part, objective = ragged(), aggregated(name)
    epochs = [[None], [None]]
    whole, expected = in_parts(None, part, objective, epochs)
    split, metrics = in_parts(size, part, objective, epochs)
    assert (whole.num_parts, split.num_parts) == (2, 2 * -(-64 // size))
    assert (metrics["num_gradient_steps"] == 2).all()
    for k in range(2):
        for a, b in zip(split.gradients[k], whole.gradients[k], strict=True):
            assert (a - b).abs().max() < 1e-6
            assert b.abs().max() > 1e-3
    for metric, values in expected.items():
        np.testing.assert_allclose(metrics[metric], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_a_mean_of_means_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right, _ = in_parts(None, ragged(), aggregated(name), [[None]])
    of_minibatch = ppo_objective.split_minibatch

    def parts_by_themselves(part: Batch, objective: Objective, size: int | None) -> Any:
        parts = of_minibatch(part, objective, size)
        weights = [ppo_objective._weights(p.batch, objective.aggregation, 3.0) for p in parts]
        return [
            p._replace(loss_weights=w / len(parts)) for p, w in zip(parts, weights, strict=True)
        ]

    monkeypatch.setattr(loop, "split_minibatch", parts_by_themselves)
    wrong, _ = in_parts(16, ragged(), aggregated(name), [[None]])
    assert (wrong.gradients[0][0] - right.gradients[0][0]).abs().max() > 1e-3


def test_parts_do_not_change_what_is_standardised() -> None:
    part = batch()
    _, together = in_parts(None, part, OBJECTIVE, [[None]])
    _, apart = in_parts(2, part, OBJECTIVE, [[None]])
    np.testing.assert_allclose(apart["policy_loss"], together["policy_loss"], rtol=1e-5, atol=1e-6)


def test_a_microbatch_as_large_as_the_minibatch_changes_no_byte() -> None:
    part = batch(mask=token_mask())
    plain = Table()
    update(plain, part)
    table, _ = in_parts(U, part, OBJECTIVE, [[None], [None]])
    assert table.num_parts == 2
    assert torch.equal(table.logits, plain.logits)
    assert torch.equal(table.values, plain.values)


@pytest.mark.parametrize("name", AGGREGATIONS)
@pytest.mark.parametrize("size", [None, 4])
def test_a_penalty_is_added_to_the_loss_of_each_decision(name: str, size: int | None) -> None:
    mask = token_mask()
    part, penalty = batch(mask=mask), draw(21, S, U, T)

    def run(with_penalty: bool) -> Any:
        table = Accumulating()

        def evaluate(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            states, actions, number = inputs
            found = table.evaluate((states, actions))
            term = found[0] * penalty.flatten()[number.clamp(min=0)]
            term = torch.where(number >= 0, term, float("nan"))
            return (*found, term) if with_penalty else found

        numbers = torch.arange(penalty.numel()).view(S, U, T).masked_fill(~mask, -1)
        metrics = ppo_update(
            part._replace(inputs=(*part.inputs, numbers)),
            aggregated(name),
            [[None]],
            evaluate=evaluate,
            descend=table.descend,
            accumulate=table.accumulate,
            microbatch_size=size,
        )
        return table, metrics

    (plain, without), (table, metrics) = run(False), run(True)
    assert "penalty" not in without
    source = Table()
    log_prob = source.evaluate(part.inputs)[0]
    weights = torch.from_numpy(weights_by_loops(mask, name)).float()
    expected = (weights * penalty * log_prob).sum((1, 2))
    np.testing.assert_allclose(metrics["penalty"], expected.detach(), rtol=1e-4, atol=1e-6)
    (gradient,) = torch.autograd.grad(expected.sum(), source.logits)
    difference = table.gradients[0][0] - plain.gradients[0][0]
    np.testing.assert_allclose(difference, gradient, rtol=1e-4, atol=1e-6)
    for metric in ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction"):
        assert metrics[metric].tobytes() == without[metric].tobytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"aggregation": "mean"}, "'token-mean'"),
        ({"aggregation": "constant-norm"}, "norm_length"),
        ({"norm_length": 3.0}, "norm_length"),
        ({"aggregation": "constant-norm", "norm_length": 0.0}, "norm_length"),
    ],
)
def test_a_wrong_aggregation_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Objective(clip_epsilon=0.2, value_coef=0.5, entropy_coef=0.0, **options)
