"""A short training in memory, and whether its agent beats random actions."""

from __future__ import annotations

import contextlib
import io
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import Actor, Agent
from rlkit.agents import find_agent
from rlkit.determinism import prepared_torch
from rlkit.diagnosis.advice import Plan
from rlkit.environments.environment import Environment
from rlkit.environments.stepping.watchdog import watched
from rlkit.errors import PlayStopped, RlkitError
from rlkit.evaluation import evaluation_limits, exact_returns_of, restart
from rlkit.loop import interact, play
from rlkit.seeding import SeedStreams
from rlkit.training.specification import RunSpec, make_spec

Array = NDArray[Any]

SEEDS = 3
_MOST_EPISODES = 600  # of each seed in an evaluation
_MOST_COPIES, _LEAST_COPIES = 20, 2
_EVALUATING = 0.15  # of the seconds, for each of two evaluations
_PATIENCE = 2.0  # times that, for its first episodes
_SURE = 3.0  # standard errors by which most seeds must be better, or 4 by which all together are
_CLOSE = 1e-9


@dataclass(frozen=True)
class Learnability:
    """What came of a short training.

    Args:
        agent: its name.
        learned: whether most seeds beat random actions by more than noise; None = unknown.
        summary: in one or two sentences.
        steps: environment steps of each seed.
        seconds: of training.
        returns: of the policy of each seed after training.
        random_return: of random actions, the mean over seeds.
        problem: what ended it, "" where nothing did.
    """

    agent: str
    learned: bool | None
    summary: str
    steps: int = 0
    seconds: float = 0.0
    returns: tuple[float, ...] = ()
    random_return: float | None = None
    problem: str = ""


class _Trained(NamedTuple):
    steps: int
    updated: bool
    seconds: float
    budget: int
    returns: Array  # [S, M] of episodes, or [S, 1] where they are exact


def try_learning(
    environment: Environment,
    plan: Plan,
    facts: Mapping[str, Any],
    *,
    seconds: float,
    timeout: float,
) -> Learnability:
    """Train an agent for some seconds in memory, and compare it with random actions.

    Args:
        environment: can be played.
        plan: the agent and its settings.
        facts: of the examination.
        seconds: of training and evaluation together.
        timeout: seconds that a call of the environment may take.
    """
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        watched(timeout),
        prepared_torch(),
    ):
        warnings.simplefilter("ignore")
        try:
            find_agent(plan.agent)  # imports it, which is not to count
            return _try(environment, plan, facts, seconds)
        except PlayStopped:
            text = f"{seconds:g} s were too short for an evaluation; give more --seconds."
            return Learnability(plan.agent, None, text)
        except RlkitError as error:
            text = f"The training of {plan.agent} failed: {error}."
            return Learnability(plan.agent, None, text, problem=text)


def _try(
    environment: Environment, plan: Plan, facts: Mapping[str, Any], seconds: float
) -> Learnability:
    began = time.perf_counter()
    arguments = {name: value for name, value in plan.arguments.items() if name != "env_workers"}
    masks = {"action_masks": True} if "action_masks" in arguments else {}
    copies = _num_copies(facts, seconds)
    share = _EVALUATING * seconds
    needed = _seconds_needed(facts)
    if needed > seconds:
        text = f"{seconds:g} s are too short for it: --seconds {needed:.0f} are needed at least."
        return Learnability(plan.agent, None, text)
    floor = _train("random", masks, {}, environment, copies, began, began + share)
    trained = _train(
        *(plan.agent, arguments, plan.options, environment, copies),
        began + seconds - share,
        began + seconds,
    )
    learned = None
    if not trained.updated:
        text = f"{plan.agent} made no update in {trained.steps:,} steps: give more --seconds."
        return Learnability(plan.agent, None, text, trained.steps, trained.seconds)
    if np.ptp([*trained.returns.flat, *floor.returns.flat]) > _CLOSE:
        learned = _is_better(trained.returns, floor.returns)
    returns, random_return = trained.returns.mean(axis=1), float(floor.returns.mean())
    return Learnability(
        plan.agent,
        learned,
        _summary(plan.agent, trained, random_return, learned),
        trained.steps,
        trained.seconds,
        tuple(returns.tolist()),
        random_return,
    )


def _num_copies(facts: Mapping[str, Any], seconds: float) -> int:
    """Return the copies of each seed in an evaluation, whose making takes part of its time."""
    each = facts.get("constructor_seconds") or 0.0
    affordable = int(0.5 * _EVALUATING * seconds / max(SEEDS * each, _CLOSE))
    return max(_LEAST_COPIES, min(_MOST_COPIES, affordable))


def _seconds_needed(facts: Mapping[str, Any]) -> float:
    """Return the seconds that a probe takes at least: two evaluations of a few episodes."""
    length = facts.get("episode_length") or facts.get("time_limit") or 1000
    each = length * (facts.get("step_seconds") or 0.0) + (facts.get("constructor_seconds") or 0.0)
    return float(each * SEEDS * _LEAST_COPIES / _EVALUATING)


def _train(
    name: str,
    arguments: Mapping[str, Any],
    options: Mapping[str, Any],
    environment: Environment,
    copies: int,
    until: float,
    deadline: float,
) -> _Trained:
    """Train an agent to a moment, or to the steps of its preset, and evaluate its policies.

    Raises:
        PlayStopped: no episodes of the evaluation ended until some time after its deadline.
    """
    spec = make_spec(name, environment.reference, options=options, **arguments)
    viewed = environment.seen_as(spec.view)
    streams = tuple(SeedStreams(0, seed) for seed in range(SEEDS))
    kind = spec.stepped_as(viewed)
    grid = viewed.grid(streams, spec.num_envs, kind=kind)
    try:
        agent = spec.build_agent(spec.task(grid, streams, viewed.mdp))
        began = time.perf_counter()
        steps, updated = _interact(agent, grid, spec, until)
        seconds = time.perf_counter() - began
        returns = _returns(agent.actor(), viewed, streams, copies, kind, deadline)
    finally:
        grid.close()
    return _Trained(steps, updated, seconds, spec.num_env_steps, returns)


def _interact(agent: Agent, grid: Any, spec: RunSpec, until: float) -> tuple[int, bool]:
    """Train to a moment; return the environment steps of each seed and whether it updated."""
    count, updated = 0, False
    if until <= time.perf_counter():
        return count, updated
    for _, metrics in interact(agent, grid, spec.num_env_steps // spec.num_envs):
        count += spec.num_envs
        updated |= bool(metrics)
        if time.perf_counter() > until:
            break
    return count, updated


def _returns(
    actor: Actor,
    environment: Environment,
    streams: Sequence[SeedStreams],
    copies: int,
    kind: str,
    deadline: float,
) -> Array:
    """Return the exact return of each seed's policy, [S, 1], or those of episodes, [S, M]."""
    exact = exact_returns_of(actor, environment, len(streams), kind)
    if exact is not None:
        return exact.returns[:, None]
    limits = evaluation_limits(environment, np.zeros(len(streams), dtype=np.int64))
    grid = environment.grid(streams, copies, kind=kind, purpose="evaluation", autoreset=False)
    patience = _PATIENCE * max(0.0, deadline - time.perf_counter())
    latest, parts = deadline + patience, list[Array]()
    try:
        for first in range(0, _MOST_EPISODES, copies):
            if first:
                restart(actor, first)
            with contextlib.suppress(*(PlayStopped,) if parts else ()):
                parts.append(
                    play(
                        *(actor, grid),
                        max_steps=limits,
                        env_offset=first,
                        stop=lambda: time.perf_counter() > latest,
                    ).returns
                )
            if time.perf_counter() > deadline:
                break
    finally:
        grid.close()
    return np.concatenate(parts, axis=1)


def _is_better(returns: Array, floor: Array) -> bool:
    """Return whether policies are better than random actions by more than noise.

    The error of a mean comes from the standard deviation over its episodes; exact returns have
    none.

    Args:
        returns: of episodes of the policies, or exact, [S, M].
        floor: of random actions, likewise.
    """
    mean = float(floor.mean())
    least = _CLOSE * max(1.0, abs(mean))
    own = returns.var(axis=1) / returns.shape[1]
    of_random = floor.var(axis=1).mean() / floor.size
    sure = returns.mean(axis=1) > mean + _SURE * np.sqrt(own + of_random) + least
    error = np.sqrt(own.mean() / len(returns) + of_random)
    together = error > 0 and returns.mean() > mean + (_SURE + 1) * error + least
    return bool(together or sure.sum() > len(returns) / 2)


_VERDICTS = {
    True: "It learns.",
    False: "Not better by more than noise.",
    None: "All policies have the same return, so that there is nothing to compare.",
}


def _summary(agent: str, trained: _Trained, random_return: float, learned: bool | None) -> str:
    returns = trained.returns.mean(axis=1)
    low, high = (f"{value:.4g}" for value in (returns.min(), returns.max()))
    part = "" if trained.steps >= trained.budget else f", of {trained.budget:,} by default"
    span = f"of {low}" if low == high else f"from {low} to {high}"
    return (
        f"{SEEDS} seeds of {agent} have returns {span} after {trained.steps:,} steps each "
        f"({trained.seconds:.0f} s{part}), random actions {random_return:.4g}. {_VERDICTS[learned]}"
    )
