"""Functions of the user that are called at each evaluation, and that training does not notice."""

from __future__ import annotations

import functools
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from rlkit.determinism import apart
from rlkit.errors import UsageError, printable
from rlkit.runs.record import STOPPED
from rlkit.runs.reports import WatchError
from rlkit.training.watching.progress import Progress

STOP = "stop"
_KIND = "callback "  # begins the name of a callback where rules have names as well
HINT = (  # for who changed a callback and calls again
    "callbacks are known by their names alone, so that a call with none of that name trains further"
)
Callback = Callable[[Progress], "str | None"]


class CallbackError(WatchError):
    """A callback raised, or returned something that has no meaning."""


class Generators:
    """The global generators of callbacks, apart from those that anything else may use.

    They begin where the others are, and what callbacks seed or draw is there at their next call.
    """

    def __init__(self) -> None:
        self._theirs: dict[str, Any] | None = None

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function with the generators of callbacks."""
        ours = _states()
        if self._theirs is not None:
            _set_states(self._theirs)
        try:
            return function(*args)
        finally:
            self._theirs = _states()
            _set_states(ours)


def _states() -> dict[str, Any]:
    states: dict[str, Any] = {"random": random.getstate(), "numpy": np.random.get_state()}  # noqa: NPY002
    torch = sys.modules.get("torch")
    if torch is not None:
        states["torch"] = torch.get_rng_state()
    return states


def _set_states(states: dict[str, Any]) -> None:
    random.setstate(states["random"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    if "torch" in states:
        sys.modules["torch"].set_rng_state(states["torch"])


class Callbacks:
    """The callbacks of a call, in order."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._named = dict(zip(callback_names(callbacks), callbacks, strict=True))
        self._generators = Generators()

    def __bool__(self) -> bool:
        return bool(self._named)

    def stopping(self, progress: Progress) -> str | None:
        """Call all callbacks; return the name of the first that stops the run.

        Raises:
            CallbackError: one raised, or returned something other than None and "stop".
        """
        stopping = None
        for name, callback in self._named.items():
            try:
                answer = self._generators.call(apart, callback, progress)
            except (Exception, SystemExit) as error:
                raise CallbackError(
                    f"{name} raised {error!r} at step {progress.step:,} of {progress.run}, which "
                    "is kept: the same call with the callback mended, or without it, continues"
                ) from error
            if answer is not None and not (isinstance(answer, str) and answer == STOP):
                raise CallbackError(
                    f"{name} returned {answer!r:.80} at step {progress.step:,} of {progress.run}: "
                    f'expected None or "{STOP}". The run is kept, and the same call continues it'
                )
            if answer is not None and stopping is None:
                stopping = name
        return stopping


def callback_names(callbacks: Sequence[Callback]) -> list[str]:
    """Return what callbacks are called in errors and in the record of a run they stop.

    Raises:
        UsageError: one is not a function, or two have one name.
    """
    if callable(callbacks) or not isinstance(callbacks, Sequence):
        raise UsageError(
            f"callbacks: expected a list of functions of a Progress, got {callbacks!r:.80}"
        )
    names = []
    for callback in callbacks:
        if not callable(callback):
            raise UsageError(
                f"callbacks: expected functions of a Progress, got {callback!r:.80} in the list"
            )
        own = _name_of(callback)
        name = f"{_KIND}{own}"
        if name in names:
            raise UsageError(
                f"callbacks: two are called {own}; the record says by its name which one stopped "
                "the run, so give each a name of its own, as `def` does"
            )
        names.append(name)
    return names


def _name_of(callback: Callable[..., Any]) -> str:
    """Return the name of a function, of a partial one with what is bound, or of an object's class.

    It is the same in each call of a script, so that it holds no address of an object.
    """
    own = getattr(callback, "__qualname__", None)
    if own is not None or not isinstance(callback, functools.partial):
        return str(own or type(callback).__qualname__)
    bound = [_word(value) for value in callback.args]
    bound += [f"{name}={_word(value)}" for name, value in callback.keywords.items()]
    return f"{_name_of(callback.func)}({', '.join(bound)})"


def _word(value: Any) -> str:
    """Return a plain value as text, and anything else as its class."""
    plain = value is None or isinstance(value, bool | int | float | str)
    return printable(f"{value!r:.40}" if plain else type(value).__qualname__)


def stop_again(record: Mapping[str, Any]) -> list[Callback]:
    """Return a callback that stops a run where one of its name has, if one has."""
    stopped = record.get(STOPPED)
    if stopped is None or not stopped["by"].startswith(_KIND):
        return []

    def stops(progress: Progress) -> str | None:
        return STOP if progress.step >= int(stopped["at"]) else None

    stops.__qualname__ = stopped["by"].removeprefix(_KIND)
    return [stops]
