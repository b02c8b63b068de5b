"""Every experiment can be imported, so a name that moved in the library is noticed."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "experiments").rglob("*.py")
    if path.name != "__init__.py"
)


def test_there_are_experiments() -> None:
    assert len(MODULES) > 20


@pytest.mark.parametrize("name", MODULES)
def test_an_experiment_can_be_imported(name: str) -> None:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = str(error.name).split(".")[0]
        if missing in ("rlkit", "envs", "experiments"):
            raise
        pytest.skip(f"needs {missing}, which is not installed")
