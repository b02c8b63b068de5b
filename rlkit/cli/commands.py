"""Find the command that a command line names and run it."""

from __future__ import annotations

import contextlib
import gc
import importlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from rlkit.errors import UsageError
from rlkit.spelling import closest


class Command(NamedTuple):
    """Where a command is, and what it does."""

    module: str  # in which the command NAME is the function NAME_command
    summary: str


@contextlib.contextmanager
def only_imports() -> Iterator[None]:
    """Search for no garbage within the block: what imports make is there to stay."""
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searched:
            gc.enable()


def run_command(commands: Mapping[str, Command], usage: str, args: list[str], group: str) -> int:
    """Run the command that the first word names, on the rest; return its exit code.

    Args:
        commands: by name.
        usage: the help of the group, with {commands} in it.
        args: the words of the command line after the group.
        group: the words before them, such as "rlhf "; empty at the top.

    Raises:
        UsageError: there is no such command.
    """
    if not args or args[0] in ("-h", "--help", "help"):
        width = max(map(len, commands)) + 2
        listed = "\n".join(f"  {name:<{width}}{each.summary}" for name, each in commands.items())
        print(usage.format(commands=listed), end="")
        return 0 if args else 2
    name = args[0].replace("_", "-")
    if name not in commands:
        raise UsageError(
            f"unknown command '{group}{args[0]}'; there are {', '.join(commands)}."
            f"{closest(args[0], commands)}"
        )
    with only_imports():
        module = importlib.import_module(commands[name].module)
    return int(getattr(module, f"{name.replace('-', '_')}_command")(args[1:]))
