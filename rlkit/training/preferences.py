"""The preferences that a run of preference-ppo learned from, and the accuracy of its reward."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agents.preferences.labellers import Ceiling, agreement, bayes_ceiling
from rlkit.agents.preferences.preference_ppo import RewardedActor, stored_preferences
from rlkit.agents.preferences.store import Preferences, to_lines
from rlkit.errors import UsageError
from rlkit.files import write_atomically
from rlkit.runs.record import record_file
from rlkit.training.kind import AGENT_RUN
from rlkit.training.run import Run

Array = NDArray[Any]

AGENT = "preference-ppo"
_FEWEST = 10  # answers of which anything is said
_MOST = 0.9  # the share of answers from which a reward can still learn
_ANSWERS = {0.0: "the second segment", 0.5: "equal", 1.0: "the first segment"}


@dataclass(frozen=True)
class RewardAccuracy:
    """How well a learned reward predicts held-out preferences, and how well any reward could."""

    num_held_out: int
    accuracy: float  # the share that it predicts; NaN if none was held out
    ceiling: Ceiling  # of the best prediction on as many labels; NaN if unknown


def preferences_of(run: Run, seed: int = 0) -> Preferences:
    """Return the preferences of one seed of a run of preference-ppo.

    Raises:
        UsageError: the run is of another agent, or has no such seed.
    """
    if run.agent != AGENT:
        raise UsageError(
            f"{run.folder} is a run of {run.agent}, which has no preferences; runs of {AGENT} do"
        )
    return stored_preferences(run.agent_state(seed))


def write_preferences(run: Run) -> list[Path]:
    """Write the preferences of every seed into its run's folder, as preferences-000.jsonl.

    The option `preferences` of preference-ppo reads such files.
    """
    paths = []
    for seed in run.seeds:
        if seed in run.failures:
            continue
        path = run.folder / f"preferences-{seed:03d}.jsonl"
        write_atomically(path, to_lines(preferences_of(run, seed)).encode())
        record_file(run.folder, AGENT_RUN, path.name)
        paths.append(path)
    return paths


def reward_accuracy(run: Run) -> dict[int, RewardAccuracy]:
    """Return the accuracy of the final reward of each seed on all of its held-out preferences."""
    return {
        seed: _measured(*_held_out(run, seed)) for seed in run.seeds if seed not in run.failures
    }


def pooled_accuracy(run: Run) -> RewardAccuracy:
    """Return the accuracy of the rewards of all seeds on their held-out preferences together."""
    parts = [_held_out(run, seed) for seed in run.seeds if seed not in run.failures]
    return _measured(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _held_out(run: Run, seed: int) -> tuple[Array, Array]:
    """Return whether each held-out preference was predicted, and its probability, [P] each."""
    known = preferences_of(run, seed)
    held_out = known.at(known.held_out)
    actor = run.batch_actor([seed])
    if not isinstance(actor, RewardedActor):
        raise UsageError(f"seed {seed} of {run.folder} has learned no reward yet; train it further")
    returns = actor.reward.returns(held_out.pairs.at(np.s_[None]))[0]
    return agreement(returns[:, 0] - returns[:, 1], held_out.preferred), held_out.probability


def _measured(agreed: Array, probability: Array) -> RewardAccuracy:
    accuracy = float(agreed.mean()) if len(agreed) else math.nan
    return RewardAccuracy(len(agreed), accuracy, bayes_ceiling(probability))


def uninformative_answers(run: Run) -> str | None:
    """Return a sentence on answers from which no reward can be learned, or None.

    These are answers that are all alike, and coin flips of the labeller "truth" between segments of
    one return, which are usual where rewards are rare.

    Args:
        run: of any agent.
    """
    if run.agent != AGENT:
        return None
    alike: dict[int, float] = {}  # the answer of each seed that got no other
    flips = []
    for seed in run.seeds:
        if seed in run.failures:
            continue
        known = preferences_of(run, seed)
        if len(known.preferred) < _FEWEST:
            continue
        first = float(known.preferred[0])
        if (known.preferred == first).all():
            alike[seed] = first
        flips.append(float(np.mean(known.probability == 0.5)))
    if alike:
        answers = sorted(set(alike.values()))
        what = " or ".join(_ANSWERS.get(answer, f"{answer:g}") for answer in answers)
        which = "each seed" if len(alike) == len(run.seeds) else f"the seeds {sorted(alike)}"
        return (
            f"all answers of {which} are alike ({what}), so no reward can be learned from them: "
            "let the labeller look at what the segments hold"
        )
    share = float(np.mean(flips)) if flips else 0.0
    if share <= _MOST:
        return None
    return (
        f"in {100 * share:.0f} % of the questions both segments had the same return, so their "
        "answers are coin flips, from which no reward can be learned: where rewards are rare, "
        "choose longer segments (--segment-length), or a labeller that sees more than rewards "
        "(--labeller)"
    )
