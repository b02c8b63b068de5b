"""What a worker process does: steps its copies of an environment, as requests come."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from rlkit.determinism import own_settings
from rlkit.environments.copies import close_nothing, env_name, make_copies
from rlkit.environments.environment import Environment
from rlkit.environments.stepping.checked import CheckedEnv, Problem, Start, raised
from rlkit.environments.stepping.local import close_all
from rlkit.environments.stepping.states import SavedState
from rlkit.environments.views.leaves import identity_of
from rlkit.environments.views.view import View
from rlkit.errors import RlkitError
from rlkit.processes.calls import CALLS
from rlkit.processes.starting import end_with_parent, set_variables

# Asks a worker for its stack. Hardly used by others; Python's handlers do not run in compiled code.
STACK_SIGNAL = signal.SIGRTMIN + 10 if hasattr(signal, "SIGRTMIN") else signal.SIGUSR1


class Request(NamedTuple):
    """What a worker is to do.

    Args:
        number: of this request, repeated in the reply.
        what: the name of a method of `Server`.
        group: the copies that were built together.
        content: the argument of the method.
    """

    number: int
    what: str
    group: int
    content: Any


class Reply(NamedTuple):
    """What a worker did: the results by copy, until a copy went wrong."""

    number: int
    results: Any
    problem: tuple[int, Problem, int | None] | None = None
    error: RlkitError | None = None


class Server:
    """The copies of one worker process."""

    def __init__(self, find: Callable[[], Environment], view: View) -> None:
        self._environment: Environment | None = None
        self._find, self._view = find, view
        self._groups: dict[int, dict[int, CheckedEnv]] = {}

    def answer(self, request: Request) -> Reply:
        """Do what a request asks for."""
        results: list[Any] = []
        try:
            getattr(self, request.what)(request.group, request.content, results)
        except Problem as problem:
            copy, steps = CALLS.entries[2:4]
            at = steps if request.what == "replay" else None
            return Reply(request.number, results, (copy, problem, at))
        except RlkitError as error:
            return Reply(request.number, results, error=error)
        except BaseException as error:
            return Reply(request.number, results, (CALLS.entries[2], raised("it", error), None))
        return Reply(request.number, results)

    def check(self, group: int, closing: bool, results: list[Any]) -> None:
        """Make the checks that build and play copies; return what they found."""
        if not closing:
            close_nothing()
        environment = self._find().seen_as(self._view)
        environment.probe  # noqa: B018  raises if it cannot be trained on
        results.append((environment.repeatability, environment.model))

    def build(self, group: int, copies: list[int], results: list[Any]) -> None:
        """Build copies, and return their name and the description of their spaces."""
        if self._environment is None:
            with own_settings():  # what its module sets on import holds in no process
                self._environment = self._find()
        envs = make_copies(self._environment.make, len(copies))
        name = env_name(envs[0])
        masks = self._view.action_masks
        self._groups[group] = {
            i: CheckedEnv(env, name, action_masks=masks)
            for i, env in zip(copies, envs, strict=True)
        }
        spaces = envs[0].observation_space, envs[0].action_space
        offers_state = next(iter(self._groups[group].values())).offers_state
        results.append((name, offers_state, *map(identity_of, spaces)))

    def reset(self, group: int, seeds: Mapping[int, int], results: list[Any]) -> None:
        for i, seed in seeds.items():
            CALLS.on(i)
            results.append(self._groups[group][i].reset(seed))

    def step(self, group: int, actions: Mapping[int, Any], results: list[Any]) -> None:
        for i, action in actions.items():
            CALLS.on(i)
            results.append(self._groups[group][i].step(action))

    def replay(self, group: int, episodes: Mapping[int, Any], results: list[Any]) -> None:
        for i, (seed, actions) in episodes.items():
            CALLS.on(i)
            now = self._groups[group][i].reset(seed)
            for steps, action in enumerate(actions, start=1):
                CALLS.on(i, steps)
                outcome = self._groups[group][i].step(action)
                now = Start(outcome.obs, outcome.action_mask)
            results.append(now)

    def save(self, group: int, copies: Mapping[int, None], results: list[Any]) -> None:
        for i in copies:
            CALLS.on(i)
            results.append(self._groups[group][i].save())

    def restore(self, group: int, states: Mapping[int, SavedState], results: list[Any]) -> None:
        for i, saved in states.items():
            CALLS.on(i)
            results.append(self._groups[group][i].restore(saved))

    def close(self, group: int, content: None, results: list[Any]) -> None:
        """Close all copies and return the warnings."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            close_all([one for copies in self._groups.values() for one in copies.values()])
        self._groups.clear()
        results += [str(warning.message) for warning in caught]


def serve(
    find: Callable[[], Environment],
    view: View,
    connection: Connection,
    entries: Any,
    stack_file: str,
    variables: Mapping[str, str],
) -> None:
    """Answer requests until the connection is closed or this process is ended.

    What an environment sets, such as the default type of torch, is its own here, as in a process
    that steps it beside an agent.

    Args:
        find: returns the environment.
        view: how agents see it.
        connection: for requests and replies.
        entries: shared memory for the present call.
        stack_file: where the stack is written when the signal for it comes.
        variables: the environment variables of the first process.
    """
    end_with_parent(at_once=True)
    _leave_signals_to_parent()
    set_variables(variables)
    CALLS.entries, CALLS.supervised = entries, True
    server = Server(find, view)
    with open(stack_file, "w") as file:
        if hasattr(faulthandler, "register"):
            faulthandler.register(STACK_SIGNAL, file=file, all_threads=False)
        with contextlib.suppress(EOFError, OSError), own_settings():
            while True:
                request: Request = connection.recv()
                connection.send(server.answer(request))
                if request.what == "close":
                    break
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with contextlib.suppress(Exception):
                stream.flush()
    os._exit(0)  # whatever threads the environments started


def _leave_signals_to_parent() -> None:
    """Ignore the signals that go to all processes of a terminal or a service.

    By a function, because programs that an environment starts would inherit that they are ignored.
    """

    def ignore(number: int, frame: object) -> None:
        pass

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ignore)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
