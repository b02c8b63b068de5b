"""Options of the stages of RLHF, one frozen dataclass each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import torch

from rlkit.agents.ppo_objective import Aggregation
from rlkit.errors import UsageError
from rlkit.maths.kl_penalty import KLPenalty
from rlkit.nn.optimisers import Decay, require_decay
from rlkit.options import ADDED_LATER, require_choice, require_range, require_types, require_whole
from rlkit.rlhf.models.memory import MEMORY_GB
from rlkit.rlhf.training.advantage_estimators import (
    AdvantageEstimator,
    CriticAdvantages,
    GroupRelativeAdvantages,
    LeaveOneOutAdvantages,
)
from rlkit.rlhf.training.critic import CriticOptions


@dataclass(frozen=True, kw_only=True)
class DescentConfig:
    """Options shared by the stages that learn from a fixed set of examples."""

    num_epochs: int = 6  # passes over the examples, >= 1
    batch_size: int = 64  # examples (demonstrations or pairs) per gradient step, >= 1
    learning_rate: float = 1e-3  # initial rate of Adam, falls linearly to 0, > 0
    weight_decay: float = 0.01  # lambda, >= 0; 0 = off
    # l2: lambda w is added to the gradient; decoupled: weights shrink by lambda times the rate, as
    # in AdamW
    decay: Decay = field(default="decoupled", metadata=ADDED_LATER)
    max_gradient_norm: float = 1.0  # gradients are scaled down to this norm, > 0
    # epochs without a lower held-out loss after which training stops, >= 0; 0 = never
    patience: int = field(default=0, metadata=ADDED_LATER)
    # GB for what the rows of a batch need beside the weights, > 0: rollouts, references and
    # evaluation go in parts that fit. The last bits of results depend on it, not on the machine
    memory_gb: float = field(default=MEMORY_GB, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        require_whole(self, "num_epochs", "batch_size", at_least=1)
        require_whole(self, "patience", at_least=0)
        require_range(self, "learning_rate", "max_gradient_norm", low=0, open_low=True)
        require_range(self, "memory_gb", low=0, open_low=True)
        require_decay(self)


FEWEST_TO_HOLD_OUT = 20  # examples of a file; with fewer, a held-out part ranks no epochs


@dataclass(frozen=True, kw_only=True)
class HeldOutConfig(DescentConfig):
    """Options of a policy that learns from examples of which some may be held out."""

    # epochs are added until there are this many steps, >= 0
    min_updates: int = field(default=0, metadata=ADDED_LATER)
    # fraction of the examples held out, in [0, 1), but up to 30 of few examples; the epoch with the
    # lowest held-out loss is kept. 0 = none: the last epoch is kept
    held_out: float = field(default=0.0, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole(self, "min_updates", at_least=0)
        require_range(self, "held_out", low=0, high=1, open_high=True)

    def num_held_out(self, num_examples: int) -> int:
        """Return how many of the examples are held out."""
        if not self.held_out or num_examples < FEWEST_TO_HOLD_OUT:
            return 0
        few = min(30, round(0.3 * num_examples))
        return min(max(1, round(self.held_out * num_examples), few), num_examples - 1)

    def passes(self, num_training: int) -> Self:
        """Return a copy with epochs for `min_updates` steps."""
        steps = -(-num_training // self.batch_size)
        return replace(self, num_epochs=max(self.num_epochs, -(-self.min_updates // steps)))


@dataclass(frozen=True, kw_only=True)
class SFTConfig(HeldOutConfig):
    """Options of supervised fine-tuning."""

    num_demonstrations: int = 8192  # number drawn from a built-in task, >= 1; a file is used whole
    learning_rate: float = 3e-3  # initial rate of Adam, falls linearly to 0, > 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole(self, "num_demonstrations", at_least=1)


@dataclass(frozen=True, kw_only=True)
class RewardConfig(DescentConfig):
    """Options of a reward model; the epoch with the lowest held-out loss is kept."""

    # pairwise: Bradley-Terry; pointwise: labels of single responses
    loss: Literal["pairwise", "pointwise"] = "pairwise"
    num_pairs: int = 3000  # number drawn from a built-in task, >= 2; a file is used whole
    # responses sampled per prompt (built-in tasks only), K >= 2. All K(K-1)/2 pairs of a prompt are
    # used in one step, so few responses give many pairs; num_pairs is rounded up and batch_size
    # down to whole prompts, at least one
    responses_per_prompt: int = 2
    # with few pairs, epochs are added until there are this many steps, >= 1; none are added where
    # num_epochs is given alone
    min_updates: int = 250
    # fraction of the pairs held out, in (0, 1). Fewer than 30 pairs cannot rank epochs, so small
    # data sets hold out up to 30 pairs, but at most 30 %
    held_out: float = 0.1
    label_smoothing: float = 0.0  # assumed probability that a label is wrong, in [0, 0.5)
    # responses of the policy whose scores get mean 0 and standard deviation 1, >= 2
    num_calibration: int = field(default=4096, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_whole(self, "num_calibration", at_least=2)
        require_choice(self, "loss", among=Literal["pairwise", "pointwise"])
        require_whole(self, "num_pairs", "responses_per_prompt", at_least=2)
        require_whole(self, "min_updates", at_least=1)
        require_range(self, "held_out", low=0, high=1, open_low=True, open_high=True)
        require_range(self, "label_smoothing", low=0, high=0.5, open_high=True)
        require_smoothing_used(self.label_smoothing, self.loss, by="pairwise")
        if self.loss == "pointwise" and self.responses_per_prompt != 2:
            raise UsageError(
                "option responses_per_prompt (--responses-per-prompt): the loss 'pointwise' learns "
                f"from labels of single responses; omit it, got {self.responses_per_prompt}"
            )
        if self.num_examples < 2:
            raise UsageError(
                "option num_pairs (--num-pairs): expected pairs of at least two prompts, more than "
                f"{self.pairs_per_example} with {self.responses_per_prompt} responses per prompt, "
                f"got {self.num_pairs}"
            )

    @property
    def pairs_per_example(self) -> int:
        """Number of pairs of the responses to one prompt, which are kept together."""
        return self.responses_per_prompt * (self.responses_per_prompt - 1) // 2

    @property
    def num_examples(self) -> int:
        """Number of examples, each of `pairs_per_example`, that hold `num_pairs`."""
        return -(-self.num_pairs // self.pairs_per_example)

    def num_held_out(self, num_examples: int) -> int:
        """Return how many of the examples are held out."""
        few = min(-(-30 // self.pairs_per_example), round(0.3 * num_examples))
        return min(max(1, round(self.held_out * num_examples), few), num_examples - 1)

    def passes(self, num_training: int) -> RewardConfig:
        """Return a copy with the batch size in examples, and epochs for `min_updates` steps."""
        batch_size = max(1, self.batch_size // self.pairs_per_example)
        steps = -(-num_training // batch_size)
        num_epochs = max(self.num_epochs, -(-self.min_updates // steps))
        return replace(self, batch_size=batch_size, num_epochs=num_epochs)


@dataclass(frozen=True, kw_only=True)
class DPOConfig(HeldOutConfig):
    """Options of direct preference optimisation."""

    loss: Literal["dpo", "ipo"] = "dpo"  # ipo: aims at a log-ratio difference of 1/(2 beta)
    beta: float = 0.1  # weight of the KL divergence from the reference, > 0
    num_pairs: int = 3000  # number drawn from a built-in task, >= 1; a file is used whole
    num_epochs: int = 3  # passes over the examples, >= 1
    learning_rate: float = 5e-4  # initial rate of Adam, falls linearly to 0, > 0
    weight_decay: float = 0.0  # lambda, >= 0; 0 = off
    label_smoothing: float = 0.0  # assumed probability that a label is wrong, in [0, 0.5)
    # weight of the negative log-likelihood per token of the chosen response, >= 0, without which
    # both responses may become unlikely and the policy write something else (Pang et al. 2024)
    nll_coef: float = field(default=0.0, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice(self, "loss", among=Literal["dpo", "ipo"])
        require_range(self, "nll_coef", low=0)
        require_range(self, "beta", low=0, open_low=True)
        require_whole(self, "num_pairs", at_least=1)
        require_range(self, "label_smoothing", low=0, high=0.5, open_high=True)
        require_smoothing_used(self.label_smoothing, self.loss, by="dpo")


@dataclass(frozen=True, kw_only=True)
class PolicyConfig(ABC):
    """Options that PPO, RLOO and GRPO share."""

    num_updates: int = 80  # updates, each a rollout and its epochs, >= 1
    batch_size: int = 256  # sequences per rollout, >= 1
    num_epochs: int = 4  # passes over each rollout, >= 1
    minibatch_size: int = 64  # sequences per gradient step, >= 1
    microbatch_size: int | None = None  # sequences computed at once; None = the fastest choice
    learning_rate: float = 7e-4  # of Adam, > 0
    # fraction of the learning rate left at the last update, after a linear fall, in [0, 1]
    final_learning_rate: float = 0.05
    weight_decay: float = field(default=0.0, metadata=ADDED_LATER)  # lambda, >= 0; 0 = off
    # l2: lambda w is added to the gradient; decoupled: weights shrink by lambda times the rate, as
    # in AdamW
    decay: Decay = field(default="decoupled", metadata=ADDED_LATER)
    clip_epsilon: float = 0.2  # the ratio is clipped to [1 - eps, 1 + eps], in (0, 1)
    entropy_coef: float = 0.0  # weight of the entropy bonus, >= 0
    max_gradient_norm: float = 1.0  # policy gradients are scaled down to this norm, > 0
    temperature: float = 1.0  # applies to sampling and to every log-probability, > 0
    kl_coef: float = 0.3  # beta, weight of the KL divergence from the reference, >= 0
    kl_placement: Literal["reward", "loss"] = "reward"  # where the penalty is applied
    kl_estimator: Literal["k1", "k2", "full"] = "k1"  # reward: k1; loss: k2 or full
    kl_target: float | None = None  # KL in nats per sequence that kl_coef adapts to; None = fixed
    kl_horizon: int = 10_000  # sequences over which kl_coef adapts, >= 1
    missing_eos_penalty: float = 0.0  # subtracted from the score of a truncated response, >= 0
    # learn nothing from truncated responses: their tokens are no part of any loss
    mask_truncated: bool = field(default=False, metadata=ADDED_LATER)
    aggregation: Aggregation = "token-mean"  # how the losses of a minibatch's tokens are averaged
    check_ratio: bool = True  # stop if the first ratio is not 1, and name the likely causes
    # GB for what the rows of a batch need beside the weights, > 0: rollouts, references and
    # evaluation go in parts that fit. The last bits of results depend on it, not on the machine
    memory_gb: float = field(default=MEMORY_GB, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        require_whole(
            self,
            *("num_updates", "batch_size", "num_epochs", "minibatch_size", "kl_horizon"),
            at_least=1,
        )
        if self.microbatch_size is not None:
            require_whole(self, "microbatch_size", at_least=1)
        require_range(
            self, "learning_rate", "max_gradient_norm", "temperature", low=0, open_low=True
        )
        require_range(self, "final_learning_rate", low=0, high=1)
        require_range(self, "memory_gb", low=0, open_low=True)
        require_range(self, "clip_epsilon", low=0, high=1, open_low=True, open_high=True)
        require_range(self, "entropy_coef", "kl_coef", "missing_eos_penalty", low=0)
        require_range(self, "kl_target", low=0, open_low=True)
        require_choice(self, "aggregation", among=Aggregation)
        require_decay(self)
        require_types(self)
        self.kl_penalty()
        if self.kl_target is not None and not 0.2 * self.batch_size < self.kl_horizon:
            raise UsageError(
                f"option kl_horizon (--kl-horizon): expected more than a fifth of batch_size = "
                f"{self.batch_size}, or kl_coef could fall to 0 in one update, got "
                f"{self.kl_horizon}"
            )

    def kl_penalty(self) -> KLPenalty:
        """Return the penalty that these options describe.

        Raises:
            UsageError: the combination of placement and estimator has a wrong gradient.
        """
        return KLPenalty(
            coef=self.kl_coef,
            placement=self.kl_placement,
            estimator=self.kl_estimator,
            target=self.kl_target,
            horizon=self.kl_horizon,
        )

    @abstractmethod
    def advantage_estimator(self) -> AdvantageEstimator:
        """Return how the method turns rewards into advantages."""

    def critic_options(self) -> CriticOptions | None:
        """Return the options of the critic; None = the method has none."""
        return None


@dataclass(frozen=True, kw_only=True)
class PPOConfig(PolicyConfig):
    """Options of PPO with a KL penalty."""

    discount: float = 1.0  # gamma, in [0, 1]
    gae_lambda: float = 0.95  # lambda of the advantage estimate, in [0, 1]
    value_coef: float = 0.5  # weight of the value loss (V - R)^2 / 2, >= 0
    # half-width of the clip range around the old value, > 0; None = off
    value_clip: float | None = None
    max_value_gradient_norm: float = 1.0  # critic gradients are scaled down to this norm, > 0
    bootstrap_truncated: bool = False  # after a truncated response, bootstrap from V instead of 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range(self, "discount", "gae_lambda", low=0, high=1)
        require_range(self, "value_coef", low=0)
        require_range(self, "value_clip", "max_value_gradient_norm", low=0, open_low=True)

    def advantage_estimator(self) -> AdvantageEstimator:
        """Return generalised advantage estimation."""
        return CriticAdvantages(
            discount=self.discount,
            gae_lambda=self.gae_lambda,
            bootstrap_truncated=self.bootstrap_truncated,
        )

    def critic_options(self) -> CriticOptions:
        """Return the options of the critic."""
        return CriticOptions(
            value_coef=self.value_coef,
            value_clip=self.value_clip,
            max_gradient_norm=self.max_value_gradient_norm,
            bootstrap_truncated=self.bootstrap_truncated,
        )


@dataclass(frozen=True, kw_only=True)
class RLOOConfig(PolicyConfig):
    """Options of REINFORCE with a leave-one-out baseline, on PPO's clipped loss."""

    group_size: int = 4  # responses to each prompt, >= 2

    def __post_init__(self) -> None:
        super().__post_init__()
        require_group(self)

    def advantage_estimator(self) -> AdvantageEstimator:
        """Return the leave-one-out baseline."""
        return LeaveOneOutAdvantages(group_size=self.group_size)


@dataclass(frozen=True, kw_only=True)
class GRPOConfig(PolicyConfig):
    """Options of GRPO: rewards standardised within each prompt's group."""

    group_size: int = 8  # responses to each prompt, >= 2
    kl_placement: Literal["reward", "loss"] = "loss"  # where the penalty is applied
    kl_estimator: Literal["k1", "k2", "full"] = "k2"  # reward: k1; loss: k2 or full
    # divide by the standard deviation of each group; without, prompts whose responses differ
    # little count less (Liu et al. 2025)
    scale: bool = field(default=True, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_group(self)

    def advantage_estimator(self) -> AdvantageEstimator:
        """Return rewards standardised within each group."""
        return GroupRelativeAdvantages(group_size=self.group_size, scale=self.scale)


def optimiser_class(decay: Decay) -> type[torch.optim.Adam]:
    """Return Adam with decoupled weight decay, or with the decay in its gradient."""
    return torch.optim.AdamW if decay == "decoupled" else torch.optim.Adam


def require_smoothing_used(label_smoothing: float, loss: str, *, by: str) -> None:
    """Reject label smoothing where the loss does not use it."""
    if label_smoothing and loss != by:
        raise UsageError(
            f"option label_smoothing (--label-smoothing): only the loss {by!r} uses it, and the "
            f"loss is {loss!r}; omit it, got {label_smoothing}"
        )


def require_group(config: RLOOConfig | GRPOConfig) -> None:
    """Require groups of at least two that fill the batch."""
    require_whole(config, "group_size", at_least=2)
    if config.batch_size % config.group_size:
        raise UsageError(
            "option group_size (--group-size): expected a divisor of batch_size = "
            f"{config.batch_size}, got {config.group_size}"
        )


METHODS: dict[str, type[PolicyConfig]] = {
    "ppo": PPOConfig,
    "rloo": RLOOConfig,
    "grpo": GRPOConfig,
}
