"""The `rlkit` command.

Nothing that needs torch is imported before a command needs it.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import gc
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from rlkit.analysis.backend import ignore_unknown_backend
from rlkit.cli.commands import Command, run_command
from rlkit.cli.terminal import note, plain_where_needed, printable
from rlkit.errors import RlkitError, RlkitWarning, UsageError

COMMANDS = {
    "train": Command("rlkit.cli.agents.train", "train an agent on an environment, for many seeds"),
    "prefer": Command(
        "rlkit.cli.agents.prefer", "learn a reward from preferences, and a policy on it"
    ),
    "clone": Command("rlkit.cli.agents.clone", "imitate demonstrations of a run or a file"),
    "compare": Command(
        "rlkit.cli.agents.compare", "train and compare several agents, on one environment or more"
    ),
    "tune": Command(
        "rlkit.cli.agents.tune", "search for good options of an agent, and confirm them"
    ),
    "solve": Command(
        "rlkit.cli.environments.solve", "compute the exact optimum where all transitions are known"
    ),
    "evaluate": Command("rlkit.cli.agents.runs", "play episodes with the final policies of a run"),
    "plot": Command("rlkit.cli.agents.runs", "draw the learning curves of runs"),
    "watch": Command("rlkit.cli.agents.runs", "record an episode of a trained policy as a gif"),
    "export": Command("rlkit.cli.agents.export", "write runs in the formats of other programs"),
    "report": Command(
        "rlkit.cli.agents.report", "write runs and comparisons as one page that opens offline"
    ),
    "verify": Command("rlkit.cli.upkeep", "check every file of runs against its sha256"),
    "resume": Command("rlkit.cli.upkeep", "continue all unfinished runs below a folder"),
    "reproduce": Command("rlkit.cli.upkeep", "train a run again elsewhere and compare the two"),
    "doctor": Command(
        "rlkit.cli.environments.doctor", "find out what is wrong with an environment"
    ),
    "check-twin": Command(
        "rlkit.cli.environments.twin", "compare a batched environment with its original"
    ),
    "rlhf": Command("rlkit.cli.rlhf", "train language models on preferences: `rlkit rlhf --help`"),
    "list": Command("rlkit.cli.listing", "list agents, presets and native environments"),
}

USAGE = """\
usage: rlkit COMMAND ...

Reinforcement learning, from the Bellman equation to PPO and RLHF. Every curve is many seeds.

commands:
{commands}

examples:
  rlkit solve FrozenLake-v1
  rlkit train ppo CartPole-v1 --seeds 10
  rlkit compare q-learning ppo random --env FrozenLake-v1
  rlkit prefer CartPole-v1
  rlkit clone runs/ppo-CartPole-v1-... CartPole-v1
  rlkit doctor path/to/file.py:MyEnv
  rlkit rlhf demo

`rlkit COMMAND --help` lists the options of a command, `rlkit train AGENT --help` those of an agent.
Exit codes: 0 done, 1 failed, 2 wrong usage, 129, 130 or 143 stopped by a signal
after saving.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    with plain_where_needed(), _warnings_as_notes():
        try:
            try:
                return _run(args)
            except KeyboardInterrupt as error:
                note(str(error) or "stopped at once; the last checkpoints are intact")
                _flush_or_discard()  # after SIGHUP there may be no terminal
                return int(getattr(error, "exit_code", 130))
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()
        except RlkitError as error:
            note(error)
            return error.exit_code
        except ValueError as error:
            if sys.stdout is None or not sys.stdout.closed:
                raise
            note(
                "standard output was closed, by the environment or agent perhaps, so the answer "
                f"cannot be printed ({error}); what was trained is in its folder"
            )
            return 2
        except BrokenPipeError:  # the reader of our output went away
            _discard_output()
            return 1
        except OSError as error:
            where = error.filename2 or error.filename
            if where is None and not _is_of_output(error):
                raise
            if where is None:
                _discard_output()
            message = f"{where or 'standard output cannot be written'}: {error.strerror}"
            note(printable(message))
            return 2


def _run(args: list[str]) -> int:
    if args[:1] == ["--version"]:
        from importlib.metadata import version

        print(f"rlkit {version('rlkit')}")
        return 0
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise UsageError(
            "the current folder no longer exists; change to one that does, with cd"
        ) from error
    ignored = ignore_unknown_backend()
    if ignored is not None:
        note(ignored)
    # Imports make many objects and no garbage: looking for it takes a tenth of their time.
    gc.set_threshold(max(20_000, gc.get_threshold()[0]), *gc.get_threshold()[1:])
    atexit.register(gc.freeze)  # nor is there a reason to look for it at the end
    return run_command(COMMANDS, USAGE, args, "")


@contextlib.contextmanager
def _warnings_as_notes() -> Iterator[None]:
    """Print rlkit's own warnings as plain sentences, without a line of code."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", RlkitWarning)
        show = warnings.showwarning

        def show_note(message: Any, category: Any, *place: Any, **more: Any) -> None:
            if issubclass(category, RlkitWarning):
                note(message)
            else:
                show(message, category, *place, **more)

        warnings.showwarning = show_note
        yield


def _is_of_output(error: OSError) -> bool:
    """Return whether printing raised an error, as on a full disk; errors of files have names."""
    lost = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EIO, errno.EBADF)
    return error.filename is None and error.errno in lost


def _flush_or_discard() -> None:
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        _discard_output()


def _discard_output() -> None:
    """Discard the rest of the output buffer, so that closing it raises nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
