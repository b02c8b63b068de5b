"""`rlkit export`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.commands import output


def test_the_files_are_printed(
    capsys: pytest.CaptureFixture[str], run: str, tmp_path: Path
) -> None:
    card = tmp_path / "card.md"
    out, _ = output(capsys, "export", run, "--card", str(card))
    assert out.strip() == str(card)
    assert "# random on FrozenLake-v1" in card.read_text()


def test_what_a_check_shows_is_a_note(
    capsys: pytest.CaptureFixture[str],
    trained_folder: Callable[..., Path],
    tmp_path: Path,
) -> None:
    place = tmp_path / "policy.onnx"
    out, err = output(capsys, "export", str(trained_folder("q-learning")), "--onnx", str(place))
    assert out.strip() == str(place)
    assert "--onnx: largest difference 0.0e+00 on 1,000 observations" in err


def test_event_files_are_in_folders_of_the_names_of_runs(
    capsys: pytest.CaptureFixture[str], run: str, tmp_path: Path
) -> None:
    out, _ = output(capsys, "export", run, "--tensorboard", str(tmp_path / "events"))
    assert out.strip() == str(tmp_path / "events" / Path(run).name)
    assert list(Path(out.strip()).iterdir())


def test_mistakes_exit_with_2(capsys: pytest.CaptureFixture[str], run: str) -> None:
    _, err = output(capsys, "export", run, code=2)
    assert "name at least one format" in err
    _, err = output(capsys, "export", code=2)
    assert "name at least one run" in err
