"""Copies of an environment in supervised worker processes.

Whatever a copy does, from an exception to a kill, ends in a `CopyProblem` that names it. A worker
whose call does not return is asked for its stack and killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.sharedctypes import RawArray
from typing import Any

from gymnasium import spaces

from rlkit.environments.copies import different_spaces
from rlkit.environments.environment import Environment
from rlkit.environments.repeatability import Repeatability, could_not_check
from rlkit.environments.stepping.checked import Outcome, Problem, Start
from rlkit.environments.stepping.local import Ask, CopyProblem
from rlkit.environments.stepping.serving import STACK_SIGNAL, Reply, Request, serve
from rlkit.environments.stepping.states import SavedState
from rlkit.environments.stepping.watchdog import STOP_PATIENCE
from rlkit.environments.views.leaves import identity_of
from rlkit.errors import PlayStopped, RlkitWarning, UsageError
from rlkit.processes import starting
from rlkit.processes.calls import CLOSE, CONSTRUCTOR, NAMES, NOTHING, STEP, did_not_return
from rlkit.processes.sending import require_sendable
from rlkit.tabular.reading.model import Model

CLOSE_PATIENCE = 5.0  # seconds that a worker has for closing its copies
_START_PATIENCE = 60.0  # seconds that a worker has for everything but calls of copies
_STACK_PATIENCE = 1.0  # seconds that a worker has for writing its stack
_LOOK_EVERY = 0.2  # seconds between two looks at a worker that does not answer


class Pool:
    """Worker processes that step the copies of an environment.

    Args:
        environment: what they make copies of.
        num_workers: how many processes; no more are started than there are copies.
        timeout: seconds that a call of a copy may take.
        stop: whether the run was asked to stop; then a call may take a few seconds more.

    Raises:
        UsageError: other processes cannot find the environment.
    """

    def __init__(
        self,
        environment: Environment,
        num_workers: int,
        timeout: float,
        stop: Callable[[], int] = lambda: False,
    ) -> None:
        require_sendable(environment.again, "--env-workers 0")
        starting.warm_up([serve.__module__])
        self.environment, self.timeout, self.stop = environment, timeout, stop
        self._num_workers = num_workers
        self._workers: list[_Worker] = []
        self._num_groups = 0

    def copies(self, number: int) -> PoolCopies:
        """Build copies in the workers, and return what steps them."""
        self._num_groups += 1
        while len(self._workers) < min(self._num_workers, number):
            self._workers.append(_Worker(self.environment))
        return PoolCopies(self, self._workers, self._num_groups, number)

    def checked(self) -> Environment:
        """Return the environment after checks in a worker, which survive whatever it does there.

        Raises:
            UsageError: it cannot be trained on, or its constructor or reset ends the process.
        """
        return self._checked(closing=True)

    def _checked(self, *, closing: bool) -> Environment:
        with contextlib.closing(_Worker(self.environment)) as worker:
            worker.send("check", 0, closing)
            try:
                reply = replies_of("check", {worker: [0]}, None, self)[worker]
            except CopyProblem as error:
                if worker.entries[1] != CLOSE or not closing:
                    return self._failed(error.problem, worker.entries[1])
                text = f"closing {self.environment.reference}: {error.problem}"
                warnings.warn(f"{text}; it is left open in checks", RlkitWarning, stacklevel=3)
                return self._checked(closing=False)
        if reply.error is not None:
            raise reply.error
        if reply.problem is not None:
            return self._failed(reply.problem[1], CONSTRUCTOR)
        return self.environment.with_known(*reply.results[0])

    def _failed(self, problem: Problem, kind: int) -> Environment:
        """Return the environment with the problem of playing it, which training reports anew."""
        if kind != STEP:
            raise UsageError(f"{self.environment.built} and resetting it failed: {problem}")
        unchecked = Repeatability(could_not_check(self.environment.reference, str(problem)))
        return self.environment.with_known(unchecked, Model(None, None))

    def close(self) -> None:
        """Close all copies and end all processes."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.ask_to_close()
        until = time.monotonic() + CLOSE_PATIENCE
        for worker in workers:
            worker.end(until)


class PoolCopies:
    """Copies in the workers of a pool; copy i is in worker i modulo their number."""

    def __init__(self, pool: Pool, workers: Sequence[_Worker], group: int, number: int) -> None:
        self._pool, self._workers, self._group = pool, list(workers), group
        self.observation_space: spaces.Space[Any] = pool.environment.own_observation_space
        self.action_space: spaces.Space[Any] = pool.environment.probe.action_space
        shares = {
            worker: list(range(k, number, len(workers)))
            for k, worker in enumerate(workers)
            if k < number
        }
        try:
            built = self._do("build", shares, None)
        except CopyProblem as error:
            raise UsageError(f"{pool.environment.built} failed: {error.problem}") from None
        self.name, self.offers_state = built[0][:2]
        probe = pool.environment.probe
        first = [identity_of(space) for space in (probe.observation_space, probe.action_space)]
        for _, _, *own in built.values():
            if own != first:
                texts = ([text for text, _ in pair] for pair in (first, own))
                raise different_spaces(self.name, *texts)

    def reset(self, seeds: Mapping[int, int], ask: Ask) -> Iterator[tuple[int, Start]]:
        yield from self._shared("reset", seeds, ask)

    def step(self, actions: Mapping[int, Any], ask: Ask) -> Iterator[tuple[int, Outcome]]:
        yield from self._shared("step", actions, ask)

    def replay(
        self, episodes: Mapping[int, tuple[int, Sequence[Any]]], ask: Ask
    ) -> Iterator[tuple[int, Start]]:
        yield from self._shared("replay", episodes, ask)

    def save(self, copies: Sequence[int], ask: Ask) -> Iterator[tuple[int, bytes]]:
        yield from self._shared("save", dict.fromkeys(copies), ask)

    def restore(self, states: Mapping[int, SavedState], ask: Ask) -> Iterator[tuple[int, bytes]]:
        yield from self._shared("restore", states, ask)

    def close(self) -> None:
        """Do nothing: the pool closes them."""

    def _shared(self, what: str, arguments: Mapping[int, Any], ask: Ask) -> Iterator[Any]:
        """Distribute the work on copies over their workers; yield the results in order."""
        shares: dict[_Worker, dict[int, Any]] = {}
        for i, argument in arguments.items():
            shares.setdefault(self._workers[i % len(self._workers)], {})[i] = argument
        results = self._do(what, shares, ask)
        for i in arguments:
            yield i, results[i]

    def _do(self, what: str, shares: Mapping[_Worker, Any], ask: Ask) -> dict[int, Any]:
        """Let workers do their shares at once; return the results by copy."""
        for worker, share in shares.items():
            worker.send(what, self._group, share)
        replies = replies_of(what, shares, ask, self._pool)
        for reply in replies.values():
            if reply.error is not None:
                raise reply.error
        problems = [CopyProblem(*reply.problem) for reply in replies.values() if reply.problem]
        if problems:
            raise min(problems, key=lambda problem: problem.copy)
        if what == "build":
            return {k: reply.results[0] for k, reply in enumerate(replies.values())}
        return {
            i: result
            for worker, reply in replies.items()
            for i, result in zip(shares[worker], reply.results, strict=True)
        }


class _Worker:
    """A worker process, seen from the process that it works for."""

    def __init__(self, environment: Environment) -> None:
        self.entries = RawArray("q", [0, NOTHING, -1, 0])
        self._stack_of, self._stack_file = tempfile.mkstemp(prefix="rlkit-stack-")
        self._connection, theirs = multiprocessing.Pipe()
        arguments = (
            *(environment.again, environment.view, theirs, self.entries, self._stack_file),
            dict(os.environ),
        )
        self._process = starting.start(serve, arguments)
        theirs.close()
        self.parts: frozenset[Connection | int] = frozenset(
            [self._connection, self._process.sentinel]
        )
        self._number = 0
        self._answered = 0
        self._closing = False
        self._call, self._since = 0, time.monotonic()

    def send(self, what: str, group: int, content: Any) -> None:
        self._number += 1
        self._since = time.monotonic()
        with contextlib.suppress(OSError):  # whoever waits for the reply notices that it ended
            self._connection.send(Request(self._number, what, group, content))

    def receive(self) -> Reply | None:
        """Return the reply to the present request; None for one that was abandoned.

        Raises:
            EOFError, OSError: the process has ended.
        """
        if not self._connection.poll():
            raise EOFError
        reply: Reply = self._connection.recv()
        self._forget_name()
        self._answered = reply.number
        return reply if reply.number == self._number else None

    def hangs(self, timeout: float) -> bool:
        """Return whether its present call has taken too long."""
        if self.entries[0] != self._call:
            self._call, self._since = self.entries[0], time.monotonic()
        # Finding the environment may import much.
        limit = max(timeout, _START_PATIENCE) if self.entries[1] == NOTHING else timeout
        return time.monotonic() - self._since > limit

    def ended(self, what: str, share: Sequence[int] | Mapping[int, Any]) -> CopyProblem:
        """Return the problem that the process has ended in a call, or between two."""
        self._process.join(CLOSE_PATIENCE)
        kind = self.entries[1]
        where = "" if kind == NOTHING else f" in {NAMES[kind]}"
        code = self._process.exitcode
        text = starting.describe_exit(code, where)
        if kind == NOTHING:
            text += starting.main_guard_hint(code)
        return _placed(what, share, self.entries[2:4], Problem(f"its worker process {text}"))

    def abandoned(
        self, what: str, share: Sequence[int] | Mapping[int, Any], timeout: float
    ) -> CopyProblem:
        """Return the problem that a call did not return; the process is killed."""
        _, kind, *place = list(self.entries)  # before the signal, which may wake the call up
        stack = self._stack()
        self._process.kill()
        first = re.search(r'File "(?:.*/)?(.+?)", line (\d+) in (.+)', stack)
        where = "" if first is None else f"; it was at {first[1]}:{first[2]} in {first[3]}"
        call = NAMES.get(kind, "its worker process")
        text = f"{did_not_return(call, timeout)}{where}"
        return _placed(what, share, place, Problem(text, trace=stack))

    def _stack(self) -> str:
        """Return the stack of the process, "" where it does not write it."""
        with contextlib.suppress(OSError):
            os.kill(self._process.pid or 0, STACK_SIGNAL)
        until = time.monotonic() + _STACK_PATIENCE
        text = ""
        while time.monotonic() < until and not text:
            time.sleep(0.05)
            text = os.pread(self._stack_of, 100_000, 0).decode(errors="replace")
        return text

    def close(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.join()
        self.end(0.0)

    def ask_to_close(self) -> None:
        """Request the end, or kill a process that is still busy."""
        with contextlib.suppress(EOFError, OSError):
            while self._connection.poll():
                self.receive()  # the reply to a request that was given up
        if self._answered == self._number:
            self.send("close", 0, None)
            self._closing = True
        else:
            self._process.kill()

    def end(self, until: float) -> None:
        """End the process, at the latest at that time."""
        try:
            with contextlib.suppress(EOFError, OSError):
                if not self._closing:
                    pass
                elif self._connection.poll(max(0.0, until - time.monotonic())):
                    for text in self._connection.recv().results:
                        warnings.warn(text, RlkitWarning, stacklevel=3)
                elif self._process.exitcode is None:
                    text = f"closing copies in a worker process took over {CLOSE_PATIENCE:g} s"
                    warnings.warn(text, RlkitWarning, stacklevel=3)
            self._process.join(max(0.0, until - time.monotonic()))
        finally:
            self._process.kill()
            self._process.join()
            self._connection.close()
            self._forget_name()
            os.close(self._stack_of)

    def _forget_name(self) -> None:
        """Remove the name of the file for the stack, which the worker has opened by now."""
        name, self._stack_file = self._stack_file, ""
        if name:
            with contextlib.suppress(OSError):
                os.unlink(name)


def replies_of(
    what: str, shares: Mapping[_Worker, Any], ask: Ask, pool: Pool
) -> dict[_Worker, Reply]:
    """Wait until all workers have replied, or one has ended or hangs.

    Raises:
        CopyProblem: it ended or hangs.
        PlayStopped: the run was asked to stop, and a worker did not reply in the meantime.
    """
    replies: dict[_Worker, Reply] = {}
    stopping = 0.0
    while len(replies) < len(shares):
        waiting = [worker for worker in shares if worker not in replies]
        # For one of them: each reply that wakes this process takes a processor from a worker.
        wait(waiting[0].parts, timeout=_LOOK_EVERY)
        ready = wait([part for one in waiting for part in one.parts], timeout=0)
        for worker in waiting:
            if not worker.parts.isdisjoint(ready):
                try:
                    reply = worker.receive()
                except (EOFError, OSError):
                    raise worker.ended(what, shares[worker]) from None
                if reply is not None:
                    replies[worker] = reply
            elif worker.hangs(pool.timeout):
                raise worker.abandoned(what, shares[worker], pool.timeout)
        if ask is not None and len(replies) < len(shares):
            ask()
        if not ready and pool.stop():
            stopping = stopping or time.monotonic()
            if time.monotonic() - stopping > STOP_PATIENCE:
                raise PlayStopped(f"{what} did not return after the run was asked to stop")
    return {worker: replies[worker] for worker in shares}


def _placed(
    what: str, share: Sequence[int] | Mapping[int, Any], place: Sequence[int], problem: Problem
) -> CopyProblem:
    """Return the problem of the copy that a worker was busy with, or else of its first one."""
    copy, steps = place
    if copy not in share:
        copy, steps = next(iter(share)), 0
    return CopyProblem(copy, problem, steps if what == "replay" else None)
