"""Responses through the one core of PPO: as rows of tokens, and as the transitions of a game.

The policy and the critic are tables over the prefixes of a response, so nothing is approximate.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.agents import ppo_objective as module
from rlkit.agents.ppo_objective import Batch, Objective
from rlkit.agents.ppo_update import METRICS, ppo_update
from rlkit.errors import RlkitError
from rlkit.maths.divergences import sequence_kl
from rlkit.maths.kl_penalty import KLPenalty, loss_penalty
from rlkit.maths.losses import ppo_clip_loss
from rlkit.maths.returns import gae, standardise
from rlkit.rlhf.objectives.advantages import token_gae
from rlkit.rlhf.objectives.rewards import penalised_rewards

S, NUM_ENVS, LIMIT, EOS, A = 2, 3, 4, 2, 3
BETA = 0.3
# The lengths of the four responses that each environment gives one after another: 12 steps each.
LENGTHS = [[[3, 4, 1, 4], [4, 2, 3, 3], [2, 4, 4, 2]], [[1, 4, 4, 3], [4, 4, 2, 2], [3, 3, 3, 3]]]
PER_ENV, NUM_STEPS = 4, 12
U = NUM_ENVS * PER_ENV
# Prefixes of up to LIMIT tokens, whole ones included, for which a critic may have a value too.
PREFIXES = [s for n in range(LIMIT + 1) for s in itertools.product((0, 1), repeat=n)]
PREFIXES += [(*s, EOS) for s in PREFIXES if len(s) < LIMIT]
NUMBER = {s: i for i, s in enumerate(PREFIXES)}


def draw(seed: int, *shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))


class Table:
    """Logits and values of each prefix for each seed, and plain gradient descent on them."""

    def __init__(self, rate: float = 0.5) -> None:
        self.logits = draw(1, S, len(PREFIXES), A).requires_grad_()
        self.values = draw(2, S, len(PREFIXES)).requires_grad_()
        self.rate = rate
        self.gradients: list[tuple[Tensor, ...]] = []
        self.losses: list[Tensor] = []

    def evaluate(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        states, actions = inputs[:2]
        seed = torch.arange(len(states)).view(-1, *[1] * (states.ndim - 1))
        log_probs = self.logits.log_softmax(-1)[seed, states]
        log_prob = log_probs.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
        entropy = -(log_probs.exp() * log_probs).sum(-1)
        return log_prob, entropy, self.values[seed, states]

    def descend(self, losses: Tensor, seeds: Any) -> Tensor:
        assert seeds is None
        gradients = torch.autograd.grad(losses.sum(), (self.logits, self.values))
        self.losses.append(losses.detach().clone())
        self.gradients.append(gradients)
        with torch.no_grad():
            for parameter, gradient in zip((self.logits, self.values), gradients, strict=True):
                parameter -= self.rate * gradient
        return torch.stack([g.reshape(len(losses), -1).norm(dim=1) for g in gradients]).norm(dim=0)


REFERENCE = draw(3, S, len(PREFIXES), A).log_softmax(-1)


# --- the same responses twice ---------------------------------------------------------------------


class Responses(NamedTuple):
    """Rows: U responses of up to LIMIT tokens for each seed, in the order of the environments."""

    states: Tensor  # number of the prefix before each token, [S, U, LIMIT]
    tokens: Tensor  # [S, U, LIMIT]
    mask: Tensor  # bool [S, U, LIMIT]
    truncated: Tensor  # bool [S, U]
    final_states: Tensor  # number of the prefix after the last token, [S, U]
    scores: Tensor  # [S, U]


def responses() -> Responses:
    rng = np.random.default_rng(4)
    states, tokens = np.zeros((2, S, U, LIMIT), dtype=np.int64)
    mask = np.zeros((S, U, LIMIT), dtype=bool)
    truncated, final = np.zeros((S, U), dtype=bool), np.zeros((S, U), dtype=np.int64)
    for s, row in enumerate(LENGTHS):
        for u, length in enumerate(itertools.chain.from_iterable(row)):
            chosen = [int(x) for x in rng.integers(2, size=length)]
            truncated[s, u] = length == LIMIT and rng.random() < 0.5
            if not truncated[s, u]:
                chosen[-1] = EOS
            prefixes = [NUMBER[tuple(chosen[:t])] for t in range(length + 1)]
            states[s, u, :length], final[s, u] = prefixes[:-1], prefixes[-1]
            tokens[s, u, :length], mask[s, u, :length] = chosen, True
    arrays = (states, tokens, mask, truncated, final)
    return Responses(*(torch.from_numpy(x) for x in arrays), draw(5, S, U))


def log_ratio(table: Tensor, states: Tensor, tokens: Tensor) -> Tensor:
    seed = torch.arange(S).view(-1, *[1] * (states.ndim - 1))
    return (table.log_softmax(-1) - REFERENCE)[seed, states, tokens]


def as_rows(found: Responses, table: Table, *, bootstrap: bool) -> Batch:
    """[S, U, T], with the functions for responses."""
    inputs = (found.states, found.tokens)
    with torch.no_grad():
        log_prob, _, values = table.evaluate(inputs)
        kl = log_ratio(table.logits, *inputs)
        final = table.values.gather(1, found.final_states)
    advantages = torch.stack(
        [
            token_gae(
                penalised_rewards(found.scores[s], kl[s], found.mask[s], kl_coef=BETA),
                values[s],
                found.mask[s],
                truncated=found.truncated[s],
                final_values=final[s] if bootstrap else None,
                discount=0.9,
                gae_lambda=0.8,
            )
            for s in range(S)
        ]
    )
    return Batch(inputs, log_prob, values, advantages, advantages + values, found.mask)


def as_transitions(found: Responses, table: Table, *, bootstrap: bool) -> Batch:
    """[S, T * N]: a game in which each step adds a token, played in N environments at once.

    Each step has its own reward, and the flags of Gymnasium. The length limit is an end of the
    game, or, with `bootstrap`, a limit from outside it.
    """
    grid = (NUM_STEPS, S, NUM_ENVS)
    states, next_states, tokens = (torch.zeros(grid, dtype=torch.int64) for _ in range(3))
    rewards = torch.zeros(grid, dtype=torch.float64)
    terminated, truncated = (torch.zeros(grid, dtype=torch.bool) for _ in range(2))
    for s, n in itertools.product(range(S), range(NUM_ENVS)):
        t = 0
        for u in range(n * PER_ENV, (n + 1) * PER_ENV):
            length = int(found.mask[s, u].sum())
            for k in range(length):
                at = (t, s, n)
                states[at], tokens[at] = found.states[s, u, k], found.tokens[s, u, k]
                last = k == length - 1
                next_states[at] = found.final_states[s, u] if last else found.states[s, u, k + 1]
                policy = table.logits[s, states[at]].detach().log_softmax(-1)[tokens[at]]
                reference = REFERENCE[s, states[at], tokens[at]]
                rewards[at] = -BETA * (policy - reference)
                if last:
                    rewards[at] += found.scores[s, u]
                    cut = bool(found.truncated[s, u])
                    terminated[at] = not (cut and bootstrap)
                    truncated[at] = cut
                t += 1
        assert t == NUM_STEPS

    def seed_major(x: Tensor) -> Tensor:
        return x.transpose(0, 1).reshape(S, -1)

    inputs = (seed_major(states), seed_major(tokens))
    values, next_values = (
        table.values.detach().gather(1, seed_major(x)).view(S, NUM_STEPS, NUM_ENVS).transpose(0, 1)
        for x in (states, next_states)
    )
    is_last = terminated | truncated
    arrays = (rewards, values, next_values, terminated, is_last)
    advantages = seed_major(gae(*arrays, discount=0.9, gae_lambda=0.8))
    with torch.no_grad():
        log_prob = table.evaluate(inputs)[0]
    return Batch(inputs, log_prob, seed_major(values), advantages, advantages + seed_major(values))


def in_order_of_rows(found: Responses) -> NDArray[np.int64]:
    """For each seed, which transition each decision of the rows is."""
    order = []
    for s in range(S):
        next_step = [0] * NUM_ENVS
        order.append([])
        for u in range(U):
            n = u // PER_ENV
            for _ in range(int(found.mask[s, u].sum())):
                order[-1].append(next_step[n] * NUM_ENVS + n)
                next_step[n] += 1
    return np.array(order)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_rows_of_tokens_and_transitions_of_a_game_are_the_same_update(bootstrap: bool) -> None:
    found = responses()
    assert found.truncated.any()
    objective = Objective(clip_epsilon=0.2, value_coef=0.5, entropy_coef=0.01, value_clip=0.3)
    tables = [Table(rate=5.0), Table(rate=5.0)]  # far enough that ratios are clipped
    rows = as_rows(found, tables[0], bootstrap=bootstrap)
    transitions = as_transitions(found, tables[1], bootstrap=bootstrap)

    order = torch.from_numpy(in_order_of_rows(found))
    assert (order.sort(1).values == torch.arange(NUM_STEPS * NUM_ENVS)).all()
    advantages = torch.stack([rows.advantages[s][found.mask[s]] for s in range(S)])
    # Sums of a few float64 numbers of order 1 in another order
    close = {"rtol": 0, "atol": 1e-12}
    torch.testing.assert_close(transitions.advantages.gather(1, order), advantages, **close)

    metrics = [
        ppo_update(
            part,
            objective,
            [[None]] * 3,
            evaluate=table.evaluate,
            descend=table.descend,
            check_ratio=True,
        )
        for part, table in zip((rows, transitions), tables, strict=True)
    ]
    for k in range(3):
        torch.testing.assert_close(tables[0].losses[k], tables[1].losses[k], **close)
        for a, b in zip(tables[0].gradients[k], tables[1].gradients[k], strict=True):
            torch.testing.assert_close(a, b, **close)
            assert a.abs().max() > 1e-3
    for name in metrics[0]:
        np.testing.assert_allclose(metrics[0][name], metrics[1][name], rtol=1e-10, atol=1e-12)
    assert metrics[0]["clip_fraction"].max() > 0


def test_the_length_limit_matters_to_the_comparison() -> None:
    found, table = responses(), Table()
    as_end = as_rows(found, table, bootstrap=False)
    as_cut = as_transitions(found, table, bootstrap=True)
    order = torch.from_numpy(in_order_of_rows(found))
    advantages = torch.stack([as_end.advantages[s][found.mask[s]] for s in range(S)])
    assert (as_cut.advantages.gather(1, order) - advantages).abs().max() > 0.1


# --- what stands after the end of a response ------------------------------------------------------

AGGREGATIONS: dict[str, float | None] = {
    "token-mean": None,
    "seq-mean-token-sum": None,
    "seq-mean-token-mean": None,
    "constant-norm": float(LIMIT),
}
IN_LOSS = KLPenalty(coef=BETA, placement="loss", estimator="k2")


def whole_update(poison: float | None, aggregation: str, size: int | None) -> dict[str, bytes]:
    """From what a sampler recorded to parameters and metrics, `poison` in all masked slots."""
    found, table, mask = responses(), Table(), responses().mask
    inputs = (found.states, found.tokens)
    with torch.no_grad():
        log_prob, _, values = table.evaluate(inputs)
    reference = log_prob - log_ratio(table.logits.detach(), *inputs)

    def poisoned(x: Tensor) -> Tensor:
        return x if poison is None else torch.where(mask, x, poison)

    log_prob, values, reference = (poisoned(x) for x in (log_prob, values, reference))
    rewards, advantages, kl = [], [], []
    for s in range(S):
        log_ratios = log_prob[s] - reference[s]
        rewards.append(penalised_rewards(found.scores[s], log_ratios, mask[s], kl_coef=BETA))
        kl.append(sequence_kl(log_prob[s], reference[s], mask[s]))
    noisy_rewards = poisoned(torch.stack(rewards))
    for s in range(S):
        options = {"discount": 1.0, "gae_lambda": 0.95}
        advantages.append(token_gae(noisy_rewards[s], values[s], mask[s], **options))
    white = torch.stack(
        [
            standardise(poisoned(torch.stack(advantages))[s], mask=mask[s], dim=(0, 1))
            for s in (0, 1)
        ]
    )
    targets = poisoned(torch.stack(advantages) + values)

    def evaluate(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        states, actions, kept, of_reference = inputs
        results = table.evaluate((states, actions))
        penalty = loss_penalty(
            IN_LOSS,
            log_prob=results[0],
            reference_log_prob=of_reference.squeeze(-1),
            mask=kept,
        )
        results = (*results, BETA * penalty)
        return results if poison is None else tuple(torch.where(kept, x, poison) for x in results)

    gradients: list[bytes] = []

    def accumulate(losses: Tensor) -> None:
        parts = torch.autograd.grad(losses.sum(), (table.logits, table.values))
        gradients.extend(x.numpy().tobytes() for x in parts)

    metrics = ppo_update(
        Batch(
            (*inputs, mask, reference.unsqueeze(-1)),
            log_prob,
            values,
            poisoned(white),
            targets,
            mask,
        ),
        Objective(
            clip_epsilon=0.2,
            value_coef=0.5,
            entropy_coef=0.01,
            value_clip=0.3,
            standardise_advantages=False,
            aggregation=aggregation,  # type: ignore[arg-type]
            norm_length=AGGREGATIONS[aggregation],
        ),
        [[None], [None]],
        evaluate=evaluate,
        descend=table.descend,
        accumulate=accumulate,
        microbatch_size=size,
        check_ratio=True,
    )
    record = {name: value.tobytes() for name, value in metrics.items()}
    assert all(np.isfinite(value).all() for value in metrics.values())
    record["losses"] = torch.stack(table.losses).numpy().tobytes()
    record["gradients"] = b"".join(
        gradients + [x.numpy().tobytes() for g in table.gradients for x in g]
    )
    record["kl"] = torch.stack(kl).numpy().tobytes()
    return record


@pytest.mark.trap("T83")
@pytest.mark.claim(25)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize("size", [None, 5])
@pytest.mark.parametrize("poison", [math.nan, 1e9, -math.inf])
def test_tokens_after_a_response_reach_no_loss_no_gradient_and_no_metric(
    poison: float, aggregation: str, size: int | None
) -> None:
    assert whole_update(poison, aggregation, size) == whole_update(None, aggregation, size)


def test_a_mask_by_multiplication_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def multiply(mask: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(x * mask for x in tensors)

    monkeypatch.setattr(module, "fill_masked", multiply)
    with pytest.raises((AssertionError, RlkitError)):
        whole_update(math.nan, "token-mean", None)


# --- metrics --------------------------------------------------------------------------------------


def sampled() -> tuple[Batch, Table]:
    found, table = responses(), Table()
    return as_rows(found, table, bootstrap=False), table


PLAIN = Objective(clip_epsilon=0.2, value_coef=0.5, entropy_coef=0.0)


@pytest.mark.claim(32)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_entropy_and_kl_are_means_over_tokens_and_not_over_padding(aggregation: str) -> None:
    part, table = sampled()
    assert part.mask is not None
    part = part._replace(behaviour_log_prob=part.behaviour_log_prob + 0.1 * draw(8, S, U, LIMIT))
    objective = Objective(
        clip_epsilon=0.05,
        value_coef=0.5,
        entropy_coef=0.0,
        aggregation=aggregation,  # type: ignore[arg-type]
        norm_length=AGGREGATIONS[aggregation],
    )
    log_prob, entropy, _ = (x.detach() for x in table.evaluate(part.inputs))
    metrics = ppo_update(part, objective, [[None]], evaluate=table.evaluate, descend=table.descend)
    for s in range(S):
        kept = part.mask[s]
        log_ratio = (log_prob - part.behaviour_log_prob)[s][kept].numpy()
        expected = {
            "entropy": entropy[s][kept].numpy().mean(),
            "approx_kl": (np.exp(log_ratio) - 1 - log_ratio).mean(),
            "clip_fraction": (np.abs(np.exp(log_ratio) - 1) > 0.05).mean(),
        }
        for name, value in expected.items():
            # Fractions are counted in float32.
            assert metrics[name][s] == pytest.approx(value, rel=1e-6), name
        assert entropy[s].mean() != pytest.approx(expected["entropy"], rel=1e-3)  # over padding


# --- old log-probabilities ------------------------------------------------------------------------


def second_gradient(part: Batch) -> tuple[Tensor, dict[str, NDArray[Any]]]:
    """The policy's gradient in the second of two epochs, the first of which goes very far."""
    table = Table(rate=50.0)
    metrics = ppo_update(
        part,
        Objective(clip_epsilon=0.2, value_coef=0.0, entropy_coef=0.0, standardise_advantages=False),
        [[None], [None]],
        evaluate=table.evaluate,
        descend=table.descend,
    )
    return table.gradients[1][0], metrics


def one_good_token() -> Batch:
    """One decision a seed, with a positive advantage."""
    part, _ = sampled()
    mask = torch.zeros(S, U, LIMIT, dtype=torch.bool)
    mask[:, 0, 0] = True
    return part._replace(advantages=torch.ones_like(part.advantages), mask=mask)


def test_the_recorded_policy_stays_the_same_over_the_epochs() -> None:
    part = one_good_token()
    before = part.behaviour_log_prob.clone()
    gradient, metrics = second_gradient(part)
    assert torch.equal(part.behaviour_log_prob, before)
    # After one epoch the ratio is beyond 1 + ε: it is not 1, and there is nothing more to gain.
    assert (metrics["approx_kl"] > 0.01).all()
    assert (metrics["clip_fraction"] == 1).all()
    assert not gradient.any()


@pytest.mark.claim(30)
def test_a_ratio_that_is_always_one_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def current(log_prob: Tensor, behaviour: Tensor, advantages: Tensor, **options: Any) -> Tensor:
        return ppo_clip_loss(log_prob, log_prob.detach(), advantages, **options)

    monkeypatch.setattr(module, "ppo_clip_loss", current)
    gradient, _ = second_gradient(one_good_token())
    assert gradient.any()


# --- how many steps -------------------------------------------------------------------------------


@pytest.mark.claim(28)
@pytest.mark.parametrize("size", [None, 2])
def test_there_are_as_many_steps_as_epochs_times_minibatches(size: int | None) -> None:
    part, table = sampled()
    minibatches = list(torch.arange(U).repeat(S, 1).split(5, dim=1))
    parts: list[Tensor] = []
    metrics = ppo_update(
        part,
        PLAIN,
        [minibatches] * 4,
        evaluate=table.evaluate,
        descend=table.descend,
        accumulate=parts.append,
        microbatch_size=size,
    )
    assert metrics["num_gradient_steps"].tolist() == [12, 12]
    assert len(table.losses) == 12
    # 5, 5 and 2 responses in parts of 2: two, two and no parts before the one that descends
    assert len(parts) == (16 if size else 0)
    assert set(metrics) == {*METRICS, "num_gradient_steps"}


# --- the policy that acted ------------------------------------------------------------------------


def check_first_ratio(change: Callable[[Tensor], Tensor]) -> float:
    """The error at the first minibatch where the update's logits are not those of the sampler."""
    part, table = sampled()
    sampler_logits = table.logits.detach().clone()
    with torch.no_grad():
        table.logits.copy_(change(sampler_logits))
    metrics = ppo_update(
        part,
        PLAIN,
        [[None]],
        evaluate=table.evaluate,
        descend=table.descend,
        check_ratio=True,
    )
    return float(metrics["first_ratio_error"].max())


def test_the_policy_that_acted_has_a_first_ratio_of_one() -> None:
    assert check_first_ratio(lambda logits: logits) < 1e-12
    assert check_first_ratio(lambda logits: logits + 3.0) < 1e-12  # the same policy


MISTAKES: dict[str, Callable[[Tensor], Tensor]] = {
    "temperature": lambda logits: logits / 0.98,
    "dropout": lambda logits: logits * (draw(9, *logits.shape) > -1.3) / 0.9,
    "half precision": lambda logits: logits.half().double() * (1 + 2**-8),
    "position off by one": lambda logits: logits.roll(1, dims=1),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_another_policy_than_the_one_that_acted_is_rejected(mistake: str) -> None:
    with pytest.raises(RlkitError, match="Likely causes"):
        check_first_ratio(MISTAKES[mistake])
