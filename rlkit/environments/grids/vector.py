"""Copies of an environment in vector environments that others made, one for each seed.

The episodes of a vector environment are begun one by one with `reset(seed=..., options=
{"reset_mask": ...})`, whatever its autoreset mode: then each has the integer of its own, as single
environments have, so the bytes are the same in all modes. Not all can do that, and `reason_against`
tries it out.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from rlkit.environments.batch_env import Array
from rlkit.environments.copies import close_env
from rlkit.environments.grids.singles import (
    autoreset_mode,
    batched,
    final_observation,
    five_results,
    made_vector,
    per_copy,
    rows_of,
)
from rlkit.environments.stepping.checked import (
    Outcome,
    Problem,
    Start,
    checked_flags,
    raised,
    require_finite,
)
from rlkit.environments.stepping.local import Ask, CopyProblem, LocalCopies
from rlkit.environments.stepping.states import SavedState
from rlkit.environments.views.actions import ActionLayout
from rlkit.environments.views.observations import ObservationEncoder
from rlkit.errors import RlkitWarning
from rlkit.processes.calls import CALLS, RESET, STEP, describe

_TRIED_STEPS, _TRIED_COPIES = 200, 3
_PATIENCE = 1.0  # seconds after which a slow environment has been tried enough


class VectorCopies:
    """Copies in vector environments of equal size.

    Args:
        make: returns a vector environment of `num_envs` copies.
        number: of copies.
        size: copies of each vector environment, a divisor of `number`.
        name: of the environment, for messages.
    """

    def __init__(self, make: Callable[..., Any], number: int, size: int, name: str) -> None:
        self.name, self._size = name, size
        self.offers_state = False  # the copies of a vector environment share one
        self._vectors = [_Vector(make, size, name) for _ in range(number // size)]
        self.observation_space = self._vectors[0].encode.space
        self.action_space = self._vectors[0].env.single_action_space

    def reset(self, seeds: Mapping[int, int], ask: Ask) -> Iterator[tuple[int, Start]]:
        for v, first, share in self._shares(seeds):
            _ask(ask)
            with_seeds = {n: seeds[first + n] for n in share}
            for n, obs in _placed(first, share, partial(v.reset, with_seeds)).items():
                yield first + n, Start(obs)

    def step(self, actions: Mapping[int, Any], ask: Ask) -> Iterator[tuple[int, Outcome]]:
        for v, first, share in self._shares(actions):
            _ask(ask)
            given = {n: actions[first + n] for n in share}
            for n, outcome in _placed(first, share, partial(v.step, given)).items():
                yield first + n, outcome

    def replay(
        self, episodes: Mapping[int, tuple[int, Sequence[Any]]], ask: Ask
    ) -> Iterator[tuple[int, Start]]:
        """Play episodes again so that all end together: shorter ones begin later."""
        for v, first, share in self._shares(episodes):
            own = {n: episodes[first + n] for n in share}
            longest = max(len(actions) for _, actions in own.values())
            obs = _placed(first, share, partial(v.reset, {n: seed for n, (seed, _) in own.items()}))
            for t in range(longest):
                _ask(ask)
                late = {n: longest - len(actions) for n, (_, actions) in own.items()}
                begin = {n: own[n][0] for n in share if late[n] == t and t > 0}
                if begin:
                    obs |= _placed(first, share, partial(v.reset, begin))
                now = {n: own[n][1][t - late[n]] for n in share if late[n] <= t}
                stepped = _placed(first, share, partial(v.step, now))
                obs |= {n: outcome.obs for n, outcome in stepped.items()}
            # Those of no step begin last.
            begin = {n: seed for n, (seed, actions) in own.items() if not len(actions)}
            if begin and longest:
                obs |= _placed(first, share, partial(v.reset, begin))
            for n in share:
                yield first + n, Start(obs[n])

    def save(self, copies: Sequence[int], ask: Ask) -> Iterator[tuple[int, bytes]]:
        """Yield nothing: no states are offered."""
        yield from ()

    def restore(self, states: Mapping[int, SavedState], ask: Ask) -> Iterator[tuple[int, bytes]]:
        """Yield nothing: there are no states."""
        yield from ()

    def close(self) -> None:
        for vector in self._vectors:
            vector.close()

    def _shares(self, copies: Mapping[int, Any]) -> Iterator[tuple[_Vector, int, list[int]]]:
        """Yield each vector environment, its first copy, and the positions of the given ones."""
        for k, vector in enumerate(self._vectors):
            first = k * self._size
            share = [n for n in range(self._size) if first + n in copies]
            if share:
                yield vector, first, share


def _ask(ask: Ask) -> None:
    if ask is not None:
        ask()


def _placed(first: int, share: Sequence[int], call: Callable[[], dict[int, Any]]) -> dict[int, Any]:
    """Call; raise a problem as that of its copy, or of the first one if it is of all."""
    try:
        return call()
    except _ProblemOf as error:
        raise CopyProblem(first + error.position, error.problem) from error.problem.__cause__
    except Problem as problem:
        raise CopyProblem(first + share[0], problem) from problem.__cause__


class _ProblemOf(Exception):
    """What went wrong in the copy at a position."""

    def __init__(self, position: int, problem: Problem) -> None:
        super().__init__(position, problem)
        self.position, self.problem = position, problem


class _Vector:
    """One vector environment, its results checked and separated by copy."""

    def __init__(self, make: Callable[..., Any], size: int, name: str) -> None:
        self.env = made_vector(make, size, name)
        self._name = name
        self._mode = autoreset_mode(self.env, name)
        self.encode = ObservationEncoder(self.env.single_observation_space)
        self._layout = ActionLayout(self.env.single_action_space)
        self._size = size
        self._seeds = [0] * size
        # Copies whose episode has ended, and which nobody has reset since.
        self._over: set[int] = set()

    def reset(self, seeds: Mapping[int, int]) -> dict[int, Array]:
        """Begin episodes of some copies."""
        for n, seed in seeds.items():
            self._seeds[n] = seed
        self._over.difference_update(seeds)
        options: dict[str, Any] | None = None
        if len(seeds) < self._size:
            mask = np.zeros(self._size, dtype=np.bool_)
            mask[list(seeds)] = True
            options = {"reset_mask": mask}  # a new one each time: the environment may empty it
        call = f"reset(seed={self._seeds}, options={options})"
        all_seeds: Any = list(self._seeds)
        try:
            CALLS.begin(RESET)
            obs, _ = self.env.reset(seed=all_seeds, options=options)
            CALLS.end()
        except BaseException as error:
            raise raised(call, error, self._all) from error
        rows = self._rows(obs)
        return {n: self._encoded(n, rows[n]) for n in seeds}

    @property
    def _all(self) -> str:
        return f" (of all {self._size} copies together)"

    def step(self, actions: Mapping[int, Any]) -> dict[int, Outcome]:
        """Take a step in some copies; the others, which nobody looks at, do anything."""
        idle = {n: self._seeds[n] for n in self._over}
        if idle:  # what a step does to them is not defined
            self.reset(idle)
        own = [self._layout.to_env(actions.get(n, self._nothing)) for n in range(self._size)]
        batch = batched(self.env, own)
        try:
            CALLS.begin(STEP)
            result = self.env.step(batch)
            CALLS.end()
        except BaseException as error:
            raise raised(f"step({describe(batch)})", error, self._all) from error
        try:
            return self._outcomes(result, actions)
        except (Problem, _ProblemOf):
            raise
        except BaseException as error:
            raise raised("reading what step returned", error, self._all) from error

    def _outcomes(self, result: Any, actions: Mapping[int, Any]) -> dict[int, Outcome]:
        obs, *parts, info = five_results(result)
        names = ("rewards", "terminations", "truncations")
        rewards, terminated, truncated = (
            per_copy(part, self._size, what) for part, what in zip(parts, names, strict=True)
        )
        rows = self._rows(obs)
        outcomes = {}
        for n in range(self._size):
            try:
                one = checked_flags(rewards[n], terminated[n], truncated[n])
                if one[1] or one[2]:
                    self._over.add(n)
                if n not in actions:
                    continue
                require_finite(one[0])
                last = self._mode == AutoresetMode.SAME_STEP and (one[1] or one[2])
                row = final_observation(self.env, info, n) if last else rows[n]
            except Problem as problem:
                raise _ProblemOf(n, problem) from problem
            outcomes[n] = Outcome(self._encoded(n, row), *one)
        return outcomes

    @property
    def _nothing(self) -> Any:
        """An action that each space has."""
        return np.zeros(self._layout.shape, self._layout.dtype)

    def _rows(self, obs: Any) -> list[Any]:
        try:
            return rows_of(self.env, obs)
        except BaseException as error:
            raise raised("separating the observations", error, self._all) from error

    def _encoded(self, n: int, row: Any) -> Array:
        try:
            encoded = self.encode(row)
        except ValueError as error:
            raise _ProblemOf(n, Problem(f"the observation{error}", is_fault=True)) from error
        except BaseException as error:
            raise _ProblemOf(n, raised("reading the observation", error)) from error
        return encoded.copy()  # some vector environments return one buffer each time

    def close(self) -> None:
        close_env(self.env, f"the vector environment {self._name}")


def reason_against(
    make: Callable[..., Any], make_one: Callable[[], gym.Env[Any, Any]], name: str
) -> str | None:
    """Return why copies cannot be stepped together, None where they can.

    The same episodes are played together and one by one, and must agree to the last bit.
    """
    try:
        together = VectorCopies(make, _TRIED_COPIES, _TRIED_COPIES, name)
        alone = LocalCopies(make_one, _TRIED_COPIES)
    except Exception as error:
        return f"making {_TRIED_COPIES} copies at once raised {describe(error)}"
    try:
        return _first_disagreement(together, alone)
    except CopyProblem as error:
        return f"beginning episodes one by one failed: {error.problem}"
    finally:
        with warnings.catch_warnings():  # training warns about what close raises
            warnings.simplefilter("ignore", RlkitWarning)
            together.close()
            alone.close()


def _first_disagreement(together: VectorCopies, alone: LocalCopies) -> str | None:
    layout, rng = ActionLayout(together.action_space), np.random.default_rng(0)
    began = time.monotonic()  # the results do not depend on how copies are stepped
    seeds, next_seed = {n: 1000 + n for n in range(_TRIED_COPIES)}, 2000
    for t in range(_TRIED_STEPS):
        if seeds:
            pair = [dict(copies.reset(seeds, None)) for copies in (together, alone)]
            if any(_bytes(pair[0][n].obs) != _bytes(pair[1][n].obs) for n in seeds):
                return (
                    f"an episode that is begun by itself at step {t} has another first observation"
                )
        actions = {n: random_action(layout, rng) for n in range(_TRIED_COPIES)}
        both = [dict(copies.step(actions, None)) for copies in (together, alone)]
        for n in range(_TRIED_COPIES):
            a, b = both[0][n], both[1][n]
            if _bytes(a.obs) != _bytes(b.obs) or a[1:] != b[1:]:
                return f"step {t + 1} has another result than in a copy by itself"
        if t > 40 and time.monotonic() - began > _PATIENCE:
            break
        ended = [n for n, one in both[1].items() if one.terminated or one.truncated]
        # Now and then an episode is given up, as in evaluations and where it never ends.
        ended = ended or ([t % _TRIED_COPIES] if t % 20 == 19 else [])
        seeds = {n: next_seed + n for n in ended}
        next_seed += _TRIED_COPIES
    return None


def _bytes(obs: Array | int) -> bytes:
    return np.asarray(obs).tobytes()


def random_action(layout: ActionLayout, rng: np.random.Generator) -> Array:
    """Return an action drawn uniformly, as agents give it; a tenth beyond the bounds of a Box."""
    low, high = (np.nan_to_num(side, posinf=2.0, neginf=-2.0) for side in layout.bounds)
    margin = 0.05 * (high - low)
    numbers = rng.uniform(low - margin, high + margin)
    choices = (rng.random(len(layout.sizes)) * layout.sizes).astype(np.int64)
    drawn: Array = np.where(layout.sizes > 0, choices, numbers)
    return drawn.reshape(layout.shape).astype(layout.dtype)
