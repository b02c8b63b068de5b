"""Copies of an environment that are stepped one after another in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import gymnasium as gym
from gymnasium import spaces

from rlkit.environments.copies import close_env, env_name, make_copies
from rlkit.environments.stepping.checked import CheckedEnv, Outcome, Problem, Start
from rlkit.environments.stepping.states import SavedState

Argument = TypeVar("Argument")
Result = TypeVar("Result")

# Called now and then; it raises to abandon what is being done.
Ask = Callable[[], None] | None


class CopyProblem(Exception):
    """What went wrong in which copy.

    Args:
        copy: its number.
        problem: what went wrong.
        steps: of a replayed episode: how many of its actions were taken, or None.
    """

    def __init__(self, copy: int, problem: Problem, steps: int | None = None) -> None:
        super().__init__(copy, problem, steps)
        self.copy, self.problem, self.steps = copy, problem, steps


class Copies(Protocol):
    """A number of copies of one environment, wherever they are.

    Each method yields results by the number of the copy, in the order given, and raises a
    `CopyProblem` for a copy that went wrong. If `ask` raises, the copies must be reset.
    """

    name: str
    offers_state: bool  # whether `save` and `restore` can be called

    @property
    def observation_space(self) -> spaces.Space[Any]: ...

    @property
    def action_space(self) -> spaces.Space[Any]: ...

    def reset(self, seeds: Mapping[int, int], ask: Ask) -> Iterator[tuple[int, Start]]:
        """Start an episode in some copies; yield the first observations."""

    def step(self, actions: Mapping[int, Any], ask: Ask) -> Iterator[tuple[int, Outcome]]:
        """Take one step in some copies."""

    def replay(
        self, episodes: Mapping[int, tuple[int, Sequence[Any]]], ask: Ask
    ) -> Iterator[tuple[int, Start]]:
        """Reset some copies and take several actions; yield the last observations."""

    def save(self, copies: Sequence[int], ask: Ask) -> Iterator[tuple[int, bytes]]:
        """Yield the states of some copies."""

    def restore(self, states: Mapping[int, SavedState], ask: Ask) -> Iterator[tuple[int, bytes]]:
        """Set the states of some copies; yield those that they have then."""

    def close(self) -> None:
        """Close all copies."""


class LocalCopies:
    """Copies that are stepped one after another in this process.

    Args:
        make_env: returns a new environment.
        number: of copies.
        action_masks: whether to read their action masks.
    """

    def __init__(
        self, make_env: Callable[[], gym.Env[Any, Any]], number: int, *, action_masks: bool = False
    ) -> None:
        envs = make_copies(make_env, number)
        self.name = env_name(envs[0])
        self._envs = [CheckedEnv(env, self.name, action_masks=action_masks) for env in envs]
        self.observation_space = self._envs[0].observation_space
        self.action_space = self._envs[0].action_space
        self.offers_state = self._envs[0].offers_state

    def reset(self, seeds: Mapping[int, int], ask: Ask) -> Iterator[tuple[int, Start]]:
        for i, seed in seeds.items():
            yield i, _called(i, self._envs[i].reset, seed, ask)

    def step(self, actions: Mapping[int, Any], ask: Ask) -> Iterator[tuple[int, Outcome]]:
        for i, action in actions.items():
            yield i, _called(i, self._envs[i].step, action, ask)

    def replay(
        self, episodes: Mapping[int, tuple[int, Sequence[Any]]], ask: Ask
    ) -> Iterator[tuple[int, Start]]:
        for i, (seed, actions) in episodes.items():
            now = _called(i, self._envs[i].reset, seed, ask, 0)
            for steps, action in enumerate(actions, start=1):
                outcome = _called(i, self._envs[i].step, action, ask, steps)
                now = Start(outcome.obs, outcome.action_mask)
            yield i, now

    def save(self, copies: Sequence[int], ask: Ask) -> Iterator[tuple[int, bytes]]:
        for i in copies:
            yield i, _called(i, lambda env: env.save(), self._envs[i], ask)

    def restore(self, states: Mapping[int, SavedState], ask: Ask) -> Iterator[tuple[int, bytes]]:
        for i, saved in states.items():
            yield i, _called(i, self._envs[i].restore, saved, ask, 0)

    def close(self) -> None:
        envs, self._envs = self._envs, []
        close_all(envs)


def close_all(envs: Iterable[CheckedEnv]) -> None:
    """Close environments; what they raise are warnings."""
    for one in envs:
        close_env(one.env, f"environment {env_name(one.env)}")


def _called(
    copy: int,
    function: Callable[[Argument], Result],
    argument: Argument,
    ask: Ask,
    steps: int | None = None,
) -> Result:
    if ask is not None:
        ask()
    try:
        return function(argument)
    except Problem as problem:
        raise CopyProblem(copy, problem, steps) from problem.__cause__
