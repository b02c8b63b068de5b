"""The metrics of a rollout."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rlkit.rlhf.data.sequences import Sequences
from rlkit.rlhf.training.configs import METHODS
from rlkit.rlhf.training.metrics import rollout_metrics
from rlkit.rlhf.training.rollout import Rollout
from tests.rlhf.training.policies import (
    FLOAT32,
    LITTLE,
    NO_STEP,
    agent_from,
    random_score,
)


@pytest.mark.slow
@pytest.mark.claim(31)
def test_values_are_zero_at_the_start_and_explained_variance_grows(
    ppo_run: Any, ragged: Any
) -> None:
    rollout = ragged.agent(score=random_score, **LITTLE).collect()
    assert not rollout.values.any()
    _, metrics = ppo_run
    assert metrics[0]["explained_variance"] == pytest.approx(
        0.0, abs=1e-5
    )  # V = 0 explains nothing
    assert np.mean([m["explained_variance"] for m in metrics[-5:]]) > 0.2


@pytest.mark.parametrize("method", METHODS)
def test_all_metrics_are_announced_and_finite(ragged: Any, method: str) -> None:
    agent = ragged.agent(method, score=random_score, **LITTLE)
    (metrics,) = agent.fit(1)
    assert tuple(sorted(metrics)) == tuple(sorted(agent.metrics))
    assert np.isfinite(list(metrics.values())).all()


@pytest.mark.slow
@pytest.mark.claim(19)
def test_the_reported_kl_is_the_exact_one_within_its_standard_error(
    language: Any, ppo_run: Any
) -> None:
    agent, _ = ppo_run
    rollout = agent_from(language, agent.policy, batch_size=4096).collect()
    sums = (rollout.behaviour_log_prob - rollout.reference_log_prob).sum(1).double()
    exact = language.key.values(language.key.log_probs(agent.policy), language.key.gold, 0.3).kl
    assert exact > 1.0
    assert abs(float(sums.mean()) - exact) < 4 * float(sums.std()) / len(sums) ** 0.5
    probe = agent_from(language, agent.policy, batch_size=256, learning_rate=NO_STEP, num_epochs=1)
    metrics = probe.update()
    assert abs(metrics["kl"] - exact) < 4 * metrics["kl_standard_error"]
    # It is the sum of log-ratios itself, neither clamped nor another estimator, at the coefficient
    # that was in force.
    again = agent_from(language, agent.policy, batch_size=256).collect()
    found = (again.behaviour_log_prob - again.reference_log_prob).sum(1)
    assert metrics["kl"] == pytest.approx(float(found.mean()), rel=1e-5)
    assert metrics["objective"] == pytest.approx(metrics["score"] - 0.3 * metrics["kl"], abs=1e-6)


def test_the_metrics_of_a_rollout_by_hand() -> None:
    """Three responses of one or two tokens to prompts of one; what is padding holds 99."""
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    log_ratio = torch.tensor([[0.5, 0.5], [2.0, 99.0], [1.0, 2.0]])  # sums 1, 2 and 3
    targets = torch.tensor([[1.0, 2.0], [3.0, 99.0], [4.0, 5.0]])  # variance 2.5
    rollout = Rollout(
        sequences=Sequences(
            torch.zeros(3, 3, dtype=torch.long), torch.ones(3, 1, dtype=torch.bool), mask
        ),
        truncated=torch.tensor([True, False, False]),
        behaviour_log_prob=log_ratio - 1.0,
        reference_log_prob=torch.full((3, 2), -1.0),
        values=torch.where(mask, targets / 2, 0.0),  # leaves a quarter of the variance
        final_values=torch.zeros(3),
        scores=torch.tensor([1.0, 2.0, 6.0]),
    )
    assert rollout_metrics(rollout, targets, 0.5) == pytest.approx(
        {
            "score": 3.0,
            "score_std": 7.0**0.5,
            "objective": 2.0,
            "kl": 2.0,
            "kl_standard_error": 1 / 3**0.5,
            "response_length": 5 / 3,
            "ended_fraction": 2 / 3,
            "explained_variance": 0.75,
            "kl_coef": 0.5,
        },
        abs=FLOAT32,
    )
