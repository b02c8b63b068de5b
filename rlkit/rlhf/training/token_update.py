"""Updates of a policy on a rollout: epochs of minibatches of whole responses.

The clipped objective and the loop are those of `agents.ppo_update`, the same as for CartPole. Here
is what it needs of a language model: log-probabilities, values and penalties of a minibatch, and
one step of the optimisers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils import clip_grad_norm_

from rlkit.agents.ppo_objective import Batch, Objective
from rlkit.agents.ppo_update import ppo_update
from rlkit.maths.kl_penalty import AdaptiveCoefficient, loss_penalty
from rlkit.rlhf.data.sequences import (
    Sequences,
    by_positions,
    response_states,
    token_log_probs,
)
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.models.state import (
    load_optimiser_state,
    load_trained_state,
    optimiser_state,
    trained_state,
)
from rlkit.rlhf.training.configs import PolicyConfig, optimiser_class
from rlkit.rlhf.training.critic import Critic
from rlkit.rlhf.training.rollout import Rollout

Array = NDArray[Any]


class Descent:
    """A module with its Adam and its limit of the gradient's norm."""

    def __init__(
        self, module: torch.nn.Module, config: PolicyConfig, max_gradient_norm: float
    ) -> None:
        self.module, self._max_gradient_norm = module, max_gradient_norm
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimiser = optimiser_class(config.decay)(
            self.parameters,
            lr=config.learning_rate,
            eps=1e-5,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def set_learning_rate(self, learning_rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate

    def step(self) -> Tensor:
        """Take one step on the accumulated gradient; returns its norm before it was clipped."""
        norm = clip_grad_norm_(self.parameters, self._max_gradient_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return norm.detach().cpu()

    def state_dict(self, module: str, optimiser: str) -> dict[str, Array]:
        return trained_state(self.module, module) | optimiser_state(self.optimiser, optimiser)

    def load_state_dict(self, state: Mapping[str, Array], module: str, optimiser: str) -> None:
        load_trained_state(self.module, state, module)
        load_optimiser_state(self.optimiser, state, optimiser)


class TokenUpdate:
    """Trains policy and critic on one rollout after another.

    Args:
        policy: the language model to train.
        critic: its critic; None = without one.
        reference: gives the reference model within a `with` block.
        config: of PPO, RLOO or GRPO.
        kl_coef: the coefficient of the KL penalty, which others adapt.
        rng: draws the order of the minibatches.
        max_new_tokens: the longest response.
        prompt_length: the longest prompt.
    """

    def __init__(
        self,
        policy: LanguageModel,
        critic: Critic | None,
        reference: Callable[[], AbstractContextManager[LanguageModel]],
        config: PolicyConfig,
        kl_coef: AdaptiveCoefficient,
        rng: np.random.Generator,
        *,
        max_new_tokens: int,
        prompt_length: int = 0,
    ) -> None:
        self._model, self._critic_model, self._reference = policy, critic, reference
        self._config, self._kl_coef, self._rng = config, kl_coef, rng
        self.policy = Descent(policy, config, config.max_gradient_norm)
        options = None if critic is None else critic.options
        self.critic: Descent | None = None
        if critic is not None:
            self.critic = Descent(critic, config, critic.options.max_gradient_norm)
        self._objective = Objective(
            clip_epsilon=config.clip_epsilon,
            value_coef=0.0 if options is None else options.value_coef,
            value_clip=None if options is None else options.value_clip,
            entropy_coef=config.entropy_coef,
            standardise_advantages=False,  # the estimator did, over the whole rollout
            aggregation=config.aggregation,
            norm_length=float(max_new_tokens) if config.aggregation == "constant-norm" else None,
        )
        self.microbatch_size = config.microbatch_size
        if self.microbatch_size is None and max_new_tokens > 8:
            # Parts of a minibatch: long responses apart from short ones, which saves padding.
            length = prompt_length + max_new_tokens
            self.microbatch_size = policy.rows_at_once(length, 32, gradient=True)

    def __call__(
        self, rollout: Rollout, advantages: Tensor, targets: Tensor, learning_rate: float
    ) -> Mapping[str, Array]:
        """Train on a rollout, whose `advantages` and value `targets` are [B, T].

        Returns:
            The metrics of `ppo_update`.
        """
        for descent in self._descents():
            descent.set_learning_rate(learning_rate)
        mask = rollout.sequences.response_mask
        learned = mask
        if self._config.mask_truncated:
            learned = mask & ~rollout.truncated.unsqueeze(1)
        batch = Batch(
            tuple(x.unsqueeze(0) for x in (*rollout.sequences, rollout.reference_log_prob)),
            rollout.behaviour_log_prob.unsqueeze(0),
            rollout.values.unsqueeze(0),
            advantages.unsqueeze(0),
            targets.unsqueeze(0),
            learned.unsqueeze(0),
        )
        return ppo_update(
            batch,
            self._objective,
            [self._minibatches(mask.sum(1), learned) for _ in range(self._config.num_epochs)],
            evaluate=self.evaluate,
            descend=self._descend,
            accumulate=self._accumulate,
            microbatch_size=self.microbatch_size,
            check_ratio=self._config.check_ratio,
        )

    def evaluate(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Evaluate a minibatch with the current policy and critic, differentiably.

        Columns in which all responses have ended are omitted, which changes nothing else: no token
        depends on those to its right.

        Args:
            inputs: sequences and reference log-probabilities, with a leading axis of length 1.

        Returns:
            Log-probabilities, entropies, values and, where it is in the loss, the KL penalty, each
            [1, B, T].
        """
        *parts, reference_log_prob = (x.squeeze(0) for x in inputs)
        whole = Sequences(*parts)
        longest = int(whole.lengths.max())
        sequences = whole.truncate(longest)
        results = self._per_position(sequences, reference_log_prob[:, :longest])
        critic = self._critic_model
        values = torch.zeros_like(results[0]) if critic is None else critic(sequences)
        missing = whole.response_mask.shape[1] - longest
        results = (*results[:2], values, *results[2:])
        return tuple(pad(x, (0, missing)).unsqueeze(0) for x in results)

    def _per_position(self, sequences: Sequences, reference_log_prob: Tensor) -> tuple[Tensor, ...]:
        """Return log-probabilities, entropies and, where it is in the loss, the penalty, [B, T]."""
        temperature, penalty = self._config.temperature, self._kl_coef.penalty
        is_in_loss = penalty.placement == "loss" and self._kl_coef.value > 0
        is_full = is_in_loss and penalty.estimator == "full"
        inputs = [response_states(self._model, sequences), sequences.responses]
        inputs += [sequences.response_mask, reference_log_prob]
        reference = self._model
        if is_full:
            with torch.no_grad(), self._reference() as reference:
                inputs.append(response_states(reference, sequences))

        def of(
            states: Tensor, tokens: Tensor, mask: Tensor, reference_log_prob: Tensor, *rest: Tensor
        ) -> tuple[Tensor, ...]:
            logits = self._model.unembed(states)
            log_prob, entropy = token_log_probs(logits, tokens, mask, temperature)
            if not is_in_loss:
                return log_prob, entropy
            log_probs = reference_log_probs = None
            if is_full:
                with torch.no_grad():  # adapters do not change how states become logits
                    reference_logits = reference.unembed(*rest)
                log_probs = (logits / temperature).log_softmax(-1)
                reference_log_probs = (reference_logits / temperature).log_softmax(-1)
            term = loss_penalty(
                penalty,
                log_prob=log_prob,
                reference_log_prob=reference_log_prob,
                log_probs=log_probs,
                reference_log_probs=reference_log_probs,
            )
            return log_prob, entropy, self._kl_coef.value * term

        return by_positions(of, inputs, self._model.num_actions)

    def _accumulate(self, losses: Tensor) -> None:
        losses.sum().backward()  # type: ignore[no-untyped-call]

    def _descend(self, losses: Tensor, seeds: NDArray[np.int64] | None) -> Tensor:
        """Take one step with policy and critic; returns the norm of the policy's gradient, [1]."""
        self._accumulate(losses)
        norm = self.policy.step()
        if self.critic is not None:
            self.critic.step()
        return norm.reshape(1)

    def _minibatches(self, lengths: Tensor, learned: Tensor) -> list[Tensor | None]:
        """Draw minibatches, each ordered by length so that its parts are of equal lengths.

        Those without a token to learn from are omitted.
        """
        order = torch.from_numpy(self._rng.permutation(len(lengths)))
        parts = torch.split(order, self._config.minibatch_size)
        return [
            rows[lengths[rows].argsort(stable=True)].unsqueeze(0)
            for rows in parts
            if bool(learned[rows].any())
        ]

    def _descents(self) -> list[Descent]:
        return [self.policy] if self.critic is None else [self.policy, self.critic]

    def state_dict(self) -> dict[str, Array]:
        """Return everything that changes."""
        state = self.policy.state_dict("policy", "optimiser")
        if self.critic is not None:
            state |= self.critic.state_dict("critic", "critic_optimiser")
        return state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Continue from what `state_dict` returned."""
        self.policy.load_state_dict(state, "policy", "optimiser")
        if self.critic is not None:
            self.critic.load_state_dict(state, "critic", "critic_optimiser")
