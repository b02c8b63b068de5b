"""A KL-penalised policy: PPO-clip, RLOO and GRPO on a language model (Ouyang et al. 2022).

Maximise, over responses y to prompts x,

    J(pi) = E[ score(x, y) ] - beta KL(pi || pi_ref),    optimum pi* = pi_ref exp(score / beta) / Z.

For each update:

1. Sample a response to each of B prompts with the current policy; keep the log-probability of each
   token under the distribution that it was drawn from. EOS is an action; what follows it is none.
2. Log-probabilities of the same tokens under the frozen reference; a score for each response.
3. Rewards: -beta (log pi - log pi_ref) at each token, plus the score at the last one. (Or the
   divergence stands in the loss, where its gradient is right: see `kl`.)
4. Advantages: PPO by GAE with a critic; RLOO and GRPO from the other responses to the prompt.
   They are standardised over all tokens of the rollout.
5. Epochs of minibatches of whole sequences on the clipped objective, `agents.ppo_update`: the same
   core as for CartPole.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils import clip_grad_norm_

from rlkit.agents.ppo_update import METRICS, Batch, Objective, ppo_update
from rlkit.errors import Diverged
from rlkit.maths.returns import standardise
from rlkit.rlhf.data.sampling import Samples, generate
from rlkit.rlhf.data.scores import Score
from rlkit.rlhf.data.sequences import Sequences, response_states, token_log_probs
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.models.state import (
    load_optimiser_state,
    load_trained_state,
    optimiser_state,
    trained_state,
)
from rlkit.rlhf.objectives.advantages import (
    check_groups,
    grpo_advantages,
    rloo_advantages,
    to_tokens,
    token_gae,
)
from rlkit.rlhf.objectives.kl_penalty import AdaptiveCoefficient, loss_penalty
from rlkit.rlhf.objectives.rewards import missing_eos_penalty, penalised_rewards
from rlkit.rlhf.training.checks import checked_scores, require_reference, require_same_vocabulary
from rlkit.rlhf.training.configs import GRPOConfig, PolicyConfig, PPOConfig, RLOOConfig
from rlkit.rlhf.training.diagnostics import Watch
from rlkit.rlhf.training.metrics import CRITIC_METRICS, TOKEN_METRICS, rollout_metrics
from rlkit.rlhf.training.rollout import Critic, Rollout
from rlkit.seeding import SeedStreams, generator_states, restore_generators

Array = NDArray[Any]


class KLPenalisedPolicy:
    """The agent; see the module's docstring for the numbered steps.

    Args:
        policy: the language model to train; it is changed in place.
        reference: the frozen model to stay near; None = the policy with its adapters off.
        score: what is to be maximised; called once a rollout with the whole batch.
        task: gives prompts, and says which id ends a response.
        config: of PPO, RLOO or GRPO.
        streams: the random streams of this seed.
        critic_trunk: what the critic starts from (PPO only); a copy of the reference if left out.
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
    ) -> None:
        require_same_vocabulary(policy, reference, task)
        require_reference(policy, reference, critic_trunk)
        self.policy, self.reference, self._score, self._task = policy, reference, score, task
        self.config, self._streams = config, streams
        without = () if isinstance(config, PPOConfig) else CRITIC_METRICS
        self.metrics: tuple[str, ...] = tuple(
            x for x in (*METRICS, *TOKEN_METRICS) if x not in without
        )
        self.num_updates = config.num_updates
        self._watch = Watch(self.metrics)
        self.notes: list[str] = []  # what the metrics say is likely wrong; whoever reads clears it
        self._penalty = config.kl_penalty()
        self.kl_coef = AdaptiveCoefficient(self._penalty)
        constant = config.aggregation == "constant-norm"
        self._norm_length = float(task.max_new_tokens) if constant else None
        self._update_index = 0
        self._generators = [
            streams.generator(purpose) for purpose in ("env", "action", "minibatch")
        ]
        policy.eval()
        if reference is not None:
            reference.freeze()
        self._trained = [p for p in policy.parameters() if p.requires_grad]
        adam = partial(torch.optim.Adam, lr=config.learning_rate, eps=1e-5, fused=True)
        self._optimiser = adam(self._trained)
        self.critic: Critic | None = None
        if isinstance(config, PPOConfig):
            trunk = critic_trunk or copy.deepcopy(reference or policy)
            trunk.requires_grad_(True)
            self.critic = Critic(trunk, streams.generator("init", 1)).eval()
            self._critic_optimiser = adam(self.critic.parameters())

    # --- the open loop ---

    def fit(self, num_updates: int | None = None) -> list[dict[str, float]]:
        """Do all updates that are left, or some of them, and return the metrics of each."""
        left = self.num_updates - self._update_index if num_updates is None else num_updates
        return [self.update() for _ in range(left)]

    @torch.no_grad()
    def collect(self) -> Rollout:
        """Steps 1 to 3: sample responses, compare them with the reference, score them."""
        prompt_rng, action_rng, _ = self._generators
        group = getattr(self.config, "group_size", 1)
        prompts = np.asarray(
            self._task.sample_prompts(prompt_rng, self.config.batch_size // group)
        ).repeat(group, axis=0)
        samples = generate(
            self.policy, self._task, prompts, action_rng, temperature=self.config.temperature
        )
        return self._judge(samples)

    def _judge(self, samples: Samples) -> Rollout:
        sequences, mask = samples.sequences, samples.sequences.response_mask
        with self._reference() as reference:
            logits = reference.unembed(response_states(reference, sequences))
        reference_log_prob, _ = token_log_probs(
            logits, sequences.responses, mask, self.config.temperature
        )
        values, final_values = torch.zeros_like(reference_log_prob), torch.zeros(len(mask))
        if self.critic is not None:
            values = self.critic(sequences).masked_fill(~mask, 0.0)
            if getattr(self.config, "bootstrap_truncated", False):
                final_values = self._final_values(sequences)
        scores = checked_scores(self._score(sequences), len(mask))
        return Rollout(
            sequences,
            samples.truncated,
            samples.log_prob,
            reference_log_prob,
            values,
            final_values,
            scores,
        )

    def _final_values(self, sequences: Sequences) -> Tensor:
        assert self.critic is not None
        token_mask = sequences.token_mask()
        hidden = self.critic.trunk(sequences.tokens, token_mask=token_mask)
        # Found by the number of tokens: the batch may be wider than the longest response.
        last = sequences.prompt_length + sequences.lengths - 1
        values: Tensor = self.critic.head(hidden[torch.arange(len(last)), last])
        return values

    def update(self, rollout: Rollout | None = None) -> dict[str, float]:
        """Steps 4 and 5 on a rollout, on a new one if left out; returns the metrics."""
        if rollout is None:
            rollout = self.collect()
        config, mask = self.config, rollout.sequences.response_mask
        advantages, targets = self.advantages(rollout)
        learning_rate = config.learning_rate * self._remaining()
        for group in self._parameter_groups():
            group["lr"] = learning_rate
        batch = Batch(
            tuple(x.unsqueeze(0) for x in (*rollout.sequences, rollout.reference_log_prob)),
            rollout.behaviour_log_prob.unsqueeze(0),
            rollout.values.unsqueeze(0),
            advantages.unsqueeze(0),
            targets.unsqueeze(0),
            mask.unsqueeze(0),
        )
        objective = Objective(
            clip_epsilon=config.clip_epsilon,
            value_coef=getattr(config, "value_coef", 0.0),
            value_clip=getattr(config, "value_clip", None),
            entropy_coef=config.entropy_coef,
            standardise_advantages=False,  # over the whole rollout, above
            aggregation=config.aggregation,
            norm_length=self._norm_length,
        )
        epochs = [self._minibatches(mask.sum(1)) for _ in range(config.num_epochs)]
        core = ppo_update(
            batch,
            objective,
            epochs,
            evaluate=self._evaluate,
            descend=self._descend,
            accumulate=self._accumulate,
            microbatch_size=self._microbatch_size(),
            check_ratio=config.check_ratio,
        )
        return self._finish(rollout, advantages, targets, learning_rate, core)

    def advantages(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """Step 4: standardised advantages and value targets, both [B, T]."""
        config, mask = self.config, rollout.sequences.response_mask
        scores = missing_eos_penalty(rollout.scores, rollout.truncated, config.missing_eos_penalty)
        in_reward = self.kl_coef.value if self._penalty.placement == "reward" else 0.0
        log_ratio = rollout.behaviour_log_prob - rollout.reference_log_prob
        rewards = penalised_rewards(scores, log_ratio, mask, kl_coef=in_reward)
        if isinstance(config, PPOConfig):
            advantages = token_gae(
                rewards,
                rollout.values,
                mask,
                discount=config.discount,
                gae_lambda=config.gae_lambda,
                truncated=rollout.truncated,
                final_values=rollout.final_values if config.bootstrap_truncated else None,
            )
            targets = advantages + rollout.values
        else:
            totals = rewards.sum(1)
            check_groups(rollout.sequences.prompts, config.group_size)  # type: ignore[attr-defined]
            if isinstance(config, RLOOConfig):
                of_sequence = rloo_advantages(totals, group_size=config.group_size)
            else:
                assert isinstance(config, GRPOConfig)
                of_sequence = grpo_advantages(totals, group_size=config.group_size)
            advantages = to_tokens(of_sequence, mask)
            targets = torch.zeros_like(advantages)
        return standardise(advantages, mask=mask, dim=(0, 1)), targets

    def _evaluate(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What policy and critic say of a minibatch [1, U, ...] now, differentiable.

        Columns in which all responses have ended are left out, which changes nothing else: no token
        looks to its right.
        """
        *parts, reference_log_prob = (x.squeeze(0) for x in inputs)
        whole = Sequences(*parts)
        longest = int(whole.lengths.max())
        sequences = whole.truncate(longest)
        mask = sequences.response_mask
        logits = self.policy.unembed(response_states(self.policy, sequences))
        log_prob, entropy = token_log_probs(
            logits, sequences.responses, mask, self.config.temperature
        )
        values = torch.zeros_like(log_prob) if self.critic is None else self.critic(sequences)
        found: tuple[Tensor, ...] = (log_prob, entropy, values)
        if self._penalty.placement == "loss" and self.kl_coef.value > 0:
            reference_log_prob = reference_log_prob[:, :longest]
            penalty = self._loss_penalty(sequences, logits, log_prob, reference_log_prob)
            found = (*found, self.kl_coef.value * penalty)
        missing = whole.response_mask.shape[1] - longest
        return tuple(pad(x, (0, missing)).unsqueeze(0) for x in found)

    def _loss_penalty(
        self, sequences: Sequences, logits: Tensor, log_prob: Tensor, reference_log_prob: Tensor
    ) -> Tensor:
        log_probs = reference_log_probs = None
        if self._penalty.estimator == "full":
            with torch.no_grad(), self._reference() as reference:
                theirs = reference.unembed(response_states(reference, sequences))
            log_probs, reference_log_probs = (
                (x / self.config.temperature).log_softmax(-1) for x in (logits, theirs)
            )
        return loss_penalty(
            self._penalty,
            log_prob=log_prob,
            reference_log_prob=reference_log_prob,
            log_probs=log_probs,
            reference_log_probs=reference_log_probs,
        )

    def _accumulate(self, losses: Tensor) -> None:
        losses.sum().backward()  # type: ignore[no-untyped-call]

    def _descend(self, losses: Tensor, seeds: NDArray[np.int64] | None) -> Tensor:
        """One step of policy and critic, each with its own optimiser and limit of the gradient."""
        self._accumulate(losses)
        norm = clip_grad_norm_(self._trained, self.config.max_gradient_norm)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        if self.critic is not None:
            limit = getattr(self.config, "max_value_gradient_norm", np.inf)
            clip_grad_norm_(self.critic.parameters(), limit)
            self._critic_optimiser.step()
            self._critic_optimiser.zero_grad(set_to_none=True)
        return norm.detach().reshape(1)

    def _finish(
        self,
        rollout: Rollout,
        advantages: Tensor,
        targets: Tensor,
        learning_rate: float,
        core: Mapping[str, Array],
    ) -> dict[str, float]:
        metrics = {name: float(core[name][0]) for name in METRICS}
        if not all(np.isfinite(list(metrics.values()))):
            raise Diverged(
                self._streams.index,
                f"the policy diverged at update {self._update_index + 1}: a loss or gradient is no "
                "longer finite; try a smaller learning_rate",
            )
        metrics |= rollout_metrics(rollout, targets, self.kl_coef.value)
        metrics["learning_rate"] = learning_rate
        metrics = {name: metrics[name] for name in self.metrics}
        self.notes += self._watch.observe(metrics)
        self.kl_coef.update(metrics["kl"], len(rollout.scores))
        self._update_index += 1
        return metrics

    # --- helpers ---

    @contextlib.contextmanager
    def _reference(self) -> Iterator[LanguageModel]:
        if self.reference is not None:
            yield self.reference
            return
        with self.policy.adapters_off():
            yield self.policy

    def _remaining(self) -> float:
        """The factor of the learning rate: falls linearly from 1 at the first update."""
        last, floor = max(1, self.num_updates - 1), self.config.final_learning_rate
        return 1.0 + (floor - 1.0) * min(1.0, self._update_index / last)

    def _parameter_groups(self) -> list[dict[str, Any]]:
        critic = [] if self.critic is None else self._critic_optimiser.param_groups
        return [*self._optimiser.param_groups, *critic]

    def _microbatch_size(self) -> int | None:
        """Parts of a minibatch: long responses apart from short ones, which saves their padding."""
        if self.config.microbatch_size is None and self._task.max_new_tokens > 8:
            return 32
        return self.config.microbatch_size

    def _minibatches(self, lengths: Tensor) -> list[Tensor | None]:
        """Random minibatches, each ordered by length so that its parts are of equal lengths."""
        order = torch.from_numpy(self._generators[2].permutation(len(lengths)))
        parts = torch.split(order, self.config.minibatch_size)
        return [rows[lengths[rows].argsort(stable=True)].unsqueeze(0) for rows in parts]

    def state_dict(self) -> dict[str, Array]:
        """Everything that changes."""
        state = {
            "update_index": np.asarray(self._update_index),
            "generators": generator_states(self._generators),
            **{f"kl/{name}": value for name, value in self.kl_coef.state_dict().items()},
            **{f"watch/{name}": value for name, value in self._watch.state_dict().items()},
            **trained_state(self.policy, "policy"),
            **optimiser_state(self._optimiser, "optimiser"),
        }
        if self.critic is not None:
            state |= trained_state(self.critic, "critic")
            state |= optimiser_state(self._critic_optimiser, "critic_optimiser")
        return state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state_dict` returned."""
        self._update_index = int(state["update_index"])
        restore_generators(self._generators, state["generators"])
        for prefix, part in (("kl/", self.kl_coef), ("watch/", self._watch)):
            part.load_state_dict(
                {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            )
        load_trained_state(self.policy, state, "policy")
        load_optimiser_state(self._optimiser, state, "optimiser")
        if self.critic is not None:
            load_trained_state(self.critic, state, "critic")
            load_optimiser_state(self._critic_optimiser, state, "critic_optimiser")
