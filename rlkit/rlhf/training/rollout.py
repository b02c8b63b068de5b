"""A batch of judged responses, and the critic that judges their beginnings."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rlkit.rlhf.data.sequences import Sequences, response_states
from rlkit.rlhf.models.heads import ScalarHead
from rlkit.rlhf.models.language_model import LanguageModel


class Rollout(NamedTuple):
    """What one collection leaves to learn from; all but the scores and `truncated` are [B, T]."""

    sequences: Sequences
    truncated: Tensor  # bool [B]: cut at the length limit
    behaviour_log_prob: Tensor
    reference_log_prob: Tensor
    values: Tensor  # of the critic; 0 without one
    final_values: Tensor  # [B], of the state after the last token
    scores: Tensor  # [B], before any penalty


class Critic(torch.nn.Module):
    """A trunk of its own with a head that starts at zero."""

    def __init__(self, trunk: LanguageModel, rng: np.random.Generator) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = ScalarHead(trunk.width, init="zero", rng=rng)

    def forward(self, sequences: Sequences) -> Tensor:
        """The values of the states in which each response token was chosen, [B, T]."""
        values: Tensor = self.head(response_states(self.trunk, sequences))
        return values
