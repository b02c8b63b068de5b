"""From the words of a command line to a dataclass of options."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Sequence
from typing import Annotated, Any

from rlkit.errors import UsageError
from rlkit.spelling import closest


def parse(options: type[Any], args: list[str], command: str, help_of: str = "") -> Any:
    """Read options into a dataclass; tyro prints the help and refuses what it does not know."""
    import tyro

    known = known_flags(options)
    for arg in args:
        flag = arg.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known:
            raise UsageError(
                f"{command} has no option {flag}.{closest(flag, known)} "
                f"`rlkit {help_of or command} --help` lists what there is."
            )
    return tyro.cli(
        options,
        args=args,
        prog=f"rlkit {command}",
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.AvoidSubcommands),
    )


def known_flags(form: type[Any]) -> list[str]:
    """The options of a dataclass and of the dataclasses in it, as they are typed."""

    flags = ["--help"]
    for name, kind in typing.get_type_hints(form).items():
        if dataclasses.is_dataclass(kind):
            flags += known_flags(kind)  # type: ignore[arg-type]
        else:
            flags += [f"--{name}".replace("_", "-")]
            flags += [f"--no-{name}".replace("_", "-")] if kind is bool else []
    return flags


def positional_words(args: Sequence[str], *forms: type[Any]) -> list[str]:
    """The words of a command line that are neither options nor values of options."""
    kinds: dict[str, Any] = {"--help": bool, "-h": bool}
    for form in forms:
        for name, kind in typing.get_type_hints(form).items():
            kinds[f"--{name}".replace("_", "-")] = kind
            kinds[f"--no-{name}".replace("_", "-")] = bool
    words, skip, many = [], 0, False
    for arg in args:
        if arg.startswith("-") and not arg.lstrip("-")[:1].isdigit():
            flag, equals, _ = arg.partition("=")
            kind = kinds.get(flag.replace("_", "-"))
            many = typing.get_origin(kind) is tuple and not equals
            skip = 0 if equals or kind is bool else 1
        elif skip or many:
            skip = 0
        else:
            words.append(arg)
    return words


def positional(kind: Any, metavar: str, text: str) -> Any:
    import tyro

    return Annotated[kind, tyro.conf.Positional, tyro.conf.arg(metavar=metavar, help=text)]


def joined_env_args(args: list[str]) -> list[str]:
    """Bring repeated `--env-arg a=1 --env-arg b=2` into the one list that the parser reads."""
    rest, values, i = [], [], 0
    while i < len(args):
        flag, equals, value = args[i].partition("=")
        if flag in ("--env-arg", "--env_arg") and equals:
            values.append(value)
            i += 1
        elif flag in ("--env-arg", "--env_arg"):
            i += 1
            while i < len(args) and not args[i].startswith("--"):
                values.append(args[i])
                i += 1
        else:
            rest.append(args[i])
            i += 1
    return [*rest, "--env-arg", *values] if values else rest


def read_env_args(pairs: Sequence[str]) -> dict[str, Any]:
    args = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--env-arg {pair!r}: expected name=value, as in is_slippery=false")
        try:
            args[name] = json.loads(text)
        except ValueError as error:
            raise UsageError(
                f"--env-arg {pair!r}: the value is not JSON ({error}); "
                f"write true, 3, [1, 2] or, for text, '{name}=\"text\"'"
            ) from error
    return args
