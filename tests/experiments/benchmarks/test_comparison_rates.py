"""The simulated comparisons go through the comparison itself, and their truth is right."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from experiments.benchmarks import comparison_rates
from experiments.benchmarks.comparison_rates import (
    count_false_winners,
    curves,
    environments_of,
    markdown_table,
    measure_coverage,
    true_iqm,
)


def test_a_few_comparisons_give_a_row_for_each_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison_rates, "MOST_SEEDS", 12)
    false = count_false_winners("normal", 1)
    assert [(row["metric"], row["seeds"]) for row in false] == [
        *(("final", 10), ("area", 10), ("steps-to 0.5", 10)),
        *((metric, "10 to 12") for metric in ("final", "area", "steps-to 0.5")),
    ]
    assert 0 < false[0]["never_reached"] < 1
    coverage = measure_coverage("normal", 8)
    table = markdown_table(false, coverage).splitlines()
    assert len(table) == 4
    assert table[2].startswith("| normal | .000 |")


def test_curves_end_at_a_return_of_the_family() -> None:
    drawn = curves(lambda u: 3 + u, 2.0, np.random.default_rng(0), 500)
    assert drawn.shape == (500, 21)
    assert stats.kstest(drawn[:, -1], stats.uniform(1.5, 0.5).cdf).pvalue > 0.01


def test_the_truth_is_the_interquartile_mean_of_the_mixture() -> None:
    mixed = true_iqm([lambda u: u, lambda u: 10 + u])
    assert mixed == pytest.approx(
        (0.75 + 10.25) / 2
    )  # the upper half of one, the lower of the other
    assert len(environments_of("ceiling")) == len(environments_of("normal")) == 3
