"""Messages about metrics that look wrong, with the likely causes.

Each message is given once per run, at the first update that shows its symptom.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Metrics = Mapping[str, float]
BASELINE = 3  # first updates, with whose mean later ones are compared


class Symptom(NamedTuple):
    """A condition on the metrics and the message that it gives."""

    shows: Callable[[Metrics, Metrics], bool]  # (metrics now, their means at the start)
    message: str  # with metrics in braces; `was_` before a name means its mean at the start


SYMPTOMS: dict[str, Symptom] = {
    "negative KL": Symptom(
        lambda now, _: now["kl"] < -4.0 * now["kl_standard_error"] - 1e-3,
        "the KL divergence is estimated as {kl:.3f} +- {kl_standard_error:.3f} nats, but a "
        "divergence is never below 0: the responses were not sampled from the distribution used to "
        "score them. Likely causes: a filter on sampling (top-k, top-p, a forced token), different "
        "temperatures, log-probabilities summed over padding, half precision while sampling",
    ),
    "exploding KL": Symptom(
        lambda now, was: now["kl"] > 20.0 and now["kl"] > 10.0 * max(was["kl"], 0.5),
        "the KL divergence from the reference is {kl:.1f} nats per response, {was_kl:.2f} at "
        "the start: the policy has left the region that the reward model knows. Likely causes: "
        "kl_coef = {kl_coef:.3g} too small for the scale of the score (standardise the score, or "
        "set kl_target), learning_rate too large, a penalty that is added instead of subtracted",
    ),
    "growing length": Symptom(
        lambda now, was: (
            now["score"] > was["score"] + was["score_std"]
            and now["response_length"] > 1.5 * was["response_length"]
        ),
        "the score rose from {was_score:.2f} to {score:.2f} while responses grew from "
        "{was_response_length:.1f} to {response_length:.1f} tokens: the reward likely favours "
        "length. Check its accuracy where the chosen response is the shorter one (rlkit rlhf "
        "evaluate on the reward model), balance the preferences by length, raise kl_coef",
    ),
    "no end": Symptom(
        lambda now, was: now["ended_fraction"] < 0.5 * was["ended_fraction"],
        "{ended_fraction:.0%} of the responses end with EOS, {was_ended_fraction:.0%} did at the "
        "start: the score likely ignores a missing EOS, for example because EOS was treated as "
        "padding when the reward model was trained. Set missing_eos_penalty",
    ),
    "collapse": Symptom(
        # It is 0 where nothing was learned from an update, as with mask_truncated.
        lambda now, was: 0.0 < now["entropy"] < 0.1 * was["entropy"],
        "the entropy fell from {was_entropy:.3f} to {entropy:.3f} nats per token: nearly "
        "all responses to a prompt are now the same. Likely causes: kl_coef = {kl_coef:.3g} small, "
        "learning_rate too large",
    ),
    "large steps": Symptom(
        lambda now, _: now["clip_fraction"] > 0.6,
        "{clip_fraction:.0%} of the ratios are clipped: an update moves the policy further than "
        "the clipped objective can use. Use a smaller learning_rate or fewer epochs",
    ),
}

# Added later: which of them were reported is part of the state only once one was, so that sound
# runs keep the bytes of their checkpoints.
SYMPTOMS_LATER: dict[str, Symptom] = {
    "constant score": Symptom(
        lambda now, _: now["score_std"] <= 1e-6 * max(1.0, abs(now["score"])),
        "every response of the update has the score {score:.4g}: there is nothing to learn but to "
        "stay near the reference. Look at the score of responses that should differ (rlkit rlhf "
        "sample)",
    ),
    "scale of the score": Symptom(
        lambda now, was: not 0.01 < was["score_std"] < 30.0 and now["score_std"] > 1e-6,
        "the scores of the first updates have the standard deviation {was_score_std:.3g}, and "
        "kl_coef = {kl_coef:.3g} suits scores with one of about 1: divide the score by "
        "{was_score_std:.3g}, or multiply kl_coef by it",
    ),
    "cut responses": Symptom(
        lambda now, was: was["ended_fraction"] < 0.5,
        "only {was_ended_fraction:.0%} of the responses ended from the start; the others are cut "
        "at the length limit, and what is scored are beginnings. Fine-tune on responses that end, "
        "or with a larger max_new_tokens, or set mask_truncated",
    ),
}


class MetricMonitor:
    """Checks the metrics of each update for symptoms.

    Its state holds the sums of the first updates and which messages were given, so that a resumed
    run gives the same messages.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names
        self._sums = np.zeros(len(names))
        self._num_updates = 0
        self._reported = np.zeros(len(SYMPTOMS) + len(SYMPTOMS_LATER), dtype=bool)

    def observe(self, metrics: Metrics) -> list[str]:
        """Return the messages about this update that were not given before."""
        self._num_updates += 1
        if self._num_updates <= BASELINE:
            self._sums += [metrics[name] for name in self._names]
        means = self._sums / min(self._num_updates, BASELINE)
        start = dict(zip(self._names, means.tolist(), strict=True))
        messages = []
        for i, (name, symptom) in enumerate((SYMPTOMS | SYMPTOMS_LATER).items()):
            if not self._reported[i] and symptom.shows(metrics, start):
                self._reported[i] = True
                before = {f"was_{key}": value for key, value in start.items()}
                messages.append(f"{name}: {symptom.message.format(**metrics, **before)}")
        return messages

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Return everything that changes."""
        earlier, later = np.split(self._reported, [len(SYMPTOMS)])
        state = {
            "sums": self._sums.copy(),
            "num_updates": np.asarray(self._num_updates),
            "told": earlier.copy(),
        }
        return state | ({"told_later": later.copy()} if later.any() else {})

    def load_state_dict(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Continue from what `state_dict` returned."""
        self._sums[:] = state["sums"]
        self._num_updates = int(state["num_updates"])
        self._reported[: len(SYMPTOMS)] = state["told"]
        self._reported[len(SYMPTOMS) :] = state.get("told_later", False)
