"""Standardisation of demonstrations, and perceptrons that contain it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from gymnasium import spaces

from rlkit.agents.cloning.scaling import Scaling
from rlkit.environments.views.observations import seen_by_agents

OBS = spaces.Box(-np.inf, np.inf, (3,), np.float32)
ACTIONS = spaces.Box(-50.0, 50.0, (2,), np.float32)


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    observations = rng.normal([5.0, -300.0, 2.0], [0.01, 40.0, 0.0], (500, 3))
    return observations, rng.normal([10.0, 0.0], [4.0, 0.02], (500, 2))


def test_scaled_values_have_mean_0_and_standard_deviation_1_and_constants_stay_finite() -> None:
    observations, actions = drawn()
    scaling = Scaling.of(observations, actions, OBS, ACTIONS)
    scaled = scaling.observations(observations)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(0), [1, 1, 0], atol=1e-4)
    np.testing.assert_allclose(scaling.actions(actions).std(0), 1, atol=1e-5)
    np.testing.assert_allclose(scaling.actions(actions).max(0), scaling.high, rtol=1e-5)
    assert scaling.log_volume == pytest.approx(np.log(actions.std(0)).sum())


def test_only_numbers_are_scaled() -> None:
    discrete = Scaling.of(np.arange(4), np.arange(4), spaces.Discrete(4), spaces.Discrete(9))
    assert discrete.state(2).shape == (2, 0)
    assert discrete.log_volume == 0.0
    mixed = seen_by_agents(spaces.Dict(a=spaces.Discrete(2), b=spaces.Box(-9, 9, (1,))))
    rows = np.array([[1.0, 0.0, 3.0], [0.0, 1.0, 7.0]])
    scaling = Scaling.of(rows, np.zeros(2), mixed, spaces.Discrete(2))
    np.testing.assert_allclose(scaling.observations(rows), [[1, 0, -1], [0, 1, 1]])


@pytest.mark.parametrize("hidden", [(), (7,)])
def test_a_perceptron_of_the_original_units_acts_as_that_of_scaled_ones(
    hidden: tuple[int, ...],
) -> None:
    observations, actions = drawn()
    scaling = Scaling.of(observations, actions, OBS, ACTIONS)
    rng, widths = np.random.default_rng(1), (3, *hidden, 2)
    layers = []
    for inside, outside in itertools.pairwise(widths):
        layers += [rng.normal(size=(inside, outside)), rng.normal(size=outside)]

    def run(x: np.ndarray, layers: list[np.ndarray]) -> np.ndarray:
        for i in range(0, len(layers), 2):
            x = x @ layers[i] + layers[i + 1]
            x = np.tanh(x) if i < len(layers) - 2 else x
        return x

    scaled = run((observations - scaling.obs_mean) / scaling.obs_std, layers)
    expected = scaled * actions.std(0) + actions.mean(0)
    np.testing.assert_allclose(run(observations, scaling.unscaled(layers)), expected, rtol=1e-7)


def test_the_state_gives_every_seed_the_same_numbers_and_is_read_back() -> None:
    scaling = Scaling.of(*drawn(), OBS, ACTIONS)
    state = scaling.state(3)
    assert state.shape == (3, 2 * 3 + 4 * 2)
    back = Scaling.none(OBS, ACTIONS).loaded(state[2:])
    np.testing.assert_array_equal(back.state(1), state[:1])
