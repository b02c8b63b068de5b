"""Fingerprints of what cannot be taken apart, of what lies, and of what is large."""

import collections
import ctypes
import functools
import itertools
import socket
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import MagicMock, Mock

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv

from rlkit.fingerprint import data, fingerprint, graph
from rlkit.fingerprint.graph import Graph, digest


class StateOfC(socket.socket):
    """A user's class with a library's state that cannot be seen."""


class LibraryReduce(collections.UserDict[str, int]):
    """The user's own way of pickling is not asked."""

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise AssertionError("ran the user's code")


def _coroutine() -> Any:
    async def wait() -> None: ...

    return wait()


def _generator() -> Iterator[int]:
    yield 1


def _frame() -> Any:
    return sys._getframe()


UNIDENTIFIED: dict[str, Callable[[], Any]] = {
    "socket": socket.socket,
    "StateOfC": StateOfC,
    "generator": _generator,
    "TextIOWrapper": lambda: open(__file__),  # noqa: SIM115
    "FileIO": lambda: open(__file__, "rb", buffering=0),  # noqa: SIM115
    "BufferedReader": lambda: open(__file__, "rb"),  # noqa: SIM115
    "coroutine": _coroutine,
    "frame": _frame,
    "memoryview": lambda: memoryview(b"a"),
    "LP_c_long": lambda: ctypes.pointer(ctypes.c_long(1)),
    "PyCapsule": lambda: __import__("datetime").datetime_CAPI,
    "CDLL": lambda: ctypes.CDLL(None),
    "Context": lambda: __import__("contextvars").copy_context(),
    "Connection": lambda: __import__("multiprocessing").Pipe()[0],
}


@pytest.mark.parametrize("make", UNIDENTIFIED.values(), ids=UNIDENTIFIED.keys())
@pytest.mark.filterwarnings("ignore")
def test_opaque_objects_are_named_and_equal_nothing(make: Callable[[], Any]) -> None:
    thing = make()

    def make_env(handle: Any = thing) -> None: ...

    class Holder:
        def __init__(self) -> None:
            self.handle = thing

    closed = lambda: thing  # noqa: E731
    things = [
        thing,
        make_env,
        Holder(),
        closed,
        [thing],
        {"a": thing},
        functools.partial(max, thing),
    ]
    results = [fingerprint(one) for one in [*things, *things]]
    assert all(result.unidentified for result in results)
    assert len({result.digest for result in results}) == len(results)
    if hasattr(thing, "close"):
        thing.close()


def test_phrases_name_the_place_and_the_thing() -> None:
    with socket.socket() as handle:

        def make(sock: Any = handle) -> None: ...

        class Env:
            connection = handle

        closed = lambda: handle  # noqa: E731
        assert fingerprint(handle).unidentified == ("it (a socket)",)
        assert fingerprint(make).unidentified == ("the default of make (a socket)",)
        assert fingerprint(closed).unidentified == ("handle of the closure of a lambda (a socket)",)
        assert fingerprint(Env).unidentified == ("connection of Env (a socket)",)
        assert fingerprint({"a": [handle]}).unidentified == ("an entry of a of it (a socket)",)
        many = fingerprint({str(i): socket for i, socket in enumerate([handle])})
        assert many.unidentified == ("0 of it (a socket)",)


@pytest.mark.parametrize("make", [threading.Lock, threading.RLock, threading.local])
def test_what_only_keeps_others_out_has_no_meaning_of_its_own(make: Any) -> None:
    first, second = fingerprint([make()]), fingerprint([make()])
    assert not first.unidentified
    assert first.digest == second.digest != fingerprint([None]).digest


def test_many_phrases_are_summed_up() -> None:
    generators = {f"part {i}": (x for x in ()) for i in range(1000)}
    result = fingerprint(generators)
    assert 2 < len(result.unidentified) < 30
    assert result.unidentified[-1] == "980 more objects"
    assert result.unidentified[0].endswith(" of it (a generator)")


# --- lies -----------------------------------------------------------------------------------------


def _forbidden(*_: Any, **__: Any) -> NoReturn:
    raise SystemExit("ran the user's code")


class Meta(type):
    __eq__ = __hash__ = __instancecheck__ = __subclasscheck__ = _forbidden  # type: ignore[assignment]
    __getattribute__ = __call__ = __dir__ = __iter__ = __len__ = __bool__ = _forbidden
    __repr__ = __str__ = _forbidden


def hostile(gain: int) -> Any:
    """Return an object whose every method ends the process, as its class's and metaclass's."""
    names = [
        *("__eq__", "__hash__", "__getattribute__", "__getattr__", "__repr__", "__str__"),
        *("__iter__", "__len__", "__bool__", "__reduce__", "__reduce_ex__", "__getstate__"),
        *("__dir__", "__get__", "__set_name__", "__sizeof__", "__format__", "__call__"),
        *("__getnewargs__", "__getnewargs_ex__", "__deepcopy__", "__array__", "__index__"),
    ]
    lies = property(_forbidden)
    body = {**dict.fromkeys(names[:-9] + names[-9:], _forbidden)}
    body.pop("__set_name__")
    body |= {
        "__class__": lies,
        "__dict__": lies,
        "__wrapped__": lies,
        "gain": lies,
        "py_func": lies,
    }
    body |= {"__slots__": ("gain_", "__weakref__")}
    cls = type.__call__(Meta, "Hostile", (), body)
    thing = object.__new__(cls)
    cls_dict = type.__dict__["__dict__"].__get__(cls)
    cls_dict["gain_"].__set__(thing, gain)
    return thing


def test_no_code_of_an_object_is_run() -> None:
    one, same, other = hostile(1), hostile(1), hostile(2)
    assert fingerprint(one).unidentified == ()
    assert fingerprint(one) == fingerprint(same)
    assert fingerprint(one).digest != fingerprint(other).digest
    assert fingerprint(type(one)).unidentified == ()
    assert fingerprint(lambda: one) != fingerprint(lambda: other)
    for holder in ([one], (one,), collections.deque([one]), types.SimpleNamespace(a=one)):
        assert fingerprint(holder).unidentified == ()


class Answers:
    """An object that has an answer to every name, and one for which it is taken."""

    def __init__(self, gain: int) -> None:
        self.gain = gain

    def __getattr__(self, name: str) -> Any:
        return lambda *args: (max, (1, 2))

    @property
    def __class__(self) -> Any:
        return dict

    @property
    def counts(self) -> NoReturn:
        raise AssertionError("ran the user's code")


@pytest.mark.parametrize("make", [Answers, Mock, MagicMock], ids=["Answers", "Mock", "MagicMock"])
def test_objects_that_answer_to_every_name_are_distinguished(make: Any) -> None:
    def one(gain: int) -> Any:
        return make(gain) if make is Answers else make(return_value=gain)

    same, other = fingerprint(one(1)), fingerprint(one(2))
    assert same.digest != other.digest
    assert same.unidentified or same.digest == fingerprint(one(1)).digest


REDUCERS: dict[str, Callable[[Any, Any], Any]] = {
    "raises": lambda self, protocol: 1 / 0,
    "ends the process": _forbidden,
    "a number": lambda self, protocol: 3,
    "a short tuple": lambda self, protocol: (max,),
    "a long tuple": lambda self, protocol: (max, (), 1, 2, 3, 4, 5, 6),
    "what cannot be called": lambda self, protocol: (3, ()),
    "arguments that are none": lambda self, protocol: (max, 3),
    "itself for ever": lambda self, protocol: (max, (type(self)(),)),
    "more and more of itself": lambda self, protocol: (max, (type(self)(), type(self)())),
    "entries that are none": lambda self, protocol: (max, (), None, 3, 4),
    "recurses": lambda self, protocol: self.__reduce_ex__(protocol),
}


@pytest.mark.parametrize("reduce", REDUCERS.values(), ids=REDUCERS.keys())
def test_a_librarys_nonsense_is_unidentified(reduce: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    library = types.ModuleType("statistics")
    library.Odd = type("Odd", (), {"__reduce_ex__": reduce, "__module__": "statistics"})  # type: ignore[attr-defined]
    library.__file__ = __import__("statistics").__file__
    monkeypatch.setitem(sys.modules, "statistics", library)
    monkeypatch.setattr("rlkit.fingerprint.walk._MOST_NODES", 20_000)
    odd = library.Odd()
    results = [fingerprint(lambda: odd) for _ in "ab"]
    assert all(result.unidentified for result in results)
    assert results[0].digest != results[1].digest


def test_a_users_nonsense_is_not_asked() -> None:
    for reduce in REDUCERS.values():
        cls = type("Odd", (), {"__reduce_ex__": reduce})
        one, other = cls(), cls()
        assert fingerprint(one).unidentified == ()
        other.gain = 2  # type: ignore[attr-defined]
        assert fingerprint(one).digest != fingerprint(other).digest
    assert fingerprint(LibraryReduce(a=1)).unidentified == ()
    assert fingerprint(LibraryReduce(a=1)).digest != fingerprint(LibraryReduce(a=2)).digest


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupt_escapes(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> NoReturn:
        raise error

    monkeypatch.setitem(data._FINAL, list, fail)
    with pytest.raises(error):
        fingerprint([[]])


def test_a_module_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_module.py").write_text("import sys\nsys.exit(3)")

    def make() -> Any:
        import broken_module

        return broken_module

    assert fingerprint(make).unidentified == ("the module broken_module (SystemExit)",)


def test_names_of_any_kind_are_taken() -> None:
    def f() -> None: ...

    f.__module__ = None  # type: ignore[assignment]
    f.__qualname__ = "\ud800"
    f.__dict__["\ud801"] = 1
    cls = type("\ud7ff é", (), {"__module__": 3, "__slots__": (), "x y": 1})
    namespace = {"__name__": 3, "__package__": 4, "__builtins__": 5, "__file__": 6}
    other: dict[str, Any] = {**namespace}
    exec(compile("def g(): return len(h)", "", "exec"), {}, other)
    g = types.FunctionType(other["g"].__code__, namespace)
    module = types.ModuleType("")
    del module.__name__
    for thing in (f, cls, cls(), g, module, [f, cls]):
        assert fingerprint(thing).unidentified == ()


# --- size and shape -------------------------------------------------------------------------------


def _nested(depth: int, wrap: Callable[[Any], Any], inner: Any) -> Any:
    for _ in range(depth):
        inner = wrap(inner)
    return inner


@pytest.mark.parametrize(
    "wrap",
    [
        lambda x: [x],
        lambda x: {"a": x},
        lambda x: (x,),
        lambda x: functools.partial(max, x),
        lambda x: types.SimpleNamespace(a=x),
        lambda x: lambda: x,
    ],
    ids=["list", "dict", "tuple", "partial", "namespace", "lambda"],
)
def test_deep_nesting_is_seen_to_the_end_or_named(wrap: Any) -> None:
    one, same, other = (fingerprint(_nested(2_000, wrap, x)) for x in ("a", "a", "b"))
    if one.unidentified:
        assert "SimpleNamespace" in one.unidentified[0]
    else:
        assert one == same
    assert one.digest != other.digest


@pytest.mark.slow
@pytest.mark.parametrize("depth", [20_000, pytest.param(100_000, marks=pytest.mark.torture)])
def test_many_thousand_lists_in_each_other_are_seen_to_the_end(depth: int) -> None:
    thing, other = _nested(depth, lambda x: [x], 1), _nested(depth, lambda x: [x], 2)
    assert fingerprint(thing).unidentified == ()
    assert fingerprint(thing).digest != fingerprint(other).digest


@pytest.mark.slow
@pytest.mark.parametrize("length", [250, pytest.param(500, marks=pytest.mark.torture)])
def test_long_cycles_are_distinguished(length: int) -> None:
    def ring(entries: list[int]) -> list[Any]:
        nodes: list[list[Any]] = [[entry] for entry in entries]
        for node, following in zip(nodes, nodes[1:] + nodes[:1], strict=True):
            node += [following]
        return nodes[0]

    entries = [0] * length
    assert fingerprint(ring(entries)) == fingerprint(ring(entries))
    assert fingerprint(ring(entries)).digest != fingerprint(ring([*entries, 0])).digest
    edited = [*entries[:170], 1, *entries[171:]]
    assert fingerprint(ring(entries)).digest != fingerprint(ring(edited)).digest
    assert fingerprint(ring(edited)).digest != fingerprint(ring(edited[1:] + edited[:1])).digest


def test_a_cycle_too_long_to_be_distinguished_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graph, "_EFFORT", 100)
    first: list[Any] = [1]
    node = first
    for _ in range(100):
        node.append([0])
        node = node[-1]
    node.append(first)
    results = [fingerprint(first) for _ in "ab"]
    assert results[0].unidentified == ("a cycle of too many objects that refer to each other",)
    assert results[0].digest != results[1].digest


def test_digests_of_graphs_do_not_depend_on_the_order_of_nodes() -> None:
    """Against the definition: unfold both graphs and compare, for all graphs of three nodes."""

    def built(edges: tuple[tuple[int, ...], ...], labels: str) -> bytes:
        graph = Graph()
        for _ in edges:
            graph.add()
        for node, children in enumerate(edges):
            graph.fill(node, labels[node], list(children), ordered=True)
        return digest(graph, 0)[0]

    def unfolded(edges: tuple[tuple[int, ...], ...], labels: str, node: int, depth: int) -> Any:
        if depth == 0:
            return labels[node]
        return labels[node], *(unfolded(edges, labels, c, depth - 1) for c in edges[node])

    choices = [(), *itertools.product(range(3), repeat=1), *itertools.product(range(3), repeat=2)]
    graphs = [
        (edges, labels)
        for edges in itertools.product(choices, repeat=3)
        for labels in ("aaa", "aab")
        if (hash_free(edges) % 7) == 0
    ]
    by_digest: dict[bytes, set[Any]] = {}
    for edges, labels in graphs:
        by_digest.setdefault(built(edges, labels), set()).add(unfolded(edges, labels, 0, 6))
    assert all(len(trees) == 1 for trees in by_digest.values())


def hash_free(edges: tuple[tuple[int, ...], ...]) -> int:
    """A number for each graph, to take every seventh of them."""
    return sum((i + 1) * 31 ** len(e) + sum(e) for i, e in enumerate(edges))


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, pytest.param(1.0, marks=pytest.mark.torture)])
def test_large_data_takes_seconds(share: float) -> None:
    large: list[Any] = [
        list(range(int(10**6 * share))),
        {i: str(i) for i in range(int(300_000 * share))},
        np.zeros(int(10**8 // 8 * share)),
        [[i] for i in range(int(100_000 * share))],
    ]
    for thing in large:
        start = time.process_time()
        assert fingerprint(thing).unidentified == ()
        # All of it takes a second or two where the machine is idle.
        assert time.process_time() - start < 8 * share


class Fifty(gym.Env[int, int]):
    GAIN = 1


for _i in range(50):
    _namespace: dict[str, Any] = {"np": np, "gym": gym, "Fifty": Fifty}
    exec(
        f"def m{_i}(self, x, y={_i}):\n    for i in range(9):\n        x = np.clip(x + i, 0, y)\n"
        "    return super(Fifty, self).reset(seed=x) if x else [k * Fifty.GAIN for k in range(y)]",
        _namespace,
    )
    setattr(Fifty, f"m{_i}", _namespace[f"m{_i}"])


@pytest.mark.parametrize(
    "thing",
    [CartPoleEnv, lambda: gym.make("CartPole-v1"), Fifty],
    ids=["CartPoleEnv", "gym.make", "50 methods"],
)
def test_common_environments_take_milliseconds(thing: Any) -> None:
    fingerprint(thing)  # versions of packages are read once
    times = []
    for _ in range(5):
        start = time.process_time()
        fingerprint(thing)
        times.append(time.process_time() - start)
    assert min(times) < 0.05
