"""The core of PPO on batches of any shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from rlkit.agents import ppo_update as module
from rlkit.agents.ppo_update import METRICS, Batch, Objective, ppo_update
from rlkit.errors import RlkitError, UsageError

S, U, T, A = 3, 6, 5, 4


def draw(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).float()


class Table:
    """A policy and a critic with one number for each state and action: all is written out."""

    def __init__(self, num_seeds: int = S, num_states: int = 7, rate: float = 0.1) -> None:
        self.logits = draw(1, num_seeds, num_states, A).requires_grad_()
        self.values = draw(2, num_seeds, num_states).requires_grad_()
        self.rate = rate
        self.gradients: list[tuple[Tensor, Tensor]] = []
        self.losses: list[Tensor] = []
        self.updated: list[Any] = []

    def evaluate(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        states, actions = inputs
        seed = torch.arange(len(states)).view(-1, *[1] * (states.ndim - 1))
        log_probs = self.logits.log_softmax(-1)[seed, states]
        log_prob = log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        return log_prob, entropy, self.values[seed, states]

    def descend(self, losses: Tensor, seeds: Any) -> Tensor:
        gradients = torch.autograd.grad(losses.sum(), (self.logits, self.values))
        self.losses.append(losses.detach().clone())
        self.gradients.append(gradients)  # type: ignore[arg-type]
        self.updated.append(None if seeds is None else list(seeds))
        rows = slice(None) if seeds is None else seeds
        with torch.no_grad():
            for parameter, gradient in zip((self.logits, self.values), gradients, strict=True):
                parameter[rows] -= self.rate * gradient[rows]
        return torch.stack([g.reshape(len(losses), -1).norm(dim=1) for g in gradients]).norm(dim=0)


def batch(shape: tuple[int, ...] = (S, U, T), mask: Tensor | None = None) -> Batch:
    rng = np.random.default_rng(5)
    states = torch.from_numpy(rng.integers(7, size=shape))
    actions = torch.from_numpy(rng.integers(A, size=shape))
    table = Table(shape[0])
    with torch.no_grad():
        log_prob, _, values = table.evaluate((states, actions))
    return Batch(
        (states, actions),
        log_prob + 0.2 * draw(6, *shape),  # a policy somewhat off: some ratios are clipped
        values,
        draw(7, *shape),
        values + draw(8, *shape),
        mask,
    )


OBJECTIVE = Objective(clip_epsilon=0.1, value_coef=0.7, entropy_coef=0.03, value_clip=0.2)


def update(
    table: Table, part: Batch, objective: Objective = OBJECTIVE, epochs: Any = ([None], [None])
) -> dict[str, Any]:
    return ppo_update(part, objective, epochs, evaluate=table.evaluate, descend=table.descend)


def token_mask() -> Tensor:
    mask = torch.from_numpy(np.random.default_rng(9).random((S, U, T)) < 0.6)
    mask[:, 0] = False  # a unit without any decision
    return mask


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


# --- stopping early -------------------------------------------------------------------------------


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


# --- the two clips --------------------------------------------------------------------------------


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


# --- how a minibatch becomes one number, at once or in parts --------------------------------------

AGGREGATIONS: dict[str, dict[str, Any]] = {
    "token-mean": {},
    "seq-mean-token-sum": {},
    "seq-mean-token-mean": {},
    "constant-norm": {"norm_length": 3.0},
}


def aggregated(name: str, **options: Any) -> Objective:
    constants = {"clip_epsilon": 0.1, "value_coef": 0.7, "entropy_coef": 0.03, "value_clip": 0.2}
    return Objective(aggregation=name, **(constants | AGGREGATIONS[name] | options))  # type: ignore[arg-type]


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


class Accumulating(Table):
    """Adds the gradients of parts up until it descends, as the optimisers of torch do."""

    kept: tuple[Tensor, Tensor] | None = None
    num_parts = 0

    def accumulate(self, losses: Tensor) -> None:
        gradients = torch.autograd.grad(losses.sum(), (self.logits, self.values))
        kept = self.kept or tuple(torch.zeros_like(g) for g in gradients)
        self.kept = tuple(a + b for a, b in zip(kept, gradients, strict=True))  # type: ignore[assignment]
        self.num_parts += 1

    def descend(self, losses: Tensor, seeds: Any) -> Tensor:
        self.accumulate(losses)
        assert self.kept is not None
        (logits, values), self.kept = self.kept, None
        # A loss that has these gradients.
        linear = (self.logits * logits).flatten(1).sum(1) + (self.values * values).sum(1)
        return super().descend(linear, seeds)


def in_parts(size: int | None, part: Batch, objective: Objective, epochs: Any) -> Any:
    table = Accumulating()
    metrics = ppo_update(
        part,
        objective,
        epochs,
        evaluate=table.evaluate,
        descend=table.descend,
        accumulate=table.accumulate,
        microbatch_size=size,
    )
    return table, metrics


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
    of_minibatch = module._parts

    def parts_by_themselves(part: Batch, objective: Objective, size: int | None) -> Any:
        parts = of_minibatch(part, objective, size)
        weights = [module._weights(p.batch, objective.aggregation, 3.0) for p in parts]
        return [
            p._replace(loss_weights=w / len(parts)) for p, w in zip(parts, weights, strict=True)
        ]

    monkeypatch.setattr(module, "_parts", parts_by_themselves)
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


# --- a penalty that the core knows nothing of -----------------------------------------------------


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


# --- the policy that acted is the one that learns -------------------------------------------------


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


@pytest.mark.parametrize("size", [None, 2])
def test_the_first_ratio_of_a_sound_update_is_one(size: int | None) -> None:
    mask = token_mask()
    part = recorded(mask)
    part = part._replace(behaviour_log_prob=part.behaviour_log_prob.masked_fill(~mask, np.nan))
    metrics, table = checked(part, microbatch_size=size)
    assert (metrics["first_ratio_error"] < 1e-5).all()
    assert (metrics["approx_kl"] > 1e-5).all()  # later ratios may differ, and do
    assert len(table.gradients) == 2


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


# --- refusals -------------------------------------------------------------------------------------


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
