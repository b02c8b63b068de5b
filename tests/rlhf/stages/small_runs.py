"""Small stages, and a small Hugging Face model."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rlkit.rlhf as rlhf
from rlkit.rlhf.data.sequences import pack, response_log_probs
from rlkit.rlhf.exact.enumeration import all_completions, completion_log_probs

# As installed: a distribution whose entry point offers the task "tiny".
PLUGIN = Path(__file__).parent / "plugin"
sys.path.append(str(PLUGIN))
TASK = "tiny"

MODEL = rlhf.ModelSource(width=8, num_layers=1, dropout=0.1)

UPDATES = {"num_updates": 6, "batch_size": 16, "minibatch_size": 8, "num_epochs": 2}

SMALL: dict[str, dict[str, Any]] = {
    "sft": {"num_demonstrations": 300, "num_epochs": 2, "batch_size": 32},
    "reward": {"num_pairs": 120, "num_epochs": 3, "batch_size": 16, "min_updates": 60},
    "dpo": {"num_pairs": 120, "num_epochs": 2, "batch_size": 16},
    "ppo": UPDATES,
    "rloo": UPDATES,
    "grpo": UPDATES,
}

STAGES = tuple(SMALL)

# Of each seed. A checkpoint is saved every 50 updates, or every 5 of PPO, RLOO and GRPO.
NUM_UPDATES = {"sft": 20, "reward": 60, "dpo": 16, "ppo": 6, "rloo": 6, "grpo": 6}

WORDS = ("a", "b", "c", "d", "e", "f")

SHOWN = [("a b", "c d"), ("b", "d e f"), ("b a c", "d")]


def log_probs_of(model: Any, task: Any) -> np.ndarray[Any, Any]:
    responses = all_completions(task.num_actions, task.eos, task.max_new_tokens, task.pad)
    return completion_log_probs(model, task.prompts[:1], responses)


def save_model(folder: Path, *, pad: str = "[PAD]") -> Path:
    """A random GPT-2 with a tokenizer of words."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    from rlkit.rlhf.models.huggingface.folder import silenced_transformers

    special = list(dict.fromkeys(("[EOS]", pad, "[UNK]")))
    ids = {word: i for i, word in enumerate([*WORDS, *special])}
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    config = transformers.GPT2Config(
        **{"vocab_size": len(ids), "n_positions": 24, "n_embd": 16, "n_layer": 1, "n_head": 2},
        **{"bos_token_id": None, "eos_token_id": ids["[EOS]"], "resid_pdrop": 0.1},
    )
    with silenced_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=words, eos_token="[EOS]", pad_token=pad, unk_token="[UNK]"
        ).save_pretrained(folder)
        transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def hf_log_probs(policy: Any) -> list[float]:
    """log pi(c d e [EOS] | a b)."""
    batch = pack([[0, 1]], [[2, 3, 4, 6]], pad=7)
    with torch.no_grad():
        return response_log_probs(policy, batch)[0][0].tolist()
