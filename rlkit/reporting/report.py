"""`report`: runs and comparisons as one HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rlkit.errors import UsageError
from rlkit.files import write_atomically
from rlkit.reporting.comparison_section import comparison_section
from rlkit.reporting.opening import Compared, Place, Subject, open_subjects
from rlkit.reporting.page import MARK, render
from rlkit.reporting.parts import Section
from rlkit.reporting.run_section import run_section
from rlkit.reporting.stage_section import stage_section
from rlkit.rlhf.stages.stage_run import StageRun
from rlkit.runs.places import require_place, writing


def report(
    runs: Place | Sequence[Place],
    out: str | Path = "report.html",
    *,
    title: str = "",
    films: bool = True,
    overwrite: bool = False,
    trust: bool = False,
) -> Path:
    """Write runs and comparisons as one HTML file that needs no network.

    Args:
        runs: a run of an agent or of a stage of RLHF, a comparison, a folder of one of these or
            above several, or a list of them.
        out: the file, .html; one that exists is replaced if it is a report.
        title: of the page; by default that of its only section.
        films: film an episode of each run, where the environment can be drawn.
        overwrite: replace a file that is not a report.
        trust: run the code that a run names for its film, although it was not trained on this
            machine from that.

    Returns:
        the file.

    Raises:
        UsageError: a folder holds neither, or the file cannot be written.
        RlkitError: a record or the rows of a run are damaged.
    """
    path = Path(out)
    require_place(path, "--out", (".html", ".htm"))
    if path.exists() and not overwrite and not _is_report(path):
        raise UsageError(
            f"--out {path} exists and is not a report of rlkit; choose another name, or replace it "
            "with --overwrite (overwrite=True)"
        )
    places = [runs] if isinstance(runs, str) or not isinstance(runs, Sequence) else list(runs)
    if not places:
        raise UsageError("report: name at least one run or comparison")
    subjects = open_subjects(places, trust=trust)
    sections = [_section(one, f"s{i}", films) for i, one in enumerate(subjects, 1)]
    if not title:
        title = sections[0].title if len(sections) == 1 else f"{len(sections)} results"
    page = render(title, sections)
    with writing(path, "--out"):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, page.encode("utf-8", errors="backslashreplace"))
    return path


def _section(subject: Subject, id: str, films: bool) -> Section:
    if isinstance(subject, Compared):
        return comparison_section(subject, id, films=films)
    if isinstance(subject, StageRun):
        return stage_section(subject, id)
    return run_section(subject, id, films=films)


def _is_report(path: Path) -> bool:
    with path.open("rb") as file:
        return MARK.encode() in file.read(1000)
