"""Gymnasium's own checker, the table P, other processes, and the cost of a step."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import warnings
from collections.abc import Callable

import numpy as np
from gymnasium.utils.env_checker import check_env

from rlkit.diagnosis.playing.patient import Patient
from rlkit.diagnosis.playing.subject import Subject
from rlkit.errors import UsageError
from rlkit.processes.sending import require_sendable
from rlkit.tabular.reading.wrappers import TRANSPARENT

SLOW_STEP = 1e-3  # seconds; below, sending actions to a process costs more than the step
_SENDING = 1e-4  # seconds to send an action to a process
_TABLE_STEPS = 40_000
# What the checker asserts although nothing need be wrong: a generator other than np_random, none
# at all, episodes of one step, and times in info.
_HARMLESS = re.compile(
    r"np_random|super\(\)\.reset|random number generator|truncates after 1 step|step info"
)
# What does not concern training, or what the doctor says itself where it is so.
_OWN = re.compile(r"infinity|normalized space|render|different from the unwrapped|spec|Casting")
# What the checker says of what the doctor has found already, by the beginning of the doctor's code.
_KNOWN = {
    "observation": re.compile(r"observation space|obs returned|\bobs\b"),
    "info": re.compile(r"\binfo\b"),
    "reward": re.compile(r"\breward"),
    "reset-ignores-seed": re.compile(r"determinis|same seed"),
    "step-ignores-seed": re.compile(r"determinis|same seed"),
    "arrays-change-later": re.compile(r"share an object"),
    "leaks-between-episodes": re.compile(r"determinis"),
}


def check_gymnasium(patient: Patient) -> None:
    """Run Gymnasium's checker; its errors and warnings are findings, its crashes are not."""
    with patient.copy() as subject, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check_env(subject.env, skip_render_check=True, skip_close_check=True)
        except AssertionError as error:
            text = _sentence(str(error))
            code = "gymnasium-advice" if _HARMLESS.search(text) else "gymnasium-checker"
            if not _is_known(patient, text):
                patient.findings.add(code, text)
        except Exception as error:
            if type(error).__module__.startswith("gymnasium."):
                patient.findings.add("gymnasium-checker", _sentence(str(error)))
    texts = [_sentence(str(warning.message)) for warning in caught]
    news = (text for text in texts if not _OWN.search(text) and not _is_known(patient, text))
    advice = list(dict.fromkeys(news))
    if advice:
        patient.findings.add("gymnasium-advice", " ".join(advice[:3]))


def _is_known(patient: Patient, text: str) -> bool:
    """Return whether a finding of the doctor says what the checker says."""
    return any(
        pattern.search(text)
        for begin, pattern in _KNOWN.items()
        if any(one.code.startswith(begin) for one in patient.findings)
    )


def _sentence(text: str) -> str:
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    line = " ".join(plain.removeprefix("WARN: ").split())
    return line if line.endswith(".") else f"{line}."


def check_table(patient: Patient) -> None:
    """Compare the table P with what step does."""
    environment = patient.environment
    if not environment.probe.has_table:
        return
    if any(layer not in TRANSPARENT for layer in environment.probe.layers[:-1]):
        return
    with patient.copy() as subject:
        began = time.perf_counter()
        subject.play(0, None, most=100, until=patient.until(0.1))
        steps = max(1, len(subject.step_seconds))
        each = (time.perf_counter() - began) / steps
    if each * _TABLE_STEPS > max(patient.seconds, 1.0) * 2:
        return
    problem = environment.model.problem
    if problem is not None:
        text = problem.partition("is not used: ")[2] or problem
        patient.findings.add("table-not-followed", f"{text[0].upper()}{text[1:]}.")
    elif environment.mdp is not None:
        number = environment.mdp.num_states
        patient.findings.add("known-model", f"It follows its table P of {number:,} states.")


def check_sending(patient: Patient) -> None:
    """Check that other processes could make the environment."""
    try:
        require_sendable(patient.environment.again)
    except UsageError as error:
        patient.findings.add("cannot-be-sent", f"{str(error).partition(': ')[2] or error}.")


def check_speed(patient: Patient, subject: Subject) -> None:
    """Compare the time of resets and steps with what they could cost."""
    if not subject.step_seconds:
        return
    cores = num_cores()
    step, reset = np.median(subject.step_seconds), np.median(subject.reset_seconds)
    if step > SLOW_STEP:
        patient.findings.add(
            "slow-steps",
            f"A step takes {1e3 * step:.3g} ms (median of {len(subject.step_seconds)}), so a "
            f"million steps take {_duration(1e6 * float(step))} in one process, and about "
            f"{_duration(1e6 * (float(step) / cores + _SENDING))} with --env-workers {cores}.",
        )
    total_reset, total = sum(subject.reset_seconds), sum(subject.step_seconds)
    if total_reset > total and reset > 5e-3:
        share = 100 * total_reset / (total + total_reset)
        patient.findings.add(
            "slow-resets",
            f"A reset takes {1e3 * reset:.3g} ms, and resets took {share:.0f} % of the time.",
        )


def num_cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _duration(seconds: float) -> str:
    for unit, size in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds > 1.5 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def note_masks(patient: Patient, subject: Subject) -> None:
    """Note that action masks are offered."""
    if subject.offers_masks:
        where = 'info["action_mask"] or action_masks()'
        patient.findings.add("offers-masks", f"It gives masks by {where}.")


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


class ProcessState:
    """Settings of the whole process that an environment should leave alone."""

    def __init__(self) -> None:
        self._before = self._now()

    def _now(self) -> dict[str, object]:
        torch = sys.modules.get("torch")
        parts: dict[str, Callable[[], object]] = {
            "the working directory": _working_directory,
            "numpy's error handling (numpy.seterr)": lambda: tuple(sorted(np.geterr().items())),
            "the handler of Ctrl+C": lambda: signal.getsignal(signal.SIGINT),
            "the handler of SIGTERM": lambda: signal.getsignal(signal.SIGTERM),
            "the recursion limit": sys.getrecursionlimit,
            "the environment variables": lambda: dict(os.environ),
        }
        if torch is not None:
            parts["the number of torch's threads"] = torch.get_num_threads
            parts["torch's default type"] = torch.get_default_dtype
        return {name: read() for name, read in parts.items()}

    def report(self, patient: Patient) -> None:
        """Report settings that have changed."""
        now = self._now()
        changed = [name for name, value in self._before.items() if now[name] != value]
        if changed:
            patient.findings.add("changes-process", f"It changed {', '.join(changed)}.")
