"""One thread, as in a run: set before torch is imported, and without importing it here."""

import fcntl
import gc
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from numba.core.dispatcher import Dispatcher

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

# The key of this machine is that of the tests, also for the processes that they start.
_SETTINGS = tempfile.TemporaryDirectory()
os.environ["XDG_CONFIG_HOME"] = _SETTINGS.name

pytest_plugins = ["tests.run_fixtures", "tests.browser"]


def _one_thread() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != 1:
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def threads_of_no_other_test() -> Iterator[None]:
    """Let no test inherit the number of threads that another left."""
    _one_thread()
    yield
    _one_thread()


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are processors: some tests wait for processes that they start."""
    from rlkit.maths.compiled import num_threads

    return num_threads() + 1


def pytest_collection_finish() -> None:
    """Let searches for garbage skip modules and tests: they took an eighth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, *gc.get_threshold()[1:])


# What tests train with: each process that is forked would import what the first did not need.
_FORKED_WITH = (
    *("torch", "matplotlib.figure", "rlkit.agents.ppo", "rlkit.agents.reinforce"),
    *("rlkit.agents.tabular.q_learning", "rlkit.training.seed_trainer", "rlkit.training.run"),
)


def _import_before_forking() -> None:
    from rlkit.processes import starting

    multiprocessing.get_context("forkserver").set_forkserver_preload([*_FORKED_WITH])
    warm_up = starting.warm_up
    starting.warm_up = lambda modules: warm_up([*modules, *_FORKED_WITH])


def pytest_configure() -> None:
    """Let test processes load machine code that another one is making, and not make it too."""
    _import_before_forking()
    compile_alone, depth = Dispatcher.compile, 0

    def compile(self: Dispatcher, signature: object) -> object:
        nonlocal depth
        if depth:  # what is compiled calls something that is not yet
            return compile_alone(self, signature)
        with Path(__file__).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            depth = 1
            try:
                return compile_alone(self, signature)
            finally:
                depth = 0

    Dispatcher.compile = compile
