"""The held-out split, and the order of minibatches."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit.agents.cloning.batches import Minibatches, held_out_rows
from rlkit.seeding import SeedStreams


@pytest.mark.parametrize(
    ("num_episodes", "share", "expected"),
    [(10, 0.2, 2), (10, 0.0, 0), (10, 0.01, 1), (2, 0.9, 1), (1, 0.5, 0), (4, 0.99, 3)],
)
def test_whole_episodes_are_held_out_and_never_all(
    num_episodes: int, share: float, expected: int
) -> None:
    lengths = np.arange(1, num_episodes + 1)
    episodes = np.repeat(7 + np.arange(num_episodes), lengths)
    rows = held_out_rows(episodes, share, np.random.default_rng(0))
    inside, outside = set(episodes[rows]), set(episodes[~rows])
    assert len(inside) == expected
    assert not inside & outside
    assert outside


def test_a_pass_sees_every_row_once_in_an_order_of_each_seed() -> None:
    streams = (SeedStreams(0, 0), SeedStreams(0, 1))
    batches = np.stack(list(Minibatches(12, 4, streams).of_steps(0, 6)))  # two passes
    for s in range(2):
        for own in (batches[:3, s], batches[3:, s]):
            assert sorted(own.ravel()) == list(range(12))
        assert (batches[:3, s] != batches[3:, s]).any()
    assert (batches[:, 0] != batches[:, 1]).any()


def test_a_step_depends_on_its_number_and_the_seed_alone() -> None:
    streams = (SeedStreams(0, 0), SeedStreams(0, 1))
    whole = list(Minibatches(10, 3, streams).of_steps(0, 20))
    later = list(Minibatches(10, 3, streams[1:]).of_steps(13, 7))
    for a, b in zip(whole[13:], later, strict=True):
        np.testing.assert_array_equal(a[1:], b)


def test_a_minibatch_holds_at_most_all_rows() -> None:
    batches = Minibatches(3, 256, (SeedStreams(0, 0),))
    assert batches.size == 3
    assert [sorted(rows[0]) for rows in batches.of_steps(0, 2)] == [[0, 1, 2]] * 2
