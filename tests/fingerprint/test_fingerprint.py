"""Fingerprints: what must differ does, and what is the same again is equal."""

import copy
import functools
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rlkit
from rlkit.agents import ppo_objective
from rlkit.agents.ppo import PPOConfig
from rlkit.agents.tabular import q_learning, tables, value_iteration
from rlkit.fingerprint import fingerprint
from rlkit.fingerprint.graph import Graph
from rlkit.fingerprint.walk import Walk
from tests.fingerprint.tables import EQUAL, TABLES

ROOT = Path(__file__).parents[2]


def made(source: str, name: str | None = "__main__", file: str = "<cell>") -> Any:
    """Run a source as a notebook would, and return what it calls `it`."""
    namespace: dict[str, Any] = {} if name is None else {"__name__": name}
    exec(compile(source, file, "exec"), namespace)
    return namespace["it"]


def _pair(row: tuple[str, str, str], name: str | None = "__main__") -> tuple[Any, Any]:
    source, first, second = row
    return made(source.replace("$", first), name), made(source.replace("$", second), name)


@pytest.mark.parametrize("row", TABLES.values(), ids=TABLES.keys())
@pytest.mark.parametrize("name", ["__main__", "cell", "json", None])
def test_objects_of_different_meaning_differ(row: tuple[str, str, str], name: str | None) -> None:
    first, second = map(fingerprint, _pair(row, name))
    assert first.unidentified == second.unidentified == ()
    assert first.digest != second.digest


@pytest.mark.parametrize("row", TABLES.values(), ids=TABLES.keys())
@pytest.mark.parametrize("name", ["__main__", None])
def test_the_same_source_again_is_equal(row: tuple[str, str, str], name: str | None) -> None:
    source = row[0].replace("$", row[1])
    moved = "\n\n# a comment\n" + source.replace("\n", "\n\n# another\n", 1)
    once, again = made(source, name), made(moved, name, "elsewhere.py")
    assert fingerprint(once) == fingerprint(again) == fingerprint(once)


@pytest.mark.parametrize("row", EQUAL.values(), ids=EQUAL.keys())
@pytest.mark.parametrize("name", ["__main__", None])
def test_objects_of_the_same_meaning_are_equal(row: tuple[str, str, str], name: str | None) -> None:
    first, second = map(fingerprint, _pair(row, name))
    assert first.unidentified == second.unidentified == ()
    assert first.digest == second.digest


def test_a_class_is_equal_after_it_was_run_many_times() -> None:
    source = """
    import gymnasium as gym
    SIZE = 3
    class it(gym.Env):
        observation_space = action_space = gym.spaces.Discrete(SIZE)
        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.state = 0
            return self.state, {}
        def step(self, action):
            self.state = (self.state + action) % SIZE
            return self.state, self._reward(), sum(i for i in range(4)) > 9, False, {}
        def _reward(self): return 1.0 if self.state == 0 else -0.5
    """
    cls = made(textwrap.dedent(source))
    before = fingerprint(cls)
    env = cls()
    env.reset(seed=1)
    for _ in range(2000):  # the interpreter adapts code that runs often
        env.step(cls.action_space.sample())
    assert fingerprint(cls) == before

    def trace(*_: Any) -> Any:
        return trace

    for install in (sys.settrace, sys.setprofile):
        old = sys.gettrace() if install is sys.settrace else sys.getprofile()
        install(trace)
        try:
            env.step(0)
            traced = fingerprint(cls)
        finally:
            install(old)
        assert traced == before


@pytest.mark.parametrize("row", TABLES.values(), ids=TABLES.keys())
def test_a_deep_copy_of_data_is_equal(row: tuple[str, str, str]) -> None:
    thing = made(row[0].replace("$", row[1]))
    try:
        copied = copy.deepcopy(thing)
    except Exception as error:
        pytest.skip(f"Python cannot copy it: {error!r}")
    assert fingerprint(copied).digest == fingerprint(thing).digest


@pytest.mark.long
def test_other_processes_come_to_the_same_digests(tmp_path: Path) -> None:
    """In processes that hash otherwise, and where other modules are loaded."""
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.fingerprint.test_fingerprint import TABLES, _pair, fingerprint
for row in TABLES.values():
    for thing in _pair(row):
        print(fingerprint(thing).digest)
"""
    outputs = [
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in ("1", "2")
    ]
    here = [fingerprint(thing).digest for row in TABLES.values() for thing in _pair(row)]
    differing = {
        name: position
        for position, name in enumerate([name for name in TABLES for _ in "ab"])
        if len({here[position], outputs[0][position], outputs[1][position]}) > 1
    }
    assert differing == {}


def _ignore(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant a fault: some parts of objects are forgotten."""

    def forgetful(original: Any, argument: int) -> Any:
        return lambda *args: b"" if str(args[argument]).startswith(what) else original(*args)

    monkeypatch.setattr(Walk, "mapping", forgetful(Walk.mapping, 2))
    monkeypatch.setattr(Walk, "refer", forgetful(Walk.refer, 2))
    monkeypatch.setattr(Walk, "many", forgetful(Walk.many, 2))


FAULTS: dict[str, tuple[str, Callable[[pytest.MonkeyPatch], None]]] = {
    "closures": ("code: a closure", lambda patch: _ignore("the closure of", patch)),
    "defaults": ("code: a default", lambda patch: _ignore("the default of", patch)),
    "keyword defaults": ("code: a keyword's default", lambda patch: _ignore("the defaults", patch)),
    "bases": ("class: a base class", lambda patch: _ignore("a base of", patch)),
    "globals": (
        "globals: a number",
        lambda patch: patch.setattr("rlkit.fingerprint.names.globals_of", lambda *_: []),
    ),
    "attributes of modules": (
        "globals: a module made by hand",
        lambda patch: patch.setattr("rlkit.fingerprint.names._follow", lambda *_: None),
    ),
    "constants": (
        "code: a constant",
        lambda patch: patch.setattr(Walk, "refer", _forgetful_of_numbers(Walk.refer)),
    ),
    "metaclasses": ("class: a metaclass", lambda patch: _ignore("the metaclass", patch)),
    "the order of lists": (
        "data: the order of a list",
        lambda patch: patch.setattr(Graph, "fill", functools.partialmethod(_unordered, Graph.fill)),
    ),
    "shared objects": (
        "data: one list or two",
        lambda patch: patch.setattr("rlkit.fingerprint.graph._count_references", lambda _: None),
    ),
    "where cycles lead": (
        "data: a ring",
        lambda patch: patch.setattr("rlkit.fingerprint.graph._distinguish", lambda *_: True),
    ),
}


def _forgetful_of_numbers(original: Any) -> Any:
    return lambda self, thing, place: b"" if type(thing) is int else original(self, thing, place)


def _unordered(self: Graph, original: Any, *args: Any, **options: Any) -> None:
    original(self, *args, **{**options, "ordered": False})


@pytest.mark.parametrize(("row", "plant"), FAULTS.values(), ids=FAULTS.keys())
def test_the_tables_notice_what_is_forgotten(
    row: str, plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = _pair(TABLES[row])
    assert fingerprint(first).digest != fingerprint(second).digest
    plant(monkeypatch)
    assert fingerprint(first).digest == fingerprint(second).digest


# Measured when these names were in rlkit.agents.q_learning, rlkit.runs and rlkit.agents.ppo_update,
# and the configuration had no weight decay. User-defined agents that use them keep the names of
# their runs.
EARLIER = {
    "TableActor": "ed8acd3d43463dd98e3bc81c692ce45f95298cc7ed3a9d583758592d4e3c17c5",
    "greedy_actions": "9a518c56e37ac8dc10f0176ce799b0e1f17c82d90c4b4c3a196961b276625208",
    "train": "9c2526019bdadd640523b1620244e03131037e65a307d7f4898f42fe920e27cd",
    "compare": "6adf7ef803aa875b3f05e7b20df9b07cecf2f1cd9bd469aa0d1a915418fb7800",
    "load": "9ac2648a4b627040e244b09665d077faac56fbf2abe803d397f26392c7d550be",
    "Run": "7aa628cda92714dbc025c866104a6e8f655876d98361fdbb3bc9697586378101",
    "Comparison": "38c3b6dc3bd6a9feedf23f4e1ab13c32f569aeedc8d0ebf5ac0ee1c279d79408",
    "Batch": "db452cb34967a9b6dd0f6d4c89132468d959bd582006f04080c4f318c3d5a3df",
    "Objective": "dc594c84fe960307fbaf7691b7ccbd392f9a533b3593ad934d84621459595deb",
    "QLearning": "5b8779ed2223728bb855b6a9f379637e7f59f349a6355ea7cd2c6ff12abdf962",
    "QLearningConfig": "fa861687eb756a582d40c05e01a132655b641d7964a807a25cffa5a5a333a2d7",
    "best_value": "ae151696c38a10608409eefcfff3e9168b849d8bc7b7e63a8bbfec43c607752d",
    "ValueIterationConfig": "b2b397cccd3c3d90f13505903f192f0fe17a8c056458aca92220c51699a4c3ec",
}


@pytest.mark.parametrize("name", EARLIER)
def test_names_of_rlkit_that_moved_mean_what_they_meant(name: str) -> None:
    home, *_ = (
        one
        for one in (rlkit, tables, q_learning, value_iteration, ppo_objective)
        if hasattr(one, name)
    )
    assert fingerprint(getattr(home, name)).digest == EARLIER[name]


def test_options_that_were_added_later_count_only_when_they_are_used() -> None:
    now = fingerprint(PPOConfig()).digest
    assert now == "6a8ba8c6087457deaf8551d3eed5664fed021850c5489d2679de23dedf057b1e"
    assert fingerprint(PPOConfig(weight_decay=0.0, decay="l2")).digest == now
    decayed = fingerprint(PPOConfig(weight_decay=0.1)).digest
    assert len({now, decayed, fingerprint(PPOConfig(weight_decay=0.2)).digest}) == 3
