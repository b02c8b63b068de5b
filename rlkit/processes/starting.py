"""Processes forked from one that has imported what they need, and that end with this one."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import forkserver, resource_tracker, util
from multiprocessing.context import ForkServerProcess
from typing import Any

from rlkit.errors import RlkitError
from rlkit.processes.sending import without_false_file

_ENDING = (signal.SIGTERM, signal.SIGHUP)
_LONGEST_PLACE = 70  # bytes of the address of a socket, less what multiprocessing appends
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_started: weakref.WeakSet[ForkServerProcess] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_started.clear)  # they are not those of a child


def warm_up(modules: Sequence[str]) -> None:
    """Start the process that others are forked from, which imports modules for all of them.

    Forking this process would copy the threads and locks of torch halfway; that one has used
    nothing of what it imported. Called early, this saves a second when the others start.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*modules])
    _require_short_place()
    with _signals_blocked(), _in_some_folder():
        forkserver.ensure_running()


def start(function: Callable[..., object], arguments: tuple[Any, ...]) -> ForkServerProcess:
    """Call a function in a new process, which never receives Ctrl+C."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_call, args=(function, arguments), daemon=True)
    _require_short_place()
    _started.add(process)  # before: a signal may raise an error as soon as it runs
    with _signals_blocked(), without_false_file(), _in_some_folder():
        process.start()
    return process


@atexit.register  # after that of multiprocessing, so that it comes before it
def _kill_rest() -> None:
    """Kill what still runs: multiprocessing would wait for a process that no SIGTERM reaches."""
    for process in list(_started):
        with contextlib.suppress(ValueError, AttributeError, OSError):  # closed, or never started
            process.kill()


def _require_short_place() -> None:
    """Let the sockets of processes have a place whose name is short enough for an address.

    Raises:
        RlkitError: there is none that can be written.
    """
    place = tempfile.gettempdir()
    if len(os.fsencode(place)) <= _LONGEST_PLACE:
        return
    try:
        tempfile.tempdir = "/tmp"
        util.get_temp_dir()  # which remembers it, and removes it in the end
    except OSError as error:
        raise RlkitError(
            f"starting processes failed: the place of temporary files, {place}, has too long a "
            f"name, and /tmp cannot be used: {error.strerror}. Set TMPDIR to a shorter one"
        ) from error
    finally:
        tempfile.tempdir = place


def _call(function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    function(*arguments)


def warm_process(function: Callable[..., object], *arguments: Any) -> bool:
    """Call a function in a process forked from the one of `warm_up`; return whether it succeeded.

    What it raises is printed there, and not raised here. A daemonic process may start no other.
    """
    if multiprocessing.current_process().daemon:
        return False
    process = start(function, arguments)
    process.join()
    return process.exitcode == 0


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Block the signals that go to all processes of a terminal or a service.

    Whoever is started inherits that. So the process that others are forked from survives, and
    only this process receives Ctrl+C. The others receive SIGTERM again once they run.
    """
    resource_tracker.ensure_running()  # its own start would unblock SIGINT again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *_ENDING})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _in_some_folder() -> Iterator[None]:
    """Be in a folder that exists: new processes are told which, and anybody may have removed it."""
    try:
        os.getcwd()
    except FileNotFoundError:
        removed = os.open(".", os.O_RDONLY)
        os.chdir("/")
        try:
            yield
        finally:
            os.fchdir(removed)
            os.close(removed)
    else:
        yield


def end_with_parent(*, at_once: bool = False) -> None:
    """End this process when the one that started it ends, however that happens.

    Args:
        at_once: also while code of the user does not return to Python. This process can then
            start no others.
    """
    if at_once:
        _die_with_server()
    threading.Thread(target=_wait_for_parent, daemon=True).start()


def _wait_for_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # another process may continue the run now


def _die_with_server() -> None:
    """Let the kernel kill this process when the one that it was forked from ends.

    That one ends when no process that it serves is left; this one must not count as one.
    """
    alive = getattr(getattr(forkserver, "_forkserver", None), "_forkserver_alive_fd", None)
    if alive is None or not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        os.close(alive)


def set_variables(variables: Mapping[str, str]) -> None:
    """Set all environment variables: the server may have been started with others."""
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


def describe_exit(code: int | None, where: str = "") -> str:
    """Return how a process ended, from its exit code and, if known, where."""
    if code is not None and code < 0:
        try:
            name = f" ({signal.Signals(-code).name})"
        except ValueError:
            name = ""
        memory = "; the system may have run out of memory" if -code == signal.SIGKILL else ""
        return f"was ended by signal {-code}{name}{where}{memory}"
    return f"ended with exit code {code}{where}"


def main_guard_hint(code: int | None) -> str:
    """Return why a process may have ended before it did anything, from its exit code, or ""."""
    if code != 1:
        return ""
    return (
        " (a script that trains in other processes must do so under "
        '`if __name__ == "__main__":`, and define its classes outside of that)'
    )
