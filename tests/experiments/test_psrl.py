"""The count of steps until a return is reached."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.psrl import steps_until, target


def test_the_first_step_that_reaches_a_return_and_the_one_from_which_it_is_kept() -> None:
    curve = np.array([[0, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0]])
    first, for_good = steps_until(np.arange(0, 50, 10), curve, 1.0)
    assert first.tolist() == [10, np.inf, 0, 10]
    assert for_good.tolist() == [30, np.inf, 0, np.inf]


@pytest.mark.long
def test_the_target_is_the_optimum_where_a_policy_comes_close_enough() -> None:
    assert target("FrozenLake-v1") == pytest.approx((0.7441902878, 0.7441902878), abs=1e-8)
    best, optimum = target("FrozenLake8x8-v1")
    assert optimum == pytest.approx(0.9132201502, abs=1e-8)
    assert best == pytest.approx(0.8936, abs=1e-3)
    assert best < 0.99 * optimum
