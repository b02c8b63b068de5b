"""Sweeps against the dense Bellman operator, and that threads change nothing."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from rlkit.tabular.planning import sweeps
from rlkit.tabular.planning.sweeps import Sweeps, in_parts, threads
from tests.tabular.models import dense, random_mdp
from tests.tabular.planning.chains import greedy_chain

SIZE, GAMMA = 23, 0.95
CLOSE = 1e-12  # sums of a few terms of size 1


def dense_q(seed: int, values: np.ndarray) -> np.ndarray:
    reward, transition = dense(random_mdp(seed, SIZE))
    return (reward + GAMMA * transition @ np.append(values, 0.0))[:-1]


@pytest.mark.parametrize("part", [1 << 16, 5])
def test_a_sweep_is_the_dense_bellman_operator(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "_PART", part)
    values = np.random.default_rng(0).normal(size=SIZE)
    operator, result = Sweeps(random_mdp(4, SIZE), GAMMA), np.empty(SIZE)
    least, most = operator.optimality(values, result)
    q = dense_q(4, values)
    np.testing.assert_allclose(result, q.max(axis=1), rtol=0, atol=CLOSE)
    assert operator.policy.tolist() == q.argmax(axis=1).tolist()
    change = q.max(axis=1) - values
    np.testing.assert_allclose([least, most], [change.min(), change.max()], rtol=0, atol=CLOSE)
    assert operator.count == 1


def test_the_chain_is_that_of_the_policy_of_the_last_sweep() -> None:
    chain, transition, reward = greedy_chain(2, SIZE, GAMMA)
    matrix = np.zeros((SIZE, SIZE))
    for s in range(SIZE):
        for k in range(chain.start[s], chain.start[s + 1]):
            matrix[s, chain.column[k]] += chain.weight[k]
    np.testing.assert_allclose(matrix, transition, rtol=0, atol=CLOSE)
    np.testing.assert_allclose(chain.reward, reward, rtol=0, atol=CLOSE)


def test_parts_cover_every_state_once_and_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "_PART", 4)

    def bounds(first: np.uint32, last: np.uint32) -> list[int]:
        return list(range(first, last))

    with ThreadPoolExecutor(3) as pool:
        for shared in (None, pool):
            parts = in_parts(shared, 11, bounds)
            assert parts == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]


def test_a_small_model_is_not_shared_and_a_large_one_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "num_threads", lambda: 2)
    with threads(random_mdp(0, SIZE)) as pool:
        assert pool is None
    monkeypatch.setattr(sweeps, "_PART", SIZE - 1)
    with threads(random_mdp(0, SIZE)) as pool:
        assert pool is not None
    monkeypatch.setattr(sweeps, "num_threads", lambda: 1)
    with threads(random_mdp(0, SIZE)) as pool:
        assert pool is None
