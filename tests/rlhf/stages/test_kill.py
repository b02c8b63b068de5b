"""However a stage is killed, the same call again gives the bytes of a run that nobody touched."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlkit.rlhf.stages.run_stage import run_stage
from rlkit.runs import checkpoints
from tests.small_stage import small_spec

pytestmark = pytest.mark.slow

KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, results: Any) -> Any:
    """The results of two seeds that nothing disturbed."""
    return results(run_stage(small_spec(), 2, tmp_path_factory.mktemp("undisturbed")).folder)


@pytest.fixture
def start(stage_forks: Any, out: Path) -> Callable[..., Any]:
    """Run the stage with two seeds in a child, after some lines of Python."""

    def start(before: str = "", *, target: Path = out, workers: int = 1, **changes: Any) -> Any:
        return stage_forks.start(
            "from rlkit.rlhf.stages import run_stage as stages, stage_rows\n"
            "from tests.small_stage import Fit, small_spec\n"
            f"{before}\n"
            f"stages.run_stage(small_spec(**{changes!r}), 2, {str(target)!r}, workers={workers})"
        )

    return start


# What the process does before it is killed; a call of a function counts over both seeds.
MOMENTS = {
    "before anything is written": "die_at(store, 'prepare_folder', 1)",
    "before the first run.json": "die_at(execution, 'write_record', 1)",
    "after the first run.json": "die_at(execution, 'write_record', 1, after=True)",
    "in the first update": "die_at(Fit, 'update', 1)",
    "before the first row": "die_at(curves.CurveFile, 'append', 1)",
    "between row and checkpoint": "die_at(curves.CurveFile, 'sync', 2)",
    "in the middle of rows and checkpoints": "die_at(Fit, 'update', 26)",
    "before a checkpoint is renamed": "die_at(os, 'replace', 3)",
    "after a checkpoint is renamed": "die_at(os, 'replace', 3, after=True)",
    "before an old checkpoint is removed": "die_at(os, 'replace', 5, after=True)",
    "before the row at the end": "die_at(curves.CurveFile, 'append', 8)",
    "between the row at the end and the checkpoint": "die_at(curves.CurveFile, 'sync', 5)",
    "between two seeds": "die_at(stages, '_run_seed', 1, after=True)",
    "in the second seed": "die_at(Fit, 'update', 91)",
    "before the last run.json": "die_at(execution, 'write_record', 2)",
    "after the last run.json": "die_at(execution, 'write_record', 2, after=True)",
}


@pytest.mark.long
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_stage_killed_at_a_given_moment_ends_as_if_undisturbed(
    moment: str, start: Callable[..., Any], out: Path, results: Any, undisturbed: Any
) -> None:
    child = start(MOMENTS[moment])
    assert child.wait() == KILLED, child.output
    run = run_stage(small_spec(), 2, out)
    assert run.status == "finished"
    assert results(run.folder) == undisturbed
    assert not list(run.folder.rglob("*.tmp"))


@pytest.mark.trap("F3")
@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_a_stage_killed_while_a_checkpoint_is_written_continues_from_the_one_before(
    part: float, start: Callable[..., Any], out: Path, results: Any, undisturbed: Any
) -> None:
    child = start(f"die_while_writing(3, {part})")
    assert child.wait() == KILLED, child.output
    (folder,) = out.iterdir()
    assert len(list(folder.rglob(".*.tmp"))) == 1
    assert checkpoints.newest_checkpoint(folder, 0)[0] == 20
    assert results(run_stage(small_spec(), 2, out).folder) == undisturbed


@pytest.mark.trap("F2")
def test_a_stage_killed_three_times_at_random_ends_as_if_undisturbed(
    start: Callable[..., Any], out: Path, results: Any, undisturbed: Any
) -> None:
    for name in ("first", "undisturbed"):  # the first imports what both need
        started = time.monotonic()
        assert start(target=out / name).wait() == 0
        duration = time.monotonic() - started
    moments, kills = random.Random(0), 0
    while kills < 3:
        target, code = out / str(kills), KILLED
        while code == KILLED:
            child = start(target=target)
            if kills < 3:
                time.sleep(moments.uniform(0.0, duration))
                child.kill()
            code = child.wait()
            kills += code == KILLED
        assert code == 0, child.output
        (folder,) = target.iterdir()
        assert results(folder) == undisturbed


@pytest.mark.trap("F7")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_the_stage_save_and_the_same_call_continue(
    number: signal.Signals,
    code: int,
    start: Callable[..., Any],
    out: Path,
    results: Any,
    undisturbed: Any,
) -> None:
    child = start(f"call_at(Fit, 'update', 26, lambda: os.kill(os.getpid(), {int(number)}))")
    assert child.wait() == code, child.output
    assert "stopped at 26 updates of seed 0; everything is saved in" in child.output
    (folder,) = out.iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == "interrupted"
    assert checkpoints.newest_checkpoint(folder, 0)[0] == 26
    run = run_stage(small_spec(), 2, out)
    assert run.status == "finished"
    assert results(run.folder) == undisturbed


@pytest.mark.long
@pytest.mark.trap("F74")
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGKILL, KILLED),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.torture),
    ],
)
def test_workers_end_with_the_first_process_and_the_same_call_continues(
    number: signal.Signals,
    code: int,
    start: Callable[..., Any],
    out: Path,
    wait_for: Any,
    results: Any,
    undisturbed: Any,
) -> None:
    child = start(workers=2, pause=0.05)

    def both_saved() -> bool:
        assert child.poll() is None, child.output
        return len({path.parent for path in out.glob("*/checkpoints/*/step-*.npz")}) == 2

    wait_for(both_saved)
    child.kill(number)
    assert child.wait(30) == code, child.output
    assert child.group_is_gone(10)
    (folder,) = out.iterdir()
    assert all(0 < checkpoints.newest_checkpoint(folder, seed)[0] < 50 for seed in range(2))
    assert results(run_stage(small_spec(), 2, out).folder) == undisturbed
