"""The traversal of everything that an object holds, which builds a graph of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from rlkit.fingerprint import packages
from rlkit.fingerprint.bytecode import Names
from rlkit.fingerprint.graph import Graph
from rlkit.fingerprint.inspection import PLAIN, entry_of, plain, short, type_name
from rlkit.user_code import content_digest

Part = bytes | int  # bytes are hashed as they are; an integer is the index of a node
# Yields the parts of an object; the text is a readable phrase for where it was reached.
TakeApart = Callable[["Walk", Any, str], Iterable[Part]]

# Limits for objects that create new parts while they are taken apart.
_MOST_NODES = 5_000_000
_DEEPEST = 500
_MOST_PHRASES = 20


class Walk:
    """One traversal.

    Args:
        function_for: returns the function that takes apart the instances of a class.
        is_mutable: returns whether instances of a class can change.
    """

    def __init__(
        self, function_for: Callable[[type], TakeApart], is_mutable: Callable[[type], bool]
    ) -> None:
        self._function_for, self._is_mutable = function_for, is_mutable
        self.graph = Graph()
        self.files: dict[str, str] = {}
        self.packages: dict[str, str] = {}
        self.tokens: list[bytes] = []
        self.names: dict[int, Names] = {}
        self._phrases: dict[str, None] = {}
        self._nodes: dict[int, int] = {}
        self._kept: list[Any] = []  # ids are unique only while the objects live
        self._queue: list[tuple[int, Any, str, int]] = []
        self._depth = 0
        self._contents: dict[str, bytes] = {}
        self._packages: dict[str, bytes] = {}
        self._classes: dict[int, tuple[TakeApart, str, bool]] = {}

    def explore(self, thing: Any) -> int:
        """Take apart an object and everything that it holds; return its node."""
        root = self.group("root", [self.refer(thing, "it")])
        while self._queue:
            if len(self.graph.labels) > _MOST_NODES:
                self.omit(f"the rest of more than {_MOST_NODES:,} objects")
                break
            node, thing, place, self._depth = self._queue.pop()
            self._attempt(node, thing, place)
        return root

    def _attempt(self, node: int, thing: Any, place: str) -> None:
        try:
            take_apart, name, self.graph.mutable[node] = self._about(type(thing))
            self.graph.fill(node, name, take_apart(self, thing, place), ordered=True)
        except (KeyboardInterrupt, MemoryError):
            raise
        except BaseException:  # the object's own code may raise anything
            self.graph.fill(node, "unidentified", [], ordered=True)
            name = short(type_name(type(thing)))
            self.omit(f"{place} ({'an' if name[:1] in 'AEIOaeio' else 'a'} {name})")

    def _about(self, cls: type) -> tuple[TakeApart, str, bool]:
        about = self._classes.get(id(cls))
        if about is None:
            about = (self._function_for(cls), type_name(cls), self._is_mutable(cls))
            self._classes[id(cls)] = about
            self._kept.append(cls)
        return about

    def refer(self, thing: Any, place: str) -> Part:
        """Return a part for an object, which is taken apart later.

        Args:
            thing: the object.
            place: where it was reached, as a readable phrase.
        """
        if id(type(thing)) in PLAIN:
            spec = packages.registered(thing) if type(thing) is str else None
            if spec is None:
                return plain(thing)
            return self.group("id", [plain(thing), self.refer(spec, f"the environment {thing}")])
        node = self._nodes.get(id(thing))
        if node is None:
            node = self._nodes[id(thing)] = self.graph.add()
            self._kept.append(thing)
            self._queue.append((node, thing, place if len(place) < 200 else "it", self._depth))
        return node

    def rebuilt(self) -> None:
        """Note that the following parts were created by the object that is being taken apart."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise RecursionError

    def group(self, kind: str, parts: Iterable[Part], *, ordered: bool = True) -> int:
        """Return several parts as one."""
        node = self.graph.add()
        self.graph.fill(node, kind, parts, ordered=ordered)
        return node

    def many(self, things: Iterable[Any], place: str) -> int:
        """Return a sequence as one part."""
        return self.group("many", [self.refer(item, place) for item in things])

    def unordered(self, things: Iterable[Any], place: str) -> int:
        """Return a set as one part."""
        return self.group("set", [self.refer(item, place) for item in things], ordered=False)

    def mapping(self, items: Iterable[tuple[Any, Any]], place: str) -> int:
        """Return the items of a mapping as one part; their order does not count."""
        named, others = [], []
        for key, value in items:
            named_by = type(key) is str and len(key) < 50
            where = f"{key} of {place}" if named_by else entry_of(place)
            first, second = self.refer(key, f"a key of {place}"), self.refer(value, where)
            if isinstance(first, bytes):
                named.append((first, second))
            else:
                others.append(self.group("item", [first, second]))
        named.sort(key=lambda item: item[0])
        ordered = [part for item in named for part in item]
        return self.group("map", [*ordered, self.group("set", others, ordered=False)])

    def attempt(self, place: str, function: Callable[[], Part]) -> Part:
        """Return a part, or a placeholder if it cannot be made.

        A failed import is identified by its placeholder, as there is no object to take apart.
        """
        try:
            return function()
        except ImportError:
            return b"cannot be imported"
        except (KeyboardInterrupt, MemoryError):
            raise
        except BaseException as error:
            self.omit(f"{place} ({type(error).__name__})")
            return b"failed"

    def omit(self, phrase: str) -> None:
        """Omit an object that cannot be taken apart, so that no other digest equals this one."""
        phrase = "".join(letter if letter.isprintable() else "?" for letter in phrase)
        if phrase not in self._phrases:
            self._phrases[phrase] = None
            self.tokens.append(os.urandom(16))

    def phrases(self) -> tuple[str, ...]:
        """Return the phrases for omitted objects, shortened if there are many."""
        phrases = list(self._phrases)
        if len(phrases) > _MOST_PHRASES:
            more = len(phrases) - _MOST_PHRASES
            phrases[_MOST_PHRASES:] = [f"{more:,} more objects"]
        return tuple(phrases)

    def package(self, name: str) -> bytes:
        """Return the content of an installed package; note its version."""
        if name not in self._packages:
            self._packages[name] = packages.content(name)
            self.packages[name] = packages.version(name)
        return self._packages[name]

    def file(self, path: Any, *, own: bool = True) -> bytes:
        """Return the digest of a file's content; record it if it is the user's `own` source."""
        if not isinstance(path, str) or not path or path.startswith("<"):
            return b""
        path = os.path.realpath(path)
        if path not in self._contents:
            self._contents[path] = (content_digest(path) or "").encode()
        content = self._contents[path]
        if own and content:
            self.files[path] = content.decode()
        return content
