"""Processes that look at an environment for the doctor, and what becomes of them."""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from multiprocessing import Pipe
from typing import Any

from rlkit.diagnosis.findings import Fault, Finding
from rlkit.diagnosis.processes.serving import BEAT, Message
from rlkit.environments.environment import Environment
from rlkit.errors import RlkitError
from rlkit.processes.starting import describe_exit

_PROGRAM = "from rlkit.diagnosis.processes.serving import main"
_SILENCE = 10.0  # seconds without a sign of life, beside the time of one call


class Unfindable(Exception):
    """Another process cannot find the environment."""


class HelperProcess:
    """A process of the doctor, seen from the one that it works for.

    Args:
        environment: what it looks at.
        hash_seed: of Python, in that process.

    Raises:
        Unfindable: what makes the environment cannot be sent.
    """

    def __init__(self, environment: Environment, hash_seed: int) -> None:
        try:
            again = pickle.dumps(environment.again)
        except Exception as error:
            raise Unfindable(str(error)) from error
        if b"__main__" in again:  # the main program there is another
            raise Unfindable("it is defined in the main program")
        self._again: Callable[[], Environment] | None = environment.again
        self._connection, theirs = Pipe()
        variables = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"{_PROGRAM}; main({theirs.fileno()})"],
            pass_fds=[theirs.fileno()],
            env=variables | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl+C is for this process
        )
        theirs.close()
        self._connection.send(sys.path)

    def ask(
        self,
        name: str,
        options: Mapping[str, Any],
        *,
        timeout: float,
        seconds: float,
        tell: Callable[[Finding], None] = lambda finding: None,
    ) -> Any:
        """Let it do something and return the result.

        Args:
            name: a method of `serving.Helper`.
            options: its arguments.
            timeout: seconds that one call of the environment may take.
            seconds: for everything.
            tell: is called with each finding.

        Raises:
            Fault: the process ended, or does not answer.
            Unfindable: it cannot find the environment.
        """
        started = heard = time.monotonic()
        try:
            self._connection.send((name, self._again, dict(options)))
            self._again = None  # it has it now
            while True:
                message = self._receive()
                now = time.monotonic()
                if message is not None:
                    heard = now
                    if message.kind == "finding":
                        tell(message.content)
                    elif message.kind == "result":
                        return message.content
                    elif message.kind == "unfindable":
                        raise Unfindable(message.content)
                    elif message.kind == "failed":
                        raise RlkitError(f"the doctor itself failed:\n{message.content}")
                if now - heard > timeout + _SILENCE:
                    self._process.kill()
                    raise Fault(
                        "hangs",
                        f"A call did not return within {now - heard:.0f} s, and nothing but the "
                        "end of its process could interrupt it.",
                    )
                if now - started > seconds:
                    self._process.kill()
                    raise Fault(
                        "too-slow",
                        f"Looking at it was not done within {seconds:.0f} s, although each call "
                        f"returned within {timeout:g} s.",
                    )
        except (EOFError, OSError):
            code = self._process.wait()
            took = time.monotonic() - heard
            if code == 1 and took > timeout:  # the watchdog gave it up
                text = f"A call did not return within {timeout:g} s and could not be interrupted."
                raise Fault("hangs", text) from None
            raise Fault("ends-process", f"Its process {describe_exit(code)}.") from None

    def _receive(self) -> Message | None:
        """Return the next message; None if there is none for a moment."""
        if not self._connection.poll(BEAT):
            return None
        message: Message = self._connection.recv()
        return message

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def helper_process(environment: Environment, hash_seed: int) -> Iterator[HelperProcess]:
    """Start a process of the doctor for a block, and end it afterwards."""
    helper = HelperProcess(environment, hash_seed)
    try:
        yield helper
    finally:
        helper.close()
