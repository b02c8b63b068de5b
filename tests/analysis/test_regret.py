"""Regret of a curve, and of the episodes of training."""

from __future__ import annotations

import numpy as np

from rlkit.analysis.regret import cumulative_regret, regret


def test_regret_is_what_is_missing_to_the_optimum() -> None:
    np.testing.assert_array_equal(regret([[0.5, np.nan], [1.0, 2.0]], 2.0), [[1.5, np.nan], [1, 0]])


def test_cumulative_regret_adds_up_every_episode_once() -> None:
    """Ten episodes with the returns 0 to 9; the third row is off the grid of rows.

    Rows after 2, 2, 3, 5 and 10 episodes; averages since the last row on the grid.
    """
    returns = np.arange(10.0)
    rows = [(2, returns[:2]), (2, returns[:0]), (3, returns[2:3]), (5, returns[2:5])]
    rows.append((10, returns[5:]))
    number = [count for count, _ in rows]
    mean = [own.mean() if own.size else np.nan for _, own in rows]
    anew = [True, True, False, True, True]
    expected = [float((20.0 - returns[:count]).sum()) for count in number]
    np.testing.assert_allclose(cumulative_regret(number, mean, anew, 20.0), expected)


def test_before_the_first_episode_ends_nothing_is_missed() -> None:
    np.testing.assert_array_equal(cumulative_regret([0, 0], [np.nan, np.nan], [True, True], 1.0), 0)
    assert cumulative_regret([], [], [], 1.0).size == 0
