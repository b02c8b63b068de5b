"""Demonstrations that the policy of a run plays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import Actor
from rlkit.determinism import prepared_torch
from rlkit.environments.environment import Environment
from rlkit.environments.views.actions import ActionLayout
from rlkit.evaluation import exact_returns_of, play_many, restart
from rlkit.nn.demonstrations import Demonstrations
from rlkit.seeding import SeedStreams
from rlkit.training.playing.reference_run import acting_run
from rlkit.training.specification import RunSpec

Array = NDArray[Any]


class Recording:
    """An actor whose observations and actions are kept, for one seed.

    Args:
        actor: acts.
    """

    def __init__(self, actor: Actor) -> None:
        self._actor = actor
        self._parts: list[list[tuple[Array, Array]]] = [[]]

    def restart(self, *part: int) -> None:
        """Start another part of the episodes."""
        restart(self._actor, *part)
        self._parts.append([])

    def act(self, obs: Array, *masks: Array) -> Array:
        act: Any = self._actor.act
        actions = np.asarray(act(obs, *masks))
        self._parts[-1].append((np.array(obs[0]), np.array(actions[0])))
        return actions

    def episodes(self, lengths: Array) -> tuple[Array, Array, Array]:
        """Return observations, actions and numbers of episodes of so many steps each."""
        observations, actions = [], []
        waiting = iter(lengths.tolist())
        for part in self._parts:
            seen, done = (np.stack(column, axis=1) for column in zip(*part, strict=True))  # [M, T]
            for own_seen, own_done, length in zip(seen, done, waiting, strict=False):
                observations.append(own_seen[:length])
                actions.append(own_done[:length])
        numbers = np.repeat(np.arange(len(lengths)), lengths)
        return np.concatenate(observations), np.concatenate(actions), numbers


def played_demonstrations(
    folder: str, spec: RunSpec, environment: Environment
) -> tuple[Demonstrations, str]:
    """Return the episodes that a policy of a run plays, and a sentence about them.

    They are those of the stream "env" of its seed in its own experiment, so that no evaluation
    plays any of them.

    Args:
        folder: of the run.
        spec: of the run that imitates it, with the options episodes, expert_seed, expert_greedy.
        environment: as the agent that imitates it sees it.

    Raises:
        UsageError: it is no finished run, or does not act in such an environment.
    """
    options = spec.config
    seed = int(getattr(options, "expert_seed", 0))
    number, greedy = getattr(options, "episodes", 100), getattr(options, "expert_greedy", True)
    run, seen = acting_run(
        folder, seed, environment, spec.agent_name, "demonstrations", "expert_seed"
    )
    kind = spec.stepped_as(environment)
    streams = (SeedStreams(run.spec.experiment_seed, seed),)
    with prepared_torch():
        recording = Recording(run.batch_actor([seed], greedy=greedy))
        exact = exact_returns_of(run.batch_actor([seed], greedy=greedy), seen, 1, kind)
        played = play_many(recording, environment, streams, number, kind=kind, purpose="env")
    observations, actions, episodes = recording.episodes(played.lengths[0])
    layout = ActionLayout(environment.action_space)
    if not layout.is_discrete:
        # What the environment did, as an observer sees it.
        low, high = layout.bounds
        real, flat = layout.sizes == 0, actions.reshape(len(actions), -1)
        flat = np.where(real, np.clip(flat, low, high), flat)
        actions = flat.reshape(actions.shape).astype(np.float32)
    mean = float(played.returns.mean())
    known = mean if exact is None else float(exact.returns[0])
    several = f"are {number:,} episodes" if number > 1 else "are one episode"
    sentence = (
        f"the demonstrations {several} ({len(actions):,} decisions) of the "
        f"{'greedy' if greedy else 'exploring'} policy of seed {seed} of {folder}, mean return "
        f"{mean:.6g}"
    )
    if exact is not None:
        sentence += f"; its exact return is {known:.6f}"
    return Demonstrations(observations, actions, episodes, known), sentence
