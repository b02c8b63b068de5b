"""Makes a configuration from options, and rejects unknown ones."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from rlkit.errors import RlkitError, UsageError
from rlkit.options import convert_types, converted_options, require_types
from rlkit.spelling import closest


def make_config(owner: str, config_class: Any, options: Mapping[str, Any]) -> Any:
    """Construct a configuration whose class may be the user's own, and check its types.

    Raises:
        UsageError: an option does not fit its declared type, or the class raises something.
    """
    taken = converted_options(config_class, options)
    try:
        config = config_class(**taken)
    except RlkitError:
        raise
    except Exception as error:
        given = ", ".join(f"{key}={value!r}" for key, value in options.items())
        raise UsageError(f"{owner}: its configuration ({given}) failed: {error!r}") from error
    # An option that the class itself changed is not checked.
    require_types(config, *(key for key in taken if getattr(config, key) is taken[key]))
    convert_types(config)
    return config


def require_config(owner: str, config_class: Any, config: Any) -> Any:
    """Require an instance of a configuration class, and check its types."""
    if isinstance(config, type):
        raise UsageError(
            f"config of the {owner}: expected a {config_class.__name__}, got the class "
            f"{config.__name__}; give an instance, as in config={config_class.__name__}(...)"
        )
    if not isinstance(config, config_class):
        wanted, got = config_class, type(config)
        alike = wanted.__name__ == got.__name__
        names = [f"{c.__module__}.{c.__name__}" if alike else c.__name__ for c in (wanted, got)]
        raise UsageError(
            f"config of the {owner}: expected a {names[0]}, or a mapping of its options, got "
            f"a {names[1]}"
        )
    known_options(owner, config_class, ())
    changed = copy.copy(config)
    require_types(changed)
    return changed


def known_options(
    owner: str, config_class: Any, options: Iterable[Any], arguments: Iterable[str] = ()
) -> list[str]:
    """Return the names of a configuration's options; reject any other among `options`.

    `arguments` are names that are passed beside the options, not among them.
    """
    if not dataclasses.is_dataclass(config_class):
        raise UsageError(
            f"{owner}: expected its Config to be a dataclass, got {config_class!r}; decorate it "
            "with @dataclass(frozen=True, kw_only=True)"
        )
    known = [field.name for field in dataclasses.fields(config_class) if field.init]
    for option in options:
        if option in known:
            continue
        if option in arguments:
            raise UsageError(
                f"{owner}: {option!r} is not one of its options but a separate argument; pass it "
                f"beside config, as in {option}=..."
            )
        raise UsageError(
            f"{owner} has no option {option!r}.{closest(str(option), [*known, *arguments])} "
            f"It has {', '.join(known) or 'none'}."
        )
    return known
