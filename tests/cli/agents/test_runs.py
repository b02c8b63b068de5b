"""`rlkit evaluate`, `rlkit plot` and `rlkit watch`."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rlkit.runs import checkpoints
from rlkit.runs.integrity.sums import read_sums
from rlkit.runs.record import read_record, write_record
from rlkit.training.kind import AGENT_RUN
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


def test_evaluating_names_the_seeds_that_are_missing_or_not_at_the_end(
    trained_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained_folder("q-learning", seeds=4)
    whole = answer(capsys, "evaluate", str(folder), "--episodes", "2")
    assert whole["missing"] == {}
    assert whole["mean_over"] == [0, 1, 2, 3]
    assert [row["env_steps"] for row in whole["seeds"]] == [600] * 4
    shutil.rmtree(folder / "checkpoints" / "seed-003")
    (folder / "seed-003.csv").unlink()
    (_, newest), (_, before) = checkpoints.list_checkpoints(folder, 1)
    newest.unlink()
    sums = read_sums(folder, 1)
    assert sums is not None
    lines = (folder / "seed-001.csv").read_bytes()[: sums.checkpoints[before.name].num_bytes]
    (folder / "seed-001.csv").write_bytes(lines)
    checkpoints.begin_from(folder, 1, len(lines))
    failure = {"3": {"message": "the walk \x1b[31mfell [/nope] over", "exit_code": 1}}
    record = {**read_record(folder, AGENT_RUN), "status": "failed", "failures": failure}
    write_record(folder, record)
    text, notes = output(capsys, "evaluate", str(folder), "--episodes", "2")
    assert "2 of 4 seeds were trained to the end" in text
    assert re.search(r"seed   1 .* at 500 of 600 environment steps", text)
    assert r"seed   3   no policy: the walk \x1b[31mfell [/nope] over" in text
    assert "mean of 2 of 4 seeds" in text
    assert "was not trained to its 600 environment steps (seed 1: 500, seed 3: 0)" in notes
    result = answer(capsys, "evaluate", str(folder), "--episodes", "2")
    assert result["mean_over"] == [0, 2]
    exact = [row["exact_return"] for row in whole["seeds"]]
    assert result["mean"] == pytest.approx((exact[0] + exact[2]) / 2)


def test_one_seed_has_no_interval(capsys: pytest.CaptureFixture[str], run: str) -> None:
    out, _ = output(capsys, "evaluate", run, "--episodes", "2")
    assert "(one seed has no interval), IQM" in out
    assert "nan" not in out


def test_a_run_is_stopped_watched_and_its_best_policies_are_played(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    training = (
        *("train", "q-learning", "FrozenLake-v1", "--seeds", "3", "--steps", "5000"),
        *("--evaluate-every", "250", "--keep-best", "--patience", "3", "--until-return", "0.9"),
        *("--tensorboard", str(tmp_path / "events"), "--out", str(tmp_path / "runs")),
    )
    table, notes = output(capsys, *training)
    (folder,) = (tmp_path / "runs").iterdir()
    stopped = read_record(folder, AGENT_RUN)["stopped"]
    assert stopped["by"] == "patience"
    assert f"rlkit: stopped at {stopped['at']:,} of 5,000 environment steps per seed by" in notes
    assert f"{stopped['at']:,}" in table
    assert list((tmp_path / "events" / folder.name).iterdir())
    _, notes = output(capsys, *training)
    assert f"already finished, stopped at {stopped['at']:,} environment steps" in notes
    played, _ = output(capsys, "evaluate", str(folder), "--episodes", "2", "--which", "best")
    assert "the policy of the best evaluation of each seed, 2 episodes per seed\n" in played
    assert len(re.findall(rf"at [\d,]+ of {stopped['at']:,} environment steps", played)) == 3
    verdicts, _ = output(capsys, "verify", str(folder))
    assert "3 of 3" in verdicts


def test_runs_of_agents_and_of_stages_are_not_drawn_together(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trained_folder: Callable[..., Path]
) -> None:
    agent, stage = trained_folder("random", seeds=1), tmp_path / "stage"
    stage.mkdir()
    (stage / "run.json").write_text(json.dumps({"kind": "stage", "stage": "ppo"}))
    for pair in ((agent, stage), (stage, agent)):
        argv = ("plot", *map(str, pair), "--out", str(tmp_path / "figure.png"))
        _, err = output(capsys, *argv, code=2)
        assert f"{stage} is a run of `rlkit rlhf` and {agent} is not" in err
