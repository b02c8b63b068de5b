"""Distributions over actions of several parts."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import distributions as oracle

from rlkit.agents.heads import CategoricalHead, GaussianHead, JointHead, make_head, restricted
from rlkit.environments.views.actions import ActionLayout

D, B = spaces.Discrete, spaces.Box
S, M = 2, 5
MIXED = spaces.Tuple(
    (
        D(3),
        B(-1, 1, (2,)),
        spaces.MultiDiscrete([2, 2, 20]),
        B(-1, 1, ()),
    )
)


def head_of(space: Any, **options: Any) -> tuple[JointHead, torch.Tensor, list[torch.Tensor]]:
    """A joint head, outputs of a network and its further parameters for S seeds."""
    head = JointHead(ActionLayout(space), **options)
    outputs = torch.randn(S, M, head.num_outputs, generator=torch.Generator().manual_seed(0))
    extra = [
        torch.from_numpy(np.stack([x + 0.1 * s for s in range(S)])).float()
        for x in head.extra_parameters()
    ]
    return head, outputs, extra


def test_the_probabilities_of_all_combinations_add_up_to_one() -> None:
    head, outputs, extra = head_of(spaces.MultiDiscrete([2, 3, 3]))
    rows = itertools.product(range(2), range(3), range(3))
    log_probs = []
    for row in rows:
        actions = torch.tensor(row).expand(S, M, 3)
        log_prob, entropy = head.log_prob_and_entropy(outputs, extra, actions)
        log_probs.append(log_prob)
    p = torch.stack(log_probs).double().exp()
    torch.testing.assert_close(p.sum(0), torch.ones(S, M, dtype=torch.float64), rtol=0, atol=1e-6)
    # The entropy of the table of all combinations.
    torch.testing.assert_close(-(p * p.log()).sum(0).float(), entropy, rtol=1e-5, atol=1e-5)


def test_mixed_parts_are_those_of_torch() -> None:
    head, outputs, extra = head_of(MIXED, initial_std=0.5)
    sizes, columns = [3, 0, 0, 2, 2, 20, 0], []
    std = torch.exp(extra[0])
    assert torch.allclose(std[0], torch.full((3,), 0.5))
    start = real = 0
    for size in sizes:
        own = outputs[..., start : start + max(1, size)]
        if size:
            columns.append(oracle.Categorical(logits=own))
        else:
            columns.append(oracle.Normal(own[..., 0], std[:, real : real + 1].expand(S, M)))
            real += 1
        start += max(1, size)
    noise = torch.from_numpy(head.noise(np.random.default_rng(0), S, M))
    actions = head.sample(outputs, extra, noise)
    assert actions.dtype == torch.float32
    assert actions.shape == (S, M, 7)
    log_prob, entropy = head.log_prob_and_entropy(outputs, extra, actions)
    expected = sum(part.log_prob(actions[..., k]) for k, part in enumerate(columns))
    torch.testing.assert_close(log_prob, expected)
    torch.testing.assert_close(entropy, sum(part.entropy() for part in columns))
    mode = head.mode(outputs)
    for k, part in enumerate(columns):
        best = part.probs.argmax(-1).float() if sizes[k] else part.mean
        torch.testing.assert_close(mode[..., k], best)


def test_samples_of_each_part_are_those_of_its_own_head() -> None:
    head, outputs, extra = head_of(spaces.Tuple((D(4), B(-1, 1, (2,)), D(2))))
    noise = torch.from_numpy(head.noise(np.random.default_rng(1), S, M))
    actions = head.sample(outputs, extra, noise)
    first = CategoricalHead(D(4)).sample(outputs[..., :4], [], noise[..., 0])
    real = GaussianHead(B(-1, 1, (2,))).sample(outputs[..., 4:6], extra, noise[..., 1:3])
    last = CategoricalHead(D(2)).sample(outputs[..., 6:], [], noise[..., 3])
    assert torch.equal(actions, torch.cat([first[..., None], real, last[..., None]], -1))


def test_a_part_alone_is_what_it_is_without_the_tuple() -> None:
    head, outputs, extra = head_of(spaces.Tuple((D(17),)))
    alone = CategoricalHead(D(17))
    noise = alone.noise(np.random.default_rng(2), S, M)
    assert np.array_equal(head.noise(np.random.default_rng(2), S, M)[..., 0], noise)
    actions = alone.sample(outputs, [], torch.from_numpy(noise))
    assert torch.equal(
        head.sample(outputs, extra, torch.from_numpy(noise)[..., None])[..., 0], actions
    )
    ours = head.log_prob_and_entropy(outputs, extra, actions[..., None])
    for x, y in zip(ours, alone.log_prob_and_entropy(outputs, [], actions), strict=True):
        assert torch.equal(x, y)


# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [D(3), D(30), MIXED, spaces.MultiBinary(4)], ids=str)
def test_a_masked_action_has_probability_0_and_no_gradient(space: Any) -> None:
    head, layout = make_head(space), ActionLayout(space)
    rng = np.random.default_rng(0)
    masks = rng.random((S, M, layout.num_choices)) < 0.5
    ends = np.cumsum(layout.sizes)
    for start, end in zip(ends - layout.sizes, ends, strict=True):  # one of each part is allowed
        if end > start:
            masks[..., rng.integers(start, end)] = True
    outputs = torch.randn(
        S, M, head.num_outputs, generator=torch.Generator().manual_seed(1), requires_grad=True
    )
    extra = [torch.zeros(S, len(x)) for x in head.extra_parameters()]
    allowed = restricted(head, outputs, masks)
    for _ in range(50):
        noise = torch.from_numpy(head.noise(rng, S, M))
        actions = head.sample(allowed.detach(), extra, noise)
        rows = actions.reshape(S, M, -1).numpy()
        for k, (size, offset) in enumerate(zip(layout.sizes, layout.offsets, strict=True)):
            if size:
                chosen = rows[..., k].astype(int) + offset
                assert np.take_along_axis(masks, chosen[..., None], -1).all()
    log_prob, entropy = head.log_prob_and_entropy(allowed, extra, actions)
    assert torch.isfinite(log_prob).all()
    assert torch.isfinite(entropy).all()
    (log_prob.sum() + 0.1 * entropy.sum()).backward()
    gradient = outputs.grad
    assert gradient is not None
    assert torch.isfinite(gradient).all()
    passes = torch.isfinite(allowed)
    assert (gradient[~passes] == 0).all()
    assert int((~passes).sum()) == int((~masks).sum())
    assert (gradient[passes] != 0).any()
    # The probabilities of the actions that are left are those of a softmax over them alone.
    if isinstance(head, CategoricalHead):
        p = torch.softmax(allowed, -1)
        assert (p[~torch.from_numpy(masks)] == 0).all()
        row = outputs[0, 0][torch.from_numpy(masks[0, 0])]
        torch.testing.assert_close(p[0, 0][torch.from_numpy(masks[0, 0])], torch.softmax(row, -1))


def test_a_mask_that_allows_everything_changes_no_bit() -> None:
    head, outputs, _ = head_of(MIXED)
    masks = np.ones((S, M, 27), bool)
    assert torch.equal(restricted(head, outputs, masks), outputs)
    assert restricted(head, outputs, None) is outputs
