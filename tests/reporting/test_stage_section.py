"""The section of a stage of RLHF: what it measures over its updates."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlkit.reporting.stage_section import stage_section
from rlkit.rlhf.stages.run_stage import run_stage
from rlkit.rlhf.stages.stage_run import StageRun
from tests.small_stage import small_spec


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> StageRun:
    return run_stage(small_spec(), 2, tmp_path_factory.mktemp("stage"))


def test_a_stage_is_its_measurements(stage: StageRun) -> None:
    section = stage_section(stage, "s1")
    (loss,) = section.charts
    assert loss.title == f"Loss of {stage.stage}"
    values = [stage.curve(seed)["loss"] for seed in (0, 1)]
    first, last = (sum(v[i] for v in values) / 2 for i in (0, -1))
    assert section.verdict == [
        f"Loss: {first:.4g} at first, {last:.4g} at last, the mean over 2 seeds."
    ]
    (seeds,) = section.tables
    column = [c.name for c in seeds.columns].index("loss")
    assert [row[column].key for row in seeds.rows] == [float(v[-1]) for v in values]
    assert section.shortcomings == []
    assert section.codes


def test_a_measurement_that_is_made_now_and_then_is_the_last_one(stage: StageRun) -> None:
    (seeds,) = stage_section(stage, "s1").tables
    column = [c.name for c in seeds.columns].index("sometimes")
    assert all(row[column].key is not None for row in seeds.rows)


def test_a_stage_without_rows_has_no_answer(stage: StageRun) -> None:
    empty = StageRun(Path(stage.folder))
    empty.__dict__["columns"] = [{}, {}]
    section = stage_section(empty, "s1")
    assert section.verdict == ["No update was recorded, so there is no answer yet."]
    assert (section.charts, section.tables) == ([], [])


def test_one_seed_is_said_to_be_one(stage: StageRun) -> None:
    (text,) = stage_section(StageRun(stage.folder, num_seeds=1), "s1").shortcomings
    assert text == "one seed has no interval and says little about others"
