"""`rlkit report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rlkit.cli.forms import make_form, parse, positional
from rlkit.cli.report import announcing
from rlkit.cli.terminal import printable
from rlkit.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """What the page shows, and where it is written."""

    # .html; a file that exists is replaced if it is a report
    out: Path = Path("report.html")
    title: str = ""  # of the page; by default that of its only section
    films: bool = True  # film an episode of each run, where the environment can be drawn
    overwrite: bool = False  # replace a file that is not a report
    # run the code that a run names for its film although it was not trained here from the present
    # source
    trust: bool = False


def report_command(args: list[str]) -> int:
    """Write runs and comparisons as one HTML file that opens offline."""
    about = (
        "Write runs of agents, comparisons and runs of stages of RLHF as one HTML file that opens "
        "offline: question and verdict in words, curves and final performance, tables that can be "
        "sorted, an episode of each run, what falls short, and settings, commands, versions and "
        "hashes. Of a folder above, all comparisons and the runs that are in none. Needs "
        'pip install "rlkit[report]".'
    )
    places = positional(
        tuple[Path, ...], "RUN", "folders of runs and comparisons, or folders above them; latest"
    )
    parsed = parse(make_form(about, places=places, page=ReportOptions), args, "report")
    if not parsed.places:
        raise UsageError("report: name at least one run or comparison, such as runs or latest")
    from rlkit.reporting.report import report

    with announcing():
        print(printable(report(list(parsed.places), **vars(parsed.page))))
    return 0
