"""A KL-penalised policy: PPO-clip, RLOO and GRPO on a language model (Ouyang et al. 2022).

Maximise, over responses y to prompts x,

    J(pi) = E[ score(x, y) ] - beta KL(pi || pi_ref),    optimum pi* = pi_ref exp(score / beta) / Z.

For each update:

1. Sample a response to each of B prompts with the current policy; keep the log-probability of each
   token under the distribution that it was drawn from. EOS is an action; what follows it is none.
2. Compute the log-probabilities of the same tokens under the frozen reference, and score each
   response.
3. Rewards: -beta (log pi - log pi_ref) at each token, plus the score at the last one. (Or the
   divergence is a term of the loss: see `rlkit.maths.kl_penalty`.)
4. Advantages, standardised over all tokens of the rollout: PPO by GAE with a critic; RLOO and GRPO
   from the other responses to the prompt.
5. Epochs of minibatches of whole sequences on the clipped objective: see `token_update`.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.agents.ppo_update import METRICS
from rlkit.errors import Diverged
from rlkit.maths.kl_penalty import AdaptiveCoefficient
from rlkit.maths.schedules import scheduled
from rlkit.rlhf.data.sampling import Samples, generate
from rlkit.rlhf.data.scores import Score, WeightedScores
from rlkit.rlhf.data.sequences import Sequences, batched_log_probs
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.models.memory import Forecast, weight_bytes
from rlkit.rlhf.objectives.rewards import missing_eos_penalty, penalised_rewards
from rlkit.rlhf.training.advantage_estimators import AdvantageEstimator
from rlkit.rlhf.training.checks import checked_scores, require_reference, require_same_vocabulary
from rlkit.rlhf.training.configs import PolicyConfig
from rlkit.rlhf.training.critic import Critic
from rlkit.rlhf.training.diagnostics import MetricMonitor
from rlkit.rlhf.training.metrics import CRITIC_METRICS, TOKEN_METRICS, rollout_metrics
from rlkit.rlhf.training.rollout import Rollout
from rlkit.rlhf.training.token_update import TokenUpdate
from rlkit.seeding import SeedStreams, generator_states, restore_generators

Array = NDArray[Any]


class Sampling(Protocol):
    """Samples one response to each prompt, as `generate` does."""

    def __call__(
        self,
        model: LanguageModel,
        task: LanguageTask,
        prompts: NDArray[np.int64],
        rng: np.random.Generator | None,
        *,
        temperature: float,
    ) -> Samples: ...


class Rewarding(Protocol):
    """Turns scores [B] and log-ratios [B, T] into rewards [B, T], as `penalised_rewards` does."""

    def __call__(self, scores: Tensor, kl: Tensor, mask: Tensor, *, kl_coef: float) -> Tensor: ...


class KLPenalisedPolicy:
    """Trains a language model; see the module's docstring for the numbered steps.

    Args:
        policy: the language model to train; it is changed in place.
        reference: the frozen model to stay near; None = the policy with its adapters off.
        score: what to maximise; called once per rollout with the whole batch.
        task: gives prompts, and says which id ends a response.
        config: of PPO, RLOO or GRPO.
        streams: the random streams of this seed.
        critic_trunk: what the critic starts from (PPO only); None = a copy of the reference.
        sample: how responses are sampled (step 1).
        reward: how scores and log-ratios become rewards of tokens (step 3).
        advantage_estimator: how rewards become advantages (step 4); None = that of the config.

    Attributes:
        notes: messages about metrics that look wrong; whoever reads them clears the list.
    """

    def __init__(
        self,
        policy: LanguageModel,
        reference: LanguageModel | None,
        score: Score,
        task: LanguageTask,
        config: PolicyConfig,
        streams: SeedStreams,
        *,
        critic_trunk: LanguageModel | None = None,
        sample: Sampling = generate,
        reward: Rewarding = penalised_rewards,
        advantage_estimator: AdvantageEstimator | None = None,
    ) -> None:
        require_same_vocabulary(policy, reference, task)
        require_reference(policy, reference, critic_trunk)
        self.policy, self.reference, self._score, self._task = policy, reference, score, task
        self.config, self._streams = config, streams
        self._sample, self._reward = sample, reward
        self._estimator = advantage_estimator or config.advantage_estimator()
        self.kl_coef = AdaptiveCoefficient(config.kl_penalty())
        self._generators = [
            streams.generator(purpose) for purpose in ("env", "action", "minibatch")
        ]
        policy.eval()
        if reference is not None:
            reference.freeze()
        self.critic: Critic | None = None
        critic_options = config.critic_options()
        if critic_options is not None:
            trunk = critic_trunk or copy.deepcopy(reference or policy).requires_grad_(True)
            self.critic = Critic(trunk, critic_options, streams.generator("init", 1)).eval()
        self.token_update = TokenUpdate(
            policy,
            self.critic,
            self.reference_model,
            config,
            self.kl_coef,
            self._generators[2],
            max_new_tokens=task.max_new_tokens,
            prompt_length=task.prompt_length,
        )
        omitted = CRITIC_METRICS if self.critic is None else ()
        parts = score.names if isinstance(score, WeightedScores) else ()
        self.metrics: tuple[str, ...] = tuple(
            name for name in (*METRICS, *TOKEN_METRICS, *parts) if name not in omitted
        )
        self._monitor = MetricMonitor(self.metrics)
        self.notes: list[str] = []
        self.num_updates = config.num_updates
        self._update_index = 0

    # --- the open loop ---

    def fit(self, num_updates: int | None = None) -> list[dict[str, float]]:
        """Do the given number of updates, or all that remain, and return the metrics of each."""
        remaining = self.num_updates - self._update_index if num_updates is None else num_updates
        return [self.update() for _ in range(remaining)]

    @torch.no_grad()
    def collect(self) -> Rollout:
        """Steps 1 and 2: sample responses, compare them with the reference, score them."""
        prompt_rng, action_rng, _ = self._generators
        group_size, temperature = self._estimator.group_size, self.config.temperature
        prompts = np.asarray(
            self._task.sample_prompts(prompt_rng, self.config.batch_size // group_size)
        ).repeat(group_size, axis=0)
        samples = self._sample(
            self.policy, self._task, prompts, action_rng, temperature=temperature
        )
        sequences, mask = samples.sequences, samples.sequences.response_mask
        with self.reference_model() as reference:
            reference_log_prob = batched_log_probs(
                reference, sequences, temperature, batch_size=len(mask)
            )
        return Rollout(
            sequences,
            samples.truncated,
            samples.log_prob,
            reference_log_prob,
            *self._values(sequences),
            checked_scores(self._score(sequences), len(mask)),
        )

    def update(self, rollout: Rollout | None = None) -> dict[str, float]:
        """Steps 3 to 5 on a rollout, or on a new one; returns the metrics."""
        if rollout is None:
            rollout = self.collect()
        advantages, targets = self.advantages(rollout)
        learning_rate = self._learning_rate()
        update_metrics = self.token_update(rollout, advantages, targets, learning_rate)
        metrics = {name: float(update_metrics[name][0]) for name in METRICS}
        if not all(np.isfinite(list(metrics.values()))):
            raise Diverged(
                self._streams.index,
                f"the policy diverged at update {self._update_index + 1}: a loss or gradient is no "
                "longer finite; try a smaller learning_rate",
            )
        metrics |= rollout_metrics(rollout, targets, self.kl_coef.value)
        metrics["learning_rate"] = learning_rate
        if isinstance(self._score, WeightedScores):
            parts = self._score.parts(rollout.sequences)
            metrics |= {name: float(values.mean()) for name, values in parts.items()}
        metrics = {name: metrics[name] for name in self.metrics}
        self.notes += self._monitor.observe(metrics)
        self.kl_coef.update(metrics["kl"], len(rollout.scores))
        self._update_index += 1
        return metrics

    def advantages(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Steps 3 and 4: return standardised advantages and value targets, both [B, T]."""
        scores = missing_eos_penalty(
            rollout.scores, rollout.truncated, self.config.missing_eos_penalty
        )
        log_ratio = rollout.behaviour_log_prob - rollout.reference_log_prob
        in_reward = self.kl_coef.penalty.placement == "reward"
        rewards = self._reward(
            scores,
            log_ratio,
            rollout.sequences.response_mask,
            kl_coef=self.kl_coef.value if in_reward else 0.0,
        )
        advantages, targets = self._estimator(rewards, rollout)
        if _has_nothing_to_learn(scores, log_ratio):
            advantages = torch.zeros_like(advantages)
        return advantages, targets

    # --- helpers ---

    @contextlib.contextmanager
    def reference_model(self) -> Iterator[LanguageModel]:
        """Give the reference; one that is the policy without its adapters only within the block."""
        if self.reference is not None:
            yield self.reference
            return
        with self.policy.adapters_off():
            yield self.policy

    @property
    def forecast(self) -> Forecast:
        """What the training will need."""
        config, task = self.config, self._task
        length = task.prompt_length + task.max_new_tokens
        models = [self.policy, self.reference, self.critic, getattr(self._score, "__self__", None)]
        weights = weight_bytes(each for each in models if isinstance(each, torch.nn.Module))
        # Sampled once, read by the reference and in each epoch; the same again by the critic.
        num_passes = (2 + config.num_epochs) + (1 + config.num_epochs) * (self.critic is not None)
        num_rows = self.policy.rows_at_once(length, config.batch_size)
        num_trained = min(config.minibatch_size, self.token_update.microbatch_size or 32)
        batch = 0
        if self.policy.sizes is not None:
            sizes = self.policy.sizes
            trained = num_trained * sizes.row_bytes(length, gradient=True)
            batch = max(
                num_rows * sizes.row_bytes(length), trained * (1 + (self.critic is not None))
            )
        num_tokens = self.num_updates * config.batch_size * length * num_passes
        return Forecast(num_tokens, weights + batch)

    def _values(self, sequences: Sequences) -> tuple[Tensor, Tensor]:
        """The critic's values [B, T] and, where they are bootstrapped from, final values [B]."""
        mask = sequences.response_mask
        values, final_values = torch.zeros(mask.shape), torch.zeros(len(mask))
        if self.critic is not None:
            size = self.critic.trunk.rows_at_once(sequences.tokens.shape[1], len(mask))
            parts = list(sequences.split(size))
            values = torch.cat([self.critic(part) for part in parts]).masked_fill(~mask, 0.0)
            if self.critic.options.bootstrap_truncated:
                final_values = torch.cat([self.critic.final_values(part) for part in parts])
        return values, final_values

    def _learning_rate(self) -> float:
        """The rate of the next update: it falls linearly from the first to the last."""
        progress = self._update_index / max(1, self.num_updates - 1)
        initial, final = self.config.learning_rate, self.config.final_learning_rate
        return scheduled(initial, "linear", progress=progress, final=final)

    def state_dict(self) -> dict[str, Array]:
        """Return everything that changes."""
        return {
            "update_index": np.asarray(self._update_index),
            "generators": generator_states(self._generators),
            **{f"kl/{name}": value for name, value in self.kl_coef.state_dict().items()},
            **{f"watch/{name}": value for name, value in self._monitor.state_dict().items()},
            **self.token_update.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state_dict` returned."""
        self._update_index = int(state["update_index"])
        restore_generators(self._generators, state["generators"])
        for prefix, part in (("kl/", self.kl_coef), ("watch/", self._monitor)):
            part.load_state_dict(
                {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            )
        self.token_update.load_state_dict(state)


def _has_nothing_to_learn(scores: Tensor, log_ratio: Tensor) -> bool:
    """Return whether all scores are equal and the policy is its reference.

    Standardising would blow the rounding of such rewards up to advantages of full size.
    """
    is_constant = bool((scores == scores[0]).all())
    return is_constant and bool(log_ratio.sum(1).abs().max() < 1e-3)
