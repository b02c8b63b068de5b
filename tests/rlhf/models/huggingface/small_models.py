"""Hugging Face models, tiny and random, and what is asked of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.models.huggingface.folder import silenced_transformers
from rlkit.rlhf.models.huggingface.model import HuggingFaceModel, LoRA

transformers = pytest.importorskip("transformers")
tokenizers = pytest.importorskip("tokenizers")

# float32 sums in another order: 1e-6 is usual for logits of order 1, so 1e-5 leaves room.
CLOSE = {"rtol": 0.0, "atol": 1e-5}
WORDS = ("a", "b", "c", "d", "e", "f")
EOS, PAD = 6, 7
KINDS = ("gpt2", "llama")


def save_tokenizer(
    folder: Path, *, words: tuple[str, ...] = WORDS, eos: str | None = "[EOS]", pad: str | None
) -> int:
    """Write a tokenizer of words, then [EOS], [PAD], [UNK]; return its size."""
    special = ["[EOS]", *([pad] if pad not in (None, "[EOS]") else []), "[UNK]"]
    ids = {word: i for i, word in enumerate([*words, *special])}
    words_only = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="[UNK]"))
    words_only.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=words_only, eos_token=eos, pad_token=pad, unk_token="[UNK]"
    )
    fast.save_pretrained(folder)
    return len(ids)


def build(kind: str, rows: int, dropout: float = 0.0, seed: int = 0) -> Any:
    """A random model; weights are large, so that an error is not lost in rounding."""
    if kind == "gpt2":
        config = transformers.GPT2Config(
            **{"vocab_size": rows, "n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2},
            **{"resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout},
            **{"initializer_range": 0.3, "bos_token_id": None, "eos_token_id": EOS},
        )
        make = transformers.GPT2LMHeadModel
    else:
        config = transformers.LlamaConfig(
            **{"vocab_size": rows, "max_position_embeddings": 32, "hidden_size": 16},
            **{"intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2},
            **{"num_key_value_heads": 1, "attention_dropout": dropout, "initializer_range": 0.3},
            **{"bos_token_id": None, "eos_token_id": EOS},
        )
        make = transformers.LlamaForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(config).eval()


def save_model(
    folder: Path,
    kind: str = "gpt2",
    *,
    pad: str | None = "[PAD]",
    dropout: float = 0.0,
    seed: int = 0,
    extra_rows: int = 0,
) -> Path:
    with silenced_transformers():
        rows = save_tokenizer(folder, pad=pad) + extra_rows
        build(kind, rows, dropout, seed).save_pretrained(folder)
    return folder


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def ragged(seed: int = 1) -> list[list[int]]:
    """Sequences of words of different lengths."""
    lengths = (9, 4, 7, 2, 9)
    return [rng(seed).integers(0, len(WORDS), n).tolist() for n in lengths]


def padded(rows: list[list[int]], *, left: int, right: int = 0) -> tuple[torch.Tensor, Any]:
    """Tokens [B, left + longest + right], each row behind at least `left` columns of padding."""
    width = max(map(len, rows))
    tokens = torch.full((len(rows), left + width + right), PAD)
    real = torch.zeros(tokens.shape, dtype=torch.bool)
    for i, row in enumerate(rows):
        start = left + width - len(row)
        tokens[i, start : start + len(row)] = torch.tensor(row)
        real[i, start:] = True
    return tokens, real


@torch.no_grad()
def alone(model: Any, row: list[int]) -> torch.Tensor:
    """Log-probabilities [L, A] that transformers' own model gives with padding as no action."""
    logits = model(input_ids=torch.tensor([row])).logits[0].clone()
    logits[:, PAD] = -torch.inf
    return logits.log_softmax(-1)


def log_probs(model: Any, hidden: torch.Tensor) -> torch.Tensor:
    return model.unembed(hidden).log_softmax(-1)


@torch.no_grad()
def shake(model: HuggingFaceModel, seed: int = 5) -> None:
    """Move what is trained, in the place of training."""
    generator = rng(seed)
    for parameter in (p for p in model.parameters() if p.requires_grad):
        step = 0.2 * generator.standard_normal(tuple(parameter.shape))
        parameter.add_(torch.from_numpy(step))


@torch.no_grad()
def answers(model: Any) -> torch.Tensor:
    tokens, real = padded(ragged(), left=1)
    return model.unembed(model(tokens, token_mask=real))[real]


def adapted(path: Path, seed: int = 0, **options: Any) -> HuggingFaceModel:
    return HuggingFaceModel(path, adapter=LoRA(rank=4, **options), rng=rng(seed))


def answers_with_grad(model: Any) -> torch.Tensor:
    tokens, real = padded(ragged(), left=1)
    logits: torch.Tensor = model.unembed(model(tokens, token_mask=real))[real]
    return logits[:, :6]  # not the padding's


class Task(LanguageTask):
    """Prompts of one to four words; whatever is generated ends after six tokens."""

    name = "words"
    eos, pad, num_actions, vocab_size = EOS, PAD, 9, 9
    prompt_length, max_new_tokens = 4, 6

    def sample_prompts(self, generator: np.random.Generator, n: int) -> np.ndarray[Any, Any]:
        prompts = generator.integers(0, len(WORDS), (n, 4))
        prompts[np.arange(4) < generator.integers(0, 4, (n, 1))] = PAD
        return prompts
