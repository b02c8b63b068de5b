"""All unfinished runs below a folder are continued, and those that cannot be are named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rlkit
from rlkit import rlhf
from rlkit.runs.record import read_record, write_record
from rlkit.runs.reports import Reports
from rlkit.seeding import SeedStreams
from rlkit.training.kind import AGENT_RUN
from rlkit.training.run import Run
from rlkit.upkeep.resuming import Outcome
from tests import steady_agent
from tests.rlhf.stages.small_runs import MODEL, UPDATES

FORMATS = Path(__file__).parents[1] / "runs" / "fixtures"


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "plot", lambda self, path=None: None)


def interrupt(folder: Path, seed: int) -> None:
    """Leave a run as a kill before a seed began would."""
    record = read_record(folder, AGENT_RUN)
    write_record(folder, {**record, "status": "running"})
    shutil.rmtree(folder / "checkpoints" / f"seed-{seed:03d}")
    (folder / f"seed-{seed:03d}.csv").unlink()


def quiet(place: Path, **options: Any) -> list[Outcome]:
    return rlkit.resume(place, reports=Reports(), **options)


def test_interrupted_runs_are_continued_to_the_same_results(
    trained_folder: Callable[..., Path], out: Path, results: Any
) -> None:
    first, second = trained_folder("random", seeds=2), trained_folder("q-learning", seeds=2)
    before = results(first), results(second)
    interrupt(first, 1)
    interrupt(second, 0)
    states = [(outcome.folder, outcome.state) for outcome in quiet(out)]
    assert sorted(states) == sorted([(first, "finished"), (second, "finished")])
    assert (results(first), results(second)) == before
    assert {outcome.state for outcome in quiet(out)} == {"complete"}


def test_a_run_of_an_agent_in_a_file_is_continued_by_its_name(
    out: Path, tmp_path: Path, results: Any
) -> None:
    file = shutil.copy(steady_agent.__file__, tmp_path / "mine.py")
    run = rlkit.train(
        f"{file}:Steady", "FrozenLake-v1", seeds=2, steps=60, first=2, out=out, reports=Reports()
    )
    before = results(run.folder)
    interrupt(run.folder, 1)
    assert [outcome.state for outcome in quiet(out)] == ["finished"]
    assert results(run.folder) == before


@pytest.mark.parametrize("below", [".", "own/code"])
def test_a_run_of_files_is_continued_and_opened_from_any_folder(
    below: str, tmp_path: Path, results: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    (home / below).mkdir(parents=True)
    elsewhere.mkdir()
    shutil.copy(steady_agent.__file__, home / below / "mine.py")
    shutil.copy(Path(__file__).parents[1] / "probe_envs.py", home / below / "walks.py")
    monkeypatch.chdir(home)
    (home / below / "half.py").write_text(
        "def half(observations, actions, next_observations, terminated, rewards):\n"
        "    return rewards / 2\n"
    )
    names = [f"{below}/{name}".removeprefix("./") for name in ("mine.py:Steady", "walks.py:Probe")]
    small: dict[str, Any] = {"seeds": 2, "steps": 60, "first": 2, "evaluation_episodes": 2}
    small["reward"] = str(Path(below) / "half.py:half")
    run = rlkit.train(*names, **small, out=home / "runs", reports=Reports())
    before, evaluated = results(run.folder), rlkit.load(run.folder).evaluate(3)
    assert "mean_own_return" in evaluated["seeds"][0]
    monkeypatch.chdir(elsewhere)
    assert rlkit.load(run.folder).evaluate(3) == evaluated
    for workers in (1, 2):
        interrupt(run.folder, 1)
        (outcome,) = quiet(Path("../home/runs"), workers=workers)
        assert (outcome.state, outcome.message) == ("finished", "")
        assert results(run.folder) == before
        assert Path.cwd() == elsewhere
    assert not list(elsewhere.iterdir())
    # A record that is not of this machine does not choose the folder that Python works in.
    interrupt(run.folder, 1)
    record = read_record(run.folder, AGENT_RUN)
    write_record(run.folder, {**record, "origin": "0" * 64})
    seen: list[Path] = []
    monkeypatch.setattr("contextlib.chdir", seen.append)
    (outcome,) = quiet(home / "runs")
    assert outcome.state == "cannot be continued"
    assert "nothing shows that the run was trained on this machine" in outcome.message
    assert not seen


def test_a_renamed_run_is_continued_where_it_is(
    trained_folder: Callable[..., Path], out: Path, results: Any
) -> None:
    folder = trained_folder("random", seeds=2)
    before = results(folder)
    interrupt(folder, 1)
    folder.rename(out / "renamed")
    (outcome,) = quiet(out)
    assert (outcome.folder.name, outcome.state) == ("renamed", "finished")
    assert results(out / "renamed") == before
    assert [path.name for path in out.iterdir()] == ["renamed"]


def test_runs_that_cannot_be_continued_are_named_with_the_reason(
    trained_folder: Callable[..., Path], out: Path, tmp_path: Path
) -> None:
    sound = trained_folder("random", seeds=2)
    interrupt(sound, 1)
    damaged = out / "damaged"
    shutil.copytree(sound, damaged)
    (damaged / "seed-000.csv").write_bytes(b"")
    foreign = out / "foreign"
    shutil.copytree(sound, foreign)
    record = read_record(foreign, AGENT_RUN)
    write_record(foreign, {**record, "environment": "evil.py:Env"})
    own = out / "own"
    shutil.copytree(sound, own)
    write_record(own, {**record, "agent": "Mine", "agent_source": "0" * 64})
    unread = out / "unread"
    shutil.copytree(sound, unread)
    (unread / "run.json").write_text("{")
    (old,) = (FORMATS / "format-1").glob("random-*")
    shutil.copytree(old, out / "old")
    (out / "old" / "seed-001.csv").unlink()
    shutil.rmtree(out / "old" / "checkpoints" / "seed-001")
    outcomes = {outcome.folder.name: outcome for outcome in quiet(out)}
    assert outcomes.pop(sound.name).state == "finished"
    expected = {
        "damaged": ("rows were lost", 1),
        "foreign": ("names the file .*evil.py.*--trust", 2),
        "own": ("was trained by the class Mine", 2),
        "unread": ("reading .* failed", 1),
        "old": ("begun by an older rlkit", 2),
    }
    assert outcomes.keys() == expected.keys()
    for name, (message, code) in expected.items():
        assert outcomes[name].state == "cannot be continued"
        assert outcomes[name].exit_code == code
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(outcomes[name].message)


def test_a_failed_seed_is_tried_again_and_named(small: Callable[..., Run], out: Path) -> None:
    bad = SeedStreams(0, 1).episode_seed("env", 0, 0)
    arguments = {"fault": "raise", "bad_seed": bad}
    run = small("random-probe", seeds=2, env_args=arguments, reports=Reports())
    assert list(run.failures) == [1]
    notes: list[str] = []
    (outcome,) = rlkit.resume(out, reports=Reports(note=notes.append))
    assert outcome.state == "failed"
    assert outcome.exit_code == 1
    assert outcome.message == f"seed 1: {run.failures[1]}"


@pytest.mark.long
def test_stages_are_continued_after_those_that_they_start_from(out: Path, results: Any) -> None:
    common: dict[str, Any] = {"out": out, "reports": Reports()}
    sft = rlhf.sft("enumerable", model=MODEL, num_demonstrations=64, num_epochs=1, **common)
    reward = rlhf.reward(sft, num_pairs=64, num_epochs=1, min_updates=1, **common)
    dpo = rlhf.dpo(sft, num_pairs=64, num_epochs=1, **common)
    ppo = rlhf.ppo(sft, reward=reward, **UPDATES, **common)
    folders = [run.folder for run in (sft, reward, dpo, ppo)]
    before = [results(folder) for folder in folders]
    for folder in folders:
        shutil.rmtree(folder / "checkpoints" / "seed-000")
        (folder / "seed-000.csv").unlink()
    outcomes = quiet(out)
    assert [outcome.state for outcome in outcomes] == ["finished"] * 4, outcomes
    assert outcomes[0].folder == sft.folder
    assert [results(folder) for folder in folders] == before
    sft.folder.rename(out / "renamed")
    shutil.rmtree(out / "renamed" / "checkpoints" / "seed-000")
    by_name = {outcome.folder.name: outcome for outcome in quiet(out)}
    assert "was renamed" in by_name["renamed"].message
