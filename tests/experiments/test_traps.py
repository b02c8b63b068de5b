"""Every known trap has a test or a reason, and the page says which."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments import traps


def test_every_row_has_a_test_or_a_reason_and_the_page_is_made_from_the_marks() -> None:
    rows = [f"T{i}" for i in range(1, 100)] + [f"F{i}" for i in range(1, 79)]
    assert list(traps.ROWS) == rows
    assert traps.problems(traps.marked_tests()) == []
    assert traps.PAGE.read_text() == traps.page(), "run `python -m experiments.traps`"


def test_a_row_without_a_test_and_a_mark_without_a_row_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "tests"
    folder.mkdir()
    (folder / "test_it.py").write_text(
        "@pytest.mark.trap('T1', 'T9')\n@pytest.mark.torture\ndef test_one(): pass\n"
        "class TestTwo:\n    @pytest.mark.trap('T3')\n    def test_two(self): pass\n"
    )
    reason = {"statement": "", "does_not_apply": "no such thing"}
    known = {"T1": {"statement": ""}, "T2": {"statement": ""}, "T3": reason, "T4": reason}
    monkeypatch.setattr(traps, "ROWS", known)
    tests = traps.marked_tests(folder)
    assert tests["T1"] == [("tests/test_it.py", "test_one", True)]
    assert traps.problems(tests) == [
        "T9 is marked at test_one and not in traps.toml",
        "T2 has neither a test nor a reason",
        "T3 has both a test and a reason",
    ]
