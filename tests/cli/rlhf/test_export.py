"""`rlkit rlhf export`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.rlhf.commands import said

pytest.importorskip("transformers")


def test_export_prints_the_folder_alone_and_overwrites_nothing(sft: str, tmp_path: Path) -> None:
    folder = tmp_path / "policy"
    out, _ = said("export", sft, "--to", folder, "--merge", "--run-seed", 1)
    assert out == f"{folder}\n"
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert "exists already" in said("export", sft, "--to", folder, code=2)[1]


def test_wrong_usage_is_explained(sft: str, tmp_path: Path) -> None:
    assert "name the folder to write: --to FOLDER" in said("export", sft, code=2)[1]
    both = ("--to", tmp_path / "x", "--merge", "--adapter")
    assert "give --merge or --adapter, not both" in said("export", sft, *both, code=2)[1]
    own = ("--to", tmp_path / "x", "--adapter")
    assert "has a GPT of its own" in said("export", sft, *own, code=2)[1]
    assert not list(tmp_path.iterdir())
