"""Segments never cross the end of an episode, and are short only where it terminated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rlkit.agent import Transition
from rlkit.agents.preferences.segments import Recorder, segment_starts
from rlkit.environments.views.actions import ActionLayout

BOX = spaces.Box(-1e9, 1e9, (2,), np.float64)


def slow_starts(terminated: Any, is_last: Any, length: int) -> list[tuple[int, int, int]]:
    """(t, n, steps) of each segment, by following each episode step by step."""
    starts = []
    for t in range(len(is_last)):
        for n in range(is_last.shape[1]):
            for step in range(t, len(is_last)):
                if step - t + 1 == length or (is_last[step, n] and terminated[step, n]):
                    starts.append((t, n, step - t + 1))
                    break
                if is_last[step, n]:
                    break
    return starts


@pytest.mark.parametrize("seed", range(20))
def test_the_starts_are_those_of_following_each_episode(seed: int) -> None:
    rng = np.random.default_rng(seed)
    is_last = rng.random((15, 3)) < 0.2
    terminated = is_last & (rng.random((15, 3)) < 0.5)
    length = int(rng.integers(1, 7))
    starts, lengths = segment_starts(terminated, is_last, length)
    expected = slow_starts(terminated, is_last, length)
    assert [
        (*map(int, start), int(n)) for start, n in zip(starts, lengths, strict=True)
    ] == expected


def record(
    num_steps: int, room: int, ends: dict[tuple[int, int], str], *, keep_ends: bool = False
) -> Recorder:
    """One seed, two environments; an observation is (step, environment), a reward the step.

    The observation after a step is (-step, environment).
    """
    layout = ActionLayout(spaces.Discrete(9))
    recorder = Recorder(1, 2, room, BOX, layout, keep_ends=keep_ends)
    for t in range(num_steps):
        obs = np.array([[[t, n] for n in range(2)]], dtype=np.float64)
        kinds = [ends.get((t, n), "") for n in range(2)]
        terminated, truncated = (
            np.array([[kind == name for kind in kinds]]) for name in ("terminated", "truncated")
        )
        reward, action = np.full((1, 2), float(t)), np.full((1, 2), t % 9)
        recorder.add(Transition(obs, action, reward, terminated, truncated, obs * [-1, 1], obs))
    return recorder


def test_the_end_of_a_segment_is_what_followed_its_last_step() -> None:
    ends = {(13, 0): "terminated", (15, 1): "truncated", (3, 1): "terminated"}
    recorder = record(20, 12, ends, keep_ends=True)
    pairs, after = recorder.draw_with_ends(0, np.random.default_rng(0), 400, 4)
    assert after is not None
    last = pairs.obs[..., 0].max(axis=-1)  # numbers of steps grow, and missing ones are 0
    np.testing.assert_array_equal(after[..., 0], -last)
    np.testing.assert_array_equal(after[..., 1], pairs.obs[..., 0, 1])
    plain = record(20, 12, ends)
    same, none = plain.draw_with_ends(0, np.random.default_rng(0), 400, 4)
    assert none is None
    np.testing.assert_array_equal(same.obs, pairs.obs)
    assert plain.state_dict().keys() == recorder.state_dict().keys() - {"next_obs"}


def test_segments_hold_the_latest_steps_in_their_order_and_zeros_after_a_termination() -> None:
    ends = {(13, 0): "terminated", (15, 1): "truncated", (3, 1): "terminated"}
    recorder = record(20, 12, ends)  # so steps 8 to 19 are kept
    pairs = recorder.draw(0, np.random.default_rng(0), 400, 4)
    assert pairs.obs.shape == (400, 2, 4, 2)
    seen = set()
    for obs, actions, rewards, n in zip(
        *(part.reshape(800, *part.shape[2:]) for part in pairs), strict=True
    ):
        start, env = int(obs[0, 0]), int(obs[0, 1])
        seen.add((start, env, int(n)))
        assert obs[:n, 0].tolist() == list(range(start, start + n))
        assert (obs[:n, 1] == env).all()
        assert actions[:n].tolist() == [t % 9 for t in range(start, start + n)]
        assert rewards[:n].tolist() == list(range(start, start + n))
        assert not obs[n:].any()
        assert not rewards[n:].any()
    # Of environment 0 all starts to the termination, of environment 1 none that the limit cuts.
    of_0 = {(t, 0, min(4, 14 - t)) for t in range(8, 14)} | {(t, 0, 4) for t in range(14, 17)}
    of_1 = {(t, 1, 4) for t in (8, 9, 10, 11, 12, 16)}
    assert seen == of_0 | of_1
    first, second = (pairs.obs[:, i, 0] for i in range(2))
    assert (first != second).any(axis=1).all()


def test_all_segments_are_equally_likely() -> None:
    pairs = record(9, 9, {(4, 0): "terminated"}).draw(0, np.random.default_rng(1), 8000, 3)
    kinds, counts = np.unique(pairs.obs[:, :, 0].reshape(-1, 2), axis=0, return_counts=True)
    expected = 16000 / len(kinds)
    assert len(kinds) == 7 + 7
    assert np.abs(counts - expected).max() < 4.5 * np.sqrt(expected)  # standard deviations


def test_too_few_segments_are_an_error_that_names_the_options() -> None:
    recorder = record(6, 6, {(t, n): "truncated" for t in (2, 5) for n in range(2)})
    assert recorder.draw(0, np.random.default_rng(0), 1, 3).lengths.tolist() == [[3, 3]]
    with pytest.raises(ValueError, match=r"hold 0 segments of 4 steps.*--segment-length"):
        recorder.draw(0, np.random.default_rng(0), 1, 4)


def test_segments_of_terminated_episodes_alone_are_too_few_where_others_are_cut() -> None:
    """Else nothing would be learned of what goes on until the time limit."""
    ends = {(t, 0): "terminated" for t in (1, 3, 5)}
    assert len(record(6, 6, ends).draw(0, np.random.default_rng(0), 3, 4).lengths) == 3
    for recorder in (
        record(6, 6, ends | {(2, 1): "truncated", (5, 1): "truncated"}),
        record(3, 3, {(1, 0): "terminated"}),  # fewer steps than a segment has
    ):
        with pytest.raises(ValueError, match=r"hold 0 segments of 4 steps.*past a time limit"):
            recorder.draw(0, np.random.default_rng(0), 3, 4)


def test_a_restored_recorder_draws_the_same_segments() -> None:
    recorder = record(20, 12, {(13, 0): "terminated"})
    other = Recorder(1, 2, 12, BOX, ActionLayout(spaces.Discrete(9)))
    other.load_state_dict(recorder.state_dict())
    drawn = [one.draw(0, np.random.default_rng(0), 9, 4) for one in (recorder, other)]
    assert all(np.array_equal(a, b) for a, b in zip(*drawn, strict=True))
