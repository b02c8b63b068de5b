"""Worker processes: each trains a share of the seeds, and all stop together."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Mapping, MutableSequence, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any, NamedTuple

from rlkit.errors import RlkitError
from rlkit.processes import starting
from rlkit.processes.calls import CALLS, NAMES, NOTHING
from rlkit.processes.sending import require_sendable
from rlkit.processes.starting import describe_exit, end_with_parent, set_variables, start
from rlkit.runs.kinds import RunKind
from rlkit.runs.reports import Failure, Reports, Rows, Stopped, StopSignals

# Trains seeds of a run in its folder; returns those that could not be finished.
Work = Callable[[Path, Sequence[int], Reports], list[Failure]]

_PATIENCE = 10.0  # seconds that a worker has to save and end before it is killed
_HANDED_ON = 2.0  # seconds after which a signal is not the first one, handed on by the parent
_REPORTED = ("progress", "note", "irreproducible", "caveat")  # by workers, as in Reports
_LOOK_EVERY = 0.2  # seconds between two questions whether to stop


def work_in_processes(
    work: Work,
    folder: Path,
    seeds: Sequence[int],
    num_workers: int,
    reports: Reports,
    *,
    kind: RunKind,
    imports: Sequence[str] = (),
) -> list[Failure]:
    """Do work in several processes, each with a share of the seeds; otherwise like `work` itself.

    Args:
        imports: modules that this work needs, besides those of its kind.

    Raises:
        UsageError: the work cannot be sent to another process.
    """
    require_sendable(work)
    warm_up((*kind.worker_imports, *imports))
    shares = [list(seeds)[k::num_workers] for k in range(num_workers)]
    workers = _Workers(work, folder, num_workers, reports)
    try:
        workers.run(shares, kind.late_imports)
    except KeyboardInterrupt:  # asked to stop a second time
        workers.kill()
        raise
    finally:
        workers.end()
    # Raise the original failure, not the stop that followed in the other workers.
    if workers.errors:
        raise min(workers.errors, key=lambda error: isinstance(error, Stopped))
    return workers.failures


class _Running(NamedTuple):
    """A worker process."""

    process: ForkServerProcess
    share: list[int]  # the seeds that it trains
    calls: MutableSequence[int]  # which call of an environment it makes, in shared memory


class _Workers:
    """The worker processes of a run, each with the seeds that it trains."""

    def __init__(self, work: Work, folder: Path, num_workers: int, reports: Reports) -> None:
        self._work, self._folder, self._reports = work, folder, reports
        self._num_workers = num_workers
        self._running: dict[Connection, _Running] = {}
        self._asking: dict[Connection, int] = {}  # workers that wait for an answer, at which step
        self._waiting: list[list[int]] = []
        self._retried: set[int] = set()  # seeds whose worker died, tried once more by themselves
        self._stopping = False
        self._done: set[int | None] = set()  # processes that reported their result
        self.failures: list[Failure] = []
        self.errors: list[RlkitError] = []

    def run(self, shares: Sequence[list[int]], late_imports: Sequence[str]) -> None:
        """Train shares of seeds until none is left, or until the run is asked to stop."""
        self._waiting = list(shares)
        while self._running or (self._waiting and not self._stopping):
            while self._waiting and self._has_room and not self._stopping:
                self._start(self._waiting.pop(0))
            for module in late_imports:  # needed after training; this process has time now
                importlib.import_module(module)
            for connection in wait(list(self._running), timeout=_LOOK_EVERY):
                assert isinstance(connection, Connection)
                try:
                    what, content = connection.recv()
                except (EOFError, OSError):
                    self._asking.pop(connection, None)
                    self._ended(self._running.pop(connection))
                    continue
                if what in ("failures", "error"):
                    self._done.add(self._running[connection].process.pid)
                self._received(what, content, connection)
            self._answer()
            if self._reports.stop():
                self._stop()

    @property
    def _has_room(self) -> bool:
        """Whether another worker may start; where seeds wait for each other, all of them must."""
        watch = self._reports.watch
        return len(self._running) < self._num_workers or (watch is not None and watch.decides)

    def _stop(self) -> None:
        """Ask all workers to save and end."""
        if not self._stopping:
            self._stopping = True
            for worker in self._running.values():
                worker.process.terminate()

    def _answer(self) -> None:
        """Answer the workers that asked whether the run ends at a step, where that is known."""
        watch = self._reports.watch
        for connection, steps in list(self._asking.items()):
            assert watch is not None
            ends = watch.verdict(steps)
            if ends is not None:
                del self._asking[connection]
                with contextlib.suppress(OSError):
                    connection.send(ends)

    def _start(self, share: list[int]) -> None:
        watch = None if self._reports.watch is None else self._reports.watch.decides
        ours, theirs = multiprocessing.Pipe(duplex=watch is not None)
        calls = RawArray("q", [0, NOTHING, -1, 0])
        arguments = (self._work, self._folder, share, theirs, calls, dict(os.environ), watch)
        process = start(_work, arguments)
        theirs.close()
        self._running[ours] = _Running(process, share, calls)

    def _received(self, what: str, content: Any, connection: Connection) -> None:
        watch = self._reports.watch
        if what == "progress":
            self._reports.progress(*content)
        elif what in _REPORTED:
            getattr(self._reports, what)(content)
        elif what == "failures":
            self.failures += content
        elif what == "ask":
            self._asking[connection] = content
        elif what in ("add", "fail") and watch is not None:
            self._watching(getattr(watch, what), *content)
        else:
            self.errors.append(content)
            if watch is not None and watch.decides:  # the others would wait for its seeds
                self._stop()

    def _watching(self, call: Callable[..., None], *content: Any) -> None:
        """Hand something to the watch; where that fails, all workers save and end."""
        try:
            call(*content)
        except RlkitError as error:
            self.errors.append(error)
            self._stop()

    def _ended(self, worker: _Running) -> None:
        """Try the seeds of a worker that died once more, each by itself."""
        process, share, calls = worker
        process.join()
        if process.pid in self._done:
            return
        if self._stopping or self._reports.stop():
            self.errors.append(Stopped(f"the worker with the seeds {share} was stopped"))
        elif self._retried.isdisjoint(share):
            text = _describe_exit(process, calls)
            self._reports.note(f"{text}; its seeds {share} are tried once more")
            self._retried.update(share)
            self._waiting += [[seed] for seed in share]
        else:
            text = _describe_exit(process, calls)
            message = f"{text}, and did so again when it was tried once more"
            self.failures += [Failure(seed, message, 1) for seed in share]
            if self._reports.watch is not None:
                self._watching(self._reports.watch.fail, share)

    def kill(self) -> None:
        """Kill all processes; their last checkpoints are intact."""
        for worker in self._running.values():
            worker.process.kill()

    def end(self) -> None:
        """End all processes: by SIGTERM, and after a while by SIGKILL."""
        for worker in self._running.values():
            worker.process.terminate()
        for worker in self._running.values():
            worker.process.join(_PATIENCE)
            worker.process.kill()
            worker.process.join()


def warm_up(modules: Sequence[str]) -> None:
    """Start the process that workers are forked from, which imports modules for all of them."""
    starting.warm_up([__name__, *modules])


def _describe_exit(process: ForkServerProcess, calls: MutableSequence[int]) -> str:
    kind = calls[1]
    where = "" if kind == NOTHING else f" in {NAMES[kind]} of the environment"
    hint = starting.main_guard_hint(process.exitcode) if kind == NOTHING else ""
    return f"the process that trained it {describe_exit(process.exitcode, where)}{hint}"


class _Relay:
    """The watch of the parent, as its worker sees it."""

    def __init__(self, connection: Connection, stop: StopSignals, *, decides: bool) -> None:
        self._connection, self._stop, self.decides = connection, stop, decides

    def add(self, seeds: Sequence[int], steps: int, rows: Rows) -> None:
        self._send("add", (list(seeds), steps, rows))

    def fail(self, seeds: Sequence[int]) -> None:
        self._send("fail", (list(seeds),))

    def _send(self, what: str, content: Any) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._connection.send((what, content))

    def verdict(self, steps: int) -> bool | None:
        """Return whether the run ends at this step; None if the process is to stop before that."""
        self._send("ask", steps)
        try:
            while not self._connection.poll(_LOOK_EVERY):
                if self._stop():
                    return None
            return bool(self._connection.recv())
        except (EOFError, OSError):  # the parent is gone
            return None


def _work(
    work: Work,
    folder: Path,
    seeds: Sequence[int],
    connection: Connection,
    calls: MutableSequence[int],
    variables: Mapping[str, str],
    watch: bool | None,
) -> None:
    from rlkit.determinism import prepared_torch

    end_with_parent()
    multiprocessing.current_process().daemon = False  # it may start processes of its own
    set_variables(variables)
    CALLS.entries = calls

    def send(what: str) -> Callable[..., None]:
        def report(*content: Any) -> None:
            with contextlib.suppress(BrokenPipeError):
                connection.send((what, content if len(content) > 1 else content[0]))

        return report

    with prepared_torch(), StopSignals(again_after=_HANDED_ON).watched() as stop:
        relay = None if watch is None else _Relay(connection, stop, decides=watch)
        reports = Reports(**{what: send(what) for what in _REPORTED}, stop=stop, watch=relay)
        try:
            failures = work(folder, seeds, reports)
            send("failures")(failures)
        except RlkitError as error:
            send("error")(error)
        except KeyboardInterrupt:  # asked to stop a second time
            os._exit(128 + signal.SIGTERM)
        except Exception:
            trace = traceback.format_exc()
            send("error")(RlkitError(f"training the seeds {list(seeds)} failed:\n{trace}"))
