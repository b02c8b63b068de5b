"""The solvers agree with quantecon and with dense linear solves, and the benchmark runs."""

from __future__ import annotations

import pytest

pytest.importorskip("quantecon")

from experiments.benchmarks.planning import (
    ENVIRONMENTS,
    compare_on_lake,
    disagreement,
    environment_difference,
    markdown_table,
)


@pytest.mark.parametrize("seed", range(20))  # dense and sparse at each discount, twice
def test_a_random_mdp_has_quantecons_values(seed: int) -> None:
    absolute, relative = disagreement(seed)
    assert absolute < 1e-8
    assert relative < 1e-9


@pytest.mark.parametrize("name", [name for name in ENVIRONMENTS if "Taxi" not in name])
def test_an_environment_has_the_values_of_a_dense_solve(name: str) -> None:
    assert environment_difference(name) < 1e-8


def test_a_small_lake_has_quantecons_values_by_all_its_methods() -> None:
    lake = compare_on_lake(12, 1)
    assert max(lake["errors"].values()) <= 0.5e-6
    assert "times faster" in markdown_table({"lake": lake})
