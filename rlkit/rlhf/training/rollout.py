"""A batch of sampled responses with everything that an update needs to know of them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from rlkit.rlhf.data.sequences import Sequences


class Rollout(NamedTuple):
    """B responses of up to T tokens; token arrays are [B, T]."""

    sequences: Sequences
    truncated: Tensor  # bool [B]: stopped by the length limit
    behaviour_log_prob: Tensor  # under the distribution that each token was sampled from
    reference_log_prob: Tensor
    values: Tensor  # of the critic; 0 without one
    final_values: Tensor  # [B], of the state after the last token; 0 where not bootstrapped
    scores: Tensor  # [B], before any penalty
