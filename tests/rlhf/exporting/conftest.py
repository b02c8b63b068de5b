"""Runs of tiny pretrained models that tests export; nothing in them is changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import rlkit.rlhf as rlhf
from rlkit.rlhf.stages.stage_run import StageRun
from tests.rlhf.stages.small_runs import SHOWN, lines


@dataclass(frozen=True)
class Runs:
    """Stages from one pretrained model: each changes it by more than rounding."""

    folder: Path  # of the pretrained model
    sft: StageRun  # adapters of rank 2
    reward: StageRun  # adapters of rank 2
    rloo: StageRun  # adapters of rank 3, from sft


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("texts")
    pairs = ({"prompt": p, "chosen": r, "rejected": "e e"} for p, r in SHOWN)
    return {
        "demonstrations": lines(
            root / "shown.jsonl", *({"prompt": p, "response": r} for p, r in SHOWN)
        ),
        "preferences": lines(root / "pairs.jsonl", *pairs),
    }


@pytest.fixture(scope="session")
def runs_of(
    texts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Runs]:
    """Return the runs of a family; that of Llama ends its sequences by what it pads with."""
    pytest.importorskip("peft")
    from tests.rlhf.exporting.families import save_family

    known: dict[str, Runs] = {}

    def runs_of(family: str) -> Runs:
        if family not in known:
            root = tmp_path_factory.mktemp(family)
            pad = "[EOS]" if family == "Llama" else "[PAD]"
            folder = save_family(root / "model", family, pad=pad)
            common = {"learning_rate": 0.05, "out": root / "runs"}
            passes = {"num_epochs": 1, "batch_size": 2, "adapter_rank": 2, **common}
            sft = rlhf.sft(**texts, model=folder, **passes)
            reward = rlhf.reward(sft, min_updates=2, num_calibration=8, **passes)
            sizes = {"num_updates": 2, "batch_size": 4, "minibatch_size": 2, "group_size": 2}
            rloo = rlhf.rloo(sft, reward=reward, num_epochs=1, adapter_rank=3, **sizes, **common)
            known[family] = Runs(folder, sft, reward, rloo)
        return known[family]

    return runs_of
