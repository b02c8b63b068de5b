"""`rlkit rlhf` as a whole."""

from __future__ import annotations

import contextlib
import io

import pytest

from rlkit.cli import main
from rlkit.cli.rlhf import COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    printed = io.StringIO()
    with pytest.raises(SystemExit) as stop, contextlib.redirect_stdout(printed):
        main(["rlhf", command, "--help"])
    assert stop.value.code == 0
    assert f"usage: rlkit rlhf {command}" in printed.getvalue()
    assert "(default: )" not in printed.getvalue()
    assert main(["rlhf"]) == 2
