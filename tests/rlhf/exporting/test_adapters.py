"""Adapters of stages that train different layers add up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import rlkit.rlhf as rlhf
from tests.rlhf.exporting.conftest import Runs

peft = pytest.importorskip("peft")

from tests.rlhf.exporting.test_folders import CLOSE, logits_of, read_logits  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:transformers")


def test_stages_with_other_ranks_and_layers_have_the_sum_of_their_adapters(
    runs_of: Callable[[str], Runs], texts: dict[str, Path], tmp_path: Path
) -> None:
    common = {"num_epochs": 1, "batch_size": 2, "learning_rate": 0.05, "out": tmp_path / "runs"}
    folder = runs_of("GPT2").folder
    first = rlhf.sft(**texts, model=folder, adapter_rank=2, adapter_targets=["c_attn"], **common)
    second = rlhf.dpo(first, adapter_rank=3, adapter_targets=["c_attn", "c_fc"], **common)
    exported = rlhf.export(second, tmp_path / "sum", adapter=True)
    read = peft.AutoPeftModelForCausalLM.from_pretrained(exported)
    torch.testing.assert_close(read_logits(read), logits_of(second), **CLOSE)
    assert (logits_of(first) - logits_of(second)).abs().max() > 1e-3
    config = json.loads((exported / "adapter_config.json").read_text())
    assert config["r"] == 5
    assert set(config["rank_pattern"].values()) == {3}
    assert "sum of the adapters of 2 stages" in (exported / "README.md").read_text()
