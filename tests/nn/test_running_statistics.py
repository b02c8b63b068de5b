"""Running statistics of observations and rewards."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rlkit.agents.networks import Features
from rlkit.nn.running_statistics import RewardScaler, RunningMoments, standard_score

Array = NDArray[np.float64]


def batches(seed: int, sizes: list[int], num_seeds: int = 3, size: int = 4) -> list[Array]:
    rng = np.random.default_rng(seed)
    offset, scale = rng.normal(0, 100, size), rng.uniform(0.1, 10, size)
    return [offset + scale * rng.standard_normal((num_seeds, n, size)) for n in sizes]


# --- RunningMoments -------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 9), min_size=2, max_size=12))
def test_moments_are_those_of_all_data_at_once(seed: int, sizes: list[int]) -> None:
    parts = batches(seed, sizes)
    moments = RunningMoments(3, 4)
    for part in parts:
        moments.update(part)
    everything = np.concatenate(parts, axis=1)
    # float64: offsets of 100 deviations cost a few digits of the 15.
    np.testing.assert_allclose(moments.mean, everything.mean(axis=1), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moments.variance, everything.var(axis=1), rtol=1e-9)


def test_moments_of_a_large_offset_do_not_cancel() -> None:
    x = 1e8 + np.random.default_rng(0).standard_normal((1, 1000, 1))
    moments = RunningMoments(1, 1)
    for n in range(0, 1000, 10):
        moments.update(x[:, n : n + 10])
    # E[x^2] - E[x]^2 would be off by about 1 here; one unit in the last place of 1e8 is 1.5e-8.
    np.testing.assert_allclose(moments.variance, x.var(axis=1), rtol=1e-6)


def test_single_precision_observations_are_accumulated_in_double_precision() -> None:
    x = (1e4 + np.random.default_rng(0).standard_normal((1, 4096, 1))).astype(np.float32)
    moments = RunningMoments(1, 1)
    for n in range(0, 4096, 8):
        moments.update(x[:, n : n + 8])
    np.testing.assert_allclose(moments.mean[0, 0], x.astype(np.float64).mean(), rtol=1e-12)


def test_variance_is_one_before_the_second_observation() -> None:
    moments = RunningMoments(2, 3)
    assert (moments.variance == 1.0).all()
    moments.update(np.full((2, 1, 3), 5.0))
    assert (moments.variance == 1.0).all()
    assert (moments.mean == 5.0).all()


def test_moments_of_a_seed_are_the_same_bytes_alone() -> None:
    parts = batches(1, [8, 1, 3, 8, 8], num_seeds=7, size=5)
    batch, alone = RunningMoments(7, 5), RunningMoments(1, 5)
    for part in parts:
        batch.update(part)
        alone.update(part[4:5])
    assert batch.state()[4].tobytes() == alone.state()[0].tobytes()


@pytest.mark.trap("T63")
def test_moments_continue_from_their_state() -> None:
    parts = batches(2, [4, 4, 4, 4])
    whole, first = RunningMoments(3, 4), RunningMoments(3, 4)
    for part in parts:
        whole.update(part)
    for part in parts[:2]:
        first.update(part)
    second = RunningMoments(3, 4)
    second.load(first.state())
    for part in parts[2:]:
        second.update(part)
    assert second.state().tobytes() == whole.state().tobytes()


def test_loaded_moments_share_no_memory_with_the_state() -> None:
    moments = RunningMoments(3, 4)
    moments.update(batches(3, [4])[0])
    state = moments.state()
    before = state.copy()
    other = RunningMoments(3, 4)
    other.load(state)
    other.update(batches(4, [4])[0])
    assert state.tobytes() == before.tobytes()
    assert moments.state().tobytes() == before.tobytes()


# --- standard_score -------------------------------------------------------------------------------


def test_scores_of_the_data_have_mean_0_and_variance_1() -> None:
    x = batches(5, [5000])[0]
    z = standard_score(x, x.mean(axis=1), x.var(axis=1))
    # float32 results; the mean of 5000 rounding errors of 6e-8.
    np.testing.assert_allclose(z.mean(axis=1, dtype=np.float64), 0.0, atol=1e-5)
    np.testing.assert_allclose(z.var(axis=1, dtype=np.float64), 1.0, rtol=1e-4)


def test_a_constant_feature_becomes_0_and_a_jump_of_it_is_clipped() -> None:
    moments = RunningMoments(1, 1)
    for _ in range(50):
        moments.update(np.full((1, 4, 1), 3.3))
    score = standard_score(np.array([[[3.3], [1e9], [-1e9]]]), moments.mean, moments.variance)
    # The deviation of the mean of equal numbers is rounding: 1e-15 over the floor of 1e-4.
    np.testing.assert_allclose(score[0, :, 0], [0.0, 10.0, -10.0], atol=1e-9)
    assert score.dtype == np.float32


# --- rewards --------------------------------------------------------------------------------------


def scaled_by_hand(rewards: Array, is_last: NDArray[np.bool_], discount: float) -> Array:
    """One seed and environment: divide by the deviation of all running returns so far."""
    running, seen, scaled = 0.0, [], []
    for reward, last in zip(rewards, is_last, strict=True):
        running = discount * running + reward
        seen.append(running)
        variance = np.var(seen) if len(seen) > 1 else 1.0
        scaled.append(np.clip(reward / np.sqrt(variance + 1e-8), -10.0, 10.0))
        running = 0.0 if last else running
    return np.array(scaled)


@pytest.mark.trap("T9")
@pytest.mark.parametrize("discount", [0.0, 0.9, 0.99, 1.0])
def test_reward_scaling_is_the_written_out_definition_with_the_given_discount(
    discount: float,
) -> None:
    rng = np.random.default_rng(0)
    rewards, is_last = rng.normal(1, 3, 200), rng.random(200) < 0.1
    scaler = RewardScaler(1, 1, discount)
    actual = [
        scaler.scale(np.array([[r]]), np.array([[last]]))[0, 0]
        for r, last in zip(rewards, is_last, strict=True)
    ]
    np.testing.assert_allclose(actual, scaled_by_hand(rewards, is_last, discount), rtol=1e-9)


@pytest.mark.trap("T10")
def test_the_running_return_is_0_after_the_end_of_an_episode() -> None:
    scaler = RewardScaler(2, 3, 0.9)
    reward = np.arange(1.0, 7.0).reshape(2, 3)
    scaler.scale(reward, np.zeros((2, 3), dtype=bool))
    is_last = np.array([[True, False, False], [False, False, True]])
    scaler.scale(reward, is_last)
    np.testing.assert_allclose(scaler.state()[:, :3], np.where(is_last, 0.0, 1.9 * reward))


@pytest.mark.trap("T10")
def test_the_scalers_count_is_the_number_of_real_transitions() -> None:
    scaler = RewardScaler(2, 3, 0.9)
    for t in range(10):
        scaler.scale(np.ones((2, 3)), np.full((2, 3), t % 3 == 2))
    assert (scaler.state()[:, 3] == 30).all()


@pytest.mark.trap("T10")
def test_a_scaler_that_carries_returns_over_episodes_gives_other_rewards() -> None:
    rng = np.random.default_rng(1)
    rewards, is_last = rng.normal(1, 3, 100), np.arange(100) % 5 == 4
    leaking = scaled_by_hand(rewards, np.zeros(100, dtype=bool), 0.99)
    assert np.abs(leaking - scaled_by_hand(rewards, is_last, 0.99)).max() > 0.1


def test_a_constant_reward_keeps_its_sign() -> None:
    scaler = RewardScaler(1, 4, 0.0)
    for _ in range(5):
        scaled = scaler.scale(np.full((1, 4), 2.0), np.zeros((1, 4), dtype=bool))
    assert (scaled == 10.0).all()  # no deviation: clipped, neither infinite nor shifted to 0


def test_a_seeds_scaled_rewards_are_the_same_bytes_alone_and_after_a_load() -> None:
    rng = np.random.default_rng(2)
    rewards, is_last = rng.normal(size=(30, 5, 3)), rng.random((30, 5, 3)) < 0.2
    batch, alone = RewardScaler(5, 3, 0.95), RewardScaler(1, 3, 0.95)
    for t in range(30):
        if t == 17:
            state = alone.state()
            alone = RewardScaler(1, 3, 0.95)
            alone.load(state)
        together = batch.scale(rewards[t], is_last[t])
        single = alone.scale(rewards[t, 2:3], is_last[t, 2:3])
        assert together[2].tobytes() == single[0].tobytes()


# --- Features -------------------------------------------------------------------------------------

BOX = spaces.Box(-np.inf, np.inf, (2, 3), dtype=np.float32)


@pytest.mark.trap("T48")
def test_only_update_moves_the_statistics() -> None:
    features = Features(BOX, 2, normalise=True)
    features.update(np.random.default_rng(0).standard_normal((2, 4, 2, 3)))
    before = features.state_dict()["features"].tobytes()
    features(np.full((2, 7, 2, 3), 100.0))
    features.copy().update(np.full((2, 4, 2, 3), 100.0))
    assert features.state_dict()["features"].tobytes() == before


def test_discrete_observations_stay_indices_and_are_never_normalised() -> None:
    features = Features(spaces.Discrete(3), 1, normalise=True)
    features.update(np.array([[0, 2]]))
    assert features(np.array([[0, 2]])).tolist() == [[0, 2]]
    assert not features(np.array([[0, 2]])).is_floating_point()
    assert features.state_dict() == {}


def test_box_observations_are_flattened_in_order() -> None:
    obs = np.arange(12.0).reshape(1, 2, 2, 3)
    features = Features(BOX, 1, normalise=False)(obs)
    assert features.tolist() == [[[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]]
