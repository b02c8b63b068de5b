"""Whether a file named by the user can be written."""

import os
from pathlib import Path

import pytest

from rlkit.errors import UsageError
from rlkit.runs.places import require_place, writing


def test_a_new_file_in_folders_to_come_is_accepted_and_nothing_is_created(tmp_path: Path) -> None:
    require_place(tmp_path / "a" / "b" / "plot.PNG", "--figure", [".svg", ".png"])
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_is_accepted_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "plot.svg"
    path.write_text("old")
    require_place(path, "--figure", [".svg"])
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("plot.txt", r"expected a file name that ends in \.svg or \.png"),
        ("pl\0ot.svg", "expected a file name"),
        ("folder.svg", "cannot be written: it is a folder; choose another"),
        ("pipe.svg", "it is not an ordinary file"),
        ("broken/plot.svg", "is a broken link"),
        ("file/plot.svg", "file is not a folder|not a directory"),
    ],
)
def test_other_places_are_rejected_with_the_reason(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "folder.svg").mkdir()
    os.mkfifo(tmp_path / "pipe.svg")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=reason):
        require_place(tmp_path / name, "--figure", [".svg", ".png"])


def test_an_error_while_writing_names_the_option() -> None:
    with (
        pytest.raises(UsageError, match=r"--out x\.svg cannot be written: no space left on device"),
        writing(Path("x.svg"), "--out"),
    ):
        raise OSError(28, "No space left on device")
