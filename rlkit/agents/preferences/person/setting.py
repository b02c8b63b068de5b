"""What a person needs that agents do not know: the environment, the run's folder, when to stop."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from rlkit.environments.environment import Environment

ANSWERS = "answers.jsonl"  # in the folder of the run


@dataclass(frozen=True)
class Setting:
    """Where the seeds of a run are trained.

    Args:
        folder: of the run; answers are kept in it unless another file is named.
        environment: from which pictures are drawn; None = there are none.
        stop: whether to stop now.
        closing: what is closed at the end of the training.
    """

    folder: Path = field(default_factory=Path.cwd)
    environment: Environment | None = None
    stop: Callable[[], int] = lambda: False
    closing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


_setting: ContextVar[Setting | None] = ContextVar("setting of a person", default=None)


@contextlib.contextmanager
def labelled_in(
    folder: Path, environment: Environment | None, stop: Callable[[], int]
) -> Iterator[None]:
    """Within the block, let labellers that ask a person know where they are."""
    with contextlib.ExitStack() as closing:
        token = _setting.set(Setting(folder, environment, stop, closing))
        try:
            yield
        finally:
            _setting.reset(token)


def present_setting() -> Setting:
    """Return the setting of the block, or one without an environment."""
    return _setting.get() or Setting()
