"""Evaluation of policies: exactly if the model is known, otherwise by whole episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import Actor, ActorTraits, Transition
from rlkit.determinism import apart
from rlkit.environments.batch_env import BatchEnv
from rlkit.environments.environment import Environment
from rlkit.environments.gymnasium_adapter import MakeCopies
from rlkit.loop import Episodes, play
from rlkit.seeding import SeedStreams
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.returns import return_under_limit, total_return

Array = NDArray[Any]


class Evaluation(NamedTuple):
    """Undiscounted returns of a policy, for each seed."""

    mean: Array  # [S]
    std: Array  # [S], over episodes; NaN where the mean is exact


# The steps after which evaluation stops an episode of an environment without a time limit: the
# first if none of the seed's episodes has ended yet, or a policy never ends one; else the second.
ENDLESS_STEPS = 1_000
PATIENT_STEPS = 10_000


class ExactReturns(NamedTuple):
    """The exact expected episode return of each seed's policy."""

    returns: Array  # [S], float64
    endless: Array  # [S], bool: there is no finite return; `returns` is that of the first steps


def exact_returns(actor: Actor, mdp: TabularMDP, num_seeds: int) -> ExactReturns | None:
    """Return the expected return of each seed's policy; None without `probabilities` of the actor.

    It is the return under the model's time limit, or of whole episodes without one. A policy may
    then never end its episodes and keep earning rewards; its return is that of its first
    `ENDLESS_STEPS` steps, and `endless` is True.
    """
    policies = _policies(actor, mdp, num_seeds)
    return None if policies is None else _returns_of(policies, mdp)


def _policies(actor: Actor, mdp: TabularMDP, num_seeds: int) -> Array | None:
    """Return the probabilities of the actions, [S, num_states, num_actions], if they are known."""
    probabilities = ActorTraits.of(actor).probabilities
    if probabilities is None:
        return None
    return probabilities(np.tile(np.arange(mdp.num_states), (num_seeds, 1)))


def _returns_of(policies: Array, mdp: TabularMDP) -> ExactReturns:
    """Return the expected return of each policy; its bytes do not depend on the others."""
    if mdp.time_limit is not None:
        returns = return_under_limit(mdp, policies)
        return ExactReturns(returns, np.zeros(len(policies), dtype=np.bool_))
    whole = [total_return(mdp, policy) for policy in policies]
    endless = np.array([total is None for total in whole], dtype=np.bool_)
    returns = np.array([np.nan if total is None else total for total in whole])
    if endless.any():
        returns[endless] = return_under_limit(mdp, policies[endless], ENDLESS_STEPS)
    return ExactReturns(returns, endless)


class RepeatedReturns:
    """`exact_returns` of one model, computed again only for policies that have changed."""

    def __init__(self) -> None:
        self._policies: Array | None = (
            None  # of the evaluation before, [S, num_states, num_actions]
        )
        self._known: ExactReturns | None = None

    def __call__(self, actor: Actor, mdp: TabularMDP, num_seeds: int) -> ExactReturns | None:
        policies = _policies(actor, mdp, num_seeds)
        if policies is None:
            return None
        if self._policies is None or self._known is None or len(policies) != len(self._policies):
            self._known = _returns_of(policies, mdp)
        else:
            changed = (policies != self._policies).any(axis=(1, 2))
            if changed.any():
                returns, endless = (known.copy() for known in self._known)
                returns[changed], endless[changed] = _returns_of(policies[changed], mdp)
                self._known = ExactReturns(returns, endless)
        self._policies = policies
        return self._known


class Evaluator:
    """Evaluates the seeds of a run, always on the same episodes, with environments of its own.

    Args:
        environment: what to evaluate on.
        streams: the streams of each seed.
        num_episodes: of each seed, if the return is not known exactly.
        kind: how the environments are stepped. As "gymnasium", episodes are played even if the
            model is known.
        make_copies: builds copies that are stepped elsewhere.
    """

    def __init__(
        self,
        environment: Environment,
        streams: Sequence[SeedStreams],
        num_episodes: int,
        *,
        kind: str,
        make_copies: MakeCopies | None = None,
    ) -> None:
        self._environment, self._streams = environment, streams
        self._make_copies = make_copies
        self._num_episodes, self._kind = num_episodes, kind
        self._grid: BatchEnv | None = None
        self._exact_returns = RepeatedReturns()
        self.remark: str | None = None  # on the latest evaluation: a sentence without its subject

    def __call__(
        self,
        actor: Actor,
        *,
        limits: Array | None = None,
        seeds: Sequence[int] | None = None,
        stop: Callable[[], int] | None = None,
    ) -> Evaluation:
        """Return the mean and standard deviation of each seed's episode return.

        Args:
            actor: the policies; nothing here changes them.
            limits: the steps after which an episode of each seed is stopped, [S]; the default is
                that before any training.
            seeds: their indices in the experiment, for messages.
            stop: whether to stop now.

        Raises:
            PlayStopped: `stop` returned True.
        """
        num_seeds, self.remark = len(self._streams), None
        exact = exact_returns_of(
            actor, self._environment, num_seeds, self._kind, returns=self._exact_returns
        )
        if exact is not None:
            if exact.endless.any():
                self.remark = (
                    "has no time limit, and a policy never ends its episodes: its return is that "
                    f"of the first {ENDLESS_STEPS:,} steps"
                )
            return Evaluation(exact.returns, np.full(num_seeds, np.nan))
        if self._grid is None:
            self._grid = self._environment.grid(
                self._streams,
                self._num_episodes,
                kind=self._kind,
                purpose="evaluation",
                autoreset=False,
                make_copies=self._make_copies,
            )
        if limits is None:
            limits = evaluation_limits(self._environment, np.zeros(num_seeds, dtype=np.int64))
        played = play(actor, self._grid, max_steps=limits, seeds=seeds, stop=stop)
        if played.stopped_early.any():
            self.remark = early_stop_remark(limits)
        return Evaluation(played.returns.mean(axis=1), played.returns.std(axis=1))

    def close(self) -> None:
        """Close the environments."""
        if self._grid is not None:
            self._grid.close()


def early_stop_remark(limits: Array) -> str:
    """Return a sentence without its subject on episodes that evaluation stopped."""
    steps = " or ".join(f"{limit:,}" for limit in sorted({int(limit) for limit in limits}))
    return (
        f"states no time limit, and evaluation stopped episodes after {steps} steps: their returns "
        "are up to there. Wrap it in gymnasium.wrappers.TimeLimit to choose where they end"
    )


def exact_returns_of(
    actor: Actor,
    environment: Environment,
    num_seeds: int,
    kind: str,
    *,
    returns: Callable[[Actor, TabularMDP, int], ExactReturns | None] = exact_returns,
) -> ExactReturns | None:
    """Return the exact returns of policies, or None if the model is not known or not used."""
    if kind == "gymnasium" or environment.mdp is None:
        return None
    return returns(actor, environment.mdp, num_seeds)


def play_many(
    actor: Actor,
    environment: Environment,
    streams: Sequence[SeedStreams],
    num_episodes: int,
    *,
    kind: str,
    limits: Array | None = None,
    at_once: int = 50,
    reward: Callable[[Transition], Array] | None = None,
    purpose: str = "evaluation",
) -> Episodes:
    """Play any number of episodes per seed, a few at a time if each environment is an object.

    Args:
        actor: the policies.
        environment: what to play.
        streams: the streams of each seed.
        num_episodes: of each seed.
        kind: how the environments are stepped.
        limits: the steps after which an episode of each seed is stopped, [S].
        at_once: the episodes of a seed that are played side by side.
        reward: (transition) -> [S, N], that the policies were trained on, as for `play`.
        purpose: of the streams from which the episodes are drawn.

    Returns:
        the episodes, [S, num_episodes]; the first are those of the evaluations in training.
    """
    if limits is None:
        limits = evaluation_limits(environment, np.zeros(len(streams), dtype=np.int64))
    size = min(num_episodes, at_once) if kind == "gymnasium" else num_episodes
    grid = environment.grid(streams, size, kind=kind, purpose=purpose, autoreset=False)
    seeds = [stream.index for stream in streams]
    parts = []
    try:
        for first in range(0, num_episodes, size):
            if first:
                # The streams' positions by now depend on the longest episode of any seed.
                restart(actor, first)
            part = play(actor, grid, max_steps=limits, env_offset=first, seeds=seeds, reward=reward)
            parts.append(part)
    finally:
        apart(grid.close)
    columns = zip(*parts, strict=True)
    joined = [np.concatenate(column, axis=1)[:, :num_episodes] for column in columns]
    return Episodes(*joined)


def restart(actor: Actor, *part: int) -> None:
    """Restart the random streams of an actor that has any, with those of a part."""
    begin = ActorTraits.of(actor).restart
    if begin is not None:
        begin(*part)


def evaluation_limits(environment: Environment, longest_episode: Array) -> Array:
    """Return the steps after which evaluation stops the episodes of each seed, [S].

    That is the environment's own time limit if it states one. Otherwise an episode may end late or
    never, and only training can show it: once an episode of the seed has ended, the limit is
    `PATIENT_STEPS`, or twice the longest episode that ended; before that, `ENDLESS_STEPS`.

    Args:
        longest_episode: the steps of the longest episode that ended in training, 0 if none did,
            [S].
    """
    limit = environment.probe.time_limit
    if limit is not None:
        return np.full(len(longest_episode), limit)
    patient = np.maximum(PATIENT_STEPS, 2 * longest_episode)
    limits: Array = np.where(longest_episode > 0, patient, ENDLESS_STEPS)
    return limits
