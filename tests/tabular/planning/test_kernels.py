"""The sweep in place against a slow twin; the other kernels are tested through `sweeps`."""

import numpy as np
import pytest

from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.planning.sweeps import Sweeps
from tests.tabular.models import dense, random_mdp

SIZE, GAMMA = 17, 0.9


@pytest.mark.parametrize("backwards", [False, True])
def test_gauss_seidel_uses_each_new_value_at_once(backwards: bool) -> None:
    mdp = random_mdp(5, SIZE)
    reward, transition = dense(mdp)
    before = np.random.default_rng(0).normal(size=SIZE)
    expected, policy = np.append(before, 0.0), np.zeros(SIZE, dtype=int)
    for s in reversed(range(SIZE)) if backwards else range(SIZE):
        q = reward[s] + GAMMA * transition[s] @ expected
        expected[s], policy[s] = q.max(), q.argmax()
    values, sweeps = before.copy(), Sweeps(mdp, GAMMA)
    largest = sweeps.gauss_seidel(values, backwards=backwards)
    np.testing.assert_allclose(values, expected[:-1], rtol=0, atol=1e-12)
    assert sweeps.policy.tolist() == policy.tolist()
    assert largest == pytest.approx(np.abs(expected[:-1] - before).max())


@pytest.mark.parametrize("in_place", [False, True])
def test_of_equal_actions_the_first_is_chosen(in_place: bool) -> None:
    reward = [[0.0, 2.0, 2.0], [1.0, 1.0, 1.0], [0.0, -1.0, 3.0]]
    mdp = TabularMDP.from_arrays(np.eye(3)[:, None].repeat(3, axis=1), reward, first_axis="state")
    sweeps = Sweeps(mdp, 0.0)
    if in_place:
        sweeps.gauss_seidel(np.zeros(3), backwards=False)
    else:
        sweeps.optimality(np.zeros(3), np.empty(3))
    assert sweeps.policy.tolist() == [1, 0, 2]
