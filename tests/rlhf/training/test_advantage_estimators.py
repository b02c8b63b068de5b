"""The advantages of a rollout's tokens, with a critic and within groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rlkit.rlhf.data.sequences import Sequences
from rlkit.rlhf.training.policy import Rollout
from tests.rlhf.training.policies import (
    FLOAT32,
    LITTLE,
    digest,
    random_score,
)


@pytest.mark.claim(14)
def test_rewards_are_the_penalty_at_each_token_and_the_score_at_the_last(ragged: Any) -> None:
    """With discount 1, lambda 1 and V = 0 an advantage is the reward to go, then standardised."""
    agent = ragged.agent(
        score=random_score, kl_coef=0.4, gae_lambda=1.0, missing_eos_penalty=0.7, **LITTLE
    )
    rollout = agent.collect()
    assert rollout.truncated.any()
    assert not rollout.truncated.all()
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.normal(size=rollout.behaviour_log_prob.shape)).float()
    rollout = rollout._replace(reference_log_prob=rollout.behaviour_log_prob - noise)
    expected = np.zeros(noise.shape)
    for row, length in enumerate(rollout.sequences.lengths.tolist()):
        rewards = [-0.4 * float(noise[row, t]) for t in range(length)]
        rewards[-1] += float(rollout.scores[row]) - 0.7 * bool(rollout.truncated[row])
        for t in range(length):
            expected[row, t] = sum(rewards[t:])
    advantages, targets = agent.advantages(rollout)
    mask = rollout.sequences.response_mask.numpy()
    np.testing.assert_allclose(targets.numpy(), expected, atol=FLOAT32)
    valid = expected[mask]
    white = (valid - valid.mean()) / valid.std(ddof=1)
    np.testing.assert_allclose(advantages.numpy()[mask], white, atol=FLOAT32)
    assert not advantages.numpy()[~mask].any()


@pytest.mark.claim(24)
@pytest.mark.parametrize("bootstrap", [False, True])
def test_the_length_limit_is_an_end_unless_asked_otherwise(ragged: Any, bootstrap: bool) -> None:
    agent = ragged.agent(
        score=random_score, kl_coef=0.0, discount=0.9, gae_lambda=0.0,
        bootstrap_truncated=bootstrap, **LITTLE,
    )  # fmt: skip
    agent.update()
    rollout = agent.collect()
    _, targets = agent.advantages(rollout)
    with torch.no_grad():  # the critic reads the whole response, its last token included
        real = rollout.sequences.token_mask()
        hidden = agent.critic.trunk(rollout.sequences.tokens, token_mask=real)
        after = agent.critic.head(hidden[:, rollout.sequences.prompt_length :])
    assert float(after.abs().max()) > 1e-3
    for row, length in enumerate(rollout.sequences.lengths.tolist()):
        expected = float(rollout.scores[row])
        if bootstrap and rollout.truncated[row]:
            expected += 0.9 * float(after[row, length - 1])
        assert float(targets[row, length - 1]) == pytest.approx(expected, abs=FLOAT32)


@pytest.mark.claim(21)
@pytest.mark.parametrize(
    ("method", "options"),
    [("rloo", {}), ("grpo", {}), ("ppo", {"gae_lambda": 1.0}), ("ppo", {"critic": True})],
)
def test_a_shift_of_all_scores_changes_no_advantage(
    ragged: Any, method: str, options: dict[str, Any]
) -> None:
    """With lambda < 1 only once the critic has learned it too: along a trace it decays."""
    shift = 5.0
    with_critic = "critic" in options
    agent = ragged.agent(method, score=random_score, **LITTLE, **({} if with_critic else options))
    rollout = agent.collect()
    shifted = rollout._replace(scores=rollout.scores + shift)
    if with_critic:
        shifted = shifted._replace(
            values=(rollout.values + shift).masked_fill(~rollout.sequences.response_mask, 0.0)
        )
    before, after = (agent.advantages(x)[0] for x in (rollout, shifted))
    torch.testing.assert_close(after, before, atol=FLOAT32, rtol=0)


@pytest.mark.claim(33)
@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_groups_keep_their_prompt_and_mixed_ones_are_rejected(ragged: Any, method: str) -> None:
    agent = ragged.agent(method, score=random_score, group_size=4, **LITTLE)
    rollout = agent.collect()
    prompts = rollout.sequences.prompts.reshape(8, 4, -1)
    assert (prompts == prompts[:, :1]).all()
    assert agent.critic is None
    order = torch.arange(32).roll(1)
    mixed = Rollout(rollout.sequences.select(order), *(x[order] for x in rollout[1:]))
    with pytest.raises(ValueError, match="holds different prompts"):
        agent.advantages(mixed)


@pytest.mark.claim(33)
@pytest.mark.parametrize("method", ["rloo", "grpo"])
def test_groups_of_equal_scores_train_nothing_and_leave_no_nan(ragged: Any, method: str) -> None:
    def score(sequences: Sequences) -> np.ndarray:
        return np.full(len(sequences.tokens), 3.3)

    agent = ragged.agent(method, score=score, kl_coef=0.0, group_size=4, **LITTLE)
    rollout = agent.collect()
    before = digest(agent.policy)
    assert not agent.advantages(rollout)[0].any()
    metrics = agent.update(rollout)
    assert np.isfinite(list(metrics.values())).all()
    assert digest(agent.policy) == before


def test_grpo_without_scale_weighs_groups_by_how_much_they_differ(ragged: Any) -> None:
    agents = [
        ragged.agent("grpo", score=random_score, kl_coef=0.0, group_size=4, scale=scale, **LITTLE)
        for scale in (True, False)
    ]
    rollout = agents[0].collect()
    groups = rollout.scores.double().reshape(8, 4)
    lengths = rollout.sequences.lengths
    for agent, scaled in zip(agents, (True, False), strict=True):
        expected = groups - groups.mean(1, keepdim=True)
        if scaled:
            expected = expected / groups.std(1, keepdim=True)
        each = torch.repeat_interleave(expected.flatten(), lengths)
        each = (each - each.mean()) / each.std()
        got = agent.advantages(rollout)[0][rollout.sequences.response_mask]
        torch.testing.assert_close(got.double(), each, atol=FLOAT32, rtol=0)


@pytest.mark.parametrize(("placement", "estimator"), [("reward", "k1"), ("loss", "k2")])
def test_only_a_penalty_in_the_reward_outweighs_scores_that_are_nearly_alike(
    ragged: Any, placement: str, estimator: str
) -> None:
    """A nat costs 0.3, and half of the responses score 0.02 more for two nats.

    In the loss the penalty is not standardised with the scores, whose advantages have a standard
    deviation of 1 however little they differ.
    """
    agent = ragged.agent(
        "grpo", score=random_score, kl_coef=0.3, group_size=4, scale=False,
        kl_placement=placement, kl_estimator=estimator, **LITTLE,
    )  # fmt: skip
    rollout = agent.collect()
    far = torch.arange(32) % 2 == 0
    log_ratio = torch.zeros_like(rollout.behaviour_log_prob)
    log_ratio[:, 0] = 2.0 * far
    rollout = rollout._replace(
        scores=0.02 * far.double(), reference_log_prob=rollout.behaviour_log_prob - log_ratio
    )
    advantages = agent.advantages(rollout)[0][:, 0]
    assert (far if placement == "loss" else ~far).equal(advantages > 0)
    assert advantages.abs().min() > 0.5


@pytest.mark.parametrize("method", ["ppo", "rloo", "grpo"])
def test_a_constant_score_does_not_move_the_policy(ragged: Any, method: str) -> None:
    agent = ragged.agent(method, score=lambda s: np.full(len(s.tokens), 3.3), kl_coef=0.3, **LITTLE)
    history = agent.fit()
    assert len(history) == 4
    assert max(abs(metrics["kl"]) for metrics in history) < 1e-4
    assert any("constant score" in note for note in agent.notes)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("ppo", {"entropy_coef": 0.1}),
        ("rloo", {"aggregation": "seq-mean-token-sum"}),
        ("grpo", {"kl_placement": "loss", "kl_estimator": "k2", "microbatch_size": 3}),
    ],
)
def test_nothing_is_learned_from_truncated_responses_that_are_masked(
    ragged: Any, method: str, options: dict[str, Any]
) -> None:
    """Not by the critic, the bonus for entropy or a penalty in the loss, either."""
    rollout = ragged.agent(method, score=random_score, **LITTLE).collect()
    cut = rollout.truncated
    assert 0 < int(cut.sum()) < len(cut)
    scores = rollout.scores.masked_fill(cut, 0.0)
    # What only the losses of truncated responses could see.
    other = torch.where(cut[:, None], rollout.reference_log_prob - 3.0, rollout.reference_log_prob)
    learned = []
    for masked in (False, True):
        options |= {"mask_truncated": masked, "learning_rate": 1e-3}
        for targets_of_cut, reference_log_prob in ((0.0, rollout.reference_log_prob), (5.0, other)):
            agent = ragged.agent(method, score=random_score, **{**LITTLE, **options})
            changed = rollout._replace(scores=scores, reference_log_prob=reference_log_prob)
            advantages, targets = agent.advantages(rollout._replace(scores=scores))
            targets = targets.masked_fill(cut[:, None], targets_of_cut)
            agent.token_update(changed, advantages, targets, 1e-3)
            learned.append(digest(agent.policy) + (digest(agent.critic) if agent.critic else ""))
    assert learned[0] != learned[1] or method == "rloo"
    assert learned[2] == learned[3] != learned[0]


def test_an_update_of_which_all_responses_are_cut_and_masked_changes_nothing(ragged: Any) -> None:
    agent = ragged.agent("ppo", score=random_score, mask_truncated=True, **LITTLE)
    agent.update()
    rollout, before = agent.collect(), digest(agent.policy) + digest(agent.critic)
    agent.update(rollout._replace(truncated=torch.ones_like(rollout.truncated)))
    assert digest(agent.policy) + digest(agent.critic) == before
    assert not any("collapse" in note for note in agent.notes)
