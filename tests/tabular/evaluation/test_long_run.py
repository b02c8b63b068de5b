"""The long run of a policy."""

import itertools
import math

import numpy as np
import pytest
from quantecon import MarkovChain
from scipy import sparse

from rlkit.tabular.evaluation import long_run
from rlkit.tabular.evaluation.long_run import mixing, stationary_distribution
from rlkit.tabular.grids.lake import frozen_lake
from rlkit.tabular.grids.maps import random_map
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.policy_chain import NoFiniteReturn
from tests.tabular.evaluation.by_hand import NAMES, TABLES, Dense, random_policy, table
from tests.tabular.models import from_env
from tests.tabular.test_returns import random_mdp, random_policies


@pytest.mark.parametrize("seed", range(5))
def test_the_stationary_distribution_agrees_with_quantecon(seed: int) -> None:
    mdp = random_mdp(seed)
    policy = random_policies(mdp, 1, seed)[0]
    matrix, successors = np.zeros((4, 4)), mdp.padded()
    for s, a, k in itertools.product(range(4), range(2), range(3)):
        chance = policy[s, a] * successors.probability[s, a, k]
        if successors.terminated[s, a, k]:
            matrix[s] += chance * mdp.initial_distribution
        else:
            matrix[s, successors.next_state[s, a, k]] += chance
    (peer,) = MarkovChain(matrix).stationary_distributions
    result = stationary_distribution(mdp, policy)
    np.testing.assert_allclose(result, peer, atol=1e-12)  # an eigenvector of a 4x4 matrix


@pytest.mark.parametrize("case", range(len(TABLES)), ids=NAMES)
def test_the_long_run_agrees_with_a_dense_solve(case: int) -> None:
    mdp = table(case)
    policy = random_policy(mdp)
    expected = Dense(mdp, policy).long_run()
    np.testing.assert_allclose(stationary_distribution(mdp, policy), expected, atol=1e-8)


def test_a_continuing_chain_agrees_with_a_dense_solve() -> None:
    rng = np.random.default_rng(0)
    for seed in range(20):
        transition = rng.dirichlet(np.full(6, 0.3), size=(6, 2))
        mdp = TabularMDP.from_arrays(transition, np.zeros((6, 2)))
        policy = random_policy(mdp, seed)
        dense = Dense(mdp, policy)
        np.testing.assert_allclose(
            stationary_distribution(mdp, policy), dense.long_run(), atol=1e-10
        )


def test_states_that_are_left_for_good_have_no_share() -> None:
    # 0 leads to 1 or ends; 1 and 2 alternate without end: restarts do not last.
    rows = [[(0.5, 1, 0.0, False), (0.5, 0, 0.0, True)], [(1.0, 2, 0.0, False)]]
    rows.append([(1.0, 1, 0.0, False)])
    mdp = TabularMDP.from_successors([[row] for row in rows], initial_distribution=[1.0, 0, 0])
    result = stationary_distribution(mdp, [0, 0, 0])
    np.testing.assert_allclose(result, [0, 0.5, 0.5], atol=1e-14)


def test_a_periodic_chain_and_unvisited_states_are_no_obstacle() -> None:
    rows = [[[(1.0, 1, 0.0, False)]], [[(1.0, 0, 0.0, False)]], [[(1.0, 2, 0.0, False)]]]
    mdp = TabularMDP.from_successors(rows, initial_distribution=[1.0, 0, 0])
    result = stationary_distribution(mdp, [0, 0, 0])
    np.testing.assert_allclose(result, [0.5, 0.5, 0], atol=1e-14)


def test_two_places_to_settle_in_have_no_one_stationary_distribution() -> None:
    stay = [[[(1.0, s, 0.0, False)]] for s in range(2)]
    mdp = TabularMDP.from_successors(stay, initial_distribution=[0.5, 0.5])
    with pytest.raises(NoFiniteReturn, match="got 2"):
        stationary_distribution(mdp, [0, 0])


# --- mixing -------------------------------------------------------------------------------------


def two_states(leave: float, come_back: float) -> TabularMDP:
    rows = [
        [[(1 - leave, 0, 0.0, False), (leave, 1, 0.0, False)]],
        [[(1 - come_back, 1, 0.0, False), (come_back, 0, 0.0, False)]],
    ]
    return TabularMDP.from_successors(rows, initial_distribution=[1.0, 0.0])


def test_two_states_forget_at_the_rate_of_the_textbook() -> None:
    result = mixing(two_states(0.1, 0.3), [0, 0])
    assert result.second_eigenvalue == pytest.approx(0.6, abs=1e-14)  # 1 - 0.1 - 0.3
    assert result.time == pytest.approx(-1 / math.log(0.6), abs=1e-12)


@pytest.mark.parametrize(("leave", "come_back", "time"), [(1.0, 1.0, math.inf), (0.5, 0.5, 0.0)])
def test_a_periodic_chain_never_settles_and_a_memoryless_one_at_once(
    leave: float, come_back: float, time: float
) -> None:
    # The eigenvalue 0 comes out as a rounding error.
    assert mixing(two_states(leave, come_back), [0, 0]).time == pytest.approx(time, abs=0.05)


@pytest.mark.parametrize("case", range(4), ids=NAMES[:4])
def test_the_second_eigenvalue_is_that_of_the_dense_chain(case: int) -> None:
    mdp = table(case)
    policy = random_policy(mdp)
    dense = Dense(mdp, policy)
    states = dense.reached()
    moduli = np.sort(np.abs(np.linalg.eigvals(dense.restarting()[np.ix_(states, states)])))
    assert moduli[-1] == pytest.approx(1.0, abs=1e-12)
    assert mixing(mdp, policy).second_eigenvalue == pytest.approx(moduli[-2], abs=1e-8)


@pytest.mark.long
def test_the_sparse_solver_of_large_chains_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    for mdp in (from_env("FrozenLake8x8-v1"), from_env("Taxi-v4"), two_places()):
        policy = random_policy(mdp)
        by_all = mixing(mdp, policy)
        with monkeypatch.context() as patch:
            patch.setattr(long_run, "DENSE", 0)
            assert mixing(mdp, policy).second_eigenvalue == pytest.approx(
                by_all.second_eigenvalue, abs=1e-8
            )


def two_places() -> TabularMDP:
    """A chain that settles in one of two places."""
    rows = [[[(0.5, 1, 0.0, False), (0.5, 2, 0.0, False)]]]
    rows += [[[(1.0, s, 0.0, False)]] for s in (1, 2)]
    return TabularMDP.from_successors(rows, initial_distribution=[1.0, 0.0, 0.0])


def test_a_chain_that_may_settle_in_two_places_never_forgets() -> None:
    assert mixing(two_places(), [0, 0, 0]) == (1.0, math.inf)


def test_the_distance_shrinks_by_a_factor_of_e_in_the_mixing_time() -> None:
    mdp = frozen_lake(random_map(40, hole_probability=0.1, seed=3))  # 1,600 cells: sparse
    policy = np.full((mdp.num_states, 4), 0.25)
    time = mixing(mdp, policy).time
    dense = Dense(mdp, policy)
    matrix = sparse.csr_array(dense.restarting())
    share = stationary_distribution(mdp, policy)
    # From the start alone some parts of the map are so unlikely that they do not count.
    row, distances = np.zeros(mdp.num_states), []
    row[dense.reached()] = 1 / len(dense.reached())
    for _ in range(round(24 * time)):
        distances.append(np.abs(row - share).sum())
        row = row @ matrix
    early, late = round(17 * time), len(distances) - 1
    measured = (late - early) / np.log(distances[early] / distances[late])
    assert measured == pytest.approx(time, rel=0.03)  # the third one is 0.9654
