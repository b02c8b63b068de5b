"""What a callback sees: all seeds at one step, in order, and nothing that it can change."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from rlkit.analysis.intervals import mean_interval
from rlkit.errors import UsageError
from rlkit.training.watching.progress import Gathering, Progress, constant

Gather = Callable[..., Gathering]


@pytest.fixture
def seen() -> list[Progress]:
    return []


@pytest.fixture
def gather(seen: list[Progress]) -> Gather:
    def gather(num_seeds: int = 3) -> Gathering:
        return Gathering("run", 100, range(num_seeds), "eval_return", seen.append)

    return gather


def add(gathering: Gathering, seeds: list[int], steps: int, *values: float) -> None:
    gathering.add(seeds, steps, {"eval_return": np.array(values)})
    gathering.hand_on()


def returns(seen: list[Progress]) -> list[tuple[int, list[float]]]:
    return [(progress.step, progress.returns.tolist()) for progress in seen]


def test_a_step_is_handed_on_once_every_seed_is_there_whatever_the_order(
    gather: Gather, seen: list[Progress]
) -> None:
    gathering = gather()
    add(gathering, [2], 0, 5.0)
    add(gathering, [2], 10, 6.0)
    add(gathering, [0], 0, 1.0)
    assert seen == []
    add(gathering, [1], 0, 3.0)
    assert returns(seen) == [(0, [1.0, 3.0, 5.0])]
    add(gathering, [1, 0], 10, 4.0, 2.0)  # in the order in which they are given
    assert returns(seen)[1:] == [(10, [2.0, 4.0, 6.0])]


def test_a_seed_that_failed_is_not_waited_for_and_has_no_value(
    gather: Gather, seen: list[Progress]
) -> None:
    gathering = gather()
    add(gathering, [0, 1, 2], 0, 1.0, 2.0, 3.0)
    add(gathering, [0, 2], 10, 1.5, 3.5)
    gathering.fail([1])
    gathering.hand_on()
    assert [step for step, _ in returns(seen)] == [0, 10]
    np.testing.assert_array_equal(seen[1].returns, [1.5, np.nan, 3.5])
    assert gathering.arrived(10).tolist() == [True, False, True]


def test_rows_that_come_again_after_a_failure_are_not_handed_on_twice(
    gather: Gather, seen: list[Progress]
) -> None:
    gathering = gather(2)
    for steps in (0, 10, 0, 10, 20):
        add(gathering, [0, 1], steps, 1.0, 2.0)
    assert [step for step, _ in returns(seen)] == [0, 10, 20]


def test_a_row_that_only_some_seeds_have_does_not_hold_up_the_others(
    gather: Gather, seen: list[Progress]
) -> None:
    gathering = gather(2)  # seed 0 ended at 15 before, and seed 1 was added later
    for steps in (0, 10, 15, 20):
        add(gathering, [0], steps, float(steps))
    for steps in (0, 10, 20):
        add(gathering, [1], steps, 1.0)
    np.testing.assert_array_equal(
        [values for _, values in returns(seen)],
        [[0.0, 1.0], [10.0, 1.0], [15.0, np.nan], [20.0, 1.0]],
    )


def test_rows_hold_what_was_known_at_the_step_also_when_they_are_read_later(
    gather: Gather, seen: list[Progress]
) -> None:
    gathering = gather(2)
    for steps in (0, 10, 20):
        add(gathering, [0, 1], steps, float(steps), steps + 1.0)
    assert seen[1].rows["eval_return"].tolist() == [[0.0, 10.0], [1.0, 11.0]]
    assert seen[2].rows["eval_return"].shape == (2, 3)


def test_nothing_of_it_can_be_changed(gather: Gather, seen: list[Progress]) -> None:
    add(gather(1), [0], 0, 1.0)
    (progress,) = seen
    for array in (progress.returns, progress.metrics["eval_return"], progress.rows["eval_return"]):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 2.0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    with pytest.raises(TypeError):
        progress.metrics["eval_return"] = np.zeros(1)  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        progress.step = 1  # type: ignore[misc]


def test_a_constant_is_a_copy() -> None:
    original = np.arange(6.0).reshape(2, 3)[:, ::2]
    kept = constant(original)
    original[:] = 0.0
    assert kept.tolist() == [[0.0, 2.0], [3.0, 5.0]]


def test_the_interval_is_that_of_the_curve(gather: Gather, seen: list[Progress]) -> None:
    scores = np.array([1.0, 2.0, 4.0, 4.5, 7.0, 7.5])
    add(gather(6), list(range(6)), 0, *scores)
    assert seen[0].interval() == mean_interval(scores)
    assert seen[0].interval("eval_return") == mean_interval(scores)
    with pytest.raises(UsageError, match=r"no metric 'eval_retrun'.*Did you mean 'eval_return'"):
        seen[0].interval("eval_retrun")


def test_the_interval_of_no_value_is_nan(gather: Gather, seen: list[Progress]) -> None:
    add(gather(2), [0, 1], 0, np.nan, np.nan)
    assert np.isnan(seen[0].interval().estimate)
