"""What terminals can show."""

import io
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from rlkit.cli.terminal import note, plain, printable


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "arrow", "deviation"),
    [
        ("ascii", "<", " +- "),
        ("cp1252", "<", " ± "),
        ("latin-1", "<", " ± "),
        ("utf-8", "←", " ± "),
    ],
)
def test_output_is_plain_where_the_terminal_is(
    encoding: str, arrow: str, deviation: str, run: str, tmp_path: Path, forks: Any
) -> None:
    out = ["--out", str(tmp_path / "more"), "--seeds", "2", "--steps", "50"]
    commands = [
        ["solve", "FrozenLake-v1"],
        ["evaluate", run, "--episodes", "2"],
        ["train", "random", "FrozenLake-v1", *out],
        ["compare", "random", "value-iteration", "--env", "FrozenLake-v1", *out],
        ["list"],
        ["--help"],
        ["train", "ppo", "--help"],
        ["train", "ppo", "CartPole-v1", "--discount", "π"],
        ["rlhf", "--help"],
    ]
    program = (
        "import sys, rlkit.cli, matplotlib.figure\n"
        "matplotlib.figure.Figure.savefig = lambda figure, path, **options: None\n"  # not printed
        f"for argv in {commands!r}:\n"
        "    try:\n"
        "        code = rlkit.cli.main(argv)\n"
        "    except SystemExit as stop:\n"
        "        code = stop.code\n"
        "    assert code == (2 if 'π' in argv else 0), (argv, code)\n"
    )
    child = forks.start_python("-c", program, cwd=tmp_path, env={"PYTHONIOENCODING": encoding})
    assert child.wait() == 0, child.stderr.read_bytes()
    text = child.stdout.read_bytes().decode(encoding)
    assert arrow in text.split("0.74419029")[1].splitlines()[4]
    assert deviation in text
    assert "│" in text or "|" in text  # of tables
    if encoding != "utf-8":
        assert "?" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("←↓→↑", "<v>^"),
        ("± × – — … − ≥ ∞", "+- x - - ... - >= inf"),
        ("╭─╮│╰┃━┏┳╇", "+-+|+|-+++"),
        ("γ λ", "gamma lambda"),
        ("漢 😀 é", "? ? ?"),
        ("plain", "plain"),
    ],
)
def test_characters_have_plain_substitutes(text: str, expected: str) -> None:
    assert plain(text) == expected
    assert text.encode("ascii", "rlkit-plain").decode() == expected
    assert text.encode("utf-8", "rlkit-plain").decode() == text


def test_the_bytes_of_a_path_that_is_no_text_are_printed_as_they_are() -> None:
    name = os.fsdecode(b"caf\xe9")
    assert name.encode("utf-8", "rlkit-plain") == b"caf\xe9"


def test_control_characters_are_written_out() -> None:
    assert printable("a\x1b[31m\x9b\r\nb\N{RIGHT-TO-LEFT OVERRIDE}") == (
        "a\\x1b[31m\\x9b\\r\\nb\\u202e"
    )
    assert printable("a\nb\x07", lines=True) == "a\nb\\x07"
    assert printable("é漢[/nope]") == "é漢[/nope]"


def test_a_note_that_nobody_can_read_ends_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Gone())
    note("the terminal was closed")
