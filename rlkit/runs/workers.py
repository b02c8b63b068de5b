"""Splits the seeds of a run over processes, and stops them all when one is asked to stop."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType, FunctionType
from typing import Any

import gymnasium as gym

from rlkit.errors import RlkitError, UsageError
from rlkit.runs.reports import Failure, Reports, Stopped

# Brings seeds of a run to their end in its folder; returns those that could not go on.
Work = Callable[[Path, Sequence[int], Reports], list[Failure]]

_PATIENCE = 10.0  # seconds that a worker has to save and end before it is killed


class StopSignals:
    """Remembers SIGINT or SIGTERM, so that the loop saves and stops; a second one stops at once."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __call__(self) -> bool:
        return self.received is not None

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number

    @contextlib.contextmanager
    def watched(self) -> Iterator[StopSignals]:
        """Listen until the end of the block; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._receive) for number in numbers}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def refuse_to_be_imported(num_workers: int) -> None:
    """Refuse to start workers in a process that imports a script for one, or may not have any.

    Raises:
        UsageError: this is such a process, and more than one worker is asked for.
    """
    if num_workers > 1 and multiprocessing.current_process().daemon:
        raise UsageError(
            "a daemonic process, such as one of multiprocessing.Pool, may not start processes of "
            "its own: train with workers=1 there, or take "
            "concurrent.futures.ProcessPoolExecutor, whose processes may"
        )
    if num_workers > 1 and getattr(multiprocessing.current_process(), "_inheriting", False):
        raise UsageError(
            "a script that trains with more than one worker is imported by each of them: put what "
            'it does under `if __name__ == "__main__":`'
        )


def work_in_processes(
    work: Work, folder: Path, seeds: Sequence[int], num_workers: int, reports: Reports
) -> list[Failure]:
    """Do work in several processes, each with a share of the seeds; as `work` itself otherwise."""
    _require_sendable(work)
    warm_up()
    context = multiprocessing.get_context("forkserver")
    failures: list[Failure] = []
    errors: list[RlkitError] = []
    shares = [list(seeds)[k::num_workers] for k in range(num_workers)]
    alone: set[int] = set()  # seeds whose worker died, tried once more by themselves
    workers: dict[Connection, tuple[Any, list[int]]] = {}
    told = False
    try:
        while workers or (shares and not told):
            while shares and len(workers) < num_workers and not told:
                share = shares.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                arguments = (work, folder, share, theirs, dict(os.environ))
                process = context.Process(target=_work, args=arguments, daemon=True)
                with _deaf_to_ctrl_c(), _without_false_file():
                    process.start()
                theirs.close()
                workers[ours] = (process, share)
            import rlkit.analysis.plots  # noqa: F401  needed at the end; now there is time for it

            for connection in wait(list(workers), timeout=0.2):
                assert isinstance(connection, Connection)
                process, share = workers[connection]
                try:
                    kind, content = connection.recv()
                except (EOFError, OSError):
                    del workers[connection]
                    process.join()
                    if process.exitcode and (told or reports.stop()):
                        errors.append(Stopped(f"the worker with the seeds {share} was stopped"))
                    elif process.exitcode and alone.isdisjoint(share):
                        reports.note(f"{_death(process)}; its seeds {share} are tried once more")
                        alone.update(share)
                        shares += [[seed] for seed in share]
                    elif process.exitcode:
                        message = f"{_death(process)}, and did so again when it was tried once more"
                        failures += [Failure(seed, message, 1) for seed in share]
                    continue
                if kind == "progress":
                    reports.progress(*content)
                elif kind in ("note", "irreproducible", "caveat"):
                    getattr(reports, kind)(content)
                elif kind == "failures":
                    failures += content
                else:
                    errors.append(content)
            if reports.stop() and not told:
                told = True
                for process, _ in workers.values():
                    process.terminate()
    finally:
        for process, _ in workers.values():
            process.terminate()
        for process, _ in workers.values():
            process.join(_PATIENCE)
            process.kill()
            process.join()
    # What is wrong with one worker is the answer, rather than that the others were stopped.
    if errors:
        raise min(errors, key=lambda error: isinstance(error, Stopped))
    return failures


class _Pickler(pickle.Pickler):
    """Pickles, and remembers the classes and functions that belong to the main program."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.of_main: list[str] = []

    def persistent_id(self, thing: Any) -> None:
        if isinstance(thing, (type, FunctionType)) and thing.__module__ == "__main__":
            self.of_main.append(thing.__qualname__)


def _require_sendable(work: Work) -> None:
    """Require that another process can find all that the work consists of.

    Raises:
        UsageError: it cannot be pickled, or is defined where no other process can import it.
    """
    buffer = io.BytesIO()
    pickler = _Pickler(buffer)
    try:
        pickler.dump(work)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise UsageError(
            f"cannot hand what is to be trained to another process: {error}. Define it at the top "
            "level of a module, or use --workers 1"
        ) from error
    if _main_can_be_imported():
        return
    registered = [
        spec.id
        for spec in gym.registry.values()
        if getattr(spec.entry_point, "__module__", "") == "__main__"
        and spec.id.encode() in buffer.getvalue()
    ]
    if pickler.of_main or registered:
        name = [*pickler.of_main, *registered][0]
        raise UsageError(
            f"{name} is defined in a notebook or on standard input, from where worker processes "
            "cannot import it: put it in a file and import it from there (an environment can also "
            "be named as path/to/file.py:Class), or use workers=1"
        )


def _main_can_be_imported() -> bool:
    """Whether the main program is a module or a file, which each worker imports first."""
    main = sys.modules["__main__"]
    return getattr(main, "__spec__", None) is not None or os.path.isfile(
        getattr(main, "__file__", None) or ""
    )


@contextlib.contextmanager
def _without_false_file() -> Iterator[None]:
    """Let workers not look for the file "<stdin>", as which a program on standard input goes."""
    main = vars(sys.modules["__main__"])
    if "__file__" not in main or _main_can_be_imported():
        yield
        return
    file = main.pop("__file__")
    try:
        yield
    finally:
        main["__file__"] = file


def warm_up() -> None:
    """Start the process that workers are forked from; it imports torch while we do other things.

    Forking this process would copy the threads and locks of torch half way; that one has used
    nothing of what it imported. Called early, it takes a second off the start of the workers.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["rlkit.runs.workers", "rlkit.agents.ppo"])
    with _deaf_to_ctrl_c():
        forkserver.ensure_running()


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """What is started here never sees Ctrl+C, which goes to all processes of a terminal.

    Only this process takes it, and tells the workers by SIGTERM, once.
    """
    resource_tracker.ensure_running()  # its own start would unblock SIGINT again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _death(process: Any) -> str:
    hint = (
        " (a script that trains with more than one worker must do so under "
        '`if __name__ == "__main__":`, and define its classes outside of that)'
        if process.exitcode == 1
        else ""
    )
    return f"the process that trained it ended with exit code {process.exitcode}{hint}"


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # nobody is left to work for, and the run may be taken up by another process


def _work(
    work: Work,
    folder: Path,
    seeds: Sequence[int],
    connection: Connection,
    variables: Mapping[str, str],
) -> None:
    from rlkit.determinism import prepared_torch

    threading.Thread(target=_end_with_parent, daemon=True).start()
    # The process that this one was forked from may have been started under other variables.
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)

    def send(kind: str) -> Callable[..., None]:
        def report(*content: Any) -> None:
            with contextlib.suppress(BrokenPipeError):
                connection.send((kind, content if len(content) > 1 else content[0]))

        return report

    with prepared_torch(), StopSignals().watched() as stop:
        reports = Reports(
            progress=send("progress"),
            note=send("note"),
            irreproducible=send("irreproducible"),
            caveat=send("caveat"),
            stop=stop,
        )
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
