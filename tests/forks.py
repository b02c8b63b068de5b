"""A process that has imported everything and forks a child for each script that it is given.

To import torch takes seconds, to fork takes milliseconds: so a test can kill many processes. It
answers one line on its output to each line of JSON on its input.
"""

import builtins
import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import rlkit.agents.ppo
import rlkit.agents.q_learning
import rlkit.agents.random
import rlkit.agents.reinforce  # noqa: F401
from rlkit import files
from rlkit.errors import RlkitError
from rlkit.runs import checkpoints, curves, store
from rlkit.training.run import Run
from rlkit.training.train import train


def die_at(owner: Any, name: str, number: int, *, after: bool = False) -> None:
    """Let the process be killed at the n-th call of `owner.name`."""
    call_at(owner, name, number, lambda: os.kill(os.getpid(), signal.SIGKILL), after=after)


def call_at(
    owner: Any, name: str, number: int, action: Callable[[], None], *, after: bool = False
) -> None:
    """Do something before or after the n-th call of `owner.name`."""
    original, calls = getattr(owner, name), [0]

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        due = calls[0] == number
        if due and not after:
            action()
        result = original(*args, **kwargs)
        if due and after:
            action()
        return result

    setattr(owner, name, counted)


def die_while_writing(number: int, part: float) -> None:
    """Let the process be killed when a part of the n-th checkpoint is written."""
    calls = [0]

    def opened(file: Any, mode: str = "r", **kwargs: Any) -> Any:
        handle = builtins.open(file, mode, **kwargs)  # noqa: SIM115
        if not (str(file).endswith(".tmp") and ".step-" in str(file)):
            return handle
        calls[0] += 1
        if calls[0] == number:
            data_written = handle.write

            def write(data: bytes) -> int:
                data_written(data[: int(part * len(data))])
                handle.flush()
                os.kill(os.getpid(), signal.SIGKILL)
                return 0

            handle.write = write  # type: ignore[method-assign, assignment]
        return handle

    files.open = opened  # type: ignore[attr-defined]


def run_child(script: str, output: str, figures: bool) -> None:
    """Run a script as a program: its exit codes are those of the command line."""
    os.setsid()
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if not figures:
        Run.plot = lambda self, path=None: None  # type: ignore[method-assign, assignment, return-value]
    names = {
        "__name__": "script",
        "call_at": call_at,
        "checkpoints": checkpoints,
        "curves": curves,
        "die_at": die_at,
        "die_while_writing": die_while_writing,
        "os": os,
        "signal": signal,
        "store": store,
        "train": train,
    }
    code = 0
    try:
        exec(script, names)
    except RlkitError as error:
        print(f"error: {error}")
        code = error.exit_code
    except KeyboardInterrupt as error:
        print(f"stopped: {error}")
        code = getattr(error, "exit_code", 130)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    # Not `os._exit`: with worker processes there is something to tidy up at the end.
    import multiprocessing.util

    with contextlib.suppress(Exception):
        multiprocessing.util._exit_function()
    os._exit(code)


def main() -> None:
    """Serve until the input ends."""
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "script" in request:
            child = os.fork()
            if child == 0:
                run_child(**request)
            print(child, flush=True)
        else:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            print(os.waitstatus_to_exitcode(status) if pid else "", flush=True)


if __name__ == "__main__":
    main()
