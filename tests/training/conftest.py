"""Draws no figures, which take longer than these runs, unless a test asks for `figures`."""

from __future__ import annotations

import pytest

from rlkit.training.run import Run


@pytest.fixture(autouse=True)
def _no_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "figures" not in request.fixturenames:
        monkeypatch.setattr(Run, "plot", lambda self, path=None: None)
