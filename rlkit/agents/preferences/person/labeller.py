"""Asks a person, on a page in the browser, which of two segments is better."""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agents.preferences.labellers import UNKNOWN, Labels, Segment, segment_of
from rlkit.agents.preferences.person.answers import Answers, digest_of
from rlkit.agents.preferences.person.desk import Desk
from rlkit.agents.preferences.person.pictures import Draw, painter_of, png_of
from rlkit.agents.preferences.person.setting import ANSWERS, present_setting
from rlkit.agents.preferences.segments import Segments
from rlkit.errors import PlayStopped

Array = NDArray[Any]
MOST_NUMBERS = 12  # of an observation that are shown


class PersonLabeller:
    """Shows questions on a page until each is answered; answers are kept in a file.

    Questions whose answers are in the file already are not asked again, so that a run that was
    interrupted continues with the same labels.

    Args:
        file: of the answers; "" = `answers.jsonl` in the folder of the run.
        observation_space: as the agent sees it; None = numbers without pictures.
    """

    def __init__(self, file: str, observation_space: spaces.Space[Any] | None = None) -> None:
        self._file, self._space = file, observation_space
        self._setting = present_setting()

    def __call__(
        self, pairs: Segments, rng: np.random.Generator, ends: Array | None = None
    ) -> Labels:
        questions = [
            digest_of(pairs.at(p), None if ends is None else ends[p])
            for p in range(len(pairs.lengths))
        ]
        answers = self._answers
        if not all(question in answers.known for question in questions):
            self._ask(pairs, ends, questions)
        preferred = np.array([answers.known[question] for question in questions])
        return Labels(preferred, np.full(len(questions), UNKNOWN))

    @cached_property
    def _answers(self) -> Answers:
        path = Path(self._file) if self._file else self._setting.folder / ANSWERS
        answers = Answers(path)
        self._setting.closing.callback(answers.close)
        return answers

    @cached_property
    def _desk(self) -> Desk:
        desk = Desk()
        self._setting.closing.callback(desk.close)
        return desk

    @cached_property
    def _draw(self) -> Draw | None:
        if self._space is None:
            return None
        return painter_of(self._setting.environment, self._space)

    def _ask(self, pairs: Segments, ends: Array | None, questions: list[str]) -> None:
        """Show one question after another until all are answered.

        Raises:
            PlayStopped: the run was asked to stop.
        """
        answers, desk = self._answers, self._desk
        # In the order of answering, so that the last can be taken back, also after a kill.
        given = [question for question in answers.known if question in questions]
        left = len(set(questions)) - len(given)
        print(
            f"rlkit: {left} question{'s wait' if left > 1 else ' waits'} for you: open "
            f"{desk.address} in a browser on this "
            f"machine. Each answer is saved at once in {answers.path}; Ctrl-C stops, and the same "
            "command continues",
            file=sys.stderr,
            flush=True,
        )
        while waiting := [
            p for p, question in enumerate(questions) if question not in answers.known
        ]:
            p = waiting[0]
            shown = self._content(pairs.at(p), None if ends is None else ends[p])
            desk.show(
                {
                    **shown,
                    "question": questions[p],
                    "answered": len(given),
                    "total": len(set(questions)),
                    "undo": bool(given),
                }
            )
            answer = desk.wait(self._setting.stop)
            if answer is None:
                raise PlayStopped(
                    f"asking a person was stopped ({len(answers.known)} answers are in "
                    f"{answers.path})"
                )
            if answer == "undo":
                if given and answers.remove_last(given[-1]):
                    given.pop()
            else:
                answers.add(questions[p], pairs.at(p), answer)
                given.append(questions[p])
        desk.show({"waiting": True})

    def _content(self, pair: Segments, ends: Array | None) -> dict[str, Any]:
        """Return what the page shows of a question [2]."""
        sides = [self._side(segment_of(pair, i), None if ends is None else ends[i]) for i in (0, 1)]
        if not all(side["pictures"] for side in sides):  # both or none, to be compared
            for side in sides:
                side["pictures"] = []
        return {"segments": sides}

    def _side(self, segment: Segment, end: Array | None) -> dict[str, Any]:
        rows, names = _numbers(segment, end)
        return {
            "pictures": [] if self._draw is None else _pictures(segment, end, self._draw),
            "columns": names,
            "rows": rows,
            "steps": len(segment.rewards),
            "terminated": bool(segment.terminated),
        }


def _pictures(segment: Segment, end: Array | None, draw: Draw) -> list[str]:
    """Return the picture of each observation, or none if one cannot be drawn."""
    pictures: list[str] = []
    before: int | None = None
    observations = [*segment.obs, *([] if end is None else [end])]
    for obs, action in zip(observations, [*segment.actions, None], strict=False):
        picture = draw(obs, before)
        if picture is None:
            return []
        pictures.append(png_of(picture))
        is_index = action is not None and np.ndim(action) == 0 and action.dtype.kind in "iu"
        before = int(action) if is_index else None
    return pictures


def _numbers(segment: Segment, end: Array | None) -> tuple[list[list[float | None]], list[str]]:
    """Return actions and the first numbers of the observations, a row for each."""
    steps, size = len(segment.rewards), int(np.prod(segment.obs.shape[1:]))
    actions = segment.actions.reshape(steps, -1).astype(np.float64)
    obs = segment.obs.reshape(steps, -1)[:, :MOST_NUMBERS].astype(np.float64)
    rows: list[list[float | None]] = np.concatenate([actions, obs], axis=1).tolist()
    if end is not None:
        last = np.asarray(end, np.float64).reshape(-1)[:MOST_NUMBERS]
        rows.append([*[None] * actions.shape[1], *last.tolist()])
    names = ["action" if actions.shape[1] == 1 else f"action {i}" for i in range(actions.shape[1])]
    names += ["observation" if size == 1 else f"obs {i}" for i in range(obs.shape[1])]
    return rows, names
