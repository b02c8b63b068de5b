"""Digests of Python objects: the same code and data give the same digest in any process.

The folder of a run is named after the code and data that it was made from. Source text is not
enough to identify them: two lambdas of equal text may close over different values, and a class
defined in a notebook has no file. So code is hashed by its effect (its compiled code, defaults,
closure, and the globals that it names) and data by value. Line numbers, comments, addresses, file
names and the names of the user's modules are not hashed.

Library code is not followed: it is hashed by name, and a package that may provide environments
also by the content of its files. Objects that cannot be taken apart are listed in
`Fingerprint.unidentified`, and a digest with such a part equals no other.

`walk` turns an object into a graph and `graph` turns the graph into a digest; `data` selects the
function that takes an object apart from those in `code`, `names`, `instances`, `arrays` and
`library`.
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
        digest: the sha256 of everything that was reached from the object.
        files: the user's source files among it, absolute path -> sha256 of the content.
        packages: versions of the installed packages that it names; not part of the digest.
        unidentified: readable names of the objects that could not be taken apart.
    """

    digest: str
    files: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    unidentified: tuple[str, ...] = ()


def fingerprint(thing: Any) -> Fingerprint:
    """Return the fingerprint of any object: a class, a lambda, a partial, an array, ...

    No code of the object is run, but modules that its functions import are loaded. The only
    exceptions raised are KeyboardInterrupt and MemoryError.
    """
    walk = Walk(function_for, is_mutable)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated attributes warn when they are read
        root = walk.explore(thing)
    result, exact = digest(walk.graph, root)
    if not exact:
        walk.omit("a cycle of too many objects that refer to each other")
    return Fingerprint(
        hash_of(_FORMAT, [result, *walk.tokens]).hex(),
        dict(sorted(walk.files.items())),
        dict(sorted(walk.packages.items())),
        walk.phrases(),
    )


# The digest of an object changed by running its code -> its first digest.
_FIRST: dict[str, str] = {}


def identify(thing: Any) -> Fingerprint:
    """Return the fingerprint of an object, ignoring changes recorded by `settle`.

    A class that counts its instances has a new digest after each one, so a sweep in one process
    would write to other folders than the same sweep in the next. A digest that `settle` recorded
    is therefore replaced by the first one. Changes made by the user in between still count.
    """
    now = fingerprint(thing)
    return dataclasses.replace(now, digest=_FIRST.get(now.digest, now.digest))


def settle(thing: Any, before: Fingerprint) -> None:
    """Record the present digest of an object as equal to the one before its code was run."""
    now = fingerprint(thing)
    if now.digest != before.digest and not (now.unidentified or before.unidentified):
        _FIRST.setdefault(now.digest, before.digest)
