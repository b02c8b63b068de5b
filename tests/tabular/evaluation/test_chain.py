"""The chain of an episode."""

import numpy as np
import pytest

from rlkit.tabular.evaluation.chain import (
    closed_classes,
    episode_chain,
    expected_visits,
    reachable,
    visits_under_limit,
    with_restart,
)
from tests.tabular.evaluation.by_hand import Dense
from tests.tabular.models import random_mdp
from tests.tabular.test_returns import random_policies


@pytest.mark.parametrize("seed", range(10))
def test_visits_of_random_models_agree_with_dense_sums(seed: int) -> None:
    mdp = random_mdp(seed)
    policy = random_policies(mdp, 1, seed)[0]
    chain, dense = episode_chain(mdp, policy), Dense(mdp, policy)
    np.testing.assert_allclose(expected_visits(chain), dense.visits(None), atol=1e-10)
    np.testing.assert_allclose(visits_under_limit(chain, 9), dense.visits(9), atol=1e-12)


def test_the_visits_without_a_limit_are_those_of_a_long_one() -> None:
    mdp = random_mdp(3)
    chain = episode_chain(mdp, random_policies(mdp, 1)[0])
    np.testing.assert_allclose(
        visits_under_limit(chain, 100_000), expected_visits(chain), rtol=1e-10
    )


def test_classes_that_are_left_or_that_end_are_not_closed() -> None:
    mdp = random_mdp(0, num_states=4, num_actions=1)
    chain = episode_chain(mdp, np.ones((4, 1)))
    matrix = chain.continues
    matrix.data[:] = 0
    matrix.eliminate_zeros()
    label, is_closed = closed_classes(matrix, np.array([True, False, False, False]))
    assert is_closed[label].tolist() == [False, True, True, True]


def test_a_restart_reaches_what_follows_the_first_states() -> None:
    mdp = random_mdp(1)
    chain = episode_chain(mdp, random_policies(mdp, 1)[0])
    nodes = reachable(with_restart(chain), mdp.num_states)
    assert nodes[-1] == mdp.num_states
    policy = random_policies(mdp, 1)[0]
    np.testing.assert_array_equal(nodes[:-1], Dense(mdp, policy).reached())
