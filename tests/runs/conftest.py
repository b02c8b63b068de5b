"""What the tests of runs share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from rlkit.training.run import Run


@pytest.fixture(autouse=True)
def _hangups_count() -> Iterator[None]:
    """Under nohup the tests ignore SIGHUP, and what they start would ignore it too."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(autouse=True)
def _no_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no figures, which take longer than these runs, unless a test asks for `figures`."""
    if "figures" not in request.fixturenames:
        monkeypatch.setattr(Run, "plot", lambda self, path=None: None)
