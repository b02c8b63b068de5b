"""A person is asked each question once in any number of sessions, which change no run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import rlkit
from rlkit.agent import Task
from rlkit.agents.preferences.person import labeller
from rlkit.agents.preferences.person.desk import Answer, Desk
from rlkit.agents.preferences.person.labeller import PersonLabeller
from rlkit.agents.preferences.person.setting import ANSWERS, labelled_in
from rlkit.agents.preferences.preference_ppo import PreferencePPO, PreferencePPOConfig
from rlkit.errors import PlayStopped
from rlkit.runs.reports import Interrupted
from rlkit.seeding import SeedStreams
from rlkit.training.preferences import preferences_of
from tests.agents.preferences.pairs import pairs_of
from tests.training.small_preferences import SMALL_PREFERENCES

RNG = np.random.default_rng(0)
PAIRS = pairs_of([([1, 1], [1]), ([2], [1, 1]), ([3, 3], [4, 4]), ([5], [6])], length=2)


class Reader:
    """Answers in place of a person: by a script, or by a rule; None stops the run."""

    def __init__(self, rule: Callable[[dict[str, Any]], Answer | None]) -> None:
        self.rule = rule
        self.seen: list[dict[str, Any]] = []

    def show(self, desk: Desk, content: Any) -> None:
        self.now = content

    def wait(self, desk: Desk, stop: Callable[[], int]) -> Answer | None:
        self.seen.append(self.now)
        return self.rule(self.now)


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Reader]:
    def reading(rule: Callable[[dict[str, Any]], Answer | None]) -> Reader:
        reader = Reader(rule)
        monkeypatch.setattr(Desk, "show", lambda desk, content: reader.show(desk, content))
        monkeypatch.setattr(Desk, "wait", lambda desk, stop: reader.wait(desk, stop))
        return reader

    return reading


def script(*answers: Answer | None) -> Callable[[dict[str, Any]], Answer | None]:
    left: Iterator[Answer | None] = iter(answers)
    return lambda content: next(left)


def label(folder: Path, pairs: Any = PAIRS, **options: Any) -> list[float]:
    with labelled_in(folder, None, lambda: 0):
        return PersonLabeller("")(pairs, RNG, **options).preferred.tolist()


def test_each_question_is_asked_once_and_a_killed_session_continues(
    tmp_path: Path, reading: Callable[..., Reader], capsys: pytest.CaptureFixture[str]
) -> None:
    reader = reading(script(1.0, 0.5, None))
    with pytest.raises(PlayStopped, match=r"2 answers are in .*answers\.jsonl"):
        label(tmp_path)
    text = capsys.readouterr().err
    assert "4 questions wait for you: open http://127.0.0.1:" in text
    assert "Ctrl-C stops, and the same command continues" in text
    first = [shown["question"] for shown in reader.seen]
    reader = reading(script(0.0, 1.0))
    assert label(tmp_path) == [1.0, 0.5, 0.0, 1.0]
    assert "2 questions wait for you" in capsys.readouterr().err
    assert reader.seen[0]["question"] == first[2]
    assert [shown["answered"] for shown in reader.seen] == [2, 3]
    reading(script())  # nobody is asked
    assert label(tmp_path) == [1.0, 0.5, 0.0, 1.0]
    assert capsys.readouterr().err == ""


def test_undo_asks_the_last_one_again_also_in_the_next_session(
    tmp_path: Path, reading: Callable[..., Reader]
) -> None:
    reading(script(1.0, 1.0, None))
    with pytest.raises(PlayStopped):
        label(tmp_path)
    reader = reading(script("undo", "undo", "undo", 0.0, 1.0, "undo", 0.5, 0.0, 0.5))
    assert label(tmp_path) == [0.0, 0.5, 0.0, 0.5]
    answered = [shown["answered"] for shown in reader.seen]
    assert answered == [2, 1, 0, 0, 1, 2, 1, 2, 3]
    assert [shown["undo"] for shown in reader.seen] == [number > 0 for number in answered]
    assert len((tmp_path / ANSWERS).read_text().splitlines()) == 4


def test_the_same_question_twice_is_asked_once(
    tmp_path: Path, reading: Callable[..., Reader]
) -> None:
    pairs = pairs_of([([1], [2]), ([1], [2]), ([2], [1])], length=1)
    reader = reading(script(0.0, 1.0))
    assert label(tmp_path, pairs) == [0.0, 0.0, 1.0]
    assert {shown["total"] for shown in reader.seen} == {2}


def test_questions_with_other_ends_are_others(
    tmp_path: Path, reading: Callable[..., Reader]
) -> None:
    """Where a segment leads is what a person judges; its steps alone may be the same."""
    pairs = pairs_of([([1], [2]), ([1], [2])], length=1)
    ends = np.array([[[0.0], [1.0]], [[1.0], [0.0]]], np.float32)
    reader = reading(script(0.0, 1.0))
    assert label(tmp_path, pairs, ends=ends) == [0.0, 1.0]
    assert reader.seen[0]["segments"][1]["rows"] == [[0.0, 0.0], [None, 1.0]]
    assert reader.seen[0]["segments"][1]["columns"] == ["action", "observation"]


def test_pictures_are_those_of_each_observation_and_the_end(
    tmp_path: Path, reading: Callable[..., Reader]
) -> None:
    space = spaces.Box(0, 255, (9, 9, 3), np.uint8)
    pairs = pairs_of([([1, 1], [2])], length=2)
    pairs = pairs._replace(obs=np.zeros((1, 2, 2, 9, 9, 3), np.uint8))
    ends = np.full((1, 2, 9, 9, 3), 255, np.uint8)
    reader = reading(script(1.0))
    with labelled_in(tmp_path, None, lambda: 0):
        PersonLabeller("", space)(pairs, RNG, ends)
    left, right = reader.seen[0]["segments"]
    assert [len(side["pictures"]) for side in (left, right)] == [3, 2]
    assert left["pictures"][0] == left["pictures"][1] != left["pictures"][2]
    assert (left["terminated"], right["terminated"]) == (False, True)
    assert len(left["columns"]) == 1 + 12  # the action, and as many numbers as a table holds


def test_answers_may_have_a_file_of_their_own(
    tmp_path: Path, reading: Callable[..., Reader]
) -> None:
    reading(lambda shown: 1.0)
    file = tmp_path / "mine" / "labels.jsonl"
    with labelled_in(tmp_path / "run", None, lambda: 0):
        PersonLabeller(str(file))(PAIRS, RNG)
    assert len(file.read_text().splitlines()) == 4
    assert not (tmp_path / "run").exists()


# --- whole runs -----------------------------------------------------------------------------------


@pytest.fixture
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than training; what is drawn has tests of its own."""
    monkeypatch.setattr(labeller, "painter_of", lambda environment, space: None)


OPTIONS = {**SMALL_PREFERENCES, "num_preferences": 8, "segment_length": 5, "labeller": "person"}


def by_length(shown: dict[str, Any]) -> Answer:
    """Prefer the segment that lasts longer."""
    first, second = (side["steps"] for side in shown["segments"])
    return 0.5 if first == second else float(first > second)


def train(out: Path, **options: Any) -> rlkit.Run:
    return rlkit.train("preference-ppo", "CartPole-v1", seeds=2, out=out, **{**OPTIONS, **options})


@pytest.mark.usefixtures("without_pictures")
def test_a_run_that_was_interrupted_while_asking_ends_with_the_same_bytes(
    tmp_path: Path, reading: Callable[..., Reader], results: Callable[[Path], Any]
) -> None:
    reader = reading(by_length)
    whole = train(tmp_path / "whole")
    assert len(reader.seen) == 2 * 8
    left = iter(range(11))
    reading(lambda shown: by_length(shown) if next(left, None) is not None else None)
    with pytest.raises(Interrupted, match="the same command continues from there"):
        train(tmp_path / "parts")
    reader = reading(by_length)
    parts = train(tmp_path / "parts")
    assert len(reader.seen) == 2 * 8 - 11  # no answer is asked for twice
    assert results(parts.folder) == results(whole.folder)
    assert (preferences_of(parts, 1).probability == -1).all()
    assert [verdict.notes for verdict in rlkit.verify(parts.folder)] == [()]
    # A seed alone has the bytes that it has in company.
    reading(by_length)
    alone = rlkit.train("preference-ppo", "CartPole-v1", seeds=1, out=tmp_path / "one", **OPTIONS)
    assert results(alone.folder).items() <= results(whole.folder).items()


@pytest.mark.usefixtures("without_pictures")
def test_a_run_is_reproduced_from_its_answers(
    tmp_path: Path, reading: Callable[..., Reader]
) -> None:
    reading(by_length)
    run = rlkit.train("preference-ppo", "CartPole-v1", seeds=1, out=tmp_path / "runs", **OPTIONS)
    reading(script())  # nobody is there
    assert rlkit.reproduce(run.folder).verdict == "equal bytes"


def test_the_user_is_told_how_much_there_is_to_answer() -> None:
    config = PreferencePPOConfig(labeller="person", num_preferences=8, num_rounds=1)
    space = spaces.Box(0, 1, (1,), np.float32)
    task = Task(space, spaces.Discrete(2), (SeedStreams(0, 0),), 1, 100_000)
    first, *_ = PreferencePPO.remarks(task, config)
    assert "you will be asked 8 questions per seed, in 1 round;" in first
