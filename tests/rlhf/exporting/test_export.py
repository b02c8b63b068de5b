"""Exports that are rejected or fail, which leave nothing; and the command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rlkit.rlhf as rlhf
from rlkit.errors import RlkitError, UsageError
from tests.rlhf.exporting.conftest import Runs

pytest.importorskip("transformers")
pytest.importorskip("peft")


@pytest.fixture
def runs(runs_of: Callable[[str], Runs]) -> Runs:
    return runs_of("GPT2")


def test_nothing_is_overwritten(runs: Runs, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("full", "file", "link", "."):
        with pytest.raises(UsageError, match="exists already, and an export overwrites nothing"):
            rlhf.export(runs.sft, tmp_path / name)
    (tmp_path / "empty").mkdir()
    rlhf.export(runs.sft, tmp_path / "empty")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"full", "file", "link", "empty"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_export_that_fails_leaves_nothing(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(*args: Any) -> str:
        raise error

    monkeypatch.setattr("rlkit.rlhf.exporting.export.model_card", fail)
    with pytest.raises((UsageError, KeyboardInterrupt), match=r"no space left|^$"):
        rlhf.export(runs.sft, tmp_path / "policy")
    assert not list(tmp_path.iterdir())


def test_a_model_that_reads_back_as_another_is_not_left(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlkit.rlhf.exporting import folders

    original = folders.causal_model

    def damaged(*args: Any, **options: Any) -> Any:
        model = original(*args, **options)
        model.get_output_embeddings().weight.data[3] *= 1.1
        return model

    monkeypatch.setattr(folders, "causal_model", damaged)
    with pytest.raises(RlkitError, match=r"logits that differ from the run's by up to 0\.\d"):
        rlhf.export(runs.sft, tmp_path / "policy")
    assert not list(tmp_path.iterdir())


def test_options_that_do_not_fit_are_rejected(runs: Runs, tmp_path: Path) -> None:
    for run, options, message in (
        (runs.reward, {"adapter": True}, "is a reward model, whose head is no adapter"),
        (runs.reward, {"at": 1}, "a reward model is exported at its end"),
        (runs.sft, {"adapter": True, "dtype": "bfloat16"}, "adapters stay float32"),
        (runs.sft, {"dtype": "int8"}, "expected float32, bfloat16, float16, got 'int8'"),
        (runs.sft, {"run_seed": 3}, "shows the seeds 0 to 0, not 3"),
        (runs.sft, {"at": 77}, "has checkpoints after these numbers of updates: 2; got 77"),
    ):
        with pytest.raises(UsageError, match=message):
            rlhf.export(run, tmp_path / "new", **options)
    assert not list(tmp_path.iterdir())


def test_adapters_above_weights_that_were_trained_in_full_are_rejected(
    runs: Runs, texts: dict[str, Path], tmp_path: Path
) -> None:
    whole = rlhf.sft(**texts, model=runs.folder, num_epochs=1, batch_size=4, out=tmp_path / "runs")
    with pytest.raises(UsageError, match=r"all weights were trained in .*sft.* is no adapter"):
        rlhf.export(whole, tmp_path / "new", adapter=True)
