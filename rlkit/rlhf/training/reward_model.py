"""The reward model: a trunk with a scalar head, trained with binary cross-entropy.

Pairwise (Bradley-Terry): the logit is score(chosen) - score(rejected), the label is 1.
Pointwise: the logit is the score itself, the label says whether the response was accepted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.analysis.statistics import standard_error
from rlkit.maths.losses import binary_cross_entropy_loss
from rlkit.rlhf.data.held_out import row_keys, split_rows
from rlkit.rlhf.data.preferences import Comparisons, Labels, Preferences
from rlkit.rlhf.data.sequences import Sequences, final_states
from rlkit.rlhf.models.device import device_of
from rlkit.rlhf.models.heads import ScalarHead
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.models.layers import evaluating
from rlkit.rlhf.objectives.preference_losses import bradley_terry_loss, pairwise_accuracy
from rlkit.rlhf.objectives.score_scale import ScoreScale
from rlkit.rlhf.training.configs import DPOConfig, RewardConfig
from rlkit.rlhf.training.example_trainer import ExampleTrainer
from rlkit.seeding import SeedStreams

Examples = Preferences | Comparisons | Labels  # what a reward model learns from


class RewardModel(torch.nn.Module):
    """Scores a response by the hidden state of its last token, EOS included.

    Args:
        trunk: the language model below the head; trained in place.
        rng: draws the head's weights.
    """

    gain: Tensor
    bias: Tensor

    def __init__(self, trunk: LanguageModel, rng: np.random.Generator) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = ScalarHead(trunk.width, init="reward", rng=rng).to(device_of(trunk))
        # score = gain * raw + bias, with mean 0 and variance 1 under the reference.
        self.register_buffer("gain", torch.ones(()))
        self.register_buffer("bias", torch.zeros(()))

    def __repr__(self) -> str:
        return f"RewardModel({self.trunk!r})"

    def forward(self, sequences: Sequences) -> Tensor:
        """Return raw scores [B], differentiable."""
        scores: Tensor = self.head(final_states(self.trunk, sequences))
        return scores

    def score(self, sequences: Sequences, *, batch_size: int = 512) -> NDArray[np.float64]:
        """Return normalised scores [B], without gradient or dropout."""
        with evaluating(self):
            scores = self.gain * self.raw_scores(sequences, batch_size=batch_size) + self.bias
        return scores.double().numpy()

    @torch.no_grad()
    def raw_scores(self, sequences: Sequences, *, batch_size: int | None = None) -> Tensor:
        """Return raw scores [B] without gradient, as many at once as fit into `memory_gb`."""
        batch_size = batch_size or len(sequences.tokens)
        size = self.trunk.rows_at_once(sequences.tokens.shape[1], batch_size)
        return torch.cat([self(batch) for batch in sequences.split(size)])

    def normalise(self, sequences: Sequences) -> None:
        """Set gain and bias so that these responses have scores of mean 0 and variance 1."""
        self.gain.fill_(1.0)
        self.bias.zero_()
        scale = ScoreScale.from_scores(torch.from_numpy(self.score(sequences)))
        self.gain.fill_(scale.gain)
        self.bias.fill_(scale.bias)


def fit_reward_model(
    model: RewardModel,
    data: Examples,
    reference_samples: Sequences,
    config: RewardConfig,
    streams: SeedStreams,
) -> ExampleTrainer:
    """Return the trainer of `model`, in place, which keeps the best epoch by held-out loss.

    Args:
        model: a trunk, normally from the fine-tuned policy, with a new head.
        data: preferences, all comparisons of several responses to each prompt, or labels for the
            pointwise loss; a part is held out.
        reference_samples: responses of the reference policy, by which the scores are normalised
            after the last update.
        config: options.
        streams: of this seed.
    """
    held_out, training = split_held_out(data, config, streams)
    with_accuracy = config.patience > 0  # runs that were begun without patience have no such column

    def scores(
        batch: Preferences | Comparisons, score: Callable[[Sequences], Tensor] = model
    ) -> tuple[Tensor, Tensor]:
        """Return the scores of the chosen and of the rejected responses."""
        if isinstance(batch, Comparisons):
            return batch.chosen_and_rejected(score(batch.sequences))
        pairs = Sequences.concatenate([batch.chosen, batch.rejected])
        chosen, rejected = score(pairs).chunk(2)
        return chosen, rejected

    def loss(index: Tensor) -> tuple[Tensor, Mapping[str, float]]:
        batch = training.select(index)
        if isinstance(batch, Labels):
            logits = model(batch.sequences)
            losses = binary_cross_entropy_loss(logits, batch.label)
            return losses, _label_accuracy("accuracy", logits.detach(), batch.label)
        chosen, rejected = scores(batch)
        margin = batch.margin if isinstance(batch, Preferences) else 0.0
        losses = bradley_terry_loss(
            chosen, rejected, margin=margin, label_smoothing=config.label_smoothing
        )
        return losses, {"accuracy": float(pairwise_accuracy(chosen.detach(), rejected.detach()))}

    def held_out_metrics() -> dict[str, float]:
        if isinstance(held_out, Labels):
            logits = model.raw_scores(held_out.sequences)
            loss = float(binary_cross_entropy_loss(logits, held_out.label).mean())
            accuracy = _label_accuracy("held_out_accuracy", logits, held_out.label)
        else:
            chosen, rejected = (part.flatten() for part in scores(held_out, model.raw_scores))
            loss = loss_at_best_scale(chosen - rejected)
            accuracy = {"held_out_accuracy": float(pairwise_accuracy(chosen, rejected))}
        return {"held_out_loss": loss} | (accuracy if with_accuracy else {})

    return ExampleTrainer(
        model,
        len(training),
        loss,
        config.passes(len(training)),
        streams,
        metrics=("accuracy",),
        held_out=held_out_metrics,
        held_out_metrics=("held_out_loss", *(["held_out_accuracy"] if with_accuracy else [])),
        finish=lambda: model.normalise(reference_samples),
        row_length=reference_samples.tokens.shape[1],
        rows_per_example=1 if config.loss == "pointwise" else config.responses_per_prompt,
    )


def _label_accuracy(name: str, logits: Tensor, label: Tensor) -> dict[str, float]:
    """Return the share of labels that the signs of logits predict; nothing where all are 0.5.

    A label of 0.5 says that neither prediction is right, and is left aside.
    """
    certain = label != 0.5
    if not bool(certain.any()):
        return {}
    right = (logits > 0) == (label > 0.5)
    return {name: float(right[certain].float().mean())}


def split_held_out(
    data: Examples, config: RewardConfig | DPOConfig, streams: SeedStreams
) -> tuple[Examples, Examples]:
    """Split the examples into those held out and those trained on, at random for each seed.

    Duplicate examples of a file, including swapped pairs, are kept in the same split. Duplicates
    at the border are trained on, so the number of training examples is always the same.

    Raises:
        UsageError: every example has too many duplicates to be held out.
    """
    keys = None
    if not isinstance(data, Comparisons) and data.may_repeat:
        keys = row_keys(
            *([data.sequences] if isinstance(data, Labels) else (data.chosen, data.rejected))
        )
    rng = streams.generator("minibatch", 1)
    held_out, training = split_rows(len(data), config.num_held_out(len(data)), rng, keys)
    return data.select(held_out), data.select(training)


def loss_at_best_scale(differences: Tensor) -> float:
    """Return the Bradley-Terry loss of score differences [N] at the scale that minimises it.

        min over s of mean(-log sigma(s (r_w - r_l)))

    Scores are rescaled after training anyway. Without this, an overconfident model would seem to
    get worse while it still learns to order responses.
    """
    scales = torch.logspace(-2.0, 1.0, 61, dtype=torch.float64)
    logits = scales.unsqueeze(1) * differences.double()
    losses = binary_cross_entropy_loss(logits, torch.ones_like(logits))
    return float(losses.mean(1).min())


class Accuracy(NamedTuple):
    """How often a score agrees with the preferences."""

    accuracy: float
    standard_error: float  # of the accuracy; nan for one pair
    num_pairs: int


def measure_accuracy(
    chosen: NDArray[np.float64],
    rejected: NDArray[np.float64],
    where: NDArray[np.bool_] | None = None,
) -> Accuracy:
    """Return the share of pairs whose chosen response scores higher; ties count one half."""
    keep = slice(None) if where is None else where
    difference = chosen[keep] - rejected[keep]
    if len(difference) == 0:
        return Accuracy(float("nan"), float("nan"), 0)
    correct = (difference > 0) + 0.5 * (difference == 0)
    return Accuracy(float(correct.mean()), standard_error(correct), len(difference))


def accuracy_by_group(
    model: RewardModel, preferences: Preferences, margin: NDArray[np.float64] | None = None
) -> dict[str, Accuracy]:
    """Return the accuracy on all pairs, by which response is longer, and by margin.

    Args:
        model: the reward model.
        preferences: pairs that it was not trained on.
        margin: [N], how much better the chosen response is by a known reward, grouped in terciles;
            None = the absolute difference of the model's own scores.
    """
    chosen, rejected = model.score(preferences.chosen), model.score(preferences.rejected)
    longer = (preferences.chosen.lengths - preferences.rejected.lengths).numpy()
    size = np.abs(chosen - rejected if margin is None else margin)
    low, high = np.quantile(size, [1 / 3, 2 / 3])
    groups = {
        "all": None,
        "chosen is longer": longer > 0,
        "equally long": longer == 0,
        "chosen is shorter": longer < 0,
        "small margin": size <= low,
        "middle margin": (size > low) & (size <= high),
        "large margin": size > high,
    }
    return {name: measure_accuracy(chosen, rejected, where) for name, where in groups.items()}
