"""Compilation and its cache: each process below imports small modules from a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rlkit.maths.compiled import kernel, unsigned

ROOT = Path(__file__).parents[2]
MODULES = {
    "first": """
from other import shift
from rlkit.maths.compiled import kernel, part

@part
def double(x):
    return shift(2.0 * x)

@kernel
def third(x):
    return x / 3.0
""",
    "other": """
from rlkit.maths.compiled import part

MORE = 0.0

@part
def shift(x):
    return x + 1.0 + MORE
""",
    "use": """
from first import double, third
from rlkit.maths.compiled import announced, compose

def text(x):
    return step(x)

composed = compose(text, step=double)
news = []
with announced(news.append):
    print(composed(3.0), third(6.0))
print(sum(composed.stats.cache_hits.values()), len(news))
""",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    return tmp_path


def run(folder: Path) -> list[str]:
    """Return the two results, the hits of the cache, and how often compilation was announced."""
    # Without byte code: an edit that keeps the size within one second would not be seen.
    variables = os.environ | {"PYTHONPATH": f"{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    variables.pop("NUMBA_CACHE_DIR", None)
    variables["XDG_CACHE_HOME"] = str(folder / "user_cache")
    command = [sys.executable, "use.py"]
    return subprocess.run(
        command, cwd=folder, env=variables, check=True, capture_output=True, text=True
    ).stdout.split()


@pytest.mark.long
def test_the_same_parts_are_loaded_from_the_cache_and_changed_ones_compiled(folder: Path) -> None:
    assert run(folder) == ["7.0", "2.0", "0", "1"]
    assert run(folder) == ["7.0", "2.0", "1", "0"]
    other = folder / "other.py"
    other.write_text(other.read_text().replace("x + 1.0", "x + 5.0"))
    assert run(folder) == ["11.0", "2.0", "0", "1"]
    other.write_text(other.read_text().replace("x + 5.0", "x - 5.0"))
    assert run(folder) == ["1.0", "2.0", "0", "1"]
    other.write_text(other.read_text().replace("MORE = 0.0", "MORE = 9.0"))
    assert run(folder) == ["10.0", "2.0", "0", "1"]


NAMED = {
    "kinds": """
from typing import NamedTuple
from rlkit.maths.compiled import part

class Pair(NamedTuple):
    a: float

@part
def half(pair):
    return pair.a / 2.0
""",
    "use": """
import kinds
from rlkit.maths.compiled import compose

def text(x):
    return step(x)

print(compose(text, step=kinds.half)(kinds.Pair(3.0)))
""",
}


@pytest.mark.long
def test_an_argument_whose_class_has_another_name_is_compiled_anew(tmp_path: Path) -> None:
    for name, text in NAMED.items():
        (tmp_path / f"{name}.py").write_text(text)
    assert run(tmp_path) == ["1.5"]
    for name, text in NAMED.items():
        (tmp_path / f"{name}.py").write_text(text.replace("Pair", "Two"))
    assert run(tmp_path) == ["1.5"]


@pytest.mark.long
def test_kernels_work_where_no_cache_folder_can_be_written(folder: Path) -> None:
    # A file in place of a folder stops the superuser too.
    (folder / "__pycache__").write_text("")
    (folder / "user_cache").write_text("")
    for _ in range(2):
        assert run(folder) == ["7.0", "2.0", "0", "1"]


def test_division_by_zero_gives_infinity_and_not_an_error() -> None:
    @kernel
    def inverse(x: float) -> float:
        return 1.0 / x

    assert inverse(0.0) == np.inf


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_indices_keep_their_values_and_those_in_32_bits_their_memory(dtype: type) -> None:
    indices = np.array([0, 3, 2**31 - 1], dtype=dtype)
    result = unsigned(indices)
    assert result.dtype == np.uint32
    assert result.tolist() == indices.tolist()
    assert np.shares_memory(result, indices) == (dtype is np.int32)


def test_what_is_in_the_cache_is_loaded_without_numbas_library(folder: Path) -> None:
    (folder / "use.py").write_text(
        MODULES["use"] + "import sys\nprint('numba.np.arraymath' in sys.modules)"
    )
    assert run(folder)[-1] == "True"
    assert run(folder)[-1] == "False"
