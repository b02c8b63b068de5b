"""Checks of an exported folder: plain transformers, reading it, must give what the run gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlkit.errors import RlkitError
from rlkit.rlhf.data.codec import TextCodec
from rlkit.rlhf.data.sampling import generate
from rlkit.rlhf.data.sequences import Sequences, final_states
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.models.huggingface.folder import import_optional, silenced_transformers
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.models.layers import evaluating
from rlkit.rlhf.training.reward_model import RewardModel

# Of logits whose size is of order 1; sums in another order differ by about 1e-6.
CLOSE = 1e-4
NUM_EXAMPLES = 4


def example_rows(task: LanguageTask, policy: LanguageModel) -> list[list[int]]:
    """Return ids of some prompts, each with a sampled response, without padding."""
    rng = np.random.default_rng(0)
    prompts = np.asarray(task.sample_prompts(rng, NUM_EXAMPLES))
    sequences = generate(policy, task, prompts, rng).sequences
    return [_row(sequences, i) for i in range(NUM_EXAMPLES)]


def _row(sequences: Sequences, i: int) -> list[int]:
    kept = torch.cat([sequences.prompt_mask[i], sequences.response_mask[i]])
    ids: list[int] = sequences.tokens[i][kept].tolist()
    return ids


def logits_of(policy: LanguageModel, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return the logits [length, num_actions] of each row."""
    with evaluating(policy):
        return [policy.unembed(policy(torch.tensor([row])))[0] for row in rows]


def scores_of(reward: RewardModel, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return the score [] of each row, which ends at the end of its response."""
    scores = []
    with evaluating(reward):
        for row in rows:
            tokens, mask = torch.tensor([row]), torch.ones(1, 1, dtype=torch.bool)
            sequences = Sequences(tokens, mask, mask.expand(1, len(row) - 1))
            raw = reward.head(final_states(reward.trunk, sequences))[0]
            scores.append(reward.gain * raw + reward.bias)
    return scores


def loaded_logits(model: Any, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """Return the logits of a model of transformers for each row, without the axis of the batch."""
    with silenced_transformers(), torch.no_grad():
        return [model(input_ids=torch.tensor([row])).logits[0].float() for row in rows]


def require_equal(folder: Path, expected: Sequence[Tensor], read: Sequence[Tensor]) -> None:
    """Reject a folder whose logits differ from the run's; padding has none.

    Raises:
        RlkitError: they differ by more than rounding.
    """
    for ours, theirs in zip(expected, read, strict=True):
        theirs = theirs[..., : ours.shape[-1]] if ours.ndim else theirs.squeeze()
        real = ours > -1e8
        difference = float((ours - theirs)[real].abs().max())
        if not difference <= CLOSE * max(1.0, float(ours[real].abs().max())):
            raise RlkitError(
                f"{folder.name}: the exported model gives logits that differ from the run's by up "
                f"to {difference:.3g}, so nothing was written; please report the type of the model"
            )


def require_same_ids(folder: Path, codec: TextCodec, texts: Sequence[str]) -> None:
    """Reject a folder whose tokenizer gives other ids than the run's.

    Raises:
        RlkitError: it does.
    """
    auto = import_optional("transformers").AutoTokenizer
    with silenced_transformers():
        tokenizer = auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        for text in texts:
            ids = [int(i) for i in tokenizer(text, add_special_tokens=False).input_ids]
            if ids != codec.encode(text):
                raise RlkitError(
                    f"{folder.name}: the exported tokenizer reads {text[:60]!r} as other ids than "
                    "the run's, so nothing was written; please report the text"
                )
