"""The value of a policy by aggregation of states, against a direct solve."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.linalg import spsolve

from rlkit.tabular.grids.lake import frozen_lake
from rlkit.tabular.grids.maps import random_map
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.planning import aggregation, sweeps
from rlkit.tabular.planning.aggregation import groups_of, improve
from rlkit.tabular.planning.sweeps import Chain, Sweeps
from tests.tabular.models import random_mdp


def lake(size: int) -> TabularMDP:
    return frozen_lake(random_map(size, hole_probability=0.1, seed=0))


def chain_of(mdp: TabularMDP, discount: float) -> Chain:
    """Return the chain of a policy that is good for a near future."""
    operator, values = Sweeps(mdp, discount), np.zeros(mdp.num_states)
    operator.there_and_back(values, 6)
    operator.optimality(values, np.empty_like(values))
    return operator.chain()


def matrix_of(chain: Chain) -> sparse.csr_matrix:
    """Return I - discount * P."""
    size = len(chain.start) - 1
    entries = (chain.weight, chain.column.astype(np.int32), chain.start.astype(np.int32))
    return sparse.eye(size, format="csr") - chain.discount * sparse.csr_matrix(
        entries, (size, size)
    )


def residual_of(chain: Chain, values: np.ndarray) -> np.ndarray:
    return np.asarray(chain.reward - matrix_of(chain) @ values)


MODELS = {
    "small": lambda: random_mdp(0, 60),  # solved at once
    "random": lambda: random_mdp(1, 400),
    "lake": lambda: lake(40),
    "dry lake": lambda: frozen_lake(random_map(30, seed=1), slippery=False),
    "nothing moves": lambda: TabularMDP.from_function(
        lambda s, a: [(1.0, s, float(a), False)],
        num_states=150,
        num_actions=2,
        initial_distribution=np.eye(1, 150)[0],
    ),
}


@pytest.mark.parametrize("discount", [0.0, 0.9, 0.9999])
@pytest.mark.parametrize("name", MODELS)
def test_the_value_of_a_policy_is_that_of_a_direct_solve(name: str, discount: float) -> None:
    mdp = MODELS[name]()
    chain = chain_of(mdp, discount)
    values = np.random.default_rng(1).normal(size=mdp.num_states)
    improve(chain, values, groups_of(mdp), reduction=1e-13, max_cycles=100)
    expected = spsolve(matrix_of(chain).tocsc(), chain.reward)
    scale = 1e-12 * max(1.0, np.abs(expected).max()) / (1 - discount)
    np.testing.assert_allclose(values, expected, rtol=0, atol=scale)


def test_the_number_of_cycles_hardly_depends_on_the_size() -> None:
    cycles = []
    for size in (80, 240):
        mdp = lake(size)
        values = np.zeros(mdp.num_states)
        options: dict[str, Any] = {"reduction": 1e-4, "max_cycles": 200}
        cycles.append(improve(chain_of(mdp, 0.999), values, groups_of(mdp), **options))
    assert cycles[1] <= 1.5 * cycles[0] < 50  # sweeps there and back need about 1,000


@pytest.mark.parametrize("reduction", [1e-2, 1e-6])
def test_it_stops_once_the_residual_is_reduced_as_requested(reduction: float) -> None:
    mdp = lake(40)
    chain, groups = chain_of(mdp, 0.99), groups_of(mdp)
    values = np.zeros(mdp.num_states)
    first = np.abs(residual_of(chain, values)).max()
    num = improve(chain, values, groups, reduction=reduction, max_cycles=200)
    # The method updates its residual instead of computing it anew: they drift apart by rounding.
    assert np.abs(residual_of(chain, values)).max() <= reduction * first * (1 + 1e-6)
    fewer = np.zeros(mdp.num_states)
    assert improve(chain, fewer, groups, reduction=reduction, max_cycles=num - 1) == num - 1
    assert np.abs(residual_of(chain, fewer)).max() > reduction * first


def test_no_cycle_increases_the_squared_residual() -> None:
    mdp = random_mdp(3, 400)
    chain, groups = chain_of(mdp, 0.999), groups_of(mdp)
    values = np.random.default_rng(0).normal(size=mdp.num_states)
    norms = [np.linalg.norm(residual_of(chain, values))]
    for _ in range(10):
        improve(chain, values, groups, reduction=0.0, max_cycles=1)
        norms.append(np.linalg.norm(residual_of(chain, values)))
    assert (np.diff(norms) <= 1e-12 * norms[0]).all()
    assert norms[-1] < 1e-3 * norms[0]


def test_the_value_itself_is_left_as_it_is() -> None:
    mdp = random_mdp(0, 60)
    chain = chain_of(mdp, 0.0)
    values = chain.reward.copy()
    assert improve(chain, values, groups_of(mdp), reduction=1e-6, max_cycles=9) == 0
    assert values.tolist() == chain.reward.tolist()


def test_threads_do_not_change_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "_PART", 256)
    mdp = lake(40)
    chain, groups = chain_of(mdp, 0.99), groups_of(mdp)
    alone, shared = np.zeros(mdp.num_states), np.zeros(mdp.num_states)
    improve(chain, alone, groups, reduction=1e-6, max_cycles=20)
    with ThreadPoolExecutor(3) as pool:
        improve(chain, shared, groups, reduction=1e-6, max_cycles=20, pool=pool)
    assert alone.tobytes() == shared.tobytes()


def test_groups_are_neighbours_of_about_eight() -> None:
    mdp = lake(40)
    levels = groups_of(mdp)
    size = mdp.num_states
    for each in levels:
        assert sorted(each.member.tolist()) == list(range(size))
        counts = np.diff(each.first_member.astype(int))
        members = np.split(each.member, each.first_member[1:-1].astype(int))
        assert all((each.group[m] == g).all() for g, m in enumerate(members))
        assert counts[1:].max() <= 40
        assert each.number <= size / 5
        size = each.number
    assert size <= aggregation._SMALLEST
    row, column = np.divmod(levels[0].member, 40)
    for cells in np.split(np.arange(1600), levels[0].first_member[1:-1].astype(int))[1:]:
        near = np.ptp(row[cells].astype(int)) + np.ptp(column[cells].astype(int))
        assert near <= 2 * len(cells)  # in one piece
