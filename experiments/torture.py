"""Does everything hold that takes too long for `make test`?

Runs the tests that are marked `torture` or `long` (many kills, learning runs, many processes) and
keeps their result in results/torture/: one row per test, and a summary with the date, the version
and the commit.

    python -m experiments.torture [pytest arguments]
"""

from __future__ import annotations

import csv
import datetime
import json
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from importlib.metadata import version
from pathlib import Path

RESULTS = Path("results/torture")


def rows_of(report: Path) -> list[dict[str, str]]:
    """Return the test, outcome and seconds of each case in a JUnit report."""
    rows = []
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        kinds = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        rows.append(
            {
                "test": f"{case.get('classname')}::{case.get('name')}",
                "outcome": kinds[0] if kinds else "passed",
                "seconds": f"{float(case.get('time', 0)):.0f}",
            }
        )
    return sorted(rows, key=lambda row: row["test"])


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-m", "torture or long", f"--junitxml={report}"]
        code = subprocess.run([*command, *arguments]).returncode
        if not report.exists():
            return code
        rows = rows_of(report)
    RESULTS.mkdir(parents=True, exist_ok=True)
    with (RESULTS / "tests.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["test", "outcome", "seconds"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True)
    outcomes = [row["outcome"] for row in rows]
    summary = {
        "date": datetime.date.today().isoformat(),
        "version": version("rlkit"),
        "commit": commit.stdout.strip() or None,
        "passed": outcomes.count("passed"),
        "failed": outcomes.count("failure") + outcomes.count("error"),
        "skipped": outcomes.count("skipped"),
        "minutes": round(sum(float(row["seconds"]) for row in rows) / 60, 1),
    }
    (RESULTS / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    print(json.dumps(summary))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
