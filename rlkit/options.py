"""Checks of options by their types and ranges.

An option is converted to the type that its annotation declares wherever that changes no meaning,
so that `np.int64(64)` and `64`, or `[64, 64]` and `(64, 64)`, are the same configuration. A value
that does not fit is rejected with the option, the expectation and the value.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import numbers
import sys
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal, get_args, get_origin

from rlkit.errors import UsageError
from rlkit.spelling import closest

_ATOMS = {bool: "True or False", int: "a whole number", float: "a number", str: "a string"}
_SEVERAL = {bool: "booleans", int: "whole numbers", float: "numbers", str: "strings"}


# The metadata of an option that older versions lacked, and whose default changes nothing. While it
# stands at its default it is not part of a run's identity: runs that were begun without the option
# keep the names of their folders and can be continued.
ADDED_LATER = {"added_later": True}


def identifying_options(config: Any) -> list[str]:
    """Return the names of a configuration's fields that are part of a run's identity."""
    return [
        field.name
        for field in dataclasses.fields(config)
        if not stands_at_later_default(field, getattr(config, field.name))
    ]


def stands_at_later_default(field: dataclasses.Field[Any], value: Any) -> bool:
    """Return whether an option was added later and has the value that changes nothing."""
    return bool(field.metadata.get("added_later") and value == field.default)


class Unfit(Exception):
    """A value that does not fit its type; `expected` describes what does."""

    def __init__(self, expected: str) -> None:
        super().__init__(expected)
        self.expected = expected


def converted(value: Any, kind: Any) -> Any:
    """Return a value as the type that an annotation declares.

    NumPy's scalars and arrays without axes count as the number in them, whole numbers fit where a
    float is declared, and sequences and arrays fit where a tuple or list is. A bool is never a
    number, a float never a whole number, and a string never a sequence. Values of unknown
    types are returned unchanged.

    Raises:
        Unfit: the value does not fit.
    """
    kind = get_args(kind)[0] if get_origin(kind) is typing.Annotated else kind
    value = without_axes(value)
    if kind is None or kind is type(None):
        if value is not None:
            raise Unfit("None")
        return None
    if isinstance(kind, type) and kind in _ATOMS:
        return _atom(value, kind)
    if get_origin(kind) is Literal:
        for choice in get_args(kind):
            if isinstance(value, type(choice)) and value == choice:
                return choice
        raise Unfit("one of " + ", ".join(repr(choice) for choice in get_args(kind)))
    if get_origin(kind) in (typing.Union, types.UnionType):
        return _one_of(value, get_args(kind))
    container = get_origin(kind) or kind
    if container in (tuple, list):
        return _sequence(value, container, get_args(kind))
    return value


def require_typed(name: str, value: Any, kind: Any, expected: str = "") -> Any:
    """Return an argument converted to its type; `expected` describes it more precisely.

    Raises:
        UsageError: it does not fit.
    """
    try:
        return converted(value, kind)
    except Unfit as error:
        raise _refusal(name, expected or error.expected, value) from None


def require_types(config: Any, *names: str) -> None:
    """Convert the fields of a dataclass, or the named ones, to the types that it declares.

    Raises:
        UsageError: a value does not fit its type.
    """
    for field in dataclasses.fields(config):
        # A default that does not fit is the responsibility of the class.
        if not names or field.name in names:
            try:
                _take(config, field.name)
            except UsageError:
                if getattr(config, field.name) is not field.default:
                    raise


def convert_types(config: Any) -> None:
    """Convert the fields that fit the types a dataclass declares; leave others unchanged."""
    for field in dataclasses.fields(config):
        try:
            _take(config, field.name)
        except UsageError:
            continue


def converted_options(config_class: Any, options: typing.Mapping[str, Any]) -> dict[str, Any]:
    """Return options as the types that a dataclass declares; others are unchanged."""
    kinds, taken = field_types(config_class), dict(options)
    for name, value in options.items():
        try:
            taken[name] = converted(value, kinds.get(name, Any))
        except Unfit:
            continue
    return taken


def without_axes(value: Any) -> Any:
    """Return the number in a NumPy scalar or 0-d array; anything else unchanged."""
    if not isinstance(value, type) and getattr(value, "shape", None) == ():
        item = getattr(value, "item", None)
        return value if item is None else item()
    return value


@functools.lru_cache(maxsize=256)
def field_types(config_class: Any) -> dict[str, Any]:
    """Return the declared type of each field; Any for one that cannot be evaluated.

    A name may be imported only for type checkers, or be local to the function with the class.
    """
    try:
        return typing.get_type_hints(config_class)
    except Exception:
        kinds: dict[str, Any] = {}
        for base in reversed(config_class.__mro__):
            scope = vars(sys.modules.get(base.__module__, types))
            for name, kind in inspect.get_annotations(base).items():
                try:
                    kinds[name] = eval(kind, dict(scope)) if isinstance(kind, str) else kind
                except Exception:
                    kinds[name] = Any
        return kinds


def require_whole(config: Any, *names: str, at_least: int) -> None:
    """Require whole numbers, or tuples of them, that are not below `at_least`; None may pass."""
    for name in names:
        several = "tuple" in str(_kind_of(config, name))
        what = "a tuple of whole numbers" if several else "a whole number"
        value = _take(config, name, f"{what} >= {at_least}")
        values = value if isinstance(value, tuple) else (value,)
        if any(one is not None and one < at_least for one in values):
            raise _refusal(name, f"{what} >= {at_least}", value)


def require_range(
    config: Any,
    *names: str,
    low: float,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Require finite numbers in a range; None, where the field allows it, passes."""
    left = "(-infinity" if low == -math.inf else f"{'(' if open_low else '['}{low:g}"
    right = "infinity)" if high == math.inf else f"{high:g}{')' if open_high else ']'}"
    expected = f"a number in {left}, {right}"
    for name in names:
        value = _take(config, name, expected)
        inside = value is None or (
            math.isfinite(value)
            and (value > low if open_low else value >= low)
            and (value < high if open_high else value <= high)
        )
        if not inside:
            raise _refusal(name, expected, value)


def require_choice(config: Any, *names: str, among: Any) -> None:
    """Require one of the values of a Literal type."""
    for name in names:
        value = getattr(config, name)
        try:
            _replace(config, name, converted(value, among))
        except Unfit as error:
            hint = closest(value, get_args(among)) if isinstance(value, str) else ""
            raise UsageError(f"{_refusal(name, error.expected, value)}.{hint}") from None


def _take(config: Any, name: str, expected: str = "") -> Any:
    """Convert one field in place and return it; `expected` describes it more precisely."""
    value = getattr(config, name)
    try:
        taken = converted(value, _kind_of(config, name))
    except Unfit as error:
        raise _refusal(name, expected or error.expected, value) from None
    _replace(config, name, taken)
    return taken


def _kind_of(config: Any, name: str) -> Any:
    config_class: Any = type(config)
    return field_types(config_class).get(name, Any)


def _replace(config: Any, name: str, value: Any) -> None:
    if value is not getattr(config, name):
        object.__setattr__(config, name, value)


def _refusal(name: str, expected: str, value: Any) -> UsageError:
    text = repr(value)
    if len(text) > 200:
        text = f"{text[:200]}..."
    return UsageError(
        f"option {name} (--{name.replace('_', '-')}): expected {expected}, got {text}"
        f"{_whole_instead(expected, value)}"
    )


def _whole_instead(expected: str, value: Any) -> str:
    """Return what to write instead of a float that has a whole value."""
    value = without_axes(value)
    if "whole number" not in expected or not isinstance(value, float) or not value.is_integer():
        return ""
    mantissa, exponent = f"{value:.15e}".split("e")
    short = f"{float(mantissa):.15g}e{int(exponent)}"
    return f"; write {int(value)}, not {short if abs(value) >= 1000 else repr(value)}"


def _atom(value: Any, kind: Any) -> Any:
    if kind is bool:
        fits = isinstance(value, bool)
    elif kind is str:
        fits = isinstance(value, str)
    else:
        number = numbers.Integral if kind is int else numbers.Real
        fits = isinstance(value, number) and not isinstance(value, bool)
    if not fits:
        raise Unfit(_ATOMS[kind])
    if kind is str:
        return str.__str__(value)
    try:
        return kind(value)
    except OverflowError:
        raise Unfit("a number that a float can hold") from None


def _one_of(value: Any, kinds: Sequence[Any]) -> Any:
    """Return the value as one of several types: its own if possible, else the first."""
    fitting, expected = [], []
    # An unknown type accepts anything, so it comes last.
    for kind in sorted(kinds, key=lambda kind: not _is_known(kind)):
        try:
            fitting.append(converted(value, kind))
        except Unfit as error:
            expected.append(error.expected)
    if not fitting:
        raise Unfit(" or ".join(dict.fromkeys(expected)))
    same = [one for one in fitting if type(one) is type(value)]
    return same[0] if same and all(map(_is_known, kinds)) else fitting[0]


def _is_known(kind: Any) -> bool:
    """Return whether `converted` knows a type."""
    origin = get_origin(kind) or kind
    return origin in (None, type(None), *_ATOMS, tuple, list, Literal, typing.Annotated) or (
        origin in (typing.Union, types.UnionType)
    )


def _sequence(value: Any, container: Any, kinds: tuple[Any, ...]) -> Any:
    """Return the value as a tuple or list with elements of the declared types."""
    if getattr(value, "shape", ()) and hasattr(value, "tolist"):
        value = value.tolist()
    fixed = container is tuple and kinds and kinds[-1] is not Ellipsis
    what = f"a {container.__name__}"
    if fixed:
        what += f" of {len(kinds)}"
    elif kinds and isinstance(kinds[0], type) and kinds[0] in _ATOMS:
        what += f" of {_SEVERAL[kinds[0]]}"
    if not isinstance(value, Sequence) or isinstance(value, (str, bytes, bytearray)):
        raise Unfit(what)
    if fixed and len(value) != len(kinds):
        raise Unfit(what)
    try:
        return container(
            converted(one, kinds[i] if fixed else kinds[0] if kinds else Any)
            for i, one in enumerate(value)
        )
    except Unfit as error:
        raise Unfit(f"{what}, each {error.expected}" if fixed else what) from None


def require_count(name: str, value: Any, *, at_least: int, at_most: int = 2**63 - 1) -> int:
    """Return a whole number from `at_least` to `at_most`, which fits a signed 64-bit integer."""
    expected = f"a whole number >= {at_least}"
    count: int = require_typed(name, value, int, expected)
    if not at_least <= count <= at_most:
        limit = "< 2**63" if at_most == 2**63 - 1 else f"<= {at_most:,}"
        upper = f" and {limit}" if count > at_most else ""
        raise _refusal(name, expected + upper, value)
    return count


def require_seconds(name: str, value: Any) -> float:
    """Return a number of seconds."""
    seconds: float = require_typed(name, value, float)
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(
            f"option {name} (--{name.replace('_', '-')}): expected seconds > 0, got {value!r}"
        )
    return seconds
