"""Which test holds each of the known traps and faults of reinforcement learning?

A test says by `@pytest.mark.trap("T1")` which of them it holds. The page docs/traps.md is written
from traps.toml and the marks, without running anything:

    python -m experiments.traps
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "traps.md"
HEAD = """\
# Known traps and faults

What goes wrong in software for reinforcement learning, collected from issue trackers and test
suites of well-known projects and from measurements, and the tests that hold each of them here.
`make test` and `make long` run them all but those marked *torture*, which `make torture` runs. The
details of RLHF have [a page of their own](rlhf-tests.md).
"""
PARTS = {
    "T": "Traps: software that runs and computes something else",
    "F": "Faults: kills, disks, environments, input and files that are not as they should be",
}

# row -> its statement and, where there is no test, why it does not apply
ROWS: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())


def marked_tests(folder: Path = ROOT / "tests") -> dict[str, list[tuple[str, str, bool]]]:
    """Return the tests of each row: their paths from the root, names, and whether only torture."""
    tests: dict[str, list[tuple[str, str, bool]]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if "mark.trap(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef):
                continue
            marks = [ast.unparse(mark) for mark in node.decorator_list]
            place = (path.relative_to(folder.parent).as_posix(), node.name)
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.trap":
                    for row in map(ast.literal_eval, mark.args):
                        tests.setdefault(row, []).append((*place, "pytest.mark.torture" in marks))
    return tests


def problems(tests: dict[str, list[tuple[str, str, bool]]]) -> list[str]:
    """Return what is wrong with the rows and the marks."""
    unknown = [f"{row} is marked at {tests[row][0][1]} and not in traps.toml" for row in tests]
    found = [text for row, text in zip(tests, unknown, strict=True) if row not in ROWS]
    for row, content in ROWS.items():
        if (row in tests) == ("does_not_apply" in content):
            found.append(
                f"{row} has {'both a test and' if row in tests else 'neither a test nor'} a reason"
            )
    return found


def page() -> str:
    """Return the text of docs/traps.md."""
    tests, parts = marked_tests(), []
    for letter, title in PARTS.items():
        lines = [f"## {title}\n", "| row | statement | tests |", "| --- | --- | --- |"]
        for row, content in ROWS.items():
            if not row.startswith(letter):
                continue
            links = [
                f"[`{name}`](../{path}){' (torture)' if torture else ''}"
                for path, name, torture in tests.get(row, [])
            ]
            held = ", ".join(links) or f"does not apply: {content.get('does_not_apply', '?')}"
            lines.append(f"| {row} | {content['statement']} | {held} |")
        parts.append("\n".join(lines) + "\n")
    return "\n".join([HEAD, *parts])


if __name__ == "__main__":
    for problem in problems(marked_tests()):
        print(problem)
    PAGE.write_text(page(), encoding="utf-8")
