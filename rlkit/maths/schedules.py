"""Schedules: how an option changes over a run."""

from typing import Literal

Schedule = Literal["constant", "linear"]


def scheduled(value: float, schedule: Schedule, *, progress: float) -> float:
    """Return the value of an option after a share of the run.

        constant: value,    linear: value max(0, 1 - progress)

    Args:
        value: at the start of the run.
        schedule: "constant", or "linear" to fall evenly to 0 at the end of the run.
        progress: the share of the run that is over, at least 0; 1 is the end.
    """
    return value * max(0.0, 1.0 - progress) if schedule == "linear" else value
