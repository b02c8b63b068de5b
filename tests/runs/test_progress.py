"""Notes of a run in Python: warnings at the caller's line, and none that costs work."""

import warnings

import pytest

from rlkit.errors import RlkitWarning
from rlkit.runs.progress import Bar, python_reports, warn


def test_a_warning_names_the_line_outside_of_rlkit() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn("a remark")
        with python_reports() as reports:
            reports.note("a remark from within")
    assert [str(warning.message) for warning in caught] == ["a remark", "a remark from within"]
    assert {warning.filename for warning in caught} == {__file__}


def test_a_note_that_is_an_error_is_raised_after_the_work() -> None:
    done = []

    def work() -> None:
        with python_reports() as reports:
            reports.note("first")
            reports.note("second")
            done.append(True)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RlkitWarning, match="first"):
            work()
    assert done == [True]


def test_the_bar_shows_a_status_beside_its_label() -> None:
    bar = Bar()
    bar.begin("ppo on texts", 1, 10)
    for status in ("score 0.5", "score 0.6"):
        bar.describe(status)
    assert [task.description for task in bar._bar.tasks] == ["ppo on texts  score 0.6"]


def test_what_is_printed_beside_a_bar_goes_where_it_is_sent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # the error stream is a terminal, and the output a file
    with python_reports() as reports:
        reports.begin("an agent", 1, 10)
        print("a line of the user's callback")
    captured = capsys.readouterr()
    assert captured.out == "a line of the user's callback\n"
    assert "an agent" in captured.err
    assert "callback" not in captured.err
