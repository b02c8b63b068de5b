"""Files that somebody made to do harm are refused in words: nothing is run, or written outside."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlkit
from rlkit.cli import main
from rlkit.errors import RlkitError
from rlkit.runs import checkpoints
from rlkit.runs.integrity.seals import seal
from rlkit.runs.integrity.sums import identity_of
from rlkit.runs.record import read_record, record_file, write_record
from rlkit.runs.reports import Reports
from rlkit.training.figures import content_of
from rlkit.training.kind import AGENT_RUN
from rlkit.training.run import Run, load
from rlkit.training.train import train
from tests.run_fixtures import SMALL


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self._path}",))


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(30_000_000))
        archive.writestr("../../../outside.npy", b"x")
    return buffer.getvalue()


def npz_of_objects(marker: Path) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([Bomb(marker)], dtype=object))
    return buffer.getvalue()


CONTENTS: dict[str, Callable[[Path], bytes]] = {
    "pickle": lambda marker: pickle.dumps(Bomb(marker)),
    "objects": npz_of_objects,
    "zip bomb": lambda marker: zip_bomb(),
    "nested": lambda marker: b'{"a": ' * 200_000,
    "html": lambda marker: b"<script>alert('x')</script>\x1b[31m\x00\n",
    "long number": lambda marker: b'{"format": ' + b"9" * 10_000 + b"}",
}
FILES = {
    "record": "run.json",
    "csv": "seed-000.csv",
    "sums": "checkpoints/seed-000/sums.json",
    "figure": "learning_curve.png",
    "checkpoint": "",
}


def everything_opened(folder: Path) -> list[str]:
    """Open a run in every way; return what was said."""
    said: list[str] = []
    again = SMALL["random"] | {"out": folder.parent, "seeds": 1}
    reports = Reports(note=said.append)
    uses: list[Callable[[], Any]] = [
        lambda: load(folder).curve,
        lambda: load(folder).scores,
        lambda: load(folder).evaluate(1),
        lambda: load(folder).actor(),
        lambda: content_of([load(folder)]),
        lambda: said.extend(rlkit.verify(folder)[0].problems),
        lambda: said.extend(one.message for one in rlkit.resume(folder, reports=reports)),
        lambda: train(**again, reports=reports),
    ]
    for use in uses:
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            try:
                use()
            except RlkitError as error:
                said.append(str(error))
        said += [str(one.message) for one in raised]
    return said


def tree(place: Path, folder: Path) -> set[Path]:
    return {path for path in place.rglob("*") if not path.is_relative_to(folder)}


@pytest.mark.trap("T95", "F63")
@pytest.mark.parametrize(
    ("file", "content"),
    [(file, content) for file in FILES for content in CONTENTS if file != "figure"]
    + [("figure", "pickle")],
)
def test_hostile_content_in_any_file_is_refused_and_not_run(
    file: str, content: str, trained_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder, marker = trained_folder("random", seeds=1), tmp_path / "marker"
    path = folder / FILES[file] if FILES[file] else checkpoints.list_checkpoints(folder, 0)[0][1]
    path.write_bytes(CONTENTS[content](marker))
    before = tree(tmp_path, folder)
    said = everything_opened(folder)
    assert not marker.exists()
    assert tree(tmp_path, folder) == before
    if file != "figure":  # which no record lists here, so it is drawn over
        assert any(str(path) in text for text in said), said


@pytest.mark.trap("F63")
def test_a_checkpoint_that_unpickles_is_refused_even_with_sums(
    trained_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder, marker = trained_folder("random", seeds=1), tmp_path / "marker"
    (steps, newest), (_, older) = checkpoints.list_checkpoints(folder, 0)
    older.unlink()
    newest.unlink()
    data = npz_of_objects(marker)
    name = f"step-{steps:012d}-{hashlib.sha256(data).hexdigest()}.npz"
    (newest.parent / name).write_bytes(data)
    checkpoints.adopt(folder, 0, identity_of(folder))
    said = everything_opened(folder)
    assert any(
        "Python objects, which are never read" in text or "not written by" in text for text in said
    )
    assert not marker.exists()


@pytest.mark.parametrize("file", ["run.json", "seed-000.csv", "checkpoints/seed-000/sums.json"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_a_pipe_or_a_folder_in_place_of_a_file_is_not_waited_for(
    file: str, make: Callable[[Path], None], trained_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = trained_folder("random", seeds=1)
    (folder / file).unlink()
    make(folder / file)
    for use in (lambda: load(folder).curve, lambda: load(folder).evaluate(1)):
        with pytest.raises(RlkitError):
            use()
    if file != "run.json":
        assert rlkit.verify(folder)[0].problems


@pytest.mark.parametrize("size", [10**9, 10**13])
@pytest.mark.parametrize("file", FILES)
def test_a_file_that_is_a_hole_is_refused_before_memory_is_asked_for(
    size: int,
    file: str,
    trained_folder: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = trained_folder("random", seeds=1)
    path = folder / FILES[file] if FILES[file] else checkpoints.list_checkpoints(folder, 0)[0][1]
    if file == "figure":
        path.touch()
        record_file(folder, AGENT_RUN, path.name)
    with path.open("r+b") as opened:
        opened.truncate(size)
    whole = Path.read_bytes

    def read(self: Path) -> bytes:
        assert self.stat().st_size < size, "memory is asked for"
        return whole(self)

    monkeypatch.setattr(Path, "read_bytes", read)
    # A damaged figure is drawn anew, which tests do not do.
    is_figure = file == "figure"
    said = rlkit.verify(folder)[0].problems if is_figure else everything_opened(folder)
    text = "bytes" if size > 10**12 else "stores hardly any of them"
    assert any(path.name in one and text in one for one in said), said


@pytest.mark.trap("T98")
@pytest.mark.parametrize("name", ["../outside", "", "\x1b[31m[/nope]<b>\0", "x" * 5000])
def test_names_in_a_record_lead_nowhere(
    name: str,
    trained_folder: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = trained_folder("random", seeds=1)
    record = read_record(folder, AGENT_RUN)
    before = tree(tmp_path, folder)
    failure = {"message": f"{name}[/nope]", "exit_code": 1}
    for changes in (
        {"agent": name},
        {"environment": name},
        {"files": {name: "0" * 64}},
        {"sources": {name: name}},
        {"failures": {"0": failure}, "caveats": [name], "notes": [name], "command": [name]},
        {"env_args": {name: name}},
        {"stepped_as": name or "x"},
    ):
        write_record(folder, record | changes)
        for command in ("verify", "evaluate", "resume"):
            arguments = ["--episodes", "1"] if command == "evaluate" else []
            assert main([command, str(folder), *arguments]) in (0, 1, 2), (command, changes)
        captured = capsys.readouterr()
        assert "\x1b" not in captured.out + captured.err
        assert "\0" not in captured.out + captured.err
    assert tree(tmp_path, folder) == before


def test_no_recorded_file_lies_elsewhere(trained_folder: Callable[..., Path]) -> None:
    folder = trained_folder("random", seeds=1)
    record = read_record(folder, AGENT_RUN)
    for name in ("../outside", "/etc/passwd", "a/b", "..", "", "\0", ".hidden"):
        write_record(folder, record | {"files": {name: "0" * 64}})
        with pytest.raises(RlkitError, match="'files': expected an object of digests by file"):
            load(folder)


def test_unknown_and_ill_typed_entries_of_sums_are_one_sentence(
    trained_folder: Callable[..., Path],
) -> None:
    folder = trained_folder("random", seeds=1)
    path = folder / "checkpoints" / "seed-000" / "sums.json"
    sound = json.loads(path.read_text())
    for changes in (
        {"marks": 3},
        {"marks": "a:b"},
        {"curve": None},
        {"curve": {"num_bytes": "many", "sha256": 3}},
        {"checkpoints": []},
        {"checkpoints": {"../x": 3}},
        {"seed": "zero"},
        {"seed": None},
        {"run": 1},
    ):
        path.write_bytes(seal(sound | changes))
        with pytest.raises(RlkitError, match=r"sums\.json|checkpoints of another"):
            load(folder).evaluate(1)


def test_a_negative_length_in_sums_covers_nothing(trained: Callable[..., Run]) -> None:
    folder = trained("random", seeds=1).folder
    path = folder / "checkpoints" / "seed-000" / "sums.json"
    sound = json.loads(path.read_text())
    for length in (-1, 10**30, 1.5, True):
        part = {**sound["curve"], "num_bytes": length}
        path.write_bytes(seal(sound | {"curve": part}))
        with pytest.raises(RlkitError):
            _ = load(folder).curve
