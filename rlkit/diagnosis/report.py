"""The report of the doctor, as data and as text."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rlkit.diagnosis.findings import SEVERITIES, Finding, by_severity
from rlkit.diagnosis.learnability import Learnability
from rlkit.errors import printable

WIDTH = 79
_LABEL = 14


@dataclass(frozen=True, repr=False)
class Report:
    """What the doctor has to say about an environment.

    Args:
        environment: its name.
        findings: errors first, notes last.
        facts: what was measured, plain data.
        learnability: what came of a short training; None where there was none.
        command: what to start with; "" where it cannot be trained on.
    """

    environment: str
    findings: tuple[Finding, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    learnability: Learnability | None = None
    command: str = ""

    @property
    def errors(self) -> list[Finding]:
        """The findings that are errors."""
        return [one for one in self.findings if one.severity == "error"]

    def __contains__(self, code: object) -> bool:
        return any(one.code == code for one in self.findings)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        learned = self.learnability
        return {
            "environment": self.environment,
            "errors": len(self.errors),
            "findings": [one.as_dict() for one in self.findings],
            "facts": dict(self.facts),
            "learnability": None
            if learned is None
            else {**vars(learned), "returns": list(learned.returns)},
            "command": self.command,
        }

    def __repr__(self) -> str:
        return f"<report on {self.environment}: {_count(self.findings)}; print() shows it>"

    def __str__(self) -> str:
        parts = [
            "\n".join([printable(self.environment), *_facts(self.facts)]),
            _count(self.findings),
            *map(_paragraph, by_severity(self.findings)),
        ]
        if self.learnability is not None and "not-learned" not in self:
            parts.append("Learnability\n" + _indented(self.learnability.summary))
        if self.command:
            parts.append(f"Start with\n  {printable(self.command)}")
        else:
            parts.append("Fix the errors, then run the doctor again.")
        return "\n\n".join(parts)


def _facts(facts: Mapping[str, Any]) -> list[str]:
    """Return the table of what was measured."""
    rows = {
        "observations": facts.get("observation_space"),
        "actions": facts.get("action_space"),
        "episodes": _episodes(facts),
        "speed": _speed(facts),
        "out of time": _omitted(facts.get("omitted", ())),
        "cannot judge": _failed(facts.get("failed", {})),
    }
    return [_row(name, str(text)) for name, text in rows.items() if text]


def _row(name: str, text: str) -> str:
    return textwrap.fill(
        printable(" ".join(text.split())),
        WIDTH,
        initial_indent=f"  {name:<{_LABEL}}",
        subsequent_indent=" " * (_LABEL + 2),
    )


def _episodes(facts: Mapping[str, Any]) -> str:
    if "steps" not in facts:
        return ""
    limit = facts.get("time_limit")
    actions = "random allowed actions" if facts.get("offers_masks") else "random actions"
    end = "" if limit is None else f"; time limit {limit:,} steps"
    if not facts.get("episodes"):
        return f"none ended in {facts['steps']:,} steps with {actions}{end}"
    return (
        f"{facts['episodes']:,} with {actions}, {facts['episode_length']:.3g} steps on "
        f"average, return {facts['random_return']:.4g} (standard deviation "
        f"{facts['random_return_std']:.3g}){end}"
    )


def _speed(facts: Mapping[str, Any]) -> str:
    step, reset = facts.get("step_seconds"), facts.get("reset_seconds")
    if not step:
        return ""
    return f"{1 / step:,.0f} steps per second, {_time(reset or 0.0)} per reset"


def _omitted(parts: Sequence[str]) -> str:
    return f"not looked at: {', '.join(parts)}" if parts else ""


def _failed(parts: Mapping[str, str]) -> str:
    return "; ".join(f"{part}: {error}" for part, error in parts.items())


def _time(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{1e6 * seconds:.0f} us"
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _count(findings: tuple[Finding, ...]) -> str:
    if not findings:
        return "nothing is wrong with it"
    numbers = [sum(one.severity == name for one in findings) for name in SEVERITIES]
    return ", ".join(
        f"{number or 'no'} {name}{'' if number == 1 else 's'}"
        for number, name in zip(numbers, SEVERITIES, strict=True)
    )


def _paragraph(one: Finding) -> str:
    lines = [f"{one.severity}: {one.code}", _indented(one.seen)]
    return "\n".join([*lines, _indented(one.cause, "Cause: "), _indented(one.cure, "Cure:  ")])


def _indented(text: str, label: str = "") -> str:
    return textwrap.fill(
        printable(" ".join(text.split())),
        WIDTH,
        initial_indent=f"  {label}",
        subsequent_indent=" " * (2 + len(label)),
        break_long_words=False,
        break_on_hyphens=False,
    )
