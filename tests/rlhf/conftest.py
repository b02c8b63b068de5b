"""Fine-tuned models of tasks whose responses can be listed, shared by the tests of RLHF."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from rlkit.rlhf.data.preferences import demonstrations_of
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.exact.answer_key import AnswerKey, TableScore
from rlkit.rlhf.models.gpt import GPT, GPTConfig
from rlkit.rlhf.training.configs import METHODS, SFTConfig
from rlkit.rlhf.training.fine_tuning import supervised_fine_tuning
from rlkit.rlhf.training.policy import KLPenalisedPolicy
from rlkit.seeding import SeedStreams
from rlkit_envs.enumerable import EnumerableTask


@dataclass(frozen=True)
class Ground:
    """A task with a reference policy; nothing in it is changed by a test."""

    task: LanguageTask
    reference: GPT

    def __post_init__(self) -> None:
        self.reference.freeze()

    def policy(self) -> GPT:
        """A copy of the reference that can learn."""
        policy = copy.deepcopy(self.reference)
        return policy.requires_grad_(True)

    def agent(
        self,
        method: str = "ppo",
        *,
        score: Any,
        seed: int = 0,
        policy: Any = None,
        parts: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> KLPenalisedPolicy:
        """PPO, RLOO or GRPO from the reference; `parts` replace those of the constructor."""
        config = METHODS[method](**options)
        policy = self.policy() if policy is None else policy
        reference, streams = copy.deepcopy(self.reference), SeedStreams(0, seed)
        return KLPenalisedPolicy(
            policy, reference, score, self.task, config, streams, **(parts or {})
        )


@dataclass(frozen=True)
class Listed(Ground):
    """One whose responses can all be listed."""

    key: AnswerKey
    score: TableScore  # gold, with mean 0 and standard deviation 1 under the reference
    options: dict[str, Any]  # of PPO and RLOO, with which they come near the optimum soonest
    num_updates: int  # of PPO, after which it is near the optimum

    def gap(self, policy: Any, kl_coef: float) -> float:
        """Exactly how far a policy is from the best one."""
        return self.key.values(self.key.log_probs(policy), self.key.gold, kl_coef).gap


def fine_tuned(
    task: EnumerableTask,
    config: SFTConfig,
    options: dict[str, Any],
    num_updates: int,
    **model: Any,
) -> Listed:
    streams = SeedStreams(0, 0)
    sizes = GPTConfig(
        vocab_size=task.vocab_size,
        num_actions=task.num_actions,
        context_length=task.prompt_length + task.max_new_tokens,
        **model,
    )
    gpt = GPT(sizes, streams.generator("init"))
    demonstrations = demonstrations_of(task, streams.generator("data"), config.num_demonstrations)
    stage = supervised_fine_tuning(gpt, demonstrations, config, streams)
    for _ in range(stage.num_updates):
        stage.update()
    key = AnswerKey(task, gpt)
    return Listed(task, gpt, key, TableScore(key, key.gold), options, num_updates)


@pytest.fixture(scope="session")
def listed() -> Listed:
    """The benchmark: 19,531 responses to each of 4 prompts (about 6 s)."""
    torch.set_num_threads(1)
    return fine_tuned(EnumerableTask(), SFTConfig(), {}, 40)


@pytest.fixture(scope="session")
def small() -> Listed:
    """A smaller one: 121 responses to each of 2 prompts (about 1 s)."""
    torch.set_num_threads(1)
    task = EnumerableTask(num_content=3, num_prompts=2, max_new_tokens=4)
    config = SFTConfig(num_demonstrations=2048, num_epochs=4)
    return fine_tuned(task, config, {"learning_rate": 2e-3}, 20, width=32, num_layers=1)


@pytest.fixture(
    scope="session", params=["small", pytest.param("listed", marks=pytest.mark.torture)]
)
def language(request: pytest.FixtureRequest) -> Listed:
    """The small language each day, the whole one for `make torture`."""
    language: Listed = request.getfixturevalue(request.param)
    return language


class RaggedTask(LanguageTask):
    """Prompts of 1 to 5 tokens, padded on the left, and responses of any length."""

    name = "ragged"
    vocab_size, num_actions, eos, pad = 12, 7, 6, 7
    prompt_length, max_new_tokens = 5, 6

    def sample_prompts(self, rng: np.random.Generator, n: int) -> Any:
        prompts = rng.integers(8, 12, (n, self.prompt_length))
        padding = rng.integers(0, self.prompt_length, n)
        return np.where(np.arange(self.prompt_length) < padding[:, None], self.pad, prompts)


@pytest.fixture(scope="session")
def ragged() -> Ground:
    """Left padding of every width, under a model whose logits are far from equal."""
    rng = np.random.default_rng(0)
    task = RaggedTask()
    config = GPTConfig(
        vocab_size=task.vocab_size, num_actions=task.num_actions, context_length=24, width=16
    )
    return Ground(task, unequal(GPT(config, rng), rng))


def unequal(gpt: GPT, rng: np.random.Generator) -> GPT:
    """Larger weights, so that tokens are not all about equally likely."""
    with torch.no_grad():
        for parameter in gpt.parameters():
            parameter.add_(torch.from_numpy(rng.normal(0, 0.2, parameter.shape)))
    return gpt


@pytest.fixture(scope="session")
def ppo_run(language: Listed) -> tuple[KLPenalisedPolicy, list[dict[str, float]]]:
    """PPO on gold at kl_coef 0.3, near the optimum, and its metrics. Do not train it."""
    torch.set_num_threads(1)
    agent = language.agent(
        "ppo", score=language.score, num_updates=language.num_updates, **language.options
    )
    return agent, agent.fit()
