"""Search spaces: the options that are searched and the range of each."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.configuration import known_options, make_config
from rlkit.errors import UsageError
from rlkit.files import read_ordinary
from rlkit.options import Unfit, converted, field_types, require_count
from rlkit.spelling import closest
from rlkit.training.tuning.built_in import SPACES

GRAMMAR = (
    "The range of an option is a list of values, as in gae_lambda = [0.9, 0.95, 1.0], or "
    "{ low = 1e-5, high = 1e-2 }, with log = true to search its logarithm and of_steps = true "
    'where low and high are shares of --steps; "None" stands for None'
)
ENVS = "envs"  # the one argument of `train` that can be searched beside the options of an agent
_KEYS = ("low", "high", "log", "of_steps")
_DIGITS = 3  # significant ones of a number that is drawn


@dataclass(frozen=True)
class Choices:
    """A list of values."""

    values: tuple[Any, ...]

    def __contains__(self, value: Any) -> bool:
        return any(value == one and type(value) is type(one) for one in self.values)

    def position(self, value: Any) -> int:
        """Return the place of a value in the list; True is not 1."""
        return [value == one and type(value) is type(one) for one in self.values].index(True)

    def as_data(self) -> list[Any]:
        """Return the range as plain data."""
        return [list(one) if isinstance(one, tuple) else one for one in self.values]


@dataclass(frozen=True)
class Between:
    """Numbers from `low` to `high`, uniform or uniform in their logarithm."""

    low: float
    high: float
    log: bool
    whole: bool  # whether they are whole numbers

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    def rounded(self, value: float) -> int | float:
        """Return a number of the range with three significant digits.

        In a narrow range, such as 0.999 to 0.9999, it has those of the width, too: else there would
        be hardly any to choose from.
        """
        sizes = [abs(size) for size in (value, self.high - self.low) if size]
        digits = max(_DIGITS - 1 - math.floor(math.log10(size)) for size in sizes)
        near = min(max(round(value, digits), self.low), self.high)
        return round(near) if self.whole else float(near)

    def as_data(self) -> dict[str, Any]:
        """Return the range as plain data."""
        return {"low": self.low, "high": self.high, "log": self.log}


Range = Choices | Between
Space = Mapping[str, Range]


def load_space(given: str | Path | Mapping[str, Any] | None, agent: str) -> Mapping[str, Any]:
    """Return the ranges of a space that is a TOML file, a mapping or None: the agent's own.

    Raises:
        UsageError: the file cannot be read, or there is no space of the agent.
    """
    if given is None:
        if agent not in SPACES:
            raise UsageError(
                f"agent {agent} has no search space of its own; name the options to search and "
                f"their ranges in a file, --space FILE (space=). {GRAMMAR}"
            )
        return SPACES[agent]
    if isinstance(given, Mapping):
        return given
    if not isinstance(given, str | Path):
        raise UsageError(f"option space (--space): expected a file or a mapping, got {given!r:.80}")
    try:
        return tomllib.loads(read_ordinary(Path(given)).decode())
    except OSError as error:
        raise UsageError(f"option space (--space): reading {given}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(
            f"option space (--space): {given} is not TOML: {error}. {GRAMMAR}"
        ) from error


def read_space(
    content: Mapping[str, Any], owner: str, config: Any, steps: int, fixed: Sequence[str] = ()
) -> dict[str, Range]:
    """Return the ranges of the options to search.

    Args:
        content: range by option, as in TOML.
        owner: for messages, such as "agent ppo".
        config: a configuration of the agent, to which each value is tried to be applied.
        steps: environment steps of a trial.
        fixed: options that are not searched although they have a range.

    Raises:
        UsageError: an option is unknown, a range cannot be read, or the agent rejects a value.
    """
    config_class: Any = type(config)
    own = known_options(owner, config_class, ())
    space: dict[str, Range] = {}
    for name, given in content.items():
        if name not in own and name != ENVS:
            raise UsageError(
                f"the search space: {owner} has no option {name!r}.{closest(name, [*own, ENVS])} "
                f"It has {', '.join([*own, ENVS])}"
            )
        if name in fixed:
            continue
        kind = int if name == ENVS else field_types(config_class).get(name, Any)
        space[name] = _read_range(name, given, kind, steps)
        _try_values(name, space[name], owner, config)
    if not space:
        raise UsageError(
            "the search space is empty: no option is searched"
            + (f", because all are fixed ({', '.join(fixed)})" if fixed else "")
            + f". {GRAMMAR}"
        )
    return space


def _read_range(name: str, given: Any, kind: Any, steps: int) -> Range:
    if isinstance(given, Mapping):
        return _read_between(name, given, kind, steps)
    if not isinstance(given, list | tuple) or not given:
        raise _unreadable(name, given)
    values = []
    for one in given:
        try:
            values.append(_choice(one, kind))
        except Unfit as error:
            raise UsageError(
                f"the search space: {name}: expected {error.expected}, got {one!r}. {GRAMMAR}"
            ) from None
    if any(one in Choices(tuple(values[:i])) for i, one in enumerate(values)):
        raise UsageError(f"the search space: {name}: {given!r} has a value twice")
    return Choices(tuple(values))


def _choice(given: Any, kind: Any) -> Any:
    try:
        return converted(given, kind)
    except Unfit:
        if given != "None":
            raise
        return converted(None, kind)


def _read_between(name: str, given: Mapping[str, Any], kind: Any, steps: int) -> Between:
    unknown = [key for key in given if key not in _KEYS]
    if unknown or "low" not in given or "high" not in given:
        hint = closest(unknown[0], _KEYS) if unknown else ""
        raise UsageError(f"{_unreadable(name, given)}.{hint}")
    switches = {key: given.get(key, False) for key in ("log", "of_steps")}
    low, high = (_number(name, given[key], given) for key in ("low", "high"))
    if not all(isinstance(value, bool) for value in switches.values()):
        raise _unreadable(name, given)
    whole = _is_whole(kind)
    if whole is None:
        raise UsageError(
            f"the search space: {name} is not a number, so it has no low and high; give a list of "
            "values"
        )
    if switches["of_steps"]:
        if not (whole and low >= 0 and high <= 1):
            raise UsageError(
                f"the search space: {name}: expected shares of the steps in [0, 1] of an option "
                f"that counts steps, got {dict(given)!r}"
            )
        low, high = max(1, round(low * steps)), max(1, round(high * steps))
    if whole and not (float(low).is_integer() and float(high).is_integer()):
        raise UsageError(
            f"the search space: {name} is a whole number: expected whole limits, got "
            f"{given['low']!r} and {given['high']!r}"
        )
    if low >= high:
        raise UsageError(
            f"the search space: {name}: expected low < high, got {given['low']!r} and "
            f"{given['high']!r}"
        )
    if switches["log"] and low <= 0:
        raise UsageError(
            f"the search space: {name}: low = {given['low']!r} has no logarithm; give low > 0, or "
            "omit log"
        )
    if whole:
        return Between(int(low), int(high), switches["log"], whole)
    return Between(float(low), float(high), switches["log"], whole)


def _number(name: str, value: Any, given: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _unreadable(name, given)
    return value


def _is_whole(kind: Any) -> bool | None:
    """Return whether numbers of a type are whole; None where it is not one of numbers."""
    for value, whole in ((0.5, False), (1, True)):
        try:
            if type(converted(value, kind)) is type(value) and kind is not Any:
                return whole
        except Unfit:
            continue
    return None


def _unreadable(name: str, given: Any) -> UsageError:
    return UsageError(f"the search space: {name} = {given!r:.100} cannot be read. {GRAMMAR}")


def _try_values(name: str, values: Range, owner: str, config: Any) -> None:
    """Require that the agent accepts each value, or each end, in place of the one that it has."""
    ends = values.values if isinstance(values, Choices) else (values.low, values.high)
    for value in ends:
        try:
            if name == ENVS:
                require_count(ENVS, value, at_least=1)
            else:
                with_option(owner, config, {name: value})
        except UsageError as error:
            raise UsageError(f"the search space: {name}: {owner} rejects {value!r}: {error}") from (
                error
            )


def with_option(owner: str, config: Any, options: Mapping[str, Any]) -> Any:
    """Return a configuration with other values of some options, checked."""
    now = {f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.init}
    return make_config(owner, type(config), {**now, **options})
