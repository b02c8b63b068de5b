"""Small policies, their options and changed rollouts, shared by the tests of this folder."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlkit.rlhf.data.sequences import Sequences
from rlkit.rlhf.models.gpt import GPT
from rlkit.rlhf.models.lora import add_adapters
from rlkit.rlhf.training.configs import PPOConfig
from rlkit.rlhf.training.policy import KLPenalisedPolicy, Rollout
from rlkit.seeding import SeedStreams

FLOAT32 = 1e-5  # float32 sums in another order
LITTLE: dict[str, Any] = {"batch_size": 32, "minibatch_size": 16, "num_epochs": 2, "num_updates": 4}
NO_STEP = 1e-30  # a learning rate at which no float32 weight of a model changes


def digest(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for tensor in model.state_dict().values():
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def random_score(sequences: Sequences) -> np.ndarray:
    """Some number for each response that depends on its tokens alone."""
    tokens = sequences.responses.masked_fill(~sequences.response_mask, 0)
    return np.sin(tokens.double().numpy() @ np.arange(1.0, tokens.shape[1] + 1))


def widened(rollout: Rollout, left: int, right: int = 0, pad: int = 7) -> Rollout:
    """The same with more padding before the prompts, and after the responses."""
    tokens, prompt_mask, response_mask = rollout.sequences
    extra, rows = left - prompt_mask.shape[1], len(tokens)

    def columns(n: int) -> Tensor:
        return torch.zeros(rows, n, dtype=torch.bool)

    def longer(x: Tensor) -> Tensor:
        return torch.cat([x, torch.zeros(rows, right)], 1) if x.ndim == 2 else x

    sides = (torch.full((rows, n), pad) for n in (extra, right))
    before, after = sides
    sequences = Sequences(
        torch.cat([before, tokens, after], 1),
        torch.cat([columns(extra), prompt_mask], 1),
        torch.cat([response_mask, columns(right)], 1),
    )
    return Rollout(sequences, *(longer(x) for x in rollout[1:]))


def adapted(ground: Any, *, trained: bool) -> GPT:
    policy = ground.policy()
    rng = np.random.default_rng(5)
    add_adapters(policy, rank=4, alpha=8.0, rng=rng)
    if trained:
        with torch.no_grad():
            for name, parameter in policy.named_parameters():
                if name.endswith("up"):
                    parameter.copy_(torch.from_numpy(rng.normal(0, 0.3, parameter.shape)))
    return policy


def with_reference(ground: Any, policy: GPT, reference: GPT | None) -> KLPenalisedPolicy:
    streams = SeedStreams(0, 0)
    return KLPenalisedPolicy(
        policy, reference, random_score, ground.task, PPOConfig(**LITTLE), streams
    )


def agent_from(ground: Any, policy: Any, **options: Any) -> KLPenalisedPolicy:
    agent: KLPenalisedPolicy = ground.agent(
        score=ground.score, policy=copy.deepcopy(policy), seed=3, **options
    )
    return agent
