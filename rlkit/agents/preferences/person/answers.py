"""The answers of a person as JSON lines, each of which is on the disk before the next is asked.

A line is a preference as in other files of preferences, and `question`, the sha256 of its two
segments. A run that is continued asks the same questions again and finds the answers here.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agents.preferences.labellers import UNKNOWN, Labels
from rlkit.agents.preferences.segments import Segments
from rlkit.agents.preferences.store import new_preferences, to_lines
from rlkit.errors import UsageError

Array = NDArray[Any]
CHOICES = (1.0, 0.0, 0.5)  # the first is better, the second, equal


def digest_of(pair: Segments, ends: Array | None = None) -> str:
    """Return the sha256 of what a question [2] shows, by which its answer is found again."""
    digest = hashlib.sha256()
    parts = pair._asdict() | ({} if ends is None else {"ends": ends})
    for name, part in parts.items():
        digest.update(f"{name} {part.dtype.str} {part.shape} ".encode())
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


class Answers:
    """The file of answers, which one process at a time may use.

    Args:
        path: of the file; it is made where there is none.

    Raises:
        UsageError: it cannot be used, is used by another process, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, float] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UsageError(
                f"the answers of a person cannot be kept in {path}: {error.strerror}"
            ) from error
        try:
            self._lock()
            for number, line in enumerate(self._whole_lines(), 1):
                question, preferred = self._read(line, number)
                self.known[question] = preferred
        except BaseException:
            os.close(self._file)
            raise

    def close(self) -> None:
        """Let other processes use the file."""
        os.close(self._file)

    def add(self, question: str, pair: Segments, preferred: float) -> None:
        """Write an answer to the disk.

        Raises:
            UsageError: it cannot be written, as on a full disk; then nothing of it is.
        """
        labels = Labels(np.array([preferred]), np.array([UNKNOWN]))
        one = Segments(*(part[None] for part in pair))
        line = json.loads(to_lines(new_preferences(one, labels, -1, 0.0)))
        data = json.dumps({"question": question, **line}).encode() + b"\n"
        end = os.lseek(self._file, 0, os.SEEK_END)
        try:
            if os.write(self._file, data) < len(data):
                raise OSError(0, "it was written in part")
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, end)
            raise UsageError(f"writing to {self.path} failed: {error.strerror}") from error
        self.known[question] = preferred

    def remove_last(self, question: str) -> bool:
        """Remove the last answer if it is that of a question; return whether it was."""
        data = self._content()
        start = data.rstrip(b"\n").rfind(b"\n") + 1
        if not data or self._read(data[start:], 0)[0] != question:
            return False
        os.ftruncate(self._file, start)
        os.fsync(self._file)
        del self.known[question]
        return True

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"the answers in {self.path} are used by another process: a person answers one at "
                "a time. End that one, or train with one worker (--workers 1)"
            ) from error

    def _content(self) -> bytes:
        os.lseek(self._file, 0, os.SEEK_SET)
        with os.fdopen(os.dup(self._file), "rb") as file:
            return file.read()

    def _whole_lines(self) -> Iterator[bytes]:
        """Return the lines, without one that a killed process wrote in part, which is removed."""
        data = self._content()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            os.ftruncate(self._file, end)
        return iter(data[:end].splitlines())

    def _read(self, line: bytes, number: int) -> tuple[str, float]:
        try:
            content = json.loads(line)
            question, preferred = content["question"], content["preferred"]
            if not isinstance(question, str) or preferred not in CHOICES:
                raise ValueError("it is no answer")
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{self.path}, line {number}: expected an answer of a person with question and "
                f"preferred, got {line[:60]!r}; name another file, as in person:FILE.jsonl"
            ) from error
        return question, float(preferred)
