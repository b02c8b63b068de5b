"""The folder of a stage's run, as later stages and users see it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlkit.cli import main
from rlkit.errors import RlkitError, RlkitWarning, UsageError
from rlkit.rlhf.stages.run_stage import run_stage
from rlkit.rlhf.stages.stage_run import StageRun, load_stage_run
from rlkit.runs import checkpoints, curves
from rlkit.runs.execution import Interrupted
from rlkit.runs.record import write_record
from rlkit.training.run import load
from rlkit.training.train import train
from tests.small_stage import NUM_UPDATES, small_spec, stop_after


def child_of(parent: StageRun, num_updates: int = 14) -> Any:
    """A stage that starts from the parameters at which another ended."""
    content = {"parent": parent.content_name}
    return small_spec(
        stage="child", content=content, parent=str(parent.folder), num_updates=num_updates
    )


@pytest.mark.slow
def test_a_stage_starts_from_the_final_state_of_another(out: Path) -> None:
    parent = run_stage(small_spec(), 2, out)
    state = parent.state(1)
    assert state["num_done"] == NUM_UPDATES
    child = run_stage(child_of(parent), 2, out, workers=2)
    assert child.status == "finished"
    assert child.content == {"parent": parent.folder.name}
    assert child.curve(1)["loss"][0] < parent.curve(1)["loss"][0]


def test_an_input_of_other_content_is_another_run(out: Path) -> None:
    first, second = (run_stage(small_spec(num_updates=n, spans_run=True), 1, out) for n in (7, 14))
    assert child_of(first).folder_name() != child_of(second).folder_name()


def test_an_unfinished_input_or_a_seed_that_it_lacks_says_what_to_run(out: Path) -> None:
    with pytest.raises(Interrupted):
        run_stage(small_spec(), 2, out, reports=stop_after(60))
    (folder,) = out.iterdir()
    parent = load_stage_run(folder)
    assert parent.state(0)["num_done"] == NUM_UPDATES
    with pytest.raises(
        UsageError, match=r"seed 1 .* is at 11 of 50 updates; finish it .* started it: "
    ):
        parent.state(1)
    with pytest.raises(UsageError, match=r"look at it as it is now, with at = 11, --at 11"):
        parent.state(1)
    assert parent.state(1, at=11)["num_done"] == 11
    with pytest.raises(
        UsageError, match=r"checkpoints after these numbers of updates: 10, 11; got 5"
    ):
        parent.state(1, at=5)
    for seed, needed in ((2, 3), (-1, 1)):
        with pytest.raises(UsageError, match=f"run the stage 'fit' with at least {needed} se"):
            parent.state(seed)
    spec = small_spec(stage="child", parent=str(folder))
    with pytest.raises(UsageError, match="finish it first"):
        run_stage(spec, 2, out)
    with pytest.raises(UsageError, match="with at least 3 seeds"):
        run_stage(spec, 3, out)
    assert list(out.iterdir()) == [folder]


def test_metrics_are_found_by_name(out: Path) -> None:
    run = run_stage(small_spec(num_updates=14), 2, out)
    updates, values = run.metric("samples")
    assert updates.tolist() == [7, 14]
    assert values.tolist() == [[56, 112], [56, 112]]
    with pytest.raises(UsageError, match=r"no metric 'los'. Did you mean 'loss'\? It has num_up"):
        run.metric("los")
    assert "fit on line, 2 seeds, finished" in repr(run)


def test_a_curve_that_does_not_grow_is_damaged(out: Path) -> None:
    run = run_stage(small_spec(), 1, out)
    path = curves.curve_path(run.folder, 0)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines, lines[-1]]))
    with pytest.warns(RlkitWarning, match=r"seed-000\.csv: the rows from line 10 on are not used"):
        assert load_stage_run(run.folder).curve()["num_updates"][-1] == 50
    checkpoints.cover_rows(run.folder, 0)
    with pytest.raises(RlkitError, match="num_updates is 50, not more than in the row before"):
        load_stage_run(run.folder).curve()


def test_the_folder_of_a_stage_is_not_taken_for_that_of_an_agent(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run_stage(small_spec(num_updates=7), 1, out).folder
    says = "is the run of a stage of RLHF, 'fit' on 'line': it has no agent"
    with pytest.raises(UsageError, match=says):
        load(folder)
    for command in (
        ["evaluate", str(folder)],
        ["watch", str(folder), "--gif", str(out / "a.gif")],
    ):
        assert main(command) == 2
        err = capsys.readouterr().err
        assert says in err
        assert "use `rlkit rlhf evaluate`" in err
    assert main(["plot", str(folder), "--out", str(out / "a.png")]) == 0
    assert main(["plot", str(folder), "--regret", "--out", str(out / "b.png")]) == 2
    assert "are for runs of agents" in capsys.readouterr().err


@pytest.mark.slow
def test_the_folder_of_an_agent_is_not_taken_for_that_of_a_stage(out: Path, tmp_path: Path) -> None:
    folder = train("random", "FrozenLake-v1", seeds=1, steps=100, out=out).folder
    with pytest.raises(UsageError, match="is the run of the agent 'random' on 'FrozenLake-v1'"):
        load_stage_run(folder)
    with pytest.raises(UsageError, match="is not the folder of a run"):
        load_stage_run(tmp_path)
    record = json.loads((folder / "run.json").read_text())
    assert "kind" not in record
    write_record(folder, {**record, "kind": "song"})
    with pytest.raises(RlkitError, match="of the kind 'song', not known here"):
        load(folder)
