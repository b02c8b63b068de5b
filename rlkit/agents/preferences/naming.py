"""The option `labeller`: the forms that it takes, and the labeller that it names.

truth                   the environment's own reward, with noise
person, person:FILE     somebody who answers on a page; FILE keeps the answers
FILE.py:function        a function of two segments
"""

from __future__ import annotations

import re
from typing import Any

from gymnasium import spaces

from rlkit.agents.preferences.labellers import FunctionLabeller, Labeller, TruthLabeller
from rlkit.agents.preferences.person.labeller import PersonLabeller
from rlkit.errors import UsageError
from rlkit.user_code import content_digest, load_function

TRUTH, PERSON = "truth", "person"


def make_labeller(
    name: str, rationality: float, observation_space: spaces.Space[Any] | None = None
) -> Labeller:
    """Return the labeller of an option's value, as `identified` returned it.

    Args:
        name: the value.
        rationality: of the labeller "truth".
        observation_space: for pictures that are shown to a person.

    Raises:
        UsageError: there is no such function, or the file has changed.
    """
    if name == TRUTH:
        return TruthLabeller(rationality)
    if is_person(name):
        return PersonLabeller(name.removeprefix(PERSON).removeprefix(":"), observation_space)
    reference, digest = split_digest(name)
    require_digest(_file(reference), digest, f"option labeller (--labeller) {reference!r}")
    function, _ = load_function(reference, "labeller")
    return FunctionLabeller(function, reference)


def is_person(name: str) -> bool:
    """Return whether a person is asked."""
    return name == PERSON or name.startswith(f"{PERSON}:")


def require_labeller(name: str) -> None:
    """Require the form of the option `labeller`."""
    if is_person(name):
        if name != PERSON and not name.endswith(".jsonl"):
            raise UsageError(
                "option labeller (--labeller): expected person, or person:FILE.jsonl for the file "
                f"that keeps the answers, got {name!r}"
            )
    elif name != TRUTH:
        _file(split_digest(name)[0])


def identified(name: str) -> str:
    """Return the value of the option `labeller` with the sha256 of the file that it names.

    Raises:
        UsageError: it has none of the forms, or there is no such file.
    """
    if name == TRUTH or is_person(name):
        return name
    reference, _ = split_digest(name)
    return with_digest(name, f"option labeller (--labeller) {reference!r}", _file(reference))


def split_digest(value: str) -> tuple[str, str]:
    """Return a value of `with_digest` without the sha256, and the sha256; "" if it has none."""
    match = re.fullmatch(r"(.*)#([0-9a-f]{64})", value, re.DOTALL)
    return (match[1], match[2]) if match else (value, "")


def with_digest(value: str, wanted_by: str, file: str = "") -> str:
    """Return VALUE#SHA256, with the sum of a file, by default of the one that the value names.

    Raises:
        UsageError: the file cannot be read.
    """
    if split_digest(value)[1]:
        return value
    digest = content_digest(file or value)
    if digest is None:
        raise UsageError(f"{wanted_by}: there is no file {file or value} that can be read")
    return f"{value}#{digest}"


def require_digest(file: str, digest: str, wanted_by: str) -> None:
    """Require a file to have the content that it had when the run began, if that is known."""
    if digest and split_digest(with_digest(file, wanted_by))[1] != digest:
        raise UsageError(
            f"{wanted_by}: {file} has changed since the run began, so its results would be others; "
            "restore the file, or begin another run"
        )


def _file(reference: str) -> str:
    file, _, attribute = reference.rpartition(":")
    if not (file.endswith(".py") and attribute.isidentifier()):
        raise UsageError(
            "option labeller (--labeller): expected truth, person or path/to/file.py:function, "
            f"got {reference!r}"
        )
    return file
