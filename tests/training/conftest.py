"""Draws no figures, which take longer than these runs, unless a test asks for `figures`."""

from __future__ import annotations

from typing import Any

import pytest

from rlkit.training.comparing import comparison
from rlkit.training.run import Run


@pytest.fixture(autouse=True)
def _no_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw_nothing(*_: Any, **__: Any) -> None: ...

    if "figures" not in request.fixturenames:
        monkeypatch.setattr(Run, "plot", draw_nothing)
        monkeypatch.setattr(comparison, "plot_runs", draw_nothing)
        monkeypatch.setattr(comparison, "save", draw_nothing)
