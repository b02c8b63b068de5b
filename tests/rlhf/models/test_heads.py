"""How a scalar head starts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from rlkit.rlhf.models.heads import ScalarHead


@pytest.mark.claim(31)
def test_scalar_head_starts_at_zero_or_with_the_scale_of_a_reward() -> None:
    rng = np.random.default_rng(0)
    states = torch.from_numpy(rng.normal(size=(3, 5, 9999))).float()
    zero, reward = (ScalarHead(9999, init, rng) for init in ("zero", "reward"))
    assert (zero(states) == 0).all()
    assert reward(states).shape == (3, 5)
    # Five standard errors of the standard deviation of 9999 normal numbers.
    assert float(reward.weight.detach().std()) == pytest.approx(0.01, rel=5 / math.sqrt(2 * 9999))
