"""One seed of each stage of RLHF: its models, the data that it learns from, what trains them.

A Build holds plain data only, so that it can be sent to worker processes; called with the random
streams of a seed it opens the runs that the stage starts from and makes what is to be trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rlkit.errors import UsageError
from rlkit.rlhf.data.preferences import (
    Labels,
    Preferences,
    demonstrations_of,
    responses_from,
    sample_comparisons,
    sample_labels,
    sample_preferences,
)
from rlkit.rlhf.data.sequences import Sequences, from_arrays
from rlkit.rlhf.exact.answer_key import AnswerKey, GoldScore, is_enumerable
from rlkit.rlhf.stages.sources import ModelSource, Parent, ScoreSource, TaskSource
from rlkit.rlhf.training.configs import DPOConfig, PolicyConfig, RewardConfig, SFTConfig
from rlkit.rlhf.training.direct_preference import direct_preference_optimisation
from rlkit.rlhf.training.example_trainer import ExampleTrainer
from rlkit.rlhf.training.fine_tuning import supervised_fine_tuning
from rlkit.rlhf.training.policy import KLPenalisedPolicy
from rlkit.rlhf.training.reward_model import Examples, RewardModel, fit_reward_model
from rlkit.seeding import SeedStreams


@dataclass(frozen=True)
class BuildSFT:
    """Makes one seed of supervised fine-tuning."""

    task: TaskSource
    model: ModelSource
    config: SFTConfig

    def __call__(self, streams: SeedStreams) -> ExampleTrainer:
        task = self.task.build(self.model)
        model = self.model.build(task, streams)
        if self.task.name:
            rng = streams.generator("data")
            shown = demonstrations_of(task, rng, self.config.num_demonstrations)
        else:
            shown = from_arrays(*task.demonstrations(), pad=task.pad)
        return supervised_fine_tuning(model, shown, self.config, streams)


@dataclass(frozen=True)
class BuildReward:
    """Makes one seed of a reward model."""

    task: TaskSource
    model: ModelSource
    parent: Parent
    config: RewardConfig

    def __call__(self, streams: SeedStreams) -> ExampleTrainer:
        _, policy = self.parent.policy(streams.index)
        task = self.task.build(self.model)
        data = examples_of(task, policy, self.config, streams)
        (samples,) = responses_from(policy, task, streams.generator("data", 1), 4096)
        model = RewardModel(policy, streams.generator("init"))
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        return fit_reward_model(model, data, samples, self.config, streams)


@dataclass(frozen=True)
class BuildDPO:
    """Makes one seed of direct preference optimisation."""

    task: TaskSource
    model: ModelSource
    parent: Parent
    config: DPOConfig

    def __call__(self, streams: SeedStreams) -> ExampleTrainer:
        _, policy = self.parent.policy(streams.index)
        task = self.task.build(self.model)
        if not hasattr(task, "gold") and isinstance(task.preferences(), Labels):
            raise UsageError("dpo needs pairs, {prompt, chosen, rejected}; the file holds labels")
        data = preferences_of(task, policy, self.config.num_pairs, streams)
        assert isinstance(data, Preferences)
        reference = policy.reference_copy()
        return direct_preference_optimisation(policy, reference, data, self.config, streams)


@dataclass(frozen=True)
class BuildPolicy:
    """Makes one seed of PPO, RLOO or GRPO."""

    task: TaskSource
    model: ModelSource
    parent: Parent
    score: ScoreSource
    config: PolicyConfig

    def __call__(self, streams: SeedStreams) -> KLPenalisedPolicy:
        _, policy = self.parent.policy(streams.index)
        task = self.task.build(self.model)
        reference = policy.reference_copy()
        score = self.score.build(task, reference, streams)
        if self.model.adapter_rank is not None:
            policy.add_adapters(self.model.adapter_rank, streams)
            # With the adapters off the policy is the reference, so its copy is free for the critic.
            return KLPenalisedPolicy(
                policy, None, score, task, self.config, streams, critic_trunk=reference
            )
        for parameter in policy.parameters():
            parameter.requires_grad_(True)
        return KLPenalisedPolicy(policy, reference, score, task, self.config, streams)


def examples_of(task: Any, policy: Any, config: RewardConfig, streams: SeedStreams) -> Examples:
    """What a reward model learns from: see `preferences_of`, or all pairs of several responses."""
    if config.responses_per_prompt == 2:
        pointwise = config.loss == "pointwise"
        return preferences_of(task, policy, config.num_pairs, streams, pointwise=pointwise)
    rng, gold = streams.generator("data"), gold_score(task, policy, streams)
    prompts, responses = config.num_examples, config.responses_per_prompt
    return sample_comparisons(policy, task, gold, rng, prompts, responses)


def preferences_of(
    task: Any, policy: Any, n: int, streams: SeedStreams, *, pointwise: bool = False
) -> Preferences | Labels:
    """A file's preferences or labels, or n that follow a built-in task's gold reward.

    The gold reward is standardised under the policy that the responses come from.
    """
    if not hasattr(task, "gold"):
        data: Preferences | Labels = task.preferences()
        if pointwise != isinstance(data, Labels):
            form = "labels" if isinstance(data, Labels) else "pairs"
            raise UsageError(
                f"the file of preferences holds {form}; use --loss "
                f"{'pointwise' if form == 'labels' else 'pairwise'}"
            )
        return data
    rng = streams.generator("data")
    gold = gold_score(task, policy, streams)
    if pointwise:
        return sample_labels(policy, task, gold, rng, n)
    return sample_preferences(policy, task, gold, rng, n)


def gold_score(task: Any, reference: Any, streams: SeedStreams) -> Callable[[Sequences], Any]:
    """A task's gold reward, with mean 0 and deviation 1 under the reference."""
    if is_enumerable(task):
        key = AnswerKey(task, reference)
        return lambda sequences: key.gain * _raw(task, sequences) + key.bias
    (samples,) = responses_from(reference, task, streams.generator("data", 2), 4096)
    return GoldScore(task, samples)


def _raw(task: Any, sequences: Sequences) -> Any:
    return task.gold(sequences.prompts.numpy(), sequences.responses.numpy())
