"""Episodes of a policy that stays as it is, and preferences between their segments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import Transition
from rlkit.agents.preferences.labellers import TruthLabeller
from rlkit.agents.preferences.segments import Recorder
from rlkit.agents.preferences.store import Preferences, new_preferences
from rlkit.environments.resolve import find_environment
from rlkit.environments.views.actions import ActionLayout
from rlkit.loop import interact
from rlkit.seeding import SeedStreams

Array = NDArray[Any]


class FixedPolicy:
    """Samples actions from given probabilities; each seed has a stream of its own.

    Args:
        probabilities: a function from observations [S, N, ...] to [S, N, actions].
        streams: of the seeds.
    """

    def __init__(
        self, probabilities: Callable[[Array], Array], streams: Sequence[SeedStreams]
    ) -> None:
        self.probabilities = probabilities
        self._generators = [stream.generator("action") for stream in streams]

    def act(self, obs: Array) -> Array:
        below = self.probabilities(obs).cumsum(axis=-1)[..., :-1]
        noise = np.stack([rng.random(obs.shape[1]) for rng in self._generators])
        chosen: Array = (noise[..., None] > below).sum(axis=-1)
        return chosen

    def learn(self, transition: Transition) -> dict[str, Array]:
        return {}


def record(
    policy: FixedPolicy,
    environment: str,
    streams: Sequence[SeedStreams],
    num_envs: int,
    steps: int,
    *,
    kind: str = "auto",
) -> Recorder:
    """Return so many steps of each environment of each seed; `kind` is how they are stepped."""
    env = find_environment(environment, {}).grid(streams, num_envs, kind=kind)
    layout = ActionLayout(env.action_space)
    recorder = Recorder(len(streams), num_envs, steps, env.observation_space, layout)
    for transition, _ in interact(policy, env, steps):
        recorder.add(transition)
    return recorder


def label(
    recorder: Recorder,
    streams: Sequence[SeedStreams],
    count: int,
    *,
    length: int,
    rationality: float,
) -> list[Preferences]:
    """Return `count` preferences of each seed between its recorded segments of that length."""
    labeller, seeds = TruthLabeller(rationality), []
    for s, stream in enumerate(streams):
        pairs = recorder.draw(s, stream.generator("data", 0, count), count, length)
        labels = labeller(pairs, stream.generator("data", 1, count))
        seeds.append(new_preferences(pairs, labels, 0, 0.0))
    return seeds
