"""Rows are counts and averages over what happened since the row before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlkit.agent import Transition
from rlkit.errors import UsageError
from rlkit.training.tracker import Tracker


def transition(reward: Any, terminated: Any = False, truncated: Any = False) -> Transition:
    """One step of two seeds with two environments each."""
    reward = np.broadcast_to(np.asarray(reward, dtype=float), (2, 2)).copy()
    flags = [np.broadcast_to(np.asarray(flag), (2, 2)).copy() for flag in (terminated, truncated)]
    obs = np.zeros((2, 2))
    return Transition(obs, obs, reward, *flags, obs, obs)


FIRST = [[True, False], [False, False]]
BOTH = [[True, True], [False, False]]


def test_returns_and_lengths_are_means_over_the_episodes_that_ended() -> None:
    tracker = Tracker(2, 2, ())
    tracker.observe(transition([[1, 10], [5, 5]]), {})
    tracker.observe(transition([[2, 20], [5, 5]], terminated=FIRST), {})
    tracker.observe(transition([[4, 40], [5, 5]], truncated=BOTH), {})
    one, two = tracker.rows({}, reset=True)
    # Of seed 0: returns 3 (2 steps), 4 (1 step), 70 (3 steps).
    assert one["num_env_steps"] == 6
    assert one["num_episodes"] == 3
    assert one["train_return"] == (3 + 4 + 70) / 3
    assert one["train_length"] == 2
    assert two["num_episodes"] == 0
    assert two["train_return"] is None
    assert two["train_length"] is None


def test_an_episode_that_is_both_terminated_and_truncated_counts_once() -> None:
    tracker = Tracker(2, 2, ())
    tracker.observe(transition(1.0, terminated=FIRST, truncated=FIRST), {})
    assert tracker.rows({}, reset=True)[0]["num_episodes"] == 1


def test_an_episode_that_spans_rows_counts_whole_in_the_row_where_it_ends() -> None:
    tracker = Tracker(2, 2, ())
    tracker.observe(transition(1.0), {})
    tracker.rows({}, reset=True)
    tracker.observe(transition(1.0, terminated=FIRST), {})
    row = tracker.rows({}, reset=True)[0]
    assert (row["train_return"], row["train_length"]) == (2.0, 2.0)


def test_a_row_off_the_grid_does_not_start_the_averages_again() -> None:
    tracker = Tracker(2, 2, ("loss",))
    tracker.observe(transition(1.0, terminated=FIRST), {"loss": np.array([1.0, np.nan])})
    tracker.rows({}, reset=False)
    tracker.observe(transition(3.0, terminated=FIRST), {"loss": np.array([2.0, np.nan])})
    one, two = tracker.rows({}, reset=True)
    assert (one["train_return"], one["loss"]) == (2.0, 1.5)
    assert two["loss"] is None


def test_metrics_are_means_over_the_updates_of_each_seed() -> None:
    tracker = Tracker(2, 2, ("loss",))
    counts = np.array([1, 0])
    for loss in ([1.0, np.nan], [3.0, np.nan], [5.0, 7.0]):
        metrics = {"loss": np.array(loss), "num_gradient_steps": counts}
        tracker.observe(transition(0.0), metrics)
        tracker.observe(transition(0.0), {})
    one, two = tracker.rows({"eval_return": np.array([8.0, 9.0])}, reset=True)
    assert (one["loss"], two["loss"]) == (3.0, 7.0)
    assert (one["num_gradient_steps"], two["num_gradient_steps"]) == (3, 0)
    assert (one["eval_return"], two["eval_return"]) == (8.0, 9.0)
    assert tracker.rows({}, reset=True)[0]["loss"] is None


def test_of_some_metrics_a_row_has_the_last_value() -> None:
    tracker = Tracker(2, 2, ("loss", "known"), last_values=("known",))
    for loss, known in ((1.0, [10.0, 10.0]), (3.0, [20.0, np.nan]), (5.0, [np.nan, np.nan])):
        metrics = {"loss": np.full(2, loss), "known": np.array(known)}
        tracker.observe(transition(0.0), metrics)
    one, two = tracker.rows({}, reset=True)
    assert (one["loss"], one["known"], two["known"]) == (3.0, 20.0, 10.0)
    assert tracker.rows({}, reset=True)[0]["known"] is None


def test_a_metric_that_was_not_announced_is_rejected_with_the_closest_name() -> None:
    tracker = Tracker(2, 2, ("policy_loss",))
    with pytest.raises(UsageError, match=r"'policy_los'.* Did you mean 'policy_loss'"):
        tracker.observe(transition(0.0), {"policy_los": np.zeros(2)})


@pytest.mark.trap("T78")
def test_counters_pass_32_bits() -> None:
    tracker = Tracker(2, 2, ())
    state = tracker.state_dict()
    for name in ("num_env_steps", "num_episodes", "num_gradient_steps"):
        state[name] = np.full(2, 2**31 - 10)
    tracker.load_state_dict(state)
    for _ in range(20):
        metrics = {"num_gradient_steps": np.ones(2, dtype=np.int64)}
        tracker.observe(transition(1.0, terminated=FIRST), metrics)
    one, two = tracker.rows({}, reset=True)
    assert one["num_env_steps"] == 2**31 - 10 + 40
    assert (one["num_episodes"], two["num_episodes"]) == (2**31 + 10, 2**31 - 10)
    assert one["num_gradient_steps"] == 2**31 + 10
    assert int(tracker.state_dict()["num_env_steps"][0]) == 2**31 + 30


def test_a_state_continues_where_it_was_and_is_not_shared() -> None:
    rng = np.random.default_rng(0)
    steps = [
        (transition(rng.normal(size=(2, 2)), rng.random((2, 2)) < 0.3), {"loss": rng.random(2)})
        for _ in range(20)
    ]
    whole, half = Tracker(2, 2, ("loss",)), Tracker(2, 2, ("loss",))
    for step in steps[:11]:
        whole.observe(*step)
    state = whole.state_dict()
    half.load_state_dict(state)
    for step in steps[11:]:
        whole.observe(*step)
        half.observe(*step)
    assert whole.rows({}, reset=True) == half.rows({}, reset=True)
    again = Tracker(2, 2, ("loss",))
    again.load_state_dict(state)
    assert again.num_env_steps == 22


def test_returns_in_the_users_own_reward_are_beside_those_of_the_environment() -> None:
    tracker = Tracker(2, 2, (), own_reward=True)
    assert tracker.columns[3:6] == ("train_return", "train_length", "own_return")
    assert "own_return" not in Tracker(2, 2, ()).columns
    halves = Tracker(2, 2, (), own_reward=True)
    for i, ends in enumerate((False, FIRST, BOTH)):
        for one in (tracker, halves):
            one.add_reward(np.full((2, 2), 10.0**i))
            one.observe(transition(1.0, terminated=ends), {})
        resumed = Tracker(2, 2, (), own_reward=True)
        resumed.load_state_dict(halves.state_dict())
        halves = resumed
    one, two = tracker.rows({}, reset=True)
    assert one["own_return"] == (11 + 100 + 111) / 3
    assert one["train_return"] == (2 + 1 + 3) / 3
    assert two["own_return"] is None
    assert halves.rows({}, reset=True)[0]["own_return"] == one["own_return"]
    assert tracker.rows({}, reset=True)[0]["own_return"] is None
