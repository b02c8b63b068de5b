"""From the words of a command line to a form: positional arguments and dataclasses of options."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from tyro.conf import AvoidSubcommands, OmitArgPrefixes, Positional, Suppress, UseAppendAction, arg

from rlkit.errors import UsageError
from rlkit.spelling import closest

# Keyword arguments of an environment, as `--env-arg a=1 b=2` or repeated.
EnvArgs = Annotated[
    tuple[tuple[str, ...], ...],
    UseAppendAction,
    arg(name="env-arg", metavar="NAME=VALUE [NAME=VALUE ...]"),
]


@dataclass(frozen=True, kw_only=True)
class Output:
    """What is printed."""

    json: bool = False  # print one JSON object and nothing else


def positional(kind: Any, metavar: str, text: str) -> Any:
    """Return the type of a positional argument."""
    # tyro takes a list without entries for one with an empty default
    return Annotated[
        kind, Positional, arg(metavar=metavar, help=text, help_behavior_hint="(required)")
    ]


def make_form(about: str, **parts: Any) -> type[Any]:
    """Return a dataclass that `parse` can fill in.

    Args:
        about: for the help.
        parts: by name positional arguments, and dataclasses of options or instances with other
            defaults. The help of options stands under the heading "NAME options".
    """
    fields: list[Any] = []
    for name, part in parts.items():
        if not dataclasses.is_dataclass(part):
            fields.append((name, part))
        elif not isinstance(part, type):
            fields.append((name, type(part), dataclasses.field(default=part)))
        elif _has_required(part):
            fields.append((name, part))
        else:
            fields.append((name, part, dataclasses.field(default_factory=part)))
    form = dataclasses.make_dataclass("Form", fields, frozen=True, kw_only=True)
    form.__doc__ = about
    return form


def parse(form: type[Any], args: list[str], command: str, *, help_of: str = "") -> Any:
    """Return a form filled in from words; print the help or what is wrong, and exit.

    Args:
        form: as `make_form` returns it.
        args: the words after the command.
        command: its name.
        help_of: the command whose help lists the options, if it is another.

    Raises:
        UsageError: there is no such option; the message names the closest one.
    """
    import tyro

    known = known_flags(form)
    for word in args:
        flag = word.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known:
            raise UsageError(
                f"{command} has no option {flag}.{closest(flag, known)} "
                f"`rlkit {help_of or command} --help` lists all options."
            )
    return tyro.cli(
        form,
        args=_with_values(form, args),
        prog=f"rlkit {command}",
        config=(OmitArgPrefixes, AvoidSubcommands),
    )


def known_flags(form: type[Any]) -> list[str]:
    """Return the options of a dataclass and of the dataclasses in it, as they are typed."""
    flags = ["--help"]
    for flag, kind in _options(form).items():
        has_negative = kind is bool or _switch_values(kind)
        flags += [flag, f"--no-{flag[2:]}"] if has_negative else [flag]
    return flags


def positional_words(args: Sequence[str], *forms: type[Any]) -> list[str]:
    """Return the words that are neither options nor values of options.

    An option that the forms do not have is taken to have one value.
    """
    kinds: dict[str, Any] = {"--help": bool, "-h": bool}
    for form in forms:
        for flag, kind in _options(form).items():
            kinds |= {flag: kind, f"--no-{flag[2:]}": bool}
    words, num_skipped, takes_several = [], 0, False
    for i, word in enumerate(args):
        if word.startswith("-") and not word.lstrip("-")[:1].isdigit():
            flag, equals, _ = word.partition("=")
            kind = kinds.get(flag.replace("_", "-"))
            takes_several = typing.get_origin(kind) is tuple and not equals
            num_skipped = 0 if equals or kind is bool else 1
            if values := _switch_values(kind):
                num_skipped = int(not equals and i + 1 < len(args) and args[i + 1] in values)
        elif num_skipped or takes_several:
            num_skipped = 0
        else:
            words.append(word)
    return words


def _with_values(form: type[Any], args: Sequence[str]) -> list[str]:
    """Return words in which each switch has its value: --baseline becomes --baseline True.

    A switch is an option that is a bool or one of some words, as in --baseline linear.
    """
    words = list(args)
    for flag, kind in _options(form).items():
        values = _switch_values(kind)
        if not values:
            continue
        for i in reversed(range(len(words))):
            plain = words[i].replace("_", "-")
            if plain == f"--no-{flag[2:]}":
                words[i : i + 1] = [flag, "False"]
            elif plain == flag and (i + 1 == len(words) or words[i + 1] not in values):
                words[i : i + 1] = [flag, "True"]
    return words


def _switch_values(kind: Any) -> tuple[str, ...]:
    """Return the words that a type takes if it is a bool or one of some words, else nothing."""
    options = typing.get_args(kind)
    if typing.get_origin(kind) not in (typing.Union, types.UnionType) or bool not in options:
        return ()
    chosen = [word for one in options for word in typing.get_args(one)]
    return ("True", "False", *chosen)


def given_options(options: Any, args: Sequence[str]) -> dict[str, Any]:
    """Return those fields of a dataclass of a form whose options are among the words."""
    flags = {word.partition("=")[0].replace("_", "-") for word in args if word.startswith("--")}
    given = {}
    for field in dataclasses.fields(options):
        name = field.name.replace("_", "-")
        if not flags.isdisjoint((f"--{name}", f"--no-{name}")):
            given[field.name] = getattr(options, field.name)
    return given


# What Python calls otherwise than JSON.
_JSON_NAMES = {"True": "true", "False": "false", "None": "null"}


def read_env_args(groups: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return the keyword arguments that words such as is_slippery=false give, values in JSON."""
    args = {}
    for pair in (pair for group in groups for pair in group):
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--env-arg {pair!r}: expected name=value, as in is_slippery=false")
        try:
            args[name] = json.loads(text)
        except ValueError as error:
            if text in _JSON_NAMES:
                raise UsageError(
                    f"--env-arg {pair!r}: the value is not JSON; write {name}={_JSON_NAMES[text]}"
                ) from error
            raise UsageError(
                f"--env-arg {pair!r}: the value is not JSON ({error}); "
                f"write true, 3, [1, 2] or, for text, '{name}=\"text\"'"
            ) from error
    return args


def _options(form: type[Any]) -> dict[str, Any]:
    """Return the type of each option of a dataclass and of the dataclasses in it, by flag."""
    options: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(form, include_extras=True).items():
        kind, *markers = typing.get_args(hint) if _is_annotated(hint) else (hint,)
        if Suppress in markers or Positional in markers:
            continue
        if dataclasses.is_dataclass(kind):
            options |= _options(typing.cast(type[Any], kind))
            continue
        names = [marker.name for marker in markers if getattr(marker, "name", None)]
        options[f"--{names[0] if names else name}".replace("_", "-")] = kind
    return options


def _is_annotated(hint: Any) -> bool:
    return typing.get_origin(hint) is Annotated


def _has_required(part: Any) -> bool:
    """Return whether a dataclass has an option without a default."""
    missing = dataclasses.MISSING
    return any(
        f.default is missing and f.default_factory is missing for f in dataclasses.fields(part)
    )
