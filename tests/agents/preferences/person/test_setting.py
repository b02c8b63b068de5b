"""Labellers know where they are, and what they opened is closed at the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlkit.agents.preferences.person.setting import labelled_in, present_setting


def test_a_setting_holds_in_its_block_and_is_closed_with_it(tmp_path: Path) -> None:
    closed = []
    with labelled_in(tmp_path, None, lambda: 15):
        setting = present_setting()
        assert (setting.folder, setting.stop()) == (tmp_path, 15)
        setting.closing.callback(lambda: closed.append("desk"))
        assert closed == []
    assert closed == ["desk"]
    assert present_setting().folder == Path.cwd()


def test_it_is_closed_after_an_error_too(tmp_path: Path) -> None:
    closed = []

    def fail() -> None:
        with labelled_in(tmp_path, None, lambda: 0):
            present_setting().closing.callback(lambda: closed.append(1))
            raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        fail()
    assert closed == [1]
