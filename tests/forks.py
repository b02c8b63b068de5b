"""A process that has imported everything and forks a child for each program that it is given.

To import torch takes seconds, to fork takes milliseconds: so a test can start many programs and
kill them. It answers one line on its output to each line of JSON on its input.

A child is given either a command line (`become_python`), whose process is then as if Python had
been started with it, except that modules are imported already; or a script (`run_script`), which
finds here what it needs in order to be killed at a given moment.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import faulthandler
import gc
import importlib
import importlib.machinery
import io
import json
import multiprocessing.process
import os
import runpy
import signal
import sys
import threading
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

sys.path[0] = str(Path(__file__).parents[1])  # and not this folder

import matplotlib.figure  # noqa: E402, F401
import numpy as np  # noqa: E402

import rlkit.agents.ppo  # noqa: E402
import rlkit.agents.random  # noqa: E402
import rlkit.agents.reinforce  # noqa: E402
import rlkit.agents.tabular.q_learning  # noqa: E402
import rlkit.cli.agents.runs  # noqa: E402
import rlkit.cli.agents.train  # noqa: E402
import rlkit.cli.environments.solve  # noqa: E402
import rlkit.cli.listing  # noqa: E402
import rlkit.training.figures  # noqa: E402, F401
from rlkit import files  # noqa: E402
from rlkit.errors import RlkitError  # noqa: E402
from rlkit.runs import checkpoints, curves, execution, store  # noqa: E402
from rlkit.training import seed_batch  # noqa: E402
from rlkit.training.run import Run  # noqa: E402
from rlkit.training.train import train  # noqa: E402


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


def redirect(stdin: str, stdout: str, stderr: str) -> None:
    """Open files in place of the standard streams; a process group of its own comes with them."""
    os.setsid()
    os.dup2(os.open(stdin, os.O_RDONLY), 0)
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # also where the tests were started by nohup
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)  # says where it hangs


def run_script(script: str, figures: bool) -> None:
    """Run a script as a program: its exit codes are those of the command line."""
    sys.modules["__main__"] = types.ModuleType("__main__")  # workers would import this file again
    seed_batch.SECONDS_BETWEEN_SAVES = 0.0  # a checkpoint at every row: these runs are short
    if not figures:
        Run.plot = lambda self, path=None: None  # type: ignore[method-assign, assignment, return-value]
    names = {
        "__name__": "script",
        "call_at": call_at,
        "checkpoints": checkpoints,
        "curves": curves,
        "die_at": die_at,
        "die_while_writing": die_while_writing,
        "execution": execution,
        "os": os,
        "seed_batch": seed_batch,
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
    end(code)


def end(code: int) -> NoReturn:
    """End as an interpreter does, but without a second of taking all modules apart."""
    threading._shutdown()  # type: ignore[attr-defined]  waits for threads
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except ValueError:  # closed by the program
        pass
    except OSError as error:
        print(f"Exception ignored in: {sys.stdout}\n{error!r}", file=sys.stderr)
        code = 120
    with contextlib.suppress(ValueError, OSError):
        sys.stderr.flush()
    os._exit(code)


_STREAMS = ("PYTHONIOENCODING", "PYTHONUNBUFFERED")  # variables that are obeyed here


def become_python(argv: list[str], cwd: str, environ: dict[str, str]) -> NoReturn:
    """Be what `python *argv` would be in a folder, to the exit code.

    Raises:
        ValueError: a variable is of interest to an interpreter that starts, and it has started.
    """
    for name in {*environ, *os.environ} - {*_STREAMS, "PYTHONPATH"}:
        if name.startswith("PYTHON") and environ.get(name) != os.environ.get(name):
            raise ValueError(f"{name} needs a new interpreter")
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    multiprocessing.process.ORIGINAL_DIR = cwd  # type: ignore[attr-defined]
    np.random.seed()  # noqa: NPY002  from the system, as at the start
    _open_streams(environ.get("PYTHONIOENCODING", ""), bool(environ.get("PYTHONUNBUFFERED")))
    for folder in reversed(environ.get("PYTHONPATH", "").split(os.pathsep)):
        if folder and folder not in sys.path:
            sys.path.insert(1, folder)
    main = types.ModuleType("__main__")
    main.__dict__.update(__builtins__=builtins, __loader__=importlib.machinery.BuiltinImporter)
    sys.modules["__main__"] = main
    code = 0
    try:
        _run_main(main, cwd, *(argv or [""]))
    except SystemExit as stop:
        if stop.code is not None:
            code = stop.code & 255 if isinstance(stop.code, int) else 1
        if not isinstance(stop.code, int | None):
            print(stop.code, file=sys.stderr)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        if isinstance(error, KeyboardInterrupt):
            sys.stdout.flush()
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        code = 1
    end(code)


def _run_main(main: types.ModuleType, cwd: str, first: str, *rest: str) -> None:
    if first == "-m":
        sys.path[0], sys.argv = cwd, ["-m", *rest[1:]]
        runpy._run_module_as_main(rest[0])  # type: ignore[attr-defined]
        return
    sys.path[0], sys.argv = "", [first, *rest[first == "-c" :]]
    if first == "-c":
        source, name = rest[0], "<string>"
    elif first in ("", "-"):
        source, name = sys.stdin.read(), "<stdin>"
    else:
        sys.path[0] = os.path.dirname(os.path.abspath(first))
        source, name = Path(first).read_text(), first
        main.__loader__ = importlib.machinery.SourceFileLoader("__main__", first)
    if first != "-c":
        main.__dict__.update(__file__=name, __cached__=None)
    exec(compile(source, name, "exec"), main.__dict__)


def _open_streams(encoding: str, unbuffered: bool) -> None:
    name, _, errors = encoding.partition(":")
    own: Any = sys.__stdout__
    for number, stream in enumerate(("stdin", "stdout", "stderr")):
        file: Any = open(  # noqa: SIM115
            number, "wb" if number else "rb", buffering=0 if unbuffered and number else -1
        )
        opened = io.TextIOWrapper(
            file,
            encoding=name or own.encoding,
            errors=errors or ("strict" if name else own.errors)
            if number < 2
            else "backslashreplace",
            line_buffering=stream == "stderr",
            write_through=unbuffered,
        )
        setattr(sys, stream, opened)
        setattr(sys, f"__{stream}__", opened)


def main() -> None:
    """Serve until the input ends."""
    gc.freeze()  # a child copies only the pages on which it changes something
    print("ready", flush=True)
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        if "import" in request:
            for module in request["import"]:
                importlib.import_module(module)
            gc.freeze()
            print("imported", flush=True)
            continue
        if "poll" in request:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            print(os.waitstatus_to_exitcode(status) if pid else "", flush=True)
            continue
        child = os.fork()
        if child == 0:
            redirect(*request.pop("streams"))
            (run_script if "script" in request else become_python)(**request)
        print(child, flush=True)


if __name__ == "__main__":
    main()
