"""Schedules: how an option changes over a run."""

from typing import Literal

Schedule = Literal["constant", "linear"]


def scheduled(value: float, schedule: Schedule, *, progress: float, final: float = 0.0) -> float:
    """Return the value of an option after a share of the run.

        constant: value,    linear: value (1 + (final - 1) min(1, progress))

    Args:
        value: at the start of the run.
        schedule: "constant", or "linear" to change evenly until the end of the run.
        progress: the share of the run that is over, at least 0; 1 is the end.
        final: the fraction of the value that is reached at the end, if linear.
    """
    return value * (1.0 + (final - 1.0) * min(1.0, progress)) if schedule == "linear" else value
