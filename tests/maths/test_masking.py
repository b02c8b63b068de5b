"""Masks and the means under them, against numpy's masked arrays and with poison in masked slots."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from rlkit.maths.divergences import kl_k3
from rlkit.maths.losses import ppo_clip_loss
from rlkit.maths.masking import fill_masked, masked_mean
from tests.maths.support import (
    BATCHES,
    ROUNDING,
    SEED_COUNTS,
    f64,
    gradient,
    normal,
    seeds_differ,
)

NAN = math.nan

# --- masks ----------------------------------------------------------------------------------------


def masked_ppo(log_prob: Tensor, old: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    log_prob, old, advantages = fill_masked(mask, log_prob, old, advantages)
    loss = ppo_clip_loss(log_prob, old, advantages, clip_epsilon=0.2) + kl_k3(log_prob, old)
    return masked_mean(loss, mask, dim=(0, 1))


def ppo_masked_at_the_end(log_prob: Tensor, old: Tensor, a: Tensor, mask: Tensor) -> Tensor:
    loss = ppo_clip_loss(log_prob, old, a, clip_epsilon=0.2) + kl_k3(log_prob, old)
    return masked_mean(loss, mask, dim=(0, 1))


def ppo_masked_by_multiplication(log_prob: Tensor, old: Tensor, a: Tensor, mask: Tensor) -> Tensor:
    loss = ppo_clip_loss(log_prob, old, a, clip_epsilon=0.2) + kl_k3(log_prob, old)
    return (loss * mask).sum() / mask.sum()


def check_poison(loss: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor], poison: float) -> None:
    mask = normal(14, 4, 5) > -0.5
    arrays = [normal(15 + i, 4, 5) for i in range(3)]
    results = []
    for filler in (0.0, poison):
        log_prob, old, advantages = (torch.where(mask, a, filler) for a in arrays)
        log_prob.requires_grad_()
        value = loss(log_prob, old, advantages, mask)
        results.append((value.detach(), gradient(value, log_prob)))
    (clean, clean_grad), (dirty, dirty_grad) = results
    assert torch.equal(clean, dirty)
    assert torch.equal(clean_grad, dirty_grad)
    assert (dirty_grad[~mask] == 0).all()
    assert torch.isfinite(dirty_grad).all()


@pytest.mark.parametrize("poison", [NAN, math.inf, 1e9])
def test_poison_in_masked_slots_changes_neither_loss_nor_gradient(poison: float) -> None:
    check_poison(masked_ppo, poison)


@pytest.mark.parametrize("mutant", [ppo_masked_at_the_end, ppo_masked_by_multiplication])
def test_masking_only_the_loss_lets_poison_through(mutant: Any) -> None:
    with pytest.raises(AssertionError):
        check_poison(mutant, NAN)


def test_masked_mean_counts_only_what_counts() -> None:
    x = f64([[1.0, 2.0, NAN], [NAN, NAN, NAN], [4.0, 5.0, 9.0]])
    mask = torch.tensor([[True, True, False], [False] * 3, [True] * 3])
    assert masked_mean(x, mask, dim=1).tolist() == [1.5, 0.0, 6.0]
    assert masked_mean(x, mask, dim=-1, keepdim=True).shape == (3, 1)
    assert masked_mean(x, mask, dim=(0, 1)).item() == 21 / 5


@pytest.mark.parametrize("dim", [0, 1, 2, -1, (0, 1), (1, 0), (0, 2), (-1, 1), (0, 1, 2), (2, -1)])
@pytest.mark.parametrize("keepdim", [False, True])
def test_masked_mean_agrees_with_numpys_masked_arrays(dim: Any, keepdim: bool) -> None:
    x, mask = normal(18, 3, 4, 5), normal(19, 3, 4, 5) > 0
    axes = (dim,) if isinstance(dim, int) else tuple({d % 3 for d in dim})
    plain = x.numpy().mean(axis=axes, keepdims=keepdim)
    torch.testing.assert_close(
        masked_mean(x, dim=dim, keepdim=keepdim), torch.as_tensor(plain), **ROUNDING
    )
    masked = np.ma.array(x.numpy(), mask=~mask.numpy()).mean(axis=axes, keepdims=keepdim)
    torch.testing.assert_close(
        masked_mean(x, mask, dim=dim, keepdim=keepdim),
        torch.as_tensor(np.ma.filled(masked, 0.0)),
        **ROUNDING,
    )


# --- gradients by finite differences --------------------------------------------------------------

TARGET = normal(12, 3, 4)
DIFFERENTIABLE: dict[str, Callable[[Tensor], Tensor]] = {
    "masked_mean": lambda x: masked_mean(x, TARGET > 0, dim=1),
    "masked_mean of all": lambda x: masked_mean(x.square(), dim=(0, 1), keepdim=True),
    "fill_masked": lambda x: fill_masked(TARGET > 0, x.square())[0],
}


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradient_agrees_with_finite_differences(name: str) -> None:
    assert gradcheck(DIFFERENTIABLE[name], (normal(13, 3, 4).requires_grad_(),))


# --- a seed's bytes -------------------------------------------------------------------------------

ON_SEEDS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "fill_masked": lambda x, y, z: fill_masked(y > 0, x)[0],
    "masked_mean": lambda x, y, z: masked_mean(x * z, y > 0, dim=1),
    "masked_mean of all": lambda x, y, z: masked_mean(x * z, dim=1),
}


@pytest.mark.parametrize("name", ON_SEEDS)
def test_a_seed_gets_the_same_bytes_alone_and_in_a_batch(name: str) -> None:
    g = torch.Generator().manual_seed(0)
    for num_seeds, batch in itertools.product(SEED_COUNTS, BATCHES):
        for dtype in (torch.float32, torch.float64):
            arrays = torch.randn(3, num_seeds, batch, generator=g, dtype=dtype)
            assert not seeds_differ(ON_SEEDS[name], *arrays), (num_seeds, batch)


def test_masked_mean_gives_a_seed_the_same_bytes_on_the_middle_axis() -> None:
    g = torch.Generator().manual_seed(1)
    for num_seeds, batch in itertools.product(SEED_COUNTS, BATCHES):
        x, y = torch.randn(2, 6, num_seeds, batch, generator=g)
        for function in (
            lambda x, y: masked_mean(x, y > 0, dim=(0, 2), keepdim=True),
            lambda x, y: masked_mean(x, dim=(0, 2), keepdim=True),
        ):
            assert not seeds_differ(function, x, y, axis=1), (num_seeds, batch)


# --- errors ---------------------------------------------------------------------------------------

X, SHORT = torch.zeros(3, 2), torch.zeros(3, 1)
BAD_CALLS: list[tuple[Callable[[], object], str]] = [
    (lambda: fill_masked(X, X), r"fill_masked: expected mask to be boolean"),
    (lambda: fill_masked(X > 0, X, SHORT), r"fill_masked: expected tensor 1 .*\(3, 2\).*\(3, 1\)"),
    (lambda: masked_mean(X, SHORT > 0, dim=0), r"masked_mean: expected mask of shape \(3, 2\)"),
    (lambda: masked_mean(X, X, dim=0), r"masked_mean: expected mask to be boolean"),
    (lambda: masked_mean(X, dim=2), r"masked_mean: expected dim within 2 dimensions, got 2"),
    (lambda: masked_mean(X[:0], dim=0), r"masked_mean: expected at least one element"),
    (lambda: masked_mean(X, dim=()), r"masked_mean: expected at least one element"),
    (lambda: masked_mean(X[0, 0], dim=0), r"masked_mean: expected dim within 0"),
]


@pytest.mark.parametrize(("call", "message"), BAD_CALLS, ids=[m for _, m in BAD_CALLS])
def test_a_wrong_argument_is_named(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
