"""Playing an episode again in another process."""

from __future__ import annotations

import contextlib
import io
import time
import warnings

from rlkit.diagnosis.examination import Trace
from rlkit.diagnosis.findings import Fault, Findings
from rlkit.diagnosis.playing.outcomes import digest
from rlkit.diagnosis.playing.subject import Subject
from rlkit.environments.environment import Environment
from rlkit.environments.stepping.watchdog import watched
from rlkit.errors import UsageError


def replay(environment: Environment, *, trace: Trace, timeout: float) -> int | None:
    """Play an episode of another process again.

    Returns:
        the step at which it differs, 0 = the first observation; None if it does not, or if it
        cannot be played to its end.
    """
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), watched(timeout):
        warnings.simplefilter("ignore")
        try:
            subject = Subject(environment, Findings())
            subject.prepare()
            most, until = len(trace.rows), time.perf_counter() + timeout
            episode = subject.play(trace.seed, trace.rows, most=most, until=until)
        except (Fault, UsageError):
            return None
        subject.close()
    digests = map(digest, episode.outcomes)
    pairs = enumerate(zip(trace.digests, digests, strict=False))
    return next((step for step, (one, other) in pairs if one != other), None)
