"""The critic of PPO: a value for each state of a response."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rlkit.rlhf.data.sequences import Sequences, final_states, response_states
from rlkit.rlhf.models.device import device_of
from rlkit.rlhf.models.heads import ScalarHead
from rlkit.rlhf.models.language_model import LanguageModel


@dataclass(frozen=True, kw_only=True)
class CriticOptions:
    """The options of PPO that concern its critic; see `PPOConfig`."""

    value_coef: float
    value_clip: float | None
    max_gradient_norm: float
    bootstrap_truncated: bool


class Critic(torch.nn.Module):
    """A trunk of its own with a head that starts at zero.

    Args:
        trunk: a language model; trained in place, all of it if it is frozen, else what is not.
        options: of PPO.
        rng: given to the head.
    """

    def __init__(
        self, trunk: LanguageModel, options: CriticOptions, rng: np.random.Generator
    ) -> None:
        super().__init__()
        self.options = options
        is_frozen = not any(parameter.requires_grad for parameter in trunk.parameters())
        self.trunk = trunk.requires_grad_(True) if is_frozen else trunk
        self.head = ScalarHead(trunk.width, init="zero", rng=rng).to(device_of(trunk))

    def forward(self, sequences: Sequences) -> Tensor:
        """Return the values of the states in which each response token was chosen, [B, T]."""
        values: Tensor = self.head(response_states(self.trunk, sequences))
        return values

    def final_values(self, sequences: Sequences) -> Tensor:
        """Return the values of the states after the last token of each response, [B]."""
        values: Tensor = self.head(final_states(self.trunk, sequences))
        return values
