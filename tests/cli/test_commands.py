"""One way from a word to a command, for `rlkit` and `rlkit rlhf`."""

import gc

import pytest

from rlkit.cli.commands import Command, only_imports, run_command
from rlkit.errors import UsageError

TABLE = {
    "list": Command("rlkit.cli.listing", "list things"),
    "best-of-n": Command("rlkit.cli.rlhf.evaluate", "score the best"),
}


def run(*args: str) -> int:
    return run_command(TABLE, "usage: x\n{commands}\n", list(args), "x ")


@pytest.mark.parametrize(
    ("args", "code"), [((), 2), (("--help",), 0), (("-h",), 0), (("help",), 0)]
)
def test_help_lists_every_command_and_no_command_is_wrong_usage(
    args: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*args) == code
    assert capsys.readouterr().out == (
        "usage: x\n  list       list things\n  best-of-n  score the best\n"
    )


@pytest.mark.parametrize("name", ["best-of-n", "best_of_n"])
def test_a_command_is_found_in_either_spelling(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(name, "--help")
    assert stop.value.code == 0
    assert "usage: rlkit rlhf best-of-n" in capsys.readouterr().out


def test_an_unknown_command_names_the_closest() -> None:
    with pytest.raises(UsageError, match=r"unknown command 'x lsit'; .* Did you mean 'list'"):
        run("lsit")


def test_garbage_is_searched_for_again_after_the_imports() -> None:
    def leave() -> None:
        assert not gc.isenabled()
        raise SystemExit(2)

    assert gc.isenabled()
    with pytest.raises(SystemExit), only_imports():
        leave()
    assert gc.isenabled()
    gc.disable()
    try:
        with only_imports():
            pass
        assert not gc.isenabled(), "it is for the caller to switch it on"
    finally:
        gc.enable()
