"""Acting on tables of action values."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit.agents.tabular.tables import (
    TableActor,
    boltzmann_action,
    explore,
    greedy_actions,
    policy_value,
)
from rlkit.seeding import SeedStreams


def streams(num_seeds: int) -> tuple[SeedStreams, ...]:
    return tuple(SeedStreams(0, index) for index in range(num_seeds))


@pytest.mark.trap("T40")
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


def test_a_boltzmann_actor_acts_with_the_probabilities_it_states() -> None:
    actor = TableActor(np.log([[[1.0, 4.0, 9.0]]]), 0.0, streams(1), temperature=2.0)
    obs = np.zeros((1, 10), dtype=int)
    np.testing.assert_allclose(actor.probabilities(obs)[0, 0], [1 / 6, 2 / 6, 3 / 6], rtol=1e-14)
    counts = np.bincount(np.concatenate([actor.act(obs).ravel() for _ in range(2000)]))
    # Standard deviations of 53, 67 and 71; 5 of them.
    assert (np.abs(counts - 20_000 * np.array([1, 2, 3]) / 6) < [265, 335, 355]).all()


def test_a_boltzmann_action_is_the_inverse_of_the_cumulative_probabilities() -> None:
    q = np.log([[5.0, 5.0, 5.0], [1.0, 2.0, 1.0]])
    uniform = (np.arange(4000) + 0.5) / 4000
    actions = [boltzmann_action(q, 1, 1.0, u) for u in uniform]
    assert np.bincount(actions).tolist() == [1000, 2000, 1000]
    assert boltzmann_action(q, 1, 1.0, np.nextafter(1.0, 0.0)) == 2
    assert boltzmann_action(q, 1, 1.0, 0.0) == 0


def test_a_temperature_near_0_takes_the_best_action_and_a_high_one_any() -> None:
    q = np.array([[1.0, 3.0, -1e308]])
    noise = np.random.default_rng(0).random((2, 3000))
    cold = [explore(q, 0, True, 1e-3, noise, n) for n in range(3000)]
    assert set(cold) == {1}
    hot = np.bincount([explore(q[:, :2], 0, True, 1e9, noise, n) for n in range(3000)])
    assert np.abs(hot - 1500).max() < 137  # 5 standard deviations


def test_the_value_of_a_policy_is_the_mean_over_its_actions() -> None:
    q = np.array([[0.0, 0.0], [1.0, 5.0]])
    assert policy_value(q, 1, False, 0.25) == 0.75 * 5.0 + 0.25 * 3.0
    weights = np.exp(np.array([1.0, 5.0]) / 2.0)
    expected = (weights * [1.0, 5.0]).sum() / weights.sum()
    np.testing.assert_allclose(policy_value(q, 1, True, 2.0), expected, rtol=1e-14)
