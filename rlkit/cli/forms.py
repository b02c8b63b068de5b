"""From the words of a command line to a form: positional arguments and dataclasses of options."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
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
        UsageError: there is no such option, and the message names the closest one; or a path is
            an empty word.
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
    _require_paths(form, args, command)
    words = _with_values(form, args)
    settings: Any = {"args": words, "config": (OmitArgPrefixes, AvoidSubcommands)}
    if not {"--help", "-h"} & set(args):
        # tyro takes a millisecond for each option, and more for the first of some types. What is
        # wrong with these words, the whole form says.
        with (
            contextlib.suppress(SystemExit, Exception),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            named = tyro.cli(_named_options(form, words), console_outputs=False, **settings)
            return _filled(form, vars(named))
    return tyro.cli(form, prog=f"rlkit {command}", **settings)


def _require_paths(form: type[Any], args: Sequence[str], command: str) -> None:
    """Require a word where a path is expected: an empty one would be the current folder."""
    kinds, last = _options(form), ""
    for word in args:
        flag, equals, value = word.partition("=")
        if word.startswith("--"):
            last = flag.replace("_", "-")
        if (word and not equals) or value or not _takes_path(kinds.get(last, Path)):
            continue
        raise UsageError(
            f"{last or command}: expected {'a path' if last else 'a name or a path'}, got an empty "
            'word, as "$NAME" gives it where that variable is not set'
        )


def _takes_path(kind: Any) -> bool:
    """Return whether a type is that of paths, or has it among its parts."""
    return kind is Path or any(map(_takes_path, typing.get_args(kind)))


def _named_options(form: type[Any], words: Sequence[str]) -> type[Any]:
    """Return a dataclass of those options of a form that words name, and all without a default."""
    flags = {word.partition("=")[0].replace("_", "-") for word in words}
    fields: list[Any] = []
    leaves = list(_leaves(form))
    if len({name for name, _, _ in leaves}) < len(leaves):
        raise ValueError("two options have one name, so their values could be mistaken")
    for name, hint, default in leaves:
        flag = _flag(name, hint)
        if isinstance(hint, types.UnionType):  # which tyro imports half of Python for
            hint = typing.Union[hint.__args__]  # noqa: UP007
        if default is dataclasses.MISSING:
            fields.append((name, hint))
        elif not flags.isdisjoint((flag, f"--no-{flag[2:]}")):
            fields.append((name, hint, dataclasses.field(default=default)))
    return dataclasses.make_dataclass(form.__name__, fields, frozen=True, kw_only=True)


def _filled(form: Any, values: Mapping[str, Any], defaults: Any = None) -> Any:
    """Return an instance of a form, with these values of some options."""
    parts = {}
    for name, hint, default in _fields(form, defaults):
        if dataclasses.is_dataclass(hint):
            parts[name] = _filled(hint, values, default)
        else:
            parts[name] = values.get(name, default)
    return form(**parts)


def _leaves(form: Any, defaults: Any = None) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, type and default of each option of a form and of the dataclasses in it."""
    for name, hint, default in _fields(form, defaults):
        if dataclasses.is_dataclass(hint):
            yield from _leaves(hint, default)
        else:
            yield name, hint, default


def _fields(form: Any, defaults: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield name, type and default of each field, or MISSING; `defaults` is an instance or None."""
    hints = typing.get_type_hints(form, include_extras=True)
    for field in dataclasses.fields(form):
        if defaults is not None and defaults is not dataclasses.MISSING:
            default = getattr(defaults, field.name)
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        else:
            default = field.default
        yield field.name, hints[field.name], default


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
        options[_flag(name, hint)] = kind
    return options


def _flag(name: str, hint: Any) -> str:
    """Return the option of a field, as it is typed."""
    markers = typing.get_args(hint)[1:] if _is_annotated(hint) else ()
    names = [marker.name for marker in markers if getattr(marker, "name", None)]
    return f"--{names[0] if names else name}".replace("_", "-")


def _is_annotated(hint: Any) -> bool:
    return typing.get_origin(hint) is Annotated


def _has_required(part: Any) -> bool:
    """Return whether a dataclass has an option without a default."""
    missing = dataclasses.MISSING
    return any(
        f.default is missing and f.default_factory is missing for f in dataclasses.fields(part)
    )
