"""Environments sampled from the tables of a known model."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from scipy import stats

from rlkit.environments.table import TabularBatchEnv
from rlkit.seeding import SeedStreams
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.reading.model import mdp_from_env


def streams(*indices: int) -> tuple[SeedStreams, ...]:
    return tuple(SeedStreams(0, index) for index in indices)


def random_mdp(time_limit: int | None = None) -> TabularMDP:
    rng = np.random.default_rng(0)
    shape = (4, 2, 3)
    return TabularMDP.from_padded(
        probability=rng.dirichlet(np.ones(3), size=shape[:2]),
        next_state=rng.permuted(np.tile(np.arange(4), (4, 2, 1)), axis=-1)[..., :3],
        reward=np.arange(24.0).reshape(shape),  # every branch has a reward of its own
        terminated=rng.random(shape) < 0.2,
        initial_distribution=np.array([0.5, 0.2, 0.0, 0.3]),
        time_limit=time_limit,
    )


def chain(time_limit: int | None = None, length: int = 3) -> TabularMDP:
    """States in a row; the only action goes on, and the last step ends the episode."""
    table = [
        [[(1.0, min(s + 1, length - 1), float(s + 1), s == length - 1)]] for s in range(length)
    ]
    start = np.eye(length)[0]
    return TabularMDP.from_successors(table, initial_distribution=start, time_limit=time_limit)


def test_transitions_have_the_frequencies_rewards_and_endings_of_the_table() -> None:
    mdp = random_mdp()
    env = TabularBatchEnv(mdp, streams(0, 1), 50)
    rng = np.random.default_rng(1)
    counts = np.zeros((4, 2, 3))
    obs = env.reset()
    for _ in range(400):
        actions = rng.integers(2, size=(2, 50))
        step = env.step(actions)
        # Rewards name the branch.
        s, a, k = np.unravel_index(step.reward.astype(int), (4, 2, 3))
        assert (s == obs).all()
        assert (a == actions).all()
        assert (step.next_obs == mdp.padded().next_state[s, a, k]).all()
        assert (step.terminated == mdp.padded().terminated[s, a, k]).all()
        assert not step.truncated.any()
        np.add.at(counts, (s, a, k), 1)
        going_on = ~step.terminated
        assert (step.following_obs[going_on] == step.next_obs[going_on]).all()
        assert (mdp.initial_distribution[step.following_obs[~going_on]] > 0).all()
        obs = step.following_obs
    assert counts.sum(axis=-1).min() > 100  # enough for the test below in every row
    p_values = [
        stats.chisquare(counts[s, a], counts[s, a].sum() * mdp.padded().probability[s, a]).pvalue
        for s, a in np.ndindex(4, 2)
    ]
    # The seeds are fixed: of 8 true hypotheses the smallest p-value is below 1e-3 once in 125.
    assert min(p_values) > 1e-3


def test_first_states_have_the_initial_distribution_at_reset_and_after_an_end() -> None:
    mdp = random_mdp(time_limit=1)
    env = TabularBatchEnv(mdp, streams(*range(20)), 50)
    first = env.reset().ravel()
    later = np.concatenate(
        [env.step(np.zeros((20, 50), dtype=int)).following_obs.ravel() for _ in range(4)]
    )
    possible = mdp.initial_distribution > 0
    for states in (first, later):
        counts = np.bincount(states, minlength=4)
        assert counts[~possible].sum() == 0
        expected = states.size * mdp.initial_distribution[possible]
        assert stats.chisquare(counts[possible], expected).pvalue > 1e-3


def test_the_next_first_state_does_not_depend_on_how_the_episode_ended() -> None:
    ends = [[(0.5, 0, 0.0, True), (0.5, 0, 1.0, True)]]
    mdp = TabularMDP.from_successors([ends, ends], initial_distribution=[0.5, 0.5])
    env = TabularBatchEnv(mdp, streams(*range(20)), 50)
    env.reset()
    counts = np.zeros((2, 2))
    for _ in range(10):
        step = env.step(np.zeros((20, 50), dtype=int))
        np.add.at(counts, (step.reward.astype(int), step.following_obs), 1)
    assert stats.chi2_contingency(counts).pvalue > 1e-3  # fixed seeds


def test_the_time_limit_truncates_and_the_count_starts_anew() -> None:
    env = TabularBatchEnv(chain(2), streams(0), 1)
    env.reset()
    steps = [env.step(np.array([[0]])) for _ in range(6)]
    assert [bool(step.truncated[0, 0]) for step in steps] == [False, True] * 3
    assert not any(step.terminated.any() for step in steps)
    assert [int(step.next_obs[0, 0]) for step in steps] == [1, 2] * 3  # the true successor
    assert [int(step.following_obs[0, 0]) for step in steps] == [1, 0] * 3


@pytest.mark.trap("T4")
def test_an_end_on_the_last_allowed_step_sets_both_flags() -> None:
    env = TabularBatchEnv(chain(3), streams(0), 1)
    env.reset()
    steps = [env.step(np.array([[0]])) for _ in range(3)]
    assert [bool(step.terminated[0, 0]) for step in steps] == [False, False, True]
    assert [bool(step.truncated[0, 0]) for step in steps] == [False, False, True]


def test_the_time_limit_counts_from_each_environments_own_first_step() -> None:
    table = [[[(0.5, 0, 0.0, True), (0.5, 0, 0.0, False)]]]
    mdp = TabularMDP.from_successors(table, initial_distribution=[1.0], time_limit=4)
    env = TabularBatchEnv(mdp, streams(0), 8)
    env.reset()
    elapsed = np.zeros((1, 8), dtype=int)
    for _ in range(100):
        step = env.step(np.zeros((1, 8), dtype=int))
        elapsed += 1
        assert (step.truncated == (elapsed == 4)).all()
        elapsed[step.terminated | step.truncated] = 0


def test_without_autoreset_an_ended_environment_stays_as_it_is() -> None:
    env = TabularBatchEnv(chain(None), streams(0, 1), 2, autoreset=False)
    env.reset()
    actions = np.zeros((2, 2), dtype=int)
    rewards = []
    for t in range(6):
        step = env.step(actions)
        rewards.append(step.reward[0, 0])
        assert (step.terminated == (t == 2)).all()
        assert (env.ended == (t >= 2)).all()
        assert (step.following_obs == step.next_obs).all()
    assert rewards == [1, 2, 3, 0, 0, 0]


def test_without_autoreset_an_idle_environment_is_never_truncated() -> None:
    env = TabularBatchEnv(chain(5), streams(0), 1, autoreset=False)
    env.reset()
    steps = [env.step(np.array([[0]])) for _ in range(8)]
    assert sum(int(step.truncated.sum() + step.terminated.sum()) for step in steps) == 1


@pytest.mark.parametrize("autoreset", [True, False])
@pytest.mark.parametrize("num_steps", [0, 3, 255, 256, 300])
def test_a_state_continues_bit_for_bit(autoreset: bool, num_steps: int) -> None:
    mdp = random_mdp(time_limit=7)
    first = TabularBatchEnv(mdp, streams(0, 1, 2), 3, autoreset=autoreset)
    rng = np.random.default_rng(2)
    first.reset()
    for _ in range(num_steps):
        first.step(rng.integers(2, size=(3, 3)))
    second = TabularBatchEnv(mdp, streams(0, 1, 2), 3, autoreset=autoreset)
    second.load_state_dict(first.state_dict())
    for _ in range(30):
        actions = rng.integers(2, size=(3, 3))
        for a, b in zip(first.step(actions), second.step(actions), strict=True):
            assert a.tobytes() == b.tobytes()
    assert (first.ended == second.ended).all()


@pytest.mark.parametrize("name", ["state", "elapsed", "noise"])
def test_each_entry_of_the_state_is_needed(name: str) -> None:
    mdp = random_mdp(time_limit=5)
    first = TabularBatchEnv(mdp, streams(0, 1), 40)
    first.reset()
    zero = np.ones((2, 40), dtype=int)
    for _ in range(3):
        first.step(zero)
    state: dict[str, Any] = dict(first.state_dict())
    state[name] = np.zeros_like(state[name])
    second = TabularBatchEnv(mdp, streams(0, 1), 40)
    second.load_state_dict(state)
    pairs = [zip(first.step(zero), second.step(zero), strict=True) for _ in range(5)]
    assert any(a.tobytes() != b.tobytes() for pair in pairs for a, b in pair)


def test_a_seed_sees_the_same_alone_and_among_others() -> None:
    mdp = random_mdp(time_limit=7)
    alone, among = (
        TabularBatchEnv(mdp, streams(5), 3),
        TabularBatchEnv(mdp, streams(0, 5, 9), 3),
    )
    assert alone.reset()[0].tobytes() == among.reset()[1].tobytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        actions = rng.integers(2, size=(3, 3))
        for a, b in zip(alone.step(actions[1:2]), among.step(actions), strict=True):
            assert a[0].tobytes() == b[1].tobytes()


def test_arrays_handed_out_do_not_change_later() -> None:
    env = TabularBatchEnv(random_mdp(3), streams(0), 4)
    handed = [env.reset()]
    copies = [handed[0].copy()]
    for _ in range(9):
        step = env.step(np.zeros((1, 4), dtype=int))
        handed += list(step)
        copies += [part.copy() for part in step]
    for now, then in zip(handed, copies, strict=True):
        assert now.tobytes() == then.tobytes()


def test_training_and_evaluation_draw_different_numbers() -> None:
    def rewards(purpose: str) -> bytes:
        env = TabularBatchEnv(random_mdp(), streams(0), 8, purpose=purpose)
        env.reset()
        zero = np.zeros((1, 8), dtype=int)
        return b"".join(env.step(zero).reward.tobytes() for _ in range(10))

    assert rewards("env") != rewards("evaluation")
    assert rewards("env") == rewards("env")


@pytest.mark.slow
def test_random_play_on_frozen_lake_earns_the_exact_mean() -> None:
    # 0.0139397960 by summing over all paths of 100 steps: the hundredth power of the random
    # policy's matrix, independent of the sampler.
    exact = 0.0139397960
    mdp = mdp_from_env(lambda: gym.make("FrozenLake-v1", disable_env_checker=True))
    env = TabularBatchEnv(mdp, streams(*range(100)), 100)
    rng = np.random.default_rng(0)
    env.reset()
    returns, episodes = 0.0, 0
    for _ in range(500):
        step = env.step(rng.integers(4, size=(100, 100)))
        returns += step.reward.sum()
        episodes += int((step.terminated | step.truncated).sum())
    # Returns are 0 or 1, so one episode has the variance p (1 - p). Episodes cut by the end of the
    # 500 steps are the longer ones, of which about 1 in 65 is lost: a bias far below 5 errors.
    error = np.sqrt(exact * (1 - exact) / episodes)
    assert episodes > 500_000
    assert abs(returns / episodes - exact) < 5 * error
