"""Answers are on the disk before the next is asked, and are found again by what was shown."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from rlkit.agents.preferences.person.answers import Answers, digest_of
from rlkit.agents.preferences.store import read_lines
from rlkit.environments.views.actions import ActionLayout
from rlkit.errors import UsageError
from tests.agents.preferences.pairs import pairs_of

PAIRS = pairs_of([([1, 1], [1]), ([2], [1, 1]), ([3, 3], [4, 4])], length=2)
DIGESTS = [digest_of(PAIRS.at(p)) for p in range(3)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "answers.jsonl"


@pytest.fixture
def answers(path: Path) -> Iterator[Answers]:
    one = Answers(path)
    yield one
    one.close()


def fill(answers: Answers) -> None:
    for p, preferred in enumerate((1.0, 0.5, 0.0)):
        answers.add(DIGESTS[p], PAIRS.at(p), preferred)


def test_answers_are_there_for_the_next_process(answers: Answers, path: Path) -> None:
    fill(answers)
    answers.close()
    again = Answers(path)
    assert again.known == dict(zip(DIGESTS, (1.0, 0.5, 0.0), strict=True))
    again.close()
    answers._file = os.open(path, os.O_RDWR)  # for the fixture


def test_a_file_of_answers_is_a_file_of_preferences(answers: Answers, path: Path) -> None:
    fill(answers)
    space = spaces.Box(0, 9, (1,), np.float32)
    known = read_lines(path, 2, space, ActionLayout(spaces.Discrete(2)))
    assert known.preferred.tolist() == [1.0, 0.5, 0.0]
    np.testing.assert_array_equal(known.pairs.rewards, PAIRS.rewards)
    np.testing.assert_array_equal(known.pairs.actions, PAIRS.actions)


def test_the_last_answer_alone_can_be_removed(answers: Answers, path: Path) -> None:
    fill(answers)
    whole = path.read_bytes()
    assert not answers.remove_last(DIGESTS[0])
    assert path.read_bytes() == whole
    assert answers.remove_last(DIGESTS[2])
    assert path.read_bytes() == b"".join(whole.splitlines(keepends=True)[:2])
    assert answers.known == {DIGESTS[0]: 1.0, DIGESTS[1]: 0.5}
    assert answers.remove_last(DIGESTS[1])
    assert answers.remove_last(DIGESTS[0])
    assert not answers.remove_last(DIGESTS[0])
    assert path.read_bytes() == b""


def test_a_line_that_was_written_in_part_is_asked_again(answers: Answers, path: Path) -> None:
    fill(answers)
    answers.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    again = Answers(path)
    assert list(again.known) == DIGESTS[:2]
    again.add(DIGESTS[2], PAIRS.at(2), 0.0)
    assert path.read_bytes() == whole
    again.close()
    answers._file = os.open(path, os.O_RDWR)


def test_one_process_at_a_time_answers(answers: Answers, path: Path) -> None:
    with pytest.raises(UsageError, match=r"used by another process.*--workers 1"):
        Answers(path)


@pytest.mark.parametrize(
    "line", ["{}", "[1]", '{"question": "a", "preferred": 2}', "no json", '{"preferred": 1.0}']
)
def test_a_file_of_something_else_is_left_alone(path: Path, line: str) -> None:
    path.parent.mkdir()
    path.write_text(line + "\n")
    with pytest.raises(UsageError, match="line 1: expected an answer of a person"):
        Answers(path)
    assert path.read_text() == line + "\n"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="the answers of a person cannot be kept in"):
        Answers(tmp_path / "file" / "answers.jsonl")


def test_a_full_disk_leaves_no_part_of_an_answer(
    answers: Answers, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(answers)
    whole, write = path.read_bytes(), os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:10]))
    with pytest.raises(UsageError, match=r"writing to .*answers\.jsonl failed"):
        answers.add("d", PAIRS.at(0), 1.0)
    assert path.read_bytes() == whole
    assert "d" not in answers.known


def test_questions_that_look_different_have_different_digests() -> None:
    pair = PAIRS.at(0)
    ends = np.zeros((2, 1), np.float32)
    others = [
        digest_of(pair, ends),
        digest_of(pair, ends + 1),
        *(DIGESTS[1:]),
        digest_of(pair._replace(actions=1 - pair.actions)),
        digest_of(pair.at(np.s_[::-1])),
    ]
    assert len({digest_of(pair), *others}) == 1 + len(others)
    assert json.dumps(digest_of(pair)) == json.dumps(digest_of(PAIRS.at(0)))
