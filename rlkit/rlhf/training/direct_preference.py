"""Direct preference optimisation: the policy learns from preferences without a reward model.

    L = -log sigmoid(beta h),    h = log pi(y_w)/pi_ref(y_w) - log pi(y_l)/pi_ref(y_l)

(Rafailov et al. 2023), or the identity preference loss (h - 1/(2 beta))^2 (Azar et al. 2023). The
log-probabilities are sums over the response's tokens, EOS included; the prompt is given. To either,
-alpha log pi(y_w)/|y_w| may be added (Pang et al. 2024), |y_w| being the number of tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from rlkit.rlhf.data.preferences import Preferences
from rlkit.rlhf.data.sampling import generate
from rlkit.rlhf.data.sequences import Sequences, batched_log_probs, response_log_probs
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.objectives.preference_losses import (
    dpo_loss,
    ipo_loss,
    pairwise_accuracy,
    sequence_log_prob,
)
from rlkit.rlhf.training.configs import DPOConfig
from rlkit.rlhf.training.example_trainer import ExampleTrainer
from rlkit.rlhf.training.reward_model import split_held_out
from rlkit.seeding import SeedStreams

# The log-probabilities are sums over a response, in nats.
METRICS = ("accuracy", "reward_margin", "chosen_log_prob", "rejected_log_prob")
FAR = 10.0  # nats from the reference: e^10 times as likely or unlikely
KL_SAMPLES = 64  # responses from which the divergence is estimated after each epoch


class PairLoss:
    """The loss on pairs, whose log-probabilities under the reference are computed once."""

    def __init__(
        self,
        policy: LanguageModel,
        reference: LanguageModel,
        pairs: Preferences,
        config: DPOConfig,
    ) -> None:
        self._policy, self._pairs, self._config = policy, pairs, config
        self._reference_chosen, self._reference_rejected = (
            batched_log_probs(reference, responses).sum(-1)
            for responses in (pairs.chosen, pairs.rejected)
        )
        self.reference_chosen_log_prob = float(self._reference_chosen.mean())

    def __call__(self, index: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return the losses of the pairs with given indices, and metrics."""
        config, batch = self._config, self._pairs.select(index)
        both = Sequences.concatenate([batch.chosen, batch.rejected])
        log_prob, _, _ = response_log_probs(self._policy, both)
        chosen, rejected = sequence_log_prob(log_prob, both.response_mask).chunk(2)
        references = self._reference_chosen[index], self._reference_rejected[index]
        if config.loss == "ipo":
            losses, *rewards = ipo_loss(chosen, rejected, *references, beta=config.beta)
        else:
            losses, *rewards = dpo_loss(
                *(chosen, rejected, *references),
                beta=config.beta,
                label_smoothing=config.label_smoothing,
            )
        if config.nll_coef:
            losses = losses - config.nll_coef * chosen / batch.chosen.lengths
        return losses, {
            "accuracy": float(pairwise_accuracy(*rewards)),
            "reward_margin": float((rewards[0] - rewards[1]).mean()),
            "chosen_log_prob": float(chosen.detach().mean()),
            "rejected_log_prob": float(rejected.detach().mean()),
        }

    def mean(self, batch_size: int) -> dict[str, float]:
        """Return the means of loss and metrics over all pairs."""
        totals: dict[str, float] = {}
        for rows in torch.split(torch.arange(len(self._pairs)), batch_size):
            losses, metrics = self(rows)
            for name, value in {"loss": float(losses.mean()), **metrics}.items():
                totals[name] = totals.get(name, 0.0) + value * len(rows)
        return {name: total / len(self._pairs) for name, total in totals.items()}


def direct_preference_optimisation(
    policy: LanguageModel,
    reference: LanguageModel,
    preferences: Preferences,
    config: DPOConfig,
    streams: SeedStreams,
    *,
    task: LanguageTask | None = None,
) -> ExampleTrainer:
    """Return the trainer of `policy`, in place, towards the optimum that the preferences imply.

    Args:
        policy: starts as a copy of the reference.
        reference: constant; its log-probabilities are computed once.
        preferences: pairs of responses.
        config: options.
        streams: of this seed.
        task: with held-out pairs, says how responses to their prompts are sampled, from which the
            KL divergence is estimated.
    """
    reference.eval()
    if not config.num_held_out(len(preferences)):
        loss = PairLoss(policy, reference, preferences, config)

        def few(index: Tensor) -> tuple[Tensor, dict[str, float]]:
            losses, metrics = loss(index)
            return losses, {name: metrics[name] for name in ("accuracy", "reward_margin")}

        def look_back() -> None:
            with torch.no_grad():
                metrics = loss.mean(config.batch_size)
                if task is not None:
                    prompts, rng = preferences.chosen.prompts, streams.generator("action")
                    metrics["kl"] = sampled_kl(policy, reference, task, prompts, rng)
            message = leaving_message(loss.reference_chosen_log_prob, metrics, prefix="")
            trainer.notes += [] if message is None else [message]

        passes, names = config.passes(len(preferences)), ("accuracy", "reward_margin")
        trainer = ExampleTrainer(
            *(policy, len(preferences), few, passes, streams),
            metrics=names,
            finish=look_back,
            row_length=preferences.chosen.tokens.shape[1],
            rows_per_example=2,
        )
        return trainer
    held_out, training = split_held_out(preferences, config, streams)
    assert isinstance(held_out, Preferences)
    assert isinstance(training, Preferences)
    validation = PairLoss(policy, reference, held_out, config)

    def held_out_metrics() -> dict[str, float]:
        means = {f"held_out_{name}": x for name, x in validation.mean(config.batch_size).items()}
        if task is not None:
            rng = streams.generator("action")  # the same in each epoch
            means["kl"] = sampled_kl(policy, reference, task, held_out.chosen.prompts, rng)
        return means

    return ExampleTrainer(
        policy,
        len(training),
        PairLoss(policy, reference, training, config),
        config.passes(len(training)),
        streams,
        metrics=METRICS,
        held_out=held_out_metrics,
        held_out_metrics=(
            "held_out_loss",
            *(f"held_out_{name}" for name in METRICS),
            *(() if task is None else ("kl",)),
        ),
        row_length=preferences.chosen.tokens.shape[1],
        rows_per_example=2,
        warning=functools.partial(leaving_message, validation.reference_chosen_log_prob),
    )


def leaving_message(
    reference_log_prob: float, metrics: Mapping[str, float], prefix: str = "held_out_"
) -> str | None:
    """Return what to say where a policy has left its reference, else None.

    Args:
        reference_log_prob: mean log-probability of chosen responses at the start, in nats.
        metrics: now.
        prefix: of the metrics of these responses: "held_out_", or "" for those of the training.
    """
    kl, chosen = metrics.get("kl", 0.0), metrics[f"{prefix}chosen_log_prob"]
    if kl <= FAR and chosen >= reference_log_prob - FAR:
        return None
    return (
        f"leaving the reference: its responses are at {kl:.1f} nats of KL divergence, and the "
        f"log-probability of the {'held-out ' if prefix else ''}chosen responses is "
        f"{chosen:.1f} nats, "
        f"{reference_log_prob:.1f} at the start; preferences say nothing about what it writes "
        "there. Use fewer epochs, a larger beta, or a larger nll_coef"
    )


def sampled_kl(
    policy: LanguageModel,
    reference: LanguageModel,
    task: LanguageTask,
    prompts: Tensor,
    rng: np.random.Generator,
) -> float:
    """Estimate the KL divergence from the reference, in nats, from responses to some prompts."""
    rows = np.resize(np.arange(len(prompts)), KL_SAMPLES)
    samples = generate(policy, task, prompts.numpy()[rows], rng)
    theirs = batched_log_probs(reference, samples.sequences, batch_size=KL_SAMPLES)
    return float((samples.log_prob.double().sum(1) - theirs.double().sum(1)).mean())
