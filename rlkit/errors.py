"""Errors of rlkit; each states what failed, where, what was expected and what to do."""

from __future__ import annotations


class RlkitError(Exception):
    """Something failed; the message is meant for a person. The command line exits with 1."""

    exit_code = 1


class UsageError(RlkitError, ValueError):
    """The request cannot be carried out as given. The command line exits with 2."""

    exit_code = 2


class AllSeedsFailed(RlkitError):
    """No seed of a run could be finished; `run` has the partial results."""

    def __init__(self, message: str, run: object, exit_code: int) -> None:
        super().__init__(message)
        self.run = run
        self.exit_code = exit_code


class SeedError(RlkitError):
    """One seed cannot be continued; the others can.

    Args:
        seed: its index in the experiment.
        message: what went wrong.
        trace: the traceback of the user's code that raised, or "".
    """

    def __init__(self, seed: int, message: str, trace: str = "") -> None:
        super().__init__(seed, message)
        self.seed = seed
        self.message = message
        self.trace = trace

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.message}"


class PlayStopped(RlkitError):
    """Playing was stopped in the middle; the environments must be reset before they are used."""


class SeedsError(RlkitError):
    """Of seeds that are trained together one cannot be continued, and nobody knows which."""


class RlkitWarning(UserWarning):
    """A remark about a result; in Python every note of rlkit is a warning of this class."""


class EnvironmentFault(SeedError):
    """An environment returned something invalid, such as a reward of NaN."""

    exit_code = 2


class AgentFault(SeedError):
    """An agent chose an invalid action, such as NaN or an index out of range."""

    exit_code = 2


class RewardFault(SeedError):
    """A reward function or labeller of the user's own raised, or returned something invalid."""

    exit_code = 2


class Diverged(SeedError):
    """The parameters of one seed became infinite or NaN."""


def missing_extra(what: str, extra: str, error: ImportError) -> UsageError:
    """Return the error of a package that a plain installation lacks.

    Args:
        what: the option or feature that needs it, as the subject of a sentence.
        extra: of rlkit, which installs it.
        error: of its import.
    """
    package = str(error.name or error).partition(".")[0]
    return UsageError(
        f"{what} needs the package {package}, which cannot be imported ({error}); install it with: "
        f'pip install "rlkit[{extra}]"'
    )


def printable(text: object, *, lines: bool = False) -> str:
    """Return a text with control characters escaped, so that none reaches the terminal.

    `lines` keeps line breaks, which messages have and names must not have.
    """
    return "".join(
        char if char.isprintable() or (lines and char == "\n") else repr(char)[1:-1]
        for char in str(text)
    )
