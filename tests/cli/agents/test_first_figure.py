"""The process that draws has drawn once before it is asked to."""

from __future__ import annotations

import subprocess
import sys

import pytest

from rlkit.cli.agents import train
from rlkit.training import figures

MODULE = "rlkit.cli.agents.first_figure"


@pytest.mark.parametrize("words", [[], ["--workers", "2"]])
def test_rlkit_train_starts_a_process_that_has_drawn(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[str, ...]] = []
    monkeypatch.setattr(figures, "_started", [])
    monkeypatch.setattr(figures, "warm_up", started.append)
    train._start_processes(["q-learning", "FrozenLake-v1", *words])
    assert MODULE in started[0]


def test_the_import_loads_fonts_and_nothing_that_has_threads() -> None:
    code = f"""
import sys
import {MODULE}
from matplotlib import font_manager
assert font_manager._get_font.cache_info().currsize
assert not {{"torch", "numba", "gymnasium"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
