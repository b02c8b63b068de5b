"""One compiled step of a small table, with outcomes by hand."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit.environments.table_kernels import Outcome, Place, Table, step

NO_LIMIT = np.iinfo(np.int64).max


def table(time_limit: int = NO_LIMIT) -> Table:
    """Two states, two actions; each row has two entries, the first with the given probability."""
    first = [0.25, 1.0, 0.5, 0.75]
    return Table(
        row_start=np.arange(0, 9, 2, dtype=np.uint32),
        cumulative=np.array([p for one in first for p in (one, 1.0)]),
        next_state=np.array([0, 1] * 4),
        reward=np.arange(8.0),
        terminated=np.array([False] * 7 + [True]),
        first_state=np.array([0.3, 1.0]),
        num_actions=np.uint32(2),
        time_limit=time_limit,
    )


def stepped(
    state: list[int], elapsed: list[int], actions: list[int], noise: list[list[float]], limit: int
) -> tuple[Place, Outcome]:
    num = len(state)
    place = Place(np.array(state), np.array(elapsed))
    outcome = Outcome(
        np.zeros(num), np.zeros(num, np.bool_), np.zeros(num, np.bool_), np.zeros(num, np.int64)
    )
    step(table(limit), place, np.array(actions), np.array(noise), outcome)
    return place, outcome


def test_noise_chooses_the_entry_whose_interval_it_is_in() -> None:
    below = np.nextafter(0.25, 0.0)
    noise = [[0.0, below, 0.25, 0.99, 0.99], [0.0] * 5]
    place, outcome = stepped([0] * 5, [4] * 5, [0, 0, 0, 0, 1], noise, NO_LIMIT)
    assert outcome.reward.tolist() == [0.0, 0.0, 1.0, 1.0, 2.0]
    assert outcome.next_obs.tolist() == place.state.tolist() == [0, 0, 1, 1, 0]
    assert place.elapsed.tolist() == [5] * 5
    assert not outcome.terminated.any()
    assert not outcome.truncated.any()


def test_a_terminated_episode_reports_its_successor_and_starts_anew() -> None:
    noise = [[0.8, 0.8, 0.7], [np.nextafter(0.3, 0.0), 0.3, 0.0]]
    place, outcome = stepped([1] * 3, [4] * 3, [1] * 3, noise, NO_LIMIT)
    assert outcome.terminated.tolist() == [True, True, False]
    assert outcome.next_obs.tolist() == [1, 1, 0]
    assert place.state.tolist() == [0, 1, 0]
    assert place.elapsed.tolist() == [0, 0, 5]


@pytest.mark.parametrize("elapsed", [1, 2])
def test_the_last_allowed_step_truncates(elapsed: int) -> None:
    place, outcome = stepped([0, 1], [elapsed] * 2, [0, 1], [[0.9, 0.9], [0.0, 0.5]], 3)
    assert outcome.truncated.tolist() == [elapsed == 2] * 2
    assert outcome.terminated.tolist() == [False, True]
    assert place.elapsed.tolist() == [0 if elapsed == 2 else 2, 0]
    assert place.state.tolist() == [0 if elapsed == 2 else 1, 1]
