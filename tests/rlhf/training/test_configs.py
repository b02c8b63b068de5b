"""Options of the stages: ranges, options without effect, and weight decay."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rlkit.errors import UsageError
from rlkit.rlhf.data.sequences import Sequences
from rlkit.rlhf.training.configs import (
    METHODS,
    DescentConfig,
    DPOConfig,
    GRPOConfig,
    PPOConfig,
    RewardConfig,
    RLOOConfig,
    SFTConfig,
)
from rlkit.rlhf.training.example_trainer import ExampleTrainer
from rlkit.runs.identity import plain_data
from rlkit.seeding import SeedStreams

OF_EXAMPLES = (SFTConfig, RewardConfig, DPOConfig)
OF_POLICIES = (PPOConfig, RLOOConfig, GRPOConfig)
ADAM = {"l2": torch.optim.Adam, "decoupled": torch.optim.AdamW}
DECAYS: list[dict[str, Any]] = [
    {"weight_decay": 0.3, "decay": "l2"},
    {"weight_decay": 0.3, "decay": "decoupled"},
    {"weight_decay": 0.0},
]
FAST: dict[str, Any] = {"batch_size": 4, "learning_rate": 0.1, "max_gradient_norm": 100.0}
LITTLE: dict[str, Any] = {"batch_size": 8, "minibatch_size": 4, "num_epochs": 1}


@pytest.mark.parametrize("config", [*OF_EXAMPLES, *OF_POLICIES])
def test_a_kind_of_decay_without_decay_is_rejected(config: Any) -> None:
    with pytest.raises(UsageError, match="'l2' has no effect while weight_decay is 0"):
        config(decay="l2", weight_decay=0.0)
    with pytest.raises(UsageError, match="decay"):
        config(decay="L1", weight_decay=0.1)
    with pytest.raises(UsageError, match="weight_decay"):
        config(weight_decay=-0.1)
    assert config(decay="l2", weight_decay=0.1).decay == "l2"


@pytest.mark.parametrize("config", [*OF_EXAMPLES, *OF_POLICIES])
def test_options_added_later_are_part_of_an_identity_only_when_set(config: Any) -> None:
    """So runs that were begun without them keep the names of their folders."""
    assert "decay" not in plain_data(config())
    chosen = plain_data(config(decay="l2", weight_decay=0.1))
    assert (chosen["decay"], chosen["weight_decay"]) == ("l2", 0.1)
    assert ("weight_decay" in plain_data(config())) == (config in OF_EXAMPLES)


class Steps:
    """Follows the steps of an optimiser with one of torch's own, on the same gradients."""

    def __init__(self, optimiser: torch.optim.Optimizer, options: dict[str, Any]) -> None:
        group = optimiser.param_groups[0]
        self.parameters = group["params"]
        self.twins = [p.detach().clone().requires_grad_() for p in self.parameters]
        decay = {k: v for k, v in options.items() if k == "weight_decay"}
        if not decay["weight_decay"]:
            decay = {}  # an Adam that knows of no decay
        kind = ADAM[options.get("decay", "l2")]
        self.adam = kind(self.twins, lr=group["lr"], eps=group["eps"], fused=True, **decay)
        optimiser.register_step_pre_hook(self.follow)

    def follow(self, optimiser: Any, _: Any, __: Any) -> None:
        for twin, parameter in zip(self.twins, self.parameters, strict=True):
            twin.grad = None if parameter.grad is None else parameter.grad.clone()
        self.adam.param_groups[0]["lr"] = optimiser.param_groups[0]["lr"]
        self.adam.step()

    def parted(self) -> bool:
        pairs = zip(self.twins, self.parameters, strict=True)
        return not all(torch.equal(twin.detach(), p.detach()) for twin, p in pairs)


def noise(sequences: Sequences) -> np.ndarray:
    return np.sin(np.arange(len(sequences.tokens), dtype=np.float64))


@pytest.mark.parametrize("options", DECAYS, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_policy_and_critic_take_the_steps_of_torchs_adam(
    ragged: Any, method: str, options: dict[str, Any]
) -> None:
    agent = ragged.agent(method, score=noise, **LITTLE, **options)
    update = agent.token_update
    descents = [update.policy] if update.critic is None else [update.policy, update.critic]
    followers = [Steps(descent.optimiser, options) for descent in descents]
    agent.update()
    assert not any(follower.parted() for follower in followers)
    assert len(followers) == (2 if method == "ppo" else 1)


def line(config: type[DescentConfig], options: dict[str, Any]) -> tuple[ExampleTrainer, Any]:
    """One weight, from 1, whose loss on example i is (w - i)^2 / 2."""
    module = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(module.weight)

    def loss(index: torch.Tensor) -> tuple[torch.Tensor, dict[str, float]]:
        return (module.weight.squeeze() - index).square() / 2, {}

    stage = ExampleTrainer(module, 10, loss, config(**FAST, **options), SeedStreams(0, 0))
    return stage, module.weight


@pytest.mark.parametrize("options", DECAYS, ids=str)
@pytest.mark.parametrize("config", OF_EXAMPLES)
def test_trainers_of_examples_take_the_steps_of_torchs_adam(
    config: type[DescentConfig], options: dict[str, Any]
) -> None:
    stage, _ = line(config, options)
    follower = Steps(stage.optimiser, options)
    for _ in range(5):
        stage.update()
    assert not follower.parted()


@pytest.mark.parametrize("config", OF_EXAMPLES)
def test_one_step_on_examples_distinguishes_the_kinds_of_decay(config: type[DescentConfig]) -> None:
    weights = []
    for options in DECAYS:
        stage, weight = line(config, options)
        stage.update()
        stage.update()  # the first step of Adam has the size of its rate, whatever the gradient
        weights.append(weight.item())
    assert len({round(weight, 7) for weight in weights}) == 3


@pytest.mark.parametrize("method", METHODS)
def test_one_step_distinguishes_the_kinds_of_decay(ragged: Any, method: str) -> None:
    weights = []
    for options in DECAYS:
        agent = ragged.agent(method, score=noise, **LITTLE, **options)
        agent.update()
        weights.append(torch.cat([p.detach().flatten() for p in agent.policy.parameters()]))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        assert float((weights[a] - weights[b]).abs().max()) > 1e-6


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"epochs": 3}, TypeError),
        ({"num_epochs": 0}, UsageError),
        ({"learning_rate": 0.0}, UsageError),
        ({"batch_size": 1.5}, UsageError),
    ],
)
def test_wrong_options_of_fine_tuning_are_rejected(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(options))):
        SFTConfig(**options)


@pytest.mark.claim(52)
@pytest.mark.parametrize(
    ("config", "options", "error", "message"),
    [
        (PPOConfig, {"adap_kl_ctrl": True}, TypeError, "adap_kl_ctrl"),
        (RLOOConfig, {"gae_lambda": 0.9}, TypeError, "gae_lambda"),
        (PPOConfig, {"group_size": 4}, TypeError, "group_size"),
        (PPOConfig, {"kl_estimator": "k3"}, UsageError, "k3"),
        (PPOConfig, {"kl_placement": "loss"}, UsageError, "exactly zero"),
        (GRPOConfig, {"kl_placement": "reward"}, UsageError, "k2 in the reward"),
        (RLOOConfig, {"group_size": 3}, UsageError, "divisor of batch_size"),
        (RLOOConfig, {"group_size": 1}, UsageError, "group_size"),
        (RLOOConfig, {"group_size": 4.0}, UsageError, "group_size .*write 4, not 4.0"),
        (GRPOConfig, {"group_size": True}, UsageError, "group_size .*whole number, got True"),
        (PPOConfig, {"temperature": 0.0}, UsageError, "temperature"),
        (PPOConfig, {"kl_target": 1.0, "kl_horizon": 51}, UsageError, "kl_horizon"),
        (PPOConfig, {"aggregation": "mean"}, UsageError, "aggregation"),
    ],
)
def test_wrong_options_of_a_policy_are_rejected(
    config: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        config(**options)


@pytest.mark.parametrize("config", [RLOOConfig, GRPOConfig])
def test_a_group_size_of_numpy_is_the_number_in_it(config: Any) -> None:
    group_size = config(group_size=np.int64(4)).group_size
    assert (type(group_size), group_size) == (int, 4)


@pytest.mark.claim(52)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"centre": True}, TypeError, "centre"),
        ({"loss": "bce"}, UsageError, "loss"),
        ({"held_out": 0.0}, UsageError, "held_out"),
        ({"loss": "pointwise", "label_smoothing": 0.1}, UsageError, "only the loss 'pairwise'"),
    ],
)
def test_wrong_options_of_a_reward_model_are_rejected(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        RewardConfig(**options)


@pytest.mark.claim(52)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"reference_free": True}, TypeError, "reference_free"),
        ({"beta": 0.0}, UsageError, "beta"),
        ({"loss": "kto"}, UsageError, "loss"),
        ({"loss": "ipo", "label_smoothing": 0.1}, UsageError, "only the loss 'dpo'"),
        ({"label_smoothing": 0.5}, UsageError, "label_smoothing"),
    ],
)
def test_wrong_options_of_dpo_are_rejected(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        DPOConfig(**options)
