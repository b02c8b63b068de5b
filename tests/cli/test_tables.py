"""Tables on the terminal."""

import pytest

from rlkit.cli.tables import new_table, print_table


def printed(capsys: pytest.CaptureFixture[str], *rows: tuple[str, ...]) -> list[str]:
    """The lines of the cells of a table with these rows; the first row is that of the columns."""
    table = new_table("a [title]", rows[0])
    for row in rows[1:]:
        table.add_row(*row)
    print_table(table)
    title, *lines = capsys.readouterr().out.splitlines()
    assert title.strip() == "a [title]"  # and not a style of rich
    return [line for line in lines if line[0] in "┃│"]


def test_names_are_aligned_to_the_left_and_numbers_to_the_right(
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, first, second = printed(capsys, ("agent", "return"), ("q", "1"), ("q-learning", "-12.5"))
    assert first.startswith("│ q  ")
    assert first.index("1") == second.index("5")


def test_where_there_is_no_terminal_a_table_may_be_110_characters_wide(
    capsys: pytest.CaptureFixture[str],
) -> None:
    number = "9" * 90
    _, *rows = printed(capsys, ("agent", "return"), ("random " * 5, number))
    assert number in rows[0]  # numbers stay whole, and names wrap
    assert len(rows) > 1
    assert {len(row) for row in rows} == {110}
