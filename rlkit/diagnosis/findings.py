"""Findings of the doctor: data with a code, what was seen, its cause and its cure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rlkit.diagnosis.catalogue import KINDS

SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed about an environment.

    Args:
        code: of its kind, a key of `KINDS`.
        severity: "error" (results are wrong, not reproducible, or there are none), "warning"
            (learning or speed suffers) or "note".
        seen: what was observed, with numbers.
        cause: what usually causes it.
        cure: what to do.
    """

    code: str
    severity: str
    seen: str
    cause: str
    cure: str

    def as_dict(self) -> dict[str, str]:
        """Return the finding as plain data."""
        return dict(vars(self))


def finding(code: str, seen: str) -> Finding:
    """Return a finding of a kind of the catalogue, with what was observed."""
    kind = KINDS[code]
    if seen.startswith(("the ", "step ")):
        seen = seen[0].upper() + seen[1:]
    return Finding(code, kind.severity, seen, kind.cause, kind.cure)


class Fault(Exception):
    """Ends a part of the examination with a finding."""

    def __init__(self, code: str, seen: str) -> None:
        super().__init__(code, seen)
        self.code, self.seen = code, seen


class Findings:
    """Findings in the order in which they were made, the first of each code.

    Args:
        tell: is called with each.
    """

    def __init__(self, tell: Callable[[Finding], None] = lambda finding: None) -> None:
        self._by_code: dict[str, Finding] = {}
        self._tell = tell

    def add(self, code: str, seen: str) -> None:
        """Add a finding, unless there is one of this code."""
        if code not in self._by_code:
            self._by_code[code] = finding(code, seen)
            self._tell(self._by_code[code])

    def take(self, fault: Fault) -> None:
        """Add the finding of a fault."""
        self.add(fault.code, fault.seen)

    def __contains__(self, code: object) -> bool:
        return code in self._by_code

    def __iter__(self) -> Iterator[Finding]:
        return iter(self._by_code.values())


def by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings with errors first and notes last."""
    return sorted(findings, key=lambda one: SEVERITIES.index(one.severity))
