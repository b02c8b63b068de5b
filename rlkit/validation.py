"""Checks of configuration fields: each names the option, what was expected and what was got."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, get_args

from rlkit.errors import UsageError, closest


def _option(name: str) -> str:
    return f"option {name} (--{name.replace('_', '-')})"


def _annotation(config: Any, name: str) -> str:
    return next(str(field.type) for field in dataclasses.fields(config) if field.name == name)


def require_whole(config: Any, *names: str, at_least: int) -> None:
    """Require integers, or tuples of integers, that are not below `at_least`."""
    for name in names:
        value = getattr(config, name)
        several = "tuple" in _annotation(config, name)
        values = value if isinstance(value, tuple) and several else (value,)
        if (several and not isinstance(value, tuple)) or any(
            isinstance(one, bool) or not isinstance(one, int) or one < at_least for one in values
        ):
            what = "a tuple of whole numbers" if several else "a whole number"
            raise UsageError(f"{_option(name)}: expected {what} >= {at_least}, got {value!r}")


def require_range(
    config: Any,
    *names: str,
    low: float,
    high: float = math.inf,
    open_low: bool = False,
    open_high: bool = False,
) -> None:
    """Require finite numbers in a range; None, where the field allows it, passes."""
    for name in names:
        value = getattr(config, name)
        if value is None and "None" in _annotation(config, name):
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        inside = (
            number
            and math.isfinite(value)
            and (value > low if open_low else value >= low)
            and (value < high if open_high else value <= high)
        )
        if not inside:
            left = "(" if open_low else "["
            right = ")" if open_high or high == math.inf else "]"
            upper = "infinity" if high == math.inf else f"{high:g}"
            raise UsageError(
                f"{_option(name)}: expected a number in {left}{low:g}, {upper}{right}, "
                f"got {value!r}"
            )


def require_choice(config: Any, *names: str, among: Any) -> None:
    """Require one of the values of a Literal type."""
    choices = get_args(among)
    for name in names:
        value = getattr(config, name)
        if value not in choices:
            known = ", ".join(repr(choice) for choice in choices)
            raise UsageError(
                f"{_option(name)}: expected one of {known}, got {value!r}."
                + closest(str(value), choices)
            )
