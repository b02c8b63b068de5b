"""Digests of graphs with cycles, shared nodes and children without an order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

# How many nodes are hashed at most to distinguish the members of one cycle.
_EFFORT = 2_000_000


@dataclass
class Graph:
    """Nodes by index: each has a label, and children with or without an order."""

    labels: list[bytes] = field(default_factory=list)
    children: list[list[int]] = field(default_factory=list)
    ordered: list[bool] = field(default_factory=list)
    # Whether two references to this object differ from references to two equal objects.
    mutable: list[bool] = field(default_factory=list)

    def add(self) -> int:
        """Add a node without content and return its index."""
        self.labels.append(b"")
        self.children.append([])
        self.ordered.append(True)
        self.mutable.append(False)
        return len(self.labels) - 1

    def fill(self, node: int, kind: str, parts: Iterable[bytes | int], *, ordered: bool) -> None:
        """Give a node its content: bytes, hashed as they are, and the indices of its children."""
        listed = list(parts)
        self.children[node] = [part for part in listed if not isinstance(part, bytes)]
        self.ordered[node] = ordered
        if ordered:
            words = [part if isinstance(part, bytes) else b"*" for part in listed]
        else:
            words = sorted(part for part in listed if isinstance(part, bytes))
        self.labels[node] = hash_of(kind, words)


def hash_of(kind: str, words: Iterable[bytes]) -> bytes:
    """Return the sha256 of a word and a sequence of bytes, each prefixed by its length."""
    hasher = hashlib.sha256(kind.encode("utf-8", "surrogatepass"))
    for word in words:
        hasher.update(b"%d:" % len(word))
        hasher.update(word)
    return hasher.digest()


def digest(graph: Graph, root: int) -> tuple[bytes, bool]:
    """Return the digest of everything below a node, and whether it is exact.

    Two graphs have the same digest if no path from the root to a descendant shows a difference. A
    node outside cycles is hashed with its children. The members of a cycle are distinguished by
    their neighbours, then the neighbours of those, and so on until no more of them differ; the
    digest is not exact if that takes too long.
    """
    _count_references(graph)
    result: list[bytes] = [b""] * len(graph.labels)
    exact = True
    for members in _components(graph.children, root):
        if len(members) == 1 and members[0] not in graph.children[members[0]]:
            node = members[0]
            below = [result[child] for child in graph.children[node]]
            result[node] = _join(graph.labels[node], below, graph.ordered[node])
        else:
            exact &= _distinguish(graph, members, result)
    return result[root], exact


def _count_references(graph: Graph) -> None:
    """Add to each label how often a mutable object is referred to.

    `[x, x]` then differs from `[x, y]` with y equal to x.
    """
    counts = [0] * len(graph.labels)
    for children in graph.children:
        for child in children:
            counts[child] += 1
    for node, mutable in enumerate(graph.mutable):
        if mutable and counts[node] > 1:
            graph.labels[node] += b" %d" % counts[node]


def _join(label: bytes, below: list[bytes], ordered: bool) -> bytes:
    if not below:
        return hashlib.sha256(label).digest()
    return hash_of("node", [label, *(below if ordered else sorted(below))])


def _distinguish(graph: Graph, members: list[int], result: list[bytes]) -> bool:
    """Fill in the digests of nodes that reach each other, by partition refinement."""
    inside = set(members)
    colours = {node: graph.labels[node] for node in members}
    settled = False
    size = sum(len(graph.children[node]) for node in members)
    for _ in range(max(2, min(len(members), _EFFORT // size))):
        before = len(set(colours.values()))
        colours = {
            node: _join(
                colours[node],
                [colours[c] if c in inside else result[c] for c in graph.children[node]],
                graph.ordered[node],
            )
            for node in members
        }
        settled = len(set(colours.values())) == before
        if settled:
            break
    everything = hash_of("cycle", sorted(set(colours.values())))
    for node in members:
        result[node] = hash_of("member", [colours[node], everything])
    return settled


def _components(children: list[list[int]], root: int) -> Iterator[list[int]]:
    """Yield the sets of nodes that reach each other, each after the sets below it.

    Tarjan's algorithm, without recursion: https://doi.org/10.1137/0201010
    """
    order: dict[int, int] = {root: 0}
    lowest: dict[int, int] = {root: 0}
    waiting, on_stack = [root], {root}
    path = [(root, iter(children[root]))]
    while path:
        node, rest = path[-1]
        child = next(rest, None)
        if child is None:
            path.pop()
            if path:
                parent = path[-1][0]
                lowest[parent] = min(lowest[parent], lowest[node])
            if lowest[node] == order[node]:
                start = len(waiting) - 1
                while waiting[start] != node:
                    start -= 1
                members = waiting[start:]
                del waiting[start:]
                on_stack.difference_update(members)
                yield members
        elif child not in order:
            order[child] = lowest[child] = len(order)
            waiting.append(child)
            on_stack.add(child)
            path.append((child, iter(children[child])))
        elif child in on_stack:
            lowest[node] = min(lowest[node], order[child])
