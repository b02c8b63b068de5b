"""How policies are given, and when the total reward of their chain exists."""

from typing import Any

import numpy as np
import pytest

from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.policy_chain import NoFiniteReturn
from rlkit.tabular.returns import policy_value, return_under_limit, total_return
from tests.tabular.models import from_env


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (np.zeros(15, dtype=int), "expected integer actions of shape"),
        (np.full(16, 4), r"actions must be in \[0, 4\)"),
        (np.full(16, -1), r"actions must be in \[0, 4\)"),
        (np.full((16, 4), 0.3), "sum to 1"),
        (np.tile([1.5, -0.5, 0, 0], (16, 1)), ">= 0"),
        (np.full((16, 4), np.nan), "sum to 1"),
        (np.zeros(16), "expected integer actions"),
        (np.zeros((2, 16), dtype=int), "expected one policy"),
    ],
)
def test_invalid_policies_are_rejected(policy: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        policy_value(from_env("FrozenLake-v1"), policy, discount=0.9)


def test_single_precision_policies_are_accepted() -> None:
    mdp = from_env("FrozenLake-v1")
    policies = np.random.default_rng(0).dirichlet(np.full(4, 0.5), size=(3, 16))
    np.testing.assert_allclose(
        return_under_limit(mdp, policies.astype(np.float32)),
        return_under_limit(mdp, policies),
        rtol=1e-4,  # 100 steps of single-precision probabilities, 1e-7 each
    )


def test_actions_and_their_one_hot_probabilities_give_the_same_bytes() -> None:
    mdp = from_env("FrozenLake8x8-v1")
    actions = np.random.default_rng(0).integers(4, size=(6, 64))
    by_action = return_under_limit(mdp, actions)
    assert by_action.shape == (6,)
    np.testing.assert_array_equal(by_action, return_under_limit(mdp, np.eye(4)[actions]))


@pytest.mark.parametrize("chance", [1e-11, 1e-14, 1e-18, 1e-30, 1e-300])
def test_an_end_that_float64_cannot_distinguish_from_none_gives_no_number(chance: float) -> None:
    """A softmax policy never says quite never."""
    table = [[[(1.0, 0, -1.0, False)], [(1.0, 0, 0.0, True)]]]
    mdp = TabularMDP.from_successors(table, initial_distribution=[1.0])
    policy = np.array([[1 - chance, chance]])
    assert total_return(mdp, policy) is None
    with pytest.raises(NoFiniteReturn):
        policy_value(mdp, policy, discount=1.0)
    # At 1e-6 there are enough digits.
    assert total_return(mdp, np.array([[1 - 1e-6, 1e-6]])) == pytest.approx(1 - 1e6, rel=1e-9)
