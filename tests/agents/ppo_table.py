"""A policy and a critic in tables, and batches for them: the tests of PPO write everything out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlkit.agents.ppo_objective import Batch, Objective
from rlkit.agents.ppo_update import ppo_update

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


AGGREGATIONS: dict[str, dict[str, Any]] = {
    "token-mean": {},
    "seq-mean-token-sum": {},
    "seq-mean-token-mean": {},
    "constant-norm": {"norm_length": 3.0},
}


def aggregated(name: str, **options: Any) -> Objective:
    constants = {"clip_epsilon": 0.1, "value_coef": 0.7, "entropy_coef": 0.03, "value_clip": 0.2}
    return Objective(aggregation=name, **(constants | AGGREGATIONS[name] | options))  # type: ignore[arg-type]


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
