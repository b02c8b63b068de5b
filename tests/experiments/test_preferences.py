"""The table of what was learned from preferences, and what it falls short of."""

from __future__ import annotations

import math

import numpy as np

from experiments.preferences import shortcomings, table
from rlkit.agents.preferences.labellers import Ceiling
from rlkit.training.preferences import RewardAccuracy

GOOD = RewardAccuracy(1000, 0.65, Ceiling(0.66, 0.01))


def test_the_table_has_the_median_the_lowest_and_both_accuracies() -> None:
    text = table({0.2: (np.array([500.0, 480.0, 320.0]), GOOD)})
    assert "| 0.2 | 3 | 480 | 320 | 1,000 | 0.650 | 0.660 ± 0.010 |" in text


def test_each_wanted_number_that_is_missed_is_named() -> None:
    well = np.array([500.0, 480.0, 320.0])
    assert shortcomings(well, GOOD, 100.0) == []
    bad = RewardAccuracy(1000, 0.62, Ceiling(0.66, 0.01))
    texts = shortcomings(np.array([400.0, 100.0, 500.0]), bad, 200.0)
    assert len(texts) == 4
    assert texts[2] == "the accuracy is 4 standard errors below the ceiling"
    unknown = RewardAccuracy(0, math.nan, Ceiling(math.nan, math.nan))
    assert shortcomings(well, unknown, 100.0) == []
