"""Acting on tables of action values."""

from __future__ import annotations

import numpy as np

from rlkit.agents.tabular.tables import TableActor, greedy_actions
from rlkit.seeding import SeedStreams


def streams(num_seeds: int) -> tuple[SeedStreams, ...]:
    return tuple(SeedStreams(0, index) for index in range(num_seeds))


def test_ties_are_broken_among_the_best_only() -> None:
    q = np.array([[1.0, 3.0, 2.0, 3.0, 3.0]])
    uniform = (np.arange(3000) + 0.5) / 3000
    actions = greedy_actions(np.repeat(q, 3000, axis=0), uniform)
    assert np.bincount(actions).tolist() == [0, 1000, 0, 1000, 1000]
    assert greedy_actions(q, np.array([np.nextafter(1.0, 0.0)])).tolist() == [4]
    assert greedy_actions(q, np.array([0.0])).tolist() == [1]


def test_a_greedy_actor_is_a_function_and_takes_the_first_of_the_best() -> None:
    q = np.array([[[1.0, 2.0, 2.0]], [[0.0, 0.0, 0.0]]])
    actor = TableActor(q, 0.0, streams(2))
    obs = np.zeros((2, 6), dtype=int)
    assert actor.act(obs).tolist() == [[1] * 6, [0] * 6]
    assert actor.probabilities(obs)[:, 0].tolist() == [[0, 1, 0], [1, 0, 0]]


def test_an_exploring_actor_acts_with_the_probabilities_it_states() -> None:
    actor = TableActor(np.array([[[1.0, 2.0, 0.0]]]), 0.3, streams(1))
    obs = np.zeros((1, 10), dtype=int)
    counts = np.bincount(np.concatenate([actor.act(obs).ravel() for _ in range(2000)]))
    expected = 20_000 * actor.probabilities(obs)[0, 0]
    np.testing.assert_allclose(expected, [2000, 16000, 2000])
    # Standard deviations of 42 and 57; 5 of them.
    assert (np.abs(counts - expected) < [212, 283, 212]).all()
