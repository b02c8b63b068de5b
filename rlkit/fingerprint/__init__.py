"""What a Python object means, as a digest: the same for the same code and data, in any process.

A run's folder is named after what it was made of. The text of a class or function is not enough
for that: a lambda's text is equal for every value that it closes over, and a notebook's class has
no file. So code enters by what it does (its compiled code, defaults, closure, and the globals that
it names) and data by value. Line numbers, comments, addresses, file names and the names of the
user's modules do not enter.

Library code is not followed: it enters by name, and a package that may offer environments by the
content of its files as well. What cannot be taken apart is named in `Fingerprint.unidentified`,
and a digest with such a part equals no other.

`walk` turns an object into a graph; `data` says which function takes apart which kind of object;
`code`, `names`, `instances`, `arrays` and `library` are those functions; `graph` turns the graph
into a digest.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rlkit.fingerprint.data import function_for, is_mutable
from rlkit.fingerprint.graph import digest, hash_of
from rlkit.fingerprint.walk import Walk

_FORMAT = "rlkit fingerprint 1"


@dataclass(frozen=True)
class Fingerprint:
    """The meaning of an object.

    Args:
        digest: the sha256 of everything that was met.
        files: the user's source files among that, absolute path -> sha256 of the content.
        packages: versions of the installed packages that it names, which are not in the digest.
        unidentified: phrases for a person that name what could not be taken apart.
    """

    digest: str
    files: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    unidentified: tuple[str, ...] = ()


def fingerprint(thing: Any) -> Fingerprint:
    """Return the fingerprint of any object: a class, a lambda, a partial, an array, ...

    No code of the object is run, except that a module which a function imports is loaded. Only
    KeyboardInterrupt and MemoryError escape.
    """
    walk = Walk(function_for, is_mutable)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of deprecated ways to take an object apart
        root = walk.explore(thing)
    result, exact = digest(walk.graph, root)
    if not exact:
        walk.leave_out("a cycle of too many objects that refer to each other")
    return Fingerprint(
        hash_of(_FORMAT, [result, *walk.tokens]).hex(),
        dict(sorted(walk.files.items())),
        dict(sorted(walk.packages.items())),
        walk.phrases(),
    )


# What rlkit saw a thing become by running its code -> what it was at first.
_FIRST: dict[str, str] = {}


def identify(thing: Any) -> Fingerprint:
    """Return the fingerprint of a thing, which its own running does not change.

    A class that counts its instances is another after each of them, and a sweep in one process
    would come to other folders than the same sweep in the next. So a digest that `settle` met is
    taken for the one before. What the user changes in between is a change like any other.
    """
    now = fingerprint(thing)
    return dataclasses.replace(now, digest=_FIRST.get(now.digest, now.digest))


def settle(thing: Any, before: Fingerprint) -> None:
    """Take what a thing has become by running its code for what it was."""
    now = fingerprint(thing)
    if now.digest != before.digest and not (now.unidentified or before.unidentified):
        _FIRST.setdefault(now.digest, before.digest)
