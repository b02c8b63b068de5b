"""A search that is trained once: twelve tiny trials of Q-learning on FrozenLake."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlkit.training.tuning import tune as tuning
from rlkit.training.tuning.study import Study
from rlkit.training.tuning.trials import Trial

SPACE = {
    "step_size": {"low": 1e-4, "high": 1.0, "log": True},
    "initial_value": [0.0, 0.1, 1.0],
}
SMALL: dict[str, Any] = {
    "agent": "q-learning",
    "environment": "FrozenLake-v1",
    "seed": 1,
    "space": SPACE,
    "trials": 12,
    "seeds": 3,
    "confirm_seeds": 3,
    "steps": 4000,
    "evaluate_every": 400,
    "epsilon_steps": 2000,
}


def search(out: Path, **changes: Any) -> Study:
    return tuning.tune(**(SMALL | {"out": out} | changes))


@pytest.fixture(scope="session")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The whole search, its figures included."""
    return search(tmp_path_factory.mktemp("searched"))


@pytest.fixture
def begun(searched: Study, tmp_path: Path) -> Callable[[int], Path]:
    """Return a folder in which the search has only its first trials."""

    def begun(number: int) -> Path:
        out = tmp_path / f"begun-{number}"
        trials = shutil.copytree(searched.folder, out / searched.folder.name) / "trials"
        for folder in sorted(trials.iterdir())[number:]:
            shutil.rmtree(folder)
        return out

    return begun


@pytest.fixture
def unconfirmed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Trial]]:
    """Search without the confirmation and its figures; return the trials."""

    def run(out: Path, **changes: Any) -> list[Trial]:
        known: list[Trial] = []
        monkeypatch.setattr(tuning._Search, "_confirm", lambda self, study: None)
        monkeypatch.setattr(tuning, "write_figures", lambda study: None)
        return list(search(out, each=known.append, **changes).trials)

    return run
