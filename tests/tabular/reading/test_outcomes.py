"""The outcomes of a small model and of records of it, written by hand."""

import pytest

from rlkit.tabular.reading import outcomes
from rlkit.tabular.reading.outcomes import IMPOSSIBLE, tally
from tests.tabular.reading.records import model, record

EVENTS = [
    (1, 0, 0, 1.0, False),  # the second outcome of its row
    (0, 0, 1, 2.0, False),
    (1, 0, 0, 1.0, True),
    (0, 0, 0, 0.0, False),
]


@pytest.mark.parametrize("chunk", [10**7, 5])
def test_equal_entries_are_one_outcome_and_only_visited_rows_are_listed(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "_CHUNK", chunk)
    result = tally(model(), record(EVENTS, [1, 1]))
    assert result.pair.tolist() == [0, 2]
    # Row 0: its outcome 0 (entries 0 and 2 together), outcome 1; row 2: two; then the start.
    assert result.first.tolist() == [0, 2, 4, 5]
    assert result.probability.tolist() == [0.5, 0.5, 0.5, 0.5, 1.0]
    assert result.entry.tolist() == [0, 1, 0, 1, 1]
    assert result.cell.tolist() == [3, 0, 2, 1, 4, 4]


@pytest.mark.parametrize(
    ("event", "cell"),
    [
        ((0, 0, 1, 2.0, False), 0),
        ((0, 0, 1, 2.0 * (1 + 5e-7), False), 0),  # equal in single precision
        ((0, 0, 1, 2.0 * (1 + 5e-6), False), IMPOSSIBLE),
        ((0, 0, 1, 2.0, True), IMPOSSIBLE),
        ((0, 0, 0, 2.0, False), IMPOSSIBLE),
        ((0, 0, 0, 7.0, False), IMPOSSIBLE),  # listed with probability 0
        ((1, 1, 1, 5.0, False), 0),  # listed with probability 0, and then with 1
    ],
)
def test_an_outcome_differs_in_state_reward_or_end(event: tuple, cell: int) -> None:
    assert tally(model(), record([event], [1])).cell[0] == cell


def test_a_start_with_probability_0_is_impossible() -> None:
    result = tally(model(), record(EVENTS[:1], [1, 0]))
    assert result.cell.tolist() == [1, 2, IMPOSSIBLE]
