"""However a run is killed, the same call again gives the bytes of a run that nobody touched."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlkit.runs import checkpoints
from rlkit.training.run import Run

KILLED = -signal.SIGKILL
MOST_KILLS = 5  # of one run: the 164 kills of `make torture` are of 37 runs at least
# Some of the rows of these short runs have a checkpoint.
BETWEEN_SAVES = "seed_batch.SECONDS_BETWEEN_SAVES = 0.02"


def kill_at_random(forks: Any, name: str, kills: int, out: Path, **changes: Any) -> list[Path]:
    """Kill runs at random moments until there were so many kills; return the runs' folders.

    No finished run is killed: each is killed at most five times and then followed by another.
    """
    settings = {"seeds": 2, "evaluate_every": 40, **changes}
    for name_of_run in ("first", "undisturbed"):  # the first imports what both need
        started = time.monotonic()
        assert forks.train(name, **settings, out=out / name_of_run).wait() == 0
        duration = time.monotonic() - started
    moments, folders = random.Random(0), []
    while kills > 0:
        target, code, kills_of_run = out / f"run-{len(folders)}", KILLED, 0
        while code == KILLED:
            child = forks.train(name, **settings, out=target, before=BETWEEN_SAVES)
            if kills > 0 and kills_of_run < MOST_KILLS:
                time.sleep(moments.uniform(0.0, duration))
                child.kill()
            code = child.wait()
            kills -= code == KILLED
            kills_of_run += code == KILLED
        assert code == 0, child.output
        folders += target.iterdir()
    return folders


@pytest.mark.trap("F2")
@pytest.mark.torture
@pytest.mark.parametrize(("name", "kills"), [("ppo-normalised", 1), ("q-learning-compiled", 3)])
def test_a_run_killed_at_random_ends_as_if_undisturbed(
    name: str, kills: int, forks: Any, out: Path, results: Any, reference: Any
) -> None:
    for folder in kill_at_random(forks, name, kills, out):
        assert results(folder) == reference(name, seeds=2, evaluate_every=40)


@pytest.mark.trap("F1")
@pytest.mark.torture
@pytest.mark.parametrize("name", ["ppo", "ppo-normalised", "reinforce", "q-learning-compiled"])
def test_runs_killed_twenty_times_at_random_end_as_if_undisturbed(
    name: str, forks: Any, out: Path, results: Any, reference: Any
) -> None:
    for folder in kill_at_random(forks, name, 20, out):
        assert results(folder) == reference(name, seeds=2, evaluate_every=40)


PROBE = f"{Path(__file__).parents[1] / 'probe_envs.py'}:Probe"
STEPPED_ELSEWHERE: dict[str, dict[str, Any]] = {
    "ppo-probe": {},
    "reinforce": {"environment": PROBE},
    "q-learning-gymnasium": {},
}


@pytest.mark.torture
@pytest.mark.parametrize("processes", [{"workers": 2}, {"env_workers": 2}], ids=str)
@pytest.mark.parametrize("name", STEPPED_ELSEWHERE)
def test_runs_with_workers_killed_at_random_end_as_if_undisturbed(
    name: str, processes: dict[str, int], forks: Any, out: Path, results: Any, reference: Any
) -> None:
    changes = STEPPED_ELSEWHERE[name]
    for folder in kill_at_random(forks, name, 12, out, **changes, **processes):
        assert results(folder) == reference(name, seeds=2, evaluate_every=40, **changes)


@pytest.mark.torture
def test_both_kinds_of_workers_together_survive_kills(
    forks: Any, out: Path, results: Any, reference: Any
) -> None:
    for folder in kill_at_random(forks, "ppo-probe", 12, out, workers=2, env_workers=2):
        assert results(folder) == reference("ppo-probe", seeds=2, evaluate_every=40)


# What the process does before it is killed; a call of a function counts over both seeds.
MOMENTS = {
    "before anything is written": "die_at(store, 'prepare_folder', 1)",
    "before the first run.json": "die_at(execution, 'write_record', 1)",
    "after the first run.json": "die_at(execution, 'write_record', 1, after=True)",
    "before the row at step 0": "die_at(curves.CurveFile, 'append', 1)",
    "between the rows of two seeds": "die_at(curves.CurveFile, 'append', 1, after=True)",
    "in the first iteration": "import rlkit.training.tracker as t; die_at(t.Tracker, 'observe', 1)",
    "in a later iteration": "import rlkit.training.tracker as t; die_at(t.Tracker, 'observe', 77)",
    "between row and checkpoint": "die_at(curves.CurveFile, 'sync', 3)",
    "between checkpoint and next row": "die_at(curves.CurveFile, 'append', 7)",
    "before the checkpoint is renamed": "die_at(os, 'replace', 3)",
    "after the checkpoint is renamed": "die_at(os, 'replace', 3, after=True)",
    "between the checkpoints of two seeds": "die_at(os, 'replace', 4, after=True)",
    "before an old checkpoint is removed": "die_at(os, 'replace', 6, after=True)",
    "after an old checkpoint is removed": "die_at(store.Path, 'unlink', 9, after=True)",
    "before a file is forced to the disk": "die_at(os, 'fsync', 9)",
    "after a file is forced to the disk": "die_at(os, 'fsync', 9, after=True)",
    "before the final evaluation": (
        "import rlkit.training.seed_batch as t; die_at(t.Evaluator, '__call__', 7)"
    ),
    "after the final evaluation": (
        "import rlkit.training.seed_batch as t; die_at(t.Evaluator, '__call__', 7, after=True)"
    ),
    "before the last run.json": "die_at(execution, 'write_record', 2)",
    "after the last run.json": "die_at(execution, 'write_record', 2, after=True)",
}


NO_SAVES = "seed_batch.SECONDS_BETWEEN_SAVES = 1e9"  # but those at the last two rows


@pytest.mark.long
@pytest.mark.trap("T66", "T91", "F4")
@pytest.mark.parametrize("moment", ["'append', 7", "'sync', 1", "'sync', 3"])
@pytest.mark.parametrize("name", ["q-learning", pytest.param("ppo", marks=pytest.mark.slow)])
def test_a_run_killed_with_rows_since_its_checkpoint_ends_as_if_undisturbed(
    name: str, moment: str, forks: Any, out: Path, small: Callable[..., Run], remaining: Any
) -> None:
    before = f"{NO_SAVES}\ndie_at(curves.CurveFile, {moment})"
    child = forks.train(name, seeds=2, out=out / "killed", before=before)
    assert child.wait() == KILLED, child.output
    assert forks.train(name, seeds=2, out=out / "often").wait() == 0
    undisturbed = remaining(out / "often")
    assert remaining(out / "killed") != undisturbed
    small(name, seeds=2, out=out / "killed")
    assert remaining(out / "killed") == undisturbed


@pytest.fixture
def remaining() -> Callable[[Path], dict[str, bytes]]:
    """Return the bytes of every csv and checkpoint below a folder."""

    def read(out: Path) -> dict[str, bytes]:
        paths = [*out.rglob("*.csv"), *out.rglob("*.npz")]
        return {str(path.relative_to(out)): path.read_bytes() for path in paths}

    return read


QUICK = (
    "between row and checkpoint",
    "after the checkpoint is renamed",
    "before the last run.json",
)


@pytest.mark.long
@pytest.mark.trap("F4", "F5")
@pytest.mark.parametrize(
    "moment",
    [pytest.param(m, marks=[] if m in QUICK else pytest.mark.slow) for m in MOMENTS],
)
def test_a_run_killed_at_a_given_moment_ends_as_if_undisturbed(
    moment: str, forks: Any, out: Path, small: Callable[..., Run], results: Any, reference: Any
) -> None:
    child = forks.train("q-learning", seeds=2, out=out, before=MOMENTS[moment])
    assert child.wait() == KILLED, child.output
    run = small("q-learning", seeds=2)
    assert run.status == "finished"
    assert results(run.folder) == reference("q-learning", seeds=2)
    assert not list(run.folder.rglob("*.tmp"))


@pytest.mark.trap("T89", "F3")
@pytest.mark.long
@pytest.mark.parametrize("part", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999, 1.0])
def test_a_run_killed_while_a_checkpoint_is_written_continues_from_the_one_before(
    part: float, forks: Any, out: Path, small: Callable[..., Run], results: Any, reference: Any
) -> None:
    before = f"die_while_writing(5, {part})"  # of the first seed, at the third row
    child = forks.train("q-learning", seeds=2, out=out, before=before)
    assert child.wait() == KILLED, child.output
    (folder,) = out.iterdir()
    assert len(list(folder.rglob(".*.tmp"))) == 1
    assert [checkpoints.newest_checkpoint(folder, seed)[0] for seed in range(2)] == [200, 200]
    run = small("q-learning", seeds=2)
    assert results(run.folder) == reference("q-learning", seeds=2)
    assert not list(folder.rglob(".*.tmp"))


@pytest.mark.trap("F6")
@pytest.mark.slow
@pytest.mark.usefixtures("figures")
def test_a_run_killed_while_drawing_draws_again_and_changes_nothing_else(
    forks: Any, out: Path, small: Callable[..., Run], results: Any
) -> None:
    before = (
        "import rlkit.analysis.plots as p, matplotlib.figure as f; "
        "die_at(f.Figure, 'savefig', 1, after=True)"
    )
    child = forks.train("q-learning", seeds=2, out=out, before=before, figures=True)
    assert child.wait() == KILLED, child.output
    (folder,) = out.iterdir()
    had = results(folder)
    record = json.loads((folder / "run.json").read_text())
    run = small("q-learning", seeds=2)
    assert (folder / "learning_curve.png").stat().st_size > 1000
    assert [path.name for path in folder.glob("*.png")] == ["learning_curve.png"]
    assert not list(folder.glob(".*.png"))
    assert results(run.folder) == had
    again = json.loads((folder / "run.json").read_text())
    figure = (folder / "learning_curve.png").read_bytes()
    assert again["files"] == {"learning_curve.png": hashlib.sha256(figure).hexdigest()}
    changed = {name for name in again if again[name] != record[name]}
    assert changed == {"files", "sha256"}


@pytest.mark.trap("T99", "F7", "F9")
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize(
    "moment",
    [
        "import rlkit.training.tracker as owner; name = 'Tracker.observe', 77",
        "import rlkit.agents.ppo_objective as owner; name = 'Objective.__init__', 2",
        "import rlkit.training.seed_batch as owner; name = 'Evaluator.__call__', 2",
        "import rlkit.runs.curves as owner; name = 'CurveFile.append', 3",
        "import os as owner; name = 'owner.replace', 3",
    ],
    ids=["rollout", "update", "evaluation", "row", "checkpoint"],
)
def test_a_signal_lets_the_run_save_and_the_same_call_continue(
    number: signal.Signals,
    code: int,
    moment: str,
    forks: Any,
    out: Path,
    small: Callable[..., Run],
    results: Any,
    reference: Any,
) -> None:
    before = (
        f"{moment}\n"
        "head, _, tail = name[0].partition('.')\n"
        "owner = getattr(owner, head, owner)\n"
        f"call_at(owner, tail, name[1], lambda: os.kill(os.getpid(), {int(number)}))"
    )
    child = forks.train("ppo", seeds=2, out=out, before=before)
    assert child.wait() == code, child.output
    assert "everything is saved in" in child.output
    (folder,) = out.iterdir()
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "interrupted"
    steps, _, problems = checkpoints.newest_checkpoint(folder, 0)
    assert 0 < steps < 600
    assert not problems
    run = small("ppo", seeds=2)
    assert run.status == "finished"
    assert results(run.folder) == reference("ppo", seeds=2)


@pytest.mark.trap("F8")
@pytest.mark.slow
def test_a_second_signal_ends_at_once_and_leaves_a_sound_checkpoint(
    forks: Any, out: Path, small: Callable[..., Run], results: Any, reference: Any
) -> None:
    before = (
        "import rlkit.training.tracker as t\n"
        "def twice():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "call_at(t.Tracker, 'observe', 130, twice)"
    )
    child = forks.train("ppo", seeds=2, out=out, before=before)
    assert child.wait() == 130
    (folder,) = out.iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    # Not saved once more: the loop was at step 520.
    assert checkpoints.newest_checkpoint(folder, 0)[0] == 400
    assert results(small("ppo", seeds=2).folder) == reference("ppo", seeds=2)


@pytest.mark.trap("F13")
@pytest.mark.slow
def test_a_run_that_is_suspended_for_a_while_gives_the_same_bytes(
    forks: Any, out: Path, results: Any, reference: Any
) -> None:
    child = forks.train("ppo", seeds=2, out=out)
    for _ in range(3):
        time.sleep(0.05)
        child.kill(signal.SIGSTOP)
        time.sleep(0.3)
        assert child.poll() is None
        child.kill(signal.SIGCONT)
    assert child.wait() == 0, child.output
    (folder,) = out.iterdir()
    assert results(folder) == reference("ppo", seeds=2)
