"""`rlkit evaluate`, `rlkit plot` and `rlkit watch`."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.cli.commands import answer, output


@pytest.mark.slow
def test_evaluating_says_when_a_seed_is_not_at_the_end(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    run = answer(
        capsys,
        *("train", "ppo", "CartPole-v1", "--seeds", "2", "--steps", "600", "--num-epochs", "1"),
        *("--evaluate-every", "300", "--evaluation-episodes", "1", "--out", str(tmp_path)),
    )
    sound = answer(capsys, "evaluate", run["run"], "--episodes", "2")
    newest = sorted(Path(run["run"], "checkpoints", "seed-001").glob("*.npz"))[-1]
    newest.write_bytes(newest.read_bytes()[:-1])
    out, notes = output(capsys, "evaluate", run["run"], "--episodes", "2", "--json")
    assert re.search("^rlkit: .*seed-001.* is damaged.* that of 304", notes, re.MULTILINE)
    result = json.loads(out)
    # The seeds are at different steps now; the sound one plays as before.
    assert result["seeds"][0] == sound["seeds"][0]
    assert len(result["seeds"]) == 2


@pytest.mark.slow
def test_watch_films_an_episode(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from PIL import Image

    run = answer(
        capsys,
        *("train", "random", "CartPole-v1", "--seeds", "1", "--steps", "50"),
        *("--out", str(tmp_path)),
    )
    gif = tmp_path / "film.gif"
    out, _ = output(capsys, "watch", run["run"], "--gif", str(gif))
    steps = int(out.split(": ")[1].split()[0])
    with Image.open(gif) as image:
        # Frames that equal the one before are stored as a longer duration.
        assert 1 < image.n_frames <= steps + 1


@pytest.mark.parametrize(("command", "suffix"), [("plot", ".png"), ("watch", ".gif")])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file/x", "is not a folder"),
        ("file/new/x", "is not a folder"),
        ("folder", "it is a folder"),
        ("pipe", "it is not an ordinary file"),
        ("lost/x", "is a broken link"),
        ("y" * 300, "name too long"),
        ("x.txt", "expected a file name that ends in"),
    ],
)
def test_a_figure_or_film_that_cannot_be_written_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
    run: str,
    tmp_path: Path,
    command: str,
    suffix: str,
    name: str,
    message: str,
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / f"folder{suffix}").mkdir()
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / "lost").symlink_to(tmp_path / "gone")
    before = sorted(tmp_path.rglob("*"))
    path = tmp_path / (name if name == "x.txt" else name + suffix)
    option = {"plot": "--out", "watch": "--gif"}[command]
    err = output(capsys, command, run, option, str(path), code=2)[1]
    assert err.startswith(f"rlkit: {option} {path}")
    assert message in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("option", "value", "least"), [("--max-steps", "-3", 1), ("--episode", "-1", 0)]
)
def test_watch_rejects_a_negative_option(
    capsys: pytest.CaptureFixture[str], run: str, option: str, value: str, least: int
) -> None:
    err = output(capsys, "watch", run, "--gif", "x.gif", f"{option}={value}", code=2)[1]
    assert f"({option}): expected a whole number >= {least}, got {value}" in err
