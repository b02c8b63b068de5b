"""Models, tasks and scores with which no policy can be trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rlkit.errors import UsageError
from rlkit.rlhf.training.configs import PPOConfig
from rlkit.rlhf.training.policy import KLPenalisedPolicy
from rlkit.seeding import SeedStreams
from tests.rlhf.training.policies import (
    LITTLE,
    adapted,
    digest,
    random_score,
    with_reference,
)


@pytest.mark.claim(18)
def test_the_reference_can_be_neither_the_policy_nor_the_trunk_of_the_critic(ragged: Any) -> None:
    gpt, config, streams = ragged.policy(), PPOConfig(**LITTLE), SeedStreams(0, 0)
    with pytest.raises(UsageError, match="policy and reference share parameters"):
        KLPenalisedPolicy(gpt, gpt, random_score, ragged.task, config, streams)
    for critic in (ragged.reference, gpt):
        with pytest.raises(UsageError, match="and critic_trunk share parameters"):
            KLPenalisedPolicy(
                *(gpt, ragged.reference, random_score, ragged.task, config, streams),
                critic_trunk=critic,
            )
    assert not any(p.requires_grad for p in ragged.reference.parameters())


@pytest.mark.trap("T81")
@pytest.mark.claim(36)
def test_other_vocabularies_and_padding_with_eos_are_rejected(ragged: Any, small: Any) -> None:
    config, streams = PPOConfig(**LITTLE), SeedStreams(0, 0)
    with pytest.raises(UsageError, match="a different vocabulary"):
        KLPenalisedPolicy(
            ragged.policy(), small.reference, random_score, ragged.task, config, streams
        )
    task = type("Same", (type(ragged.task),), {"pad": ragged.task.eos})()
    with pytest.raises(UsageError, match="pad and eos are the same id"):
        KLPenalisedPolicy(ragged.policy(), ragged.reference, random_score, task, config, streams)


@pytest.mark.claim(43)
def test_the_bare_base_is_rejected_as_the_reference_of_trained_adapters(ragged: Any) -> None:
    with pytest.raises(UsageError, match=r"adapters are trained already.*deepcopy"):
        with_reference(ragged, adapted(ragged, trained=True), None)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda s: np.zeros((len(s.tokens), 1)), r"shape \(32, 1\), expected \(32,\)"),
        (lambda s: 0.0, r"shape \(\), expected \(32,\)"),
        (lambda s: np.where(np.arange(32) == 9, np.nan, 0.0), "score of response 9 of 32 is nan"),
    ],
)
def test_scores_that_are_not_one_finite_number_each_are_rejected(
    ragged: Any, score: Any, message: str
) -> None:
    agent = ragged.agent(score=score, **LITTLE)
    before = digest(agent.policy)
    with pytest.raises(UsageError, match=message):
        agent.update()
    assert digest(agent.policy) == before
