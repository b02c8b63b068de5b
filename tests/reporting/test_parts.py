"""Numbers as text, and columns of numbers."""

from __future__ import annotations

import math

import pytest

from rlkit.reporting.parts import Cell, interval_words, make_table, number, p_words, sentence


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (math.inf, "-"),
        (0.0, "0"),
        (500.0, "500"),
        (100_000, "100,000"),
        (-0.74419, "-0.7442"),
        (0.99996, "1"),
        (12_345.6, "12,346"),
        (4166.4, "4,166"),
        (1.23456e8, "1.235e+08"),
        (0.000123456, "1.235e-04"),
    ],
)
def test_a_number_has_four_digits(value: float | None, text: str) -> None:
    assert number(value) == text


def test_an_interval_without_an_end_is_none() -> None:
    assert interval_words(1.0, 2.5) == "1 to 2.5"
    assert interval_words(math.nan, 2.0) == interval_words(None, 2.0) == "-"
    assert (p_words(0.012345), p_words(None)) == ("0.012", "-")


def test_a_column_is_one_of_numbers_if_it_holds_nothing_else() -> None:
    table = make_table("t", ["a", "b", "c"], [("x", 1, None), ("y", None, None), ("z", 2.5, None)])
    assert [column.is_number for column in table.columns] == [False, True, False]
    assert table.rows[1] == [Cell("y"), Cell("-"), Cell("-")]
    assert table.rows[2][1] == Cell("2.5", 2.5)
    mixed = make_table("t", ["a"], [(1,), ("one",)])
    assert not mixed.columns[0].is_number


def test_a_sentence_keeps_its_other_capitals() -> None:
    assert sentence("kL in nats") == "KL in nats"
    assert sentence("") == ""
