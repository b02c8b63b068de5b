"""The critic of PPO."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.rlhf.training.policies import (
    FLOAT32,
    LITTLE,
    random_score,
    widened,
)


@pytest.mark.claim(12)
def test_values_after_the_last_token_do_not_depend_on_the_width(ragged: Any) -> None:
    agent = ragged.agent(score=random_score, **LITTLE)
    agent.update()
    rollout = agent.collect()
    with torch.no_grad():
        values = agent.critic.final_values(rollout.sequences)
        wide = agent.critic.final_values(widened(rollout, 7, 5).sequences)
    cut = rollout.truncated
    assert cut.any()
    torch.testing.assert_close(wide[cut], values[cut], atol=FLOAT32, rtol=0)
