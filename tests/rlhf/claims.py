"""The details of RLHF that are known to go wrong, and the page of the tests that pin them.

A test says by `@pytest.mark.claim(26)` which of them it pins. The page docs/rlhf-tests.md is
written from claims.toml and the marks:

    python -m tests.rlhf.claims
"""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "rlhf-tests.md"

HEAD = """\
# What the tests check about RLHF

Mistakes in RLHF rarely stop training: the curve still rises, to another optimum. So each detail
that is known to go wrong is pinned by a test: a closed form, an enumeration, an independent
library or a slow twin, at a tolerance whose reason stands beside it. The known mistakes are also
planted on purpose and must show as a gap to the exact optimum
([`test_a_mistake_shows_in_the_gap`](../tests/rlhf/training/test_mutations.py)).
"""

# number -> its statement and a remark
CLAIMS: dict[int, dict[str, str]] = {
    int(number): claim
    for number, claim in tomllib.loads(Path(__file__).with_suffix(".toml").read_text()).items()
}


def marked_tests() -> dict[int, list[tuple[str, str]]]:
    """The tests of each claim, as (path from the root, name), in the order of the files."""
    tests: dict[int, list[tuple[str, str]]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                for mark in node.decorator_list:
                    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.claim":
                        for number in map(ast.literal_eval, mark.args):
                            place = (path.relative_to(ROOT).as_posix(), node.name)
                            tests.setdefault(number, []).append(place)
    return tests


def page() -> str:
    """The text of docs/rlhf-tests.md."""
    tests = marked_tests()
    rows = ["| number | statement | test | remark |", "| --- | --- | --- | --- |"]
    for number, claim in CLAIMS.items():
        links = ", ".join(f"[`{name}`](../{path})" for path, name in tests.get(number, []))
        row = f"| {number} | {claim['statement']} | {links} | {claim.get('remark', '')} |"
        rows.append(row.replace("  |", " |"))
    return f"{HEAD}\n" + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
