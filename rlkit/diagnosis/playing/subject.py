"""One copy of an environment, whose calls are timed and whose faults name step and action."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from rlkit.diagnosis.findings import Fault, Findings
from rlkit.diagnosis.playing.actions import ActionSource
from rlkit.diagnosis.playing.outcomes import Episode, Outcome, short
from rlkit.diagnosis.playing.results import ResultCheck
from rlkit.environments.environment import Environment
from rlkit.environments.spaces import spaces_of
from rlkit.environments.stepping.checked import Problem, raised
from rlkit.errors import UsageError
from rlkit.processes.calls import CALLS, CLOSE, RESET, STEP, Abandoned, describe

Array = NDArray[Any]


class _Step(NamedTuple):
    """Names a step in messages, which are few, so that steps need no text."""

    number: int
    episode: str
    action: Any

    def __str__(self) -> str:
        return f"step {self.number} after {self.episode}, with the action {short(self.action)},"


@contextlib.contextmanager
def _reading(place: object) -> Iterator[None]:
    """Report what the parts of a result raise when they are read.

    Raises:
        Fault: they raised something.
    """
    try:
        yield
    except Fault:
        raise
    except BaseException as error:
        text = raised(f"reading what {place} returned", error).text
        raise Fault("unreadable", f"{text}.") from error


class Subject:
    """One copy of an environment.

    Args:
        environment: what it is a copy of.
        findings: where faults of what it returns are reported.

    Raises:
        Fault: it cannot be built.
    """

    def __init__(self, environment: Environment, findings: Findings) -> None:
        self.findings = findings
        self._episode = "reset()"
        began = time.perf_counter()
        try:
            env = environment.make()
        except UsageError as error:
            abandoned = isinstance(error.__cause__, Abandoned)
            raise Fault("hangs" if abandoned else "constructor-raises", f"{error}.") from error
        self.build_seconds = time.perf_counter() - began
        if not isinstance(env, gym.Env):
            raise Fault(
                "not-an-environment",
                f"{environment.reference} gives a {type(env).__name__}, expected a gymnasium.Env.",
            )
        self.env: gym.Env[Any, Any] = env
        try:
            self.observation_space, self.action_space = spaces_of(env, environment.name)
        except UsageError as error:
            raise Fault("space-missing", f"{error}.") from error
        self.source: ActionSource | None = None
        self.check: ResultCheck | None = None
        self.mask: Array | None = None
        self.offers_masks = False
        self.reset_seconds: list[float] = []
        self.step_seconds: list[float] = []
        self.watch: Callable[[str], None] = lambda call: None  # called after each reset and step

    def prepare(self) -> None:
        """Make what needs spaces that are supported."""
        self.source = ActionSource(self.action_space)
        self.check = ResultCheck(self.findings, self.observation_space)

    def draw_again(self) -> None:
        """Draw the same random actions again."""
        self.source = ActionSource(self.action_space)

    def reset(self, seed: int | None) -> Outcome:
        """Start an episode.

        Raises:
            Fault: it raised, hangs or returned something other than a pair.
        """
        assert self.source is not None
        assert self.check is not None
        call = "reset()" if seed is None else f"reset(seed={seed})"
        self._episode = call
        options: dict[str, Any] = {} if seed is None else {"seed": seed}
        result = self._called(RESET, call, lambda: self.env.reset(**options), self.reset_seconds)
        with _reading(call):
            outcome, info = self.check.reset(result, call)
            self._read_mask(info, call)
        self.watch("reset")
        return outcome

    def step(self, row: Array, number: int) -> Outcome:
        """Take a step with an action of an agent.

        Args:
            row: the action.
            number: of the step in its episode, from 1.

        Raises:
            Fault: it raised, hangs or returned something that is not the result of a step.
        """
        assert self.source is not None
        assert self.check is not None
        action = self.source.layout.to_env(row)
        before = np.array(action) if isinstance(action, np.ndarray) else None
        place = _Step(number, self._episode, action)
        CALLS.on(0, number)
        result = self._called(STEP, place, lambda: self.env.step(action), self.step_seconds)
        if before is not None and not np.array_equal(action, before):
            place = _Step(number, self._episode, before)
            self.findings.add("action-modified", f"{place} changed it to {short(action)}.")
        with _reading(place):
            outcome, info = self.check.step(result, place)
            if not outcome.terminated:
                self._read_mask(info, place)
        self.watch("step")
        return outcome

    def _called(
        self, kind: int, call: object, function: Callable[[], Any], seconds: list[float]
    ) -> Any:
        began = time.perf_counter()
        try:
            CALLS.begin(kind)
            result = function()
            CALLS.end()
        except BaseException as error:
            text = raised(str(call), error).text
            if isinstance(error, Abandoned):
                raise Fault("hangs", f"{text}.") from error
            code = "step-raises" if kind == STEP else "reset-raises"
            if kind == RESET and isinstance(error, TypeError) and "seed" in str(error):
                code = "reset-signature"
            if kind == RESET and call == "reset()":
                code = "reset-without-seed"
            raise Fault(code, f"{text}.") from error
        seconds.append(time.perf_counter() - began)
        return result

    def _read_mask(self, info: Any, place: object) -> None:
        assert self.source is not None
        try:
            self.mask = self.source.mask_of(self.env, info)
        except ValueError as error:
            self.mask = None
            self.findings.add("mask-invalid", f"{place}: {error}.")
        except Exception as error:
            self.mask = None
            self.findings.add("mask-invalid", f"reading the mask raised {describe(error)}.")
        self.offers_masks |= self.mask is not None

    def play(
        self, seed: int | None, rows: Iterable[Array] | None, *, most: int, until: float
    ) -> Episode:
        """Play one episode, at most for a number of steps and to a moment.

        Args:
            seed: of the reset; None = without one.
            rows: the actions; None = random ones.
            most: steps.
            until: of `time.perf_counter`.
        """
        assert self.source is not None
        given = None if rows is None else iter(rows)
        episode = Episode(seed, [], [self.reset(seed)])
        while episode.length < most and not episode.has_ended and time.perf_counter() < until:
            row = self.source.draw(self.mask) if given is None else next(given, None)
            if row is None:
                break
            episode.rows.append(row)
            episode.outcomes.append(self.step(row, episode.length))
        return episode

    def close(self) -> None:
        """Close it, and report what that raises."""
        try:
            CALLS.begin(CLOSE)
            self.env.close()
            CALLS.end()
        except BaseException as error:
            problem: Problem = raised("close()", error)
            code = "hangs" if isinstance(error, Abandoned) else "close-raises"
            self.findings.add(code, f"{problem.text}.")
