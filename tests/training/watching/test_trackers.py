"""What a tracker is called with; the module is one of the test's own, as none is installed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from rlkit.errors import UsageError
from rlkit.runs.reports import Reports, WatchError
from rlkit.training.run import Run
from rlkit.training.watching.scalars import scalars, steps_of

Lake = Callable[..., Run]


class Fake(ModuleType):
    """Keeps what it is called with, as the functions of a tracker would be."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.started: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def init(self, project: str, **options: Any) -> None:
        self.started.append({"project": project, **options})

    def log(self, metrics: dict[str, float], *, step: int) -> None:
        self.logged.append((step, metrics))

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture(params=["trackio", "wandb"])
def fake(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Fake:
    fake = Fake(request.param)
    monkeypatch.setitem(sys.modules, request.param, fake)
    return fake


def test_a_run_is_started_logged_and_finished_with_the_scalars_of_its_rows(
    fake: Fake, lake: Lake, whole: Any, results: Any
) -> None:
    run = lake(track=fake.__name__)
    assert results(run.folder) == whole
    assert fake.logged == [(one.step, scalars(one)) for one in steps_of(run)]
    assert fake.finished == 1
    (started,) = fake.started
    assert (started["project"], started["name"]) == ("rlkit", run.folder.name)
    assert started["resume"] == "allow"
    assert started.get("id") == (run.folder.name if fake.__name__ == "wandb" else None)
    assert started["config"]["agent"] == "q-learning"
    assert started["config"]["num_seeds"] == 4


def test_a_run_that_is_continued_sends_no_row_again(fake: Fake, lake: Lake) -> None:
    lake(track=fake.__name__, steps=1000)
    lake(track=fake.__name__)
    notes: list[str] = []
    lake(track=fake.__name__, reports=Reports(note=notes.append))  # finished: nothing is sent
    assert f"no row is new, so nothing is sent to {fake.__name__}" in notes
    assert [step for step, _ in fake.logged] == list(range(0, 4001, 250))
    assert (len(fake.started), fake.finished) == (2, 2)


def test_a_tracker_that_cannot_start_is_named_and_the_run_is_kept(
    fake: Fake, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(**options: Any) -> None:
        raise PermissionError("no key")

    monkeypatch.setattr(fake, "init", refuses)
    with pytest.raises(WatchError, match=r"\.init raised PermissionError\('no key'\)"):
        lake(track=fake.__name__)
    assert lake().status == "finished"


def test_a_tracker_that_fails_is_given_up(
    fake: Fake, lake: Lake, whole: Any, results: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(metrics: dict[str, float], *, step: int) -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(fake, "log", fails)
    notes: list[str] = []
    run = lake(track=fake.__name__, reports=Reports(note=notes.append))
    assert results(run.folder) == whole
    (note,) = [text for text in notes if "ConnectionError('gone')" in text]
    assert note.startswith(f"the tracker {fake.__name__} failed and is given up")
    assert note.endswith("the csv of each seed has all rows")


def test_a_tracker_that_is_not_there_is_named(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="expected trackio or wandb, got 'mlflow'"):
        lake(track="mlflow")
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match=r"wandb cannot be imported .*pip install wandb"):
        lake(track="wandb")
    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))
    with pytest.raises(UsageError, match="has no init, log, finish, so it is another"):
        lake(track="wandb")
