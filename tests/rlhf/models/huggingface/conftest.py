"""Folders of small models, written once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("transformers")
    from tests.rlhf.models.huggingface.small_models import KINDS, save_model

    root = tmp_path_factory.mktemp("models")
    made = {kind: save_model(root / kind, kind) for kind in KINDS}
    made |= {f"{k} dropout": save_model(root / f"{k}-dropout", k, dropout=0.1) for k in KINDS}
    return made


@pytest.fixture
def folder(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A GPT-2 that a test may damage."""
    return Path(shutil.copytree(folders["gpt2"], tmp_path / "model"))
