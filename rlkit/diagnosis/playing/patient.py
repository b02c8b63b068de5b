"""What the parts of an examination share: the environment, its copies, and what was played."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rlkit.diagnosis.findings import Findings
from rlkit.diagnosis.playing.outcomes import Episode
from rlkit.diagnosis.playing.subject import Subject
from rlkit.environments.environment import Environment


@dataclass
class Patient:
    """An environment under examination.

    Args:
        environment: what it is.
        findings: what was noticed so far.
        seconds: for the whole examination.
        most_steps: with random actions.
        episodes: what was played with random actions, on one copy, with the seeds 0, 1, ...
        repeatable: whether the same seeds and actions gave the same again, as far as was tried.
    """

    environment: Environment
    findings: Findings
    seconds: float
    most_steps: int
    episodes: list[Episode] = field(default_factory=list)
    repeatable: bool = False

    def until(self, share: float) -> float:
        """Return the moment after a share of the time from now."""
        return time.perf_counter() + share * self.seconds

    @contextmanager
    def copy(self, *, is_reported: bool = True) -> Iterator[Subject]:
        """Make a copy for the block, and close it afterwards.

        Args:
            is_reported: whether what it returns is checked for findings.
        """
        subject = Subject(self.environment, self.findings if is_reported else Findings())
        try:
            subject.prepare()
            yield subject
        finally:
            subject.close()

    @property
    def num_steps(self) -> int:
        """The steps played with random actions."""
        return sum(episode.length for episode in self.episodes)

    @property
    def ended(self) -> list[Episode]:
        """The episodes that ended."""
        return [episode for episode in self.episodes if episode.has_ended]
