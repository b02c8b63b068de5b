"""Searches backwards, against layers written out with sets."""

import numpy as np
import pytest
from scipy import sparse

from rlkit.tabular.graph import backward_closure, extend_backwards, remaining_actions

Array = np.ndarray


def by_layers(
    matrix: Array, policy: Array, arrived: Array, allowed: Array, ends: Array
) -> tuple[Array, set[int]]:
    """Add in each round the states with an allowed action to an end or to an arrived state."""
    num_states, num_actions = allowed.shape
    policy, done = policy.copy(), set(np.flatnonzero(arrived))
    while True:
        fresh = {}
        for s in set(range(num_states)) - done:
            for a in range(num_actions):
                successors = set(np.flatnonzero(matrix[s * num_actions + a]))
                if allowed[s, a] and (ends[s, a] or successors & done):
                    fresh[s] = a
                    break
        if not fresh:
            return policy, done
        for s, a in fresh.items():
            policy[s] = a
        done |= set(fresh)


@pytest.mark.parametrize("seed", range(60))
def test_layers_and_actions_are_those_written_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_states, num_actions = int(rng.integers(1, 12)), int(rng.integers(1, 4))
    matrix = rng.random((num_states * num_actions, num_states)) < rng.choice([0.05, 0.15, 0.4])
    arrived = rng.random(num_states) < rng.choice([0.0, 0.2])
    allowed = rng.random((num_states, num_actions)) < 0.8
    ends = rng.random((num_states, num_actions)) < rng.choice([0.0, 0.1])
    policy = np.full(num_states, 7)
    arrows = sparse.csr_array(matrix.astype(float))
    if seed % 2:
        arrows.indices, arrows.indptr = arrows.indices.astype(np.int64), arrows.indptr.astype("i8")
    wanted_policy, wanted = by_layers(matrix, policy, arrived, allowed, ends)
    before = arrived.copy()
    result = extend_backwards(arrows, policy, arrived, allowed=allowed, ends=ends)
    assert set(np.flatnonzero(result)) == wanted
    assert policy.tolist() == wanted_policy.tolist()
    assert arrived.tolist() == before.tolist()


def test_a_long_corridor_is_searched_to_its_end_at_once() -> None:
    n = 200_000
    chain = sparse.diags_array([np.ones(n - 1)], offsets=[1], shape=(n, n), format="csr")
    last = np.zeros(n, dtype=bool)
    last[-1] = True
    assert backward_closure(chain, last).all()
    first = last[::-1].copy()
    assert backward_closure(chain, first).sum() == 1


@pytest.mark.parametrize("seed", range(60))
def test_remaining_actions_lead_only_to_states_with_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_states, num_actions = int(rng.integers(1, 12)), int(rng.integers(1, 4))
    matrix = rng.random((num_states * num_actions, num_states)) < rng.choice([0.05, 0.15, 0.4])
    allowed = rng.random((num_states, num_actions)) < 0.8
    wanted = allowed.copy()
    while True:
        without = ~wanted.any(axis=1)
        lost = wanted & (matrix & without).any(axis=1).reshape(wanted.shape)
        if not lost.any():
            break
        wanted &= ~lost
    given = allowed.copy()
    result = remaining_actions(sparse.csr_array(matrix.astype(float)), given)
    assert result.tolist() == wanted.tolist()
    assert given.tolist() == allowed.tolist()
