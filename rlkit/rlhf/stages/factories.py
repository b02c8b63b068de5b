"""One seed of each stage of RLHF: its models, the data that it learns from, and its trainer.

A factory holds plain data only, so that it can be sent to worker processes. Called with the random
streams of a seed, it loads the runs that the stage starts from and returns what is to be trained.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.data.text_task import TextTask
from rlkit.rlhf.exact.answer_key import AnswerKey, GoldScore, is_enumerable
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.stages.loading import build_score, load_parent_policy, require_gold
from rlkit.rlhf.stages.score_sources import ScoreSource
from rlkit.rlhf.stages.sources import ModelSource, Parent, TaskSource
from rlkit.rlhf.training.configs import (
    FEWEST_TO_HOLD_OUT,
    DPOConfig,
    HeldOutConfig,
    PolicyConfig,
    RewardConfig,
    SFTConfig,
)
from rlkit.rlhf.training.direct_preference import direct_preference_optimisation
from rlkit.rlhf.training.example_trainer import ExampleTrainer
from rlkit.rlhf.training.fine_tuning import supervised_fine_tuning
from rlkit.rlhf.training.policy import KLPenalisedPolicy
from rlkit.rlhf.training.reward_model import Examples, RewardModel, fit_reward_model
from rlkit.seeding import SeedStreams


def _too_few(config: HeldOutConfig, num_examples: int, what: str) -> list[str]:
    """Return a note where a part was to be held out of a file that has too few lines for it."""
    if not config.held_out or config.num_held_out(num_examples):
        return []
    return [
        f"{num_examples} {what} are too few to hold any out (fewer than "
        f"{FEWEST_TO_HOLD_OUT}), so nothing shows when to stop, and the policy learns them by "
        "heart; add lines, or give fewer epochs (num_epochs, --num-epochs)"
    ]


def _mixed(task: LanguageTask) -> list[str]:
    """Return a note where a policy of chats meets prompts that no chat template wrote."""
    if not isinstance(task, TextTask) or not task.mixes_chats:
        return []
    return [
        "some files hold chats and others texts: the chat template writes the prompts of the chats "
        "alone, so the others look different to the policy; write all as chats, "
        '{"prompt": [{"role": "user", "content": ...}], ...}'
    ]


def _white_space(task: LanguageTask) -> list[str]:
    """Return notes where the policy will write less or other space than the texts have."""
    notes = []
    if isinstance(task, TextTask) and task.glued is not None:
        notes.append(
            f"prompts and responses run into each other, as in {task.glued!r}: nothing is put "
            "between them. If there is to be a space, begin the responses with one"
        )
    if isinstance(task, TextTask) and task.unkept is not None:
        notes.append(
            "the word tokenizer reads line breaks, and several spaces, as one space, and the "
            f"policy writes no others: {task.unkept[:60]!r} is one such response. To keep them, "
            "choose another tokenizer (bpe, or char for a few short texts)"
        )
    return notes


@dataclass(frozen=True, kw_only=True)
class SFTFactory:
    """Makes one seed of supervised fine-tuning."""

    task: TaskSource
    model: ModelSource
    config: SFTConfig

    @property
    def parents(self) -> dict[str, Parent]:
        """The runs that the stage starts from."""
        return {}

    def __call__(self, streams: SeedStreams) -> ExampleTrainer:
        task = self.task.build(self.model)
        model = self.model.build(task, streams)
        model.memory_gb = self.config.memory_gb
        self.model.add_adapters(model, streams)
        if isinstance(task, TextTask):
            demonstrations = from_arrays(*task.demonstrations(), pad=task.pad)
        else:
            rng = streams.generator("data")
            demonstrations = demonstrations_of(task, rng, self.config.num_demonstrations)
        trainer = supervised_fine_tuning(model, demonstrations, self.config, streams)
        if isinstance(task, TextTask):
            trainer.notes.extend(
                _too_few(self.config, len(demonstrations.tokens), "demonstrations")
            )
        trainer.notes.extend([*_mixed(task), *_white_space(task), *self._misnamed(task)])
        return trainer

    def _misnamed(self, task: LanguageTask) -> list[str]:
        """Return a note on each name of a field that is in none of the files."""
        if not isinstance(task, TextTask):
            return []
        of_pairs = ("chosen", "rejected", "label")
        return [
            f"no line has the field {other!r}, which was given for {name!r} (--{name}-field): "
            f"{name!r} itself was read"
            for name, other in self.task.fields().items()
            if name not in task.renamed and not (name in of_pairs and not self.task.preferences)
        ]


@dataclass(frozen=True, kw_only=True)
class _FromPolicy:
    """The parts of a factory that starts from the policy of an earlier run."""

    task: TaskSource
    model: ModelSource
    parent: Parent

    @property
    def parents(self) -> dict[str, Parent]:
        """The runs that the stage starts from."""
        return {"policy": self.parent}


@dataclass(frozen=True, kw_only=True)
class RewardFactory(_FromPolicy):
    """Makes one seed of a reward model."""

    config: RewardConfig

    def trial(self, streams: SeedStreams) -> ExampleTrainer:
        """Return a stage that only shows whether it can be built: few responses are sampled."""
        return replace(self, config=replace(self.config, num_calibration=2))(streams)

    def __call__(self, streams: SeedStreams) -> ExampleTrainer:
        _, policy = load_parent_policy(self.parent, streams.index)
        policy.memory_gb = self.config.memory_gb
        task = self.task.build(self.model)
        examples = _draw_examples(task, policy, self.config, streams)
        rng = streams.generator("data", 1)
        (samples,) = responses_from(policy, task, rng, self.config.num_calibration)
        if self.model.adapter_rank is None:
            policy.requires_grad_(True)
        self.model.add_adapters(policy, streams)
        model = RewardModel(policy, streams.generator("init"))
        trainer = fit_reward_model(model, examples, samples, self.config, streams)
        trainer.notes.extend(_mixed(task))
        if isinstance(examples, Labels) and bool((examples.label == examples.label[0]).all()):
            trainer.notes.append(
                f"all labels are {float(examples.label[0]):g}: there is nothing to tell apart, and "
                "the score will mean nothing; label good and bad responses"
            )
        return trainer


@dataclass(frozen=True, kw_only=True)
class DPOFactory(_FromPolicy):
    """Makes one seed of direct preference optimisation."""

    config: DPOConfig

    def __call__(self, streams: SeedStreams) -> ExampleTrainer:
        _, policy = load_parent_policy(self.parent, streams.index)
        policy.memory_gb = self.config.memory_gb
        task = self.task.build(self.model)
        if isinstance(task, TextTask):
            preferences = task.preferences()
        else:
            preferences = _sample_preferences(task, policy, self.config.num_pairs, streams)
        if isinstance(preferences, Labels):
            raise UsageError("dpo needs pairs, {prompt, chosen, rejected}; the file holds labels")
        reference = policy.reference_copy()
        self.model.add_adapters(policy, streams)
        trainer = direct_preference_optimisation(
            policy, reference, preferences, self.config, streams, task=task
        )
        if isinstance(task, TextTask):
            trainer.notes.extend(_too_few(self.config, len(preferences), "pairs"))
            if bool(preferences.margin.any()):
                trainer.notes.append(
                    "the preferences have margins, which only a reward model learns: dpo ignores "
                    "them"
                )
        trainer.notes.extend(_mixed(task))
        return trainer


@dataclass(frozen=True, kw_only=True)
class PolicyFactory(_FromPolicy):
    """Makes one seed of PPO, RLOO or GRPO."""

    score: ScoreSource
    config: PolicyConfig

    @property
    def parents(self) -> dict[str, Parent]:
        """The runs that the stage starts from."""
        reward = self.score.parent
        return super().parents | ({} if reward is None else {"reward": reward})

    def __call__(self, streams: SeedStreams) -> KLPenalisedPolicy:
        _, policy = load_parent_policy(self.parent, streams.index)
        policy.memory_gb = self.config.memory_gb
        task = self.task.build(self.model)
        reference = policy.reference_copy()
        score = build_score(self.score, task, reference, streams)
        if self.model.adapter_rank is not None:
            self.model.add_adapters(policy, streams)
            if self.model.adapter_critic and self.config.critic_options() is not None:
                self.model.add_adapters(reference, streams)
            # With the adapters off the policy is the reference, so its copy is free for the critic.
            trainer = KLPenalisedPolicy(
                policy, None, score, task, self.config, streams, critic_trunk=reference
            )
        else:
            for parameter in policy.parameters():
                parameter.requires_grad_(True)
            trainer = KLPenalisedPolicy(policy, reference, score, task, self.config, streams)
        trainer.notes.extend([*_mixed(task), *getattr(score, "notes", [])])
        return trainer


Factory = SFTFactory | RewardFactory | DPOFactory | PolicyFactory


def standardised_gold(
    task: LanguageTask, reference: LanguageModel, streams: SeedStreams
) -> Callable[[Sequences], Any]:
    """Return a task's gold reward, with mean 0 and standard deviation 1 under the reference."""
    gold_task = require_gold(task)
    if is_enumerable(task):
        key = AnswerKey(task, reference)

        def gold(sequences: Sequences) -> Any:
            raw = gold_task.gold(sequences.prompts.numpy(), sequences.responses.numpy())
            return key.scale.apply(raw)

        return gold
    (samples,) = responses_from(reference, task, streams.generator("data", 2), 4096)
    return GoldScore(gold_task, samples)


def _draw_examples(
    task: LanguageTask, policy: LanguageModel, config: RewardConfig, streams: SeedStreams
) -> Examples:
    """Return a file's preferences or labels, or some that follow a built-in task's gold reward."""
    pointwise = config.loss == "pointwise"
    if isinstance(task, TextTask):
        return _read_preferences(task, pointwise=pointwise)
    if config.responses_per_prompt > 2:
        rng, gold = streams.generator("data"), standardised_gold(task, policy, streams)
        prompts, responses = config.num_examples, config.responses_per_prompt
        return sample_comparisons(policy, task, gold, rng, prompts, responses)
    if pointwise:
        rng, gold = streams.generator("data"), standardised_gold(task, policy, streams)
        return sample_labels(policy, task, gold, rng, config.num_pairs)
    return _sample_preferences(task, policy, config.num_pairs, streams)


def _read_preferences(task: TextTask, *, pointwise: bool) -> Preferences | Labels:
    data = task.preferences()
    if pointwise != isinstance(data, Labels):
        form, loss = ("labels", "pointwise") if isinstance(data, Labels) else ("pairs", "pairwise")
        raise UsageError(f"the file of preferences holds {form}; use --loss {loss}")
    return data


def _sample_preferences(
    task: LanguageTask, policy: LanguageModel, n: int, streams: SeedStreams
) -> Preferences:
    """Draw n preferences that follow a task's gold reward, standardised under the policy."""
    rng, gold = streams.generator("data"), standardised_gold(task, policy, streams)
    return sample_preferences(policy, task, gold, rng, n)
