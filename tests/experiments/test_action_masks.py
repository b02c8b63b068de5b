"""What action masks are worth."""

from __future__ import annotations

import numpy as np

from experiments.action_masks import OPTIMUM, masked_actions_in_taxi, steps_to_optimum, table


def test_a_seed_has_learned_from_where_it_stays_optimal() -> None:
    steps, best = np.array([0, 10, 20, 30]), OPTIMUM
    curve = np.array(
        [
            [-50, -20, best, best],
            [-50, best, -20, best],
            [best, best, best, best],
            [best, best, best, -11],
        ]
    )
    assert steps_to_optimum(steps, curve, 99).tolist() == [20, 30, 0, 99]


def test_no_masked_action_is_taken_in_taxi() -> None:
    for agent in ("random", "q-learning"):
        assert masked_actions_in_taxi(agent, 2000, num_seeds=2) == 0


def test_the_table_says_where_the_budget_was_not_enough() -> None:
    text = table({"ppo": (np.array([20_000, 20_000]), np.array([500, 700]))})
    assert "| ppo | 2 | at least 20,000 | 600 | at least 33.3 |" in text
