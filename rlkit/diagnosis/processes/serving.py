"""What a process of the doctor does.

It is a fresh one, not forked, so that it has a hash seed of its own. Whatever the environment does
to its process, the doctor survives.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

BEAT = 1.0  # seconds between two signs of life


class Message(NamedTuple):
    """What a helper says: "beat", "finding", "result", "unfindable" or "failed"."""

    kind: str
    content: Any = None


class Helper:
    """The environment of this process and what is known of it."""

    def __init__(self, say: Callable[[str, Any], None]) -> None:
        self._say = say
        self._environment: Any = None

    def find(self, again: Callable[[], Any]) -> bool:
        """Find the environment that another process found."""
        from rlkit.errors import RlkitError

        try:
            self._environment = again()
        except RlkitError as error:
            self._say("unfindable", str(error))
            return False
        return True

    def examine(self, **options: Any) -> Any:
        from rlkit.diagnosis.examination import examine

        return examine(self._environment, tell=lambda one: self._say("finding", one), **options)

    def replay(self, **options: Any) -> Any:
        from rlkit.diagnosis.processes.replay import replay

        return replay(self._environment, **options)

    def learn(self, **options: Any) -> Any:
        from rlkit.diagnosis.learnability import try_learning

        return try_learning(self._environment, **options)


def main(number: int) -> None:
    """Answer requests on a connection until it is closed."""
    connection, lock = Connection(number), threading.Lock()

    def say(kind: str, content: Any = None) -> None:
        with lock:
            connection.send(Message(kind, content))

    def beat() -> None:
        while True:
            time.sleep(BEAT)
            try:
                say("beat")
            except OSError:
                os._exit(1)  # the doctor has ended

    threading.Thread(target=beat, daemon=True).start()
    sys.path[:] = connection.recv()  # what the requests name is found there
    from rlkit.processes.calls import CALLS

    CALLS.supervised = True
    helper = Helper(say)
    while True:
        try:
            name, again, options = connection.recv()
        except (EOFError, OSError):
            os._exit(0)  # whatever threads the environment started
        except Exception as error:
            say("unfindable", repr(error))
            continue
        try:
            if again is None or helper.find(again):
                say("result", getattr(helper, name)(**options))
        except BaseException:
            say("failed", traceback.format_exc())
