"""The examination of an environment: its parts in their order, and what comes of them."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.diagnosis.advice import Plan, choose_plan
from rlkit.diagnosis.findings import Fault, Finding, Findings
from rlkit.diagnosis.parts import effects, observed, practice, repeats
from rlkit.diagnosis.playing.outcomes import digest
from rlkit.diagnosis.playing.patient import Patient
from rlkit.diagnosis.playing.subject import Subject
from rlkit.environments.environment import Environment
from rlkit.environments.spaces import require_supported
from rlkit.environments.stepping.watchdog import watched
from rlkit.errors import UsageError

Array = NDArray[Any]

MOST_STEPS = 5_000  # with random actions
_MOST_BYTES = 50_000_000  # of observations
_WATCHED_CALLS = 300  # of which global generators are looked at
_TRACED_STEPS = 100
_PATIENCE = 2  # times its seconds after which the remaining parts are omitted
# Nothing else is worth looking at in an environment that cannot be played.
BROKEN = frozenset(
    (
        *("constructor-raises", "not-an-environment", "space-missing", "space-unsupported"),
        *("reset-signature", "reset-raises", "reset-result", "step-result", "hangs"),
        *("reward-type", "flag-type", "running-statistics", "ends-process", "unreadable"),
    )
)
# Training would end with these.
UNTRAINABLE = BROKEN | {
    *("copies-are-one", "spaces-differ", "step-raises"),
    *("observation-invalid", "observation-not-finite", "reward-not-finite"),
}


@dataclass(frozen=True)
class Trace:
    """One episode, to be played again in another process."""

    seed: int
    rows: list[Array]
    digests: list[bytes]


@dataclass(frozen=True)
class Examination:
    """What was noticed and measured.

    Args:
        findings: in the order in which they were made.
        facts: spaces, time limit, numbers of steps and episodes, seconds per call, returns of
            random actions; plain data.
        trace: an episode for another process, None where it cannot be played or repeated.
        plan: how to train on it; None where that would fail.
    """

    findings: list[Finding]
    facts: dict[str, Any] = field(default_factory=dict)
    trace: Trace | None = None
    plan: Plan | None = None


class _Output(io.StringIO):
    """Counts the lines that are written, and discards them."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = 0

    def write(self, text: str) -> int:
        self.lines += text.count("\n")
        return len(text)


def examine(
    environment: Environment,
    *,
    seconds: float,
    timeout: float,
    steps: int = MOST_STEPS,
    tell: Callable[[Finding], None] = lambda finding: None,
) -> Examination:
    """Examine an environment in this process.

    Args:
        environment: what to look at; no copy was made yet.
        seconds: for everything but calls that take long.
        timeout: seconds that one call may take.
        steps: with random actions, at most.
        tell: is called with each finding at once.
    """
    findings = Findings(tell)
    patient = Patient(environment, findings, seconds, steps)
    facts: dict[str, Any] = {}
    plan = None
    output, state = _Output(), practice.ProcessState()
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(output),
        watched(timeout),
    ):
        warnings.simplefilter("ignore")
        with _reporting(patient):
            _examine(patient, facts)
        codes = {one.code for one in findings}
        if patient.episodes and not codes & UNTRAINABLE:
            plan = choose_plan(environment, codes, facts)
    state.report(patient)
    if output.lines > 2:
        findings.add("prints", f"It printed {output.lines:,} lines while it was looked at.")
    return Examination(list(findings), facts, _trace(patient), plan)


@contextlib.contextmanager
def _reporting(patient: Patient) -> Iterator[None]:
    """Turn what ends a part into a finding."""
    try:
        yield
    except Fault as fault:
        patient.findings.take(fault)
    except UsageError as error:
        patient.findings.add("constructor-raises", f"{error}.")


def _examine(patient: Patient, facts: dict[str, Any]) -> None:
    environment = patient.environment
    subject = Subject(environment, patient.findings)
    try:
        facts |= {
            "observation_space": str(subject.observation_space),
            "action_space": str(subject.action_space),
            "constructor_seconds": subject.build_seconds,
        }
        try:
            require_supported(environment.name, subject.observation_space, subject.action_space)
        except UsageError as error:
            raise Fault("space-unsupported", f"{error}") from error
        subject.prepare()
        generators = repeats.GeneratorWatch(_WATCHED_CALLS)
        subject.watch = generators
        with _reporting(patient):
            _record(patient, subject)
        subject.watch = lambda call: None
        generators.report(patient)
        facts |= _facts(patient, subject)
        if not patient.episodes or any(one.code in BROKEN for one in patient.findings):
            return
        with _reporting(patient), patient.copy():
            pass  # whether closing returns, which nobody watches in the probe
        if "hangs" in patient.findings:
            return
        try:
            facts["time_limit"] = environment.probe.time_limit
        except UsageError as error:
            code = "running-statistics" if error.__cause__ is None else "unreadable"
            raise Fault(code, f"{error}") from error
        over = time.perf_counter() + _PATIENCE * patient.seconds
        for name, part in _parts(patient, subject).items():
            if time.perf_counter() > over:
                facts.setdefault("omitted", []).append(name)
                continue
            try:
                with _reporting(patient):
                    part()
            except Exception as error:  # of the doctor, which what is odd enough may surprise
                facts.setdefault("failed", {})[name] = repr(error)
    finally:
        subject.close()


def _parts(patient: Patient, subject: Subject) -> dict[str, Callable[[], None]]:
    """Return the parts of the examination after random actions were recorded."""

    def if_repeatable(part: Callable[[Patient], None]) -> Callable[[], None]:
        return lambda: part(patient) if patient.repeatable else None

    return {
        "observations": lambda: observed.check_observations(patient),
        "rewards": lambda: observed.check_rewards(patient),
        "episodes": lambda: observed.check_episodes(patient),
        "speed": lambda: practice.check_speed(patient, subject),
        "masks": lambda: practice.note_masks(patient, subject),
        "sending": lambda: practice.check_sending(patient),
        "copies": lambda: repeats.check_copies(patient),
        "range of actions": lambda: effects.check_range(patient),
        "repetition": lambda: repeats.check_repeats(patient, subject),
        "copies side by side": if_repeatable(repeats.check_beside),
        "seeds": if_repeatable(repeats.check_seeds),
        "ends of episodes": lambda: repeats.check_end(patient),
        "Gymnasium's checker": lambda: practice.check_gymnasium(patient),
        "effects of actions": if_repeatable(effects.check_effects),
        "table": lambda: practice.check_table(patient),
    }


def _record(patient: Patient, subject: Subject) -> None:
    """Play episodes with random actions, with the seeds 0, 1, ..."""
    until, left, size = patient.until(0.3), patient.most_steps, 0
    while left > 0 and size < _MOST_BYTES:
        episode = subject.play(len(patient.episodes), None, most=left, until=until)
        patient.episodes.append(episode)
        left -= episode.length
        size += sum(getattr(outcome.obs, "nbytes", 100) for outcome in episode.outcomes)
        if time.perf_counter() > until:
            break


def _facts(patient: Patient, subject: Subject) -> dict[str, Any]:
    """Return what was measured with random actions."""
    ended = patient.ended
    returns = [episode.total for episode in ended]
    facts: dict[str, Any] = {
        "steps": patient.num_steps,
        "episodes": len(ended),
        "step_seconds": _median(subject.step_seconds),
        "reset_seconds": _median(subject.reset_seconds),
        "offers_masks": subject.offers_masks,
    }
    if ended:
        facts |= {
            "episode_length": float(np.mean([episode.length for episode in ended])),
            "random_return": float(np.mean(returns)),
            "random_return_std": float(np.std(returns)),
        }
    return facts


def _median(seconds: list[float]) -> float | None:
    return float(np.median(seconds)) if seconds else None


def _trace(patient: Patient) -> Trace | None:
    """Return the first episode, for another process."""
    if not patient.repeatable:
        return None
    episode = patient.episodes[0]
    assert episode.seed is not None
    outcomes = episode.outcomes[: _TRACED_STEPS + 1]
    return Trace(episode.seed, episode.rows[:_TRACED_STEPS], [digest(one) for one in outcomes])
