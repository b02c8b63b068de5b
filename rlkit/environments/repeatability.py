"""Whether an environment is repeatable: determined by its seeds and actions, and by nothing else.

An episode should be determined by the integer that resets it and by the actions, and copies should
not affect each other. Anything else (running statistics, counters over resets, maps drawn in a
constructor, global generators, shared objects) makes scores drift, lets seeds depend on each other,
or gives other numbers after an interruption.
"""

from __future__ import annotations

import contextlib
import functools
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.environments.views.actions import ActionLayout
from rlkit.environments.views.masks import nearest_allowed
from rlkit.errors import RlkitError, UsageError
from rlkit.seeding import SeedStreams

Array = NDArray[Any]
Make = Callable[[], gym.Env[Any, Any]]

NUM_STEPS = 100  # of a trajectory that is repeated
PATIENCE = 0.3  # seconds after which the trajectory of a slow environment is long enough


@dataclass(frozen=True)
class Repeatability:
    """Whether an environment is determined by its seeds and actions, as far as was tested.

    Args:
        problem: one sentence on an observed difference that is not; None where there was none.
    """

    problem: str | None = None

    @property
    def reproducible(self) -> bool:
        """Return whether a repeated run gives the same bytes, as far as was tested."""
        return self.problem is None


def check_repeatability(
    make: Make, reference: str, *, seed: int = 0, action_masks: bool = False
) -> Repeatability:
    """Play the same seeds and actions again: on the same copy, on another, and beside another.

    Three or four copies are built, and at most a few hundred steps are taken. A fault of `reset` or
    `step` ends the check; training reports it for the seeds that it affects.

    Args:
        make: returns a copy.
        reference: the name of the environment in messages.
        seed: of the episodes and actions.
        action_masks: whether only allowed actions are taken.

    Raises:
        UsageError: the copies are not separate environments.
    """
    try:
        problem = _compare_trajectories(make, seed, action_masks)
    except UsageError:
        raise
    except RlkitError as error:
        return Repeatability(could_not_check(reference, str(getattr(error, "message", error))))
    return Repeatability(None if problem is None else f"{reference} {problem}")


def could_not_check(reference: str, problem: str) -> str:
    """Return the sentence that a problem kept the check from its end."""
    return (
        f"{reference}: whether it is reproducible could not be checked, because playing it "
        f"failed: {problem}"
    )


def _compare_trajectories(make: Make, seed: int, action_masks: bool) -> str | None:
    open_grid = functools.partial(_open_grid, action_masks=action_masks)
    seeds = (SeedStreams(seed, 0), SeedStreams(seed, 1))
    globals_before = GlobalGenerators()
    with open_grid(make, seeds[:1]) as alone:
        actions = _random_actions(alone.action_space, seed)
        first, drawn, touched = _play(alone, actions, globals_before, patience=PATIENCE)
        actions = actions[: len(first) - 1]
        again = _play(alone, actions, globals_before)[0]
        keeps_states = alone.keeps_states
    difference = _difference(first, again)
    if difference is not None:
        if touched:
            return (
                f"draws from the global generator of {touched}: {difference} when the same "
                "episode was played again. Draw from self.np_random, which "
                "super().reset(seed=seed) seeds. The run is not reproducible"
            )
        return (
            f"is not determined by reset(seed=...) and the actions: {difference} when the same "
            "episode was played again on the same copy. Something outlives the episode or is not "
            "seeded (a counter of resets, running statistics, a generator of its own, the clock). "
            "Scores may drift for this reason alone, and the run is not reproducible"
        )
    with open_grid(make, seeds) as together:
        beside = _play(together, actions, globals_before)[0]
    difference = _difference(first, beside)
    if difference is None:
        if drawn:
            return (
                f"draws from the global generator of {drawn}, which copies share and a resumed "
                "run does not restore. Draw from self.np_random, which super().reset(seed=seed) "
                "seeds. The run is not reproducible"
            )
        return _compare_states(open_grid, make, seeds[:1], actions) if keeps_states else None
    with open_grid(make, seeds[:1]) as other:
        difference_of_copies = _difference(first, _play(other, actions, globals_before)[0])
    if difference_of_copies is not None:
        return (
            f"differs from copy to copy: {difference_of_copies} in another copy reset with the "
            "same seed. Its constructor probably draws something at random, such as a map; pass "
            "it in env_args, or draw it in reset from self.np_random. Each copy is a different "
            "environment, evaluation uses other copies than training, and the run is not "
            "reproducible"
        )
    source = f"the global generator of {touched}" if touched else "an object"
    return (
        f"has copies that disturb each other: {difference} while a second copy was stepped beside "
        f"it. They share {source}; the result of a seed then depends on the other seeds, and the "
        "run is not reproducible"
    )


def _compare_states(
    open_grid: Callable[..., contextlib.AbstractContextManager[GymBatchEnv]],
    make: Make,
    streams: tuple[SeedStreams, ...],
    actions: list[Array],
) -> str | None:
    """Give the state of one copy to another in the middle of an episode, and play both on."""
    middle = len(actions) // 2
    with open_grid(make, streams) as one, open_grid(make, streams) as other:
        one.reset()
        for action in actions[:middle]:
            one.step(action[None])
        one.long_episode = 0
        other.load_state_dict(one.state_dict())
        difference = None if other.exact_resume else "get_state returned another state"
        if difference is None:
            difference = _difference(*(_continued(grid, actions[middle:]) for grid in (one, other)))
    if difference is None:
        return None
    return (
        f"offers its state, but set_state does not bring it back: {difference} in a copy that was "
        "given the state of another. Resuming a long episode would change it. A state must hold "
        "everything that the future depends on, such as self.np_random.bit_generator.state; or "
        "remove get_state, and episodes are played again from their start"
    )


def _continued(grid: GymBatchEnv, actions: list[Array]) -> list[tuple[Array, ...]]:
    """Return what one seed observes from where it stands on."""
    first: list[tuple[Array, ...]] = [(grid.obs[0],)]
    steps = (grid.step(action[None]) for action in actions)
    return first + [tuple(np.array(part[0]) for part in step) for step in steps]


@contextlib.contextmanager
def _open_grid(
    make: Make, streams: tuple[SeedStreams, ...], *, action_masks: bool
) -> Iterator[GymBatchEnv]:
    grid = GymBatchEnv(make, streams, 1, action_masks=action_masks)
    try:
        yield grid
    finally:
        with contextlib.suppress(Exception, Warning):
            grid.close()


def _random_actions(space: spaces.Space[Any], seed: int) -> list[Array]:
    rng = np.random.default_rng(seed)
    if isinstance(space, spaces.Discrete):
        return list(rng.integers(int(space.n), size=(NUM_STEPS, 1)))
    if isinstance(space, spaces.Box):
        uniform = rng.random((NUM_STEPS, 1, *space.shape))
        return list(_between(space.low, space.high, uniform))
    layout = ActionLayout(space)
    uniform = rng.random((NUM_STEPS, 1, *layout.shape))
    numbers = _between(*layout.bounds, uniform)
    chosen = np.where(layout.sizes > 0, np.floor(uniform * layout.sizes), numbers)
    return list(chosen.astype(layout.dtype))


def _between(low: Array, high: Array, uniform: Array) -> Array:
    """Return numbers between bounds, and in an interval of length 2 where there are none."""
    low = np.where(np.isfinite(low), low, -1.0)
    high = np.where(np.isfinite(high), high, np.maximum(low + 2.0, 1.0))
    numbers: Array = low + uniform * (high - low)
    return numbers


def _play(
    grid: GymBatchEnv,
    actions: list[Array],
    generators: GlobalGenerators,
    *,
    patience: float = float("inf"),
) -> tuple[list[tuple[Array, ...]], str, str]:
    """Play from episode 0 on.

    Returns:
        What the first seed observed, the global generators that steps alone advanced (a reset may
        seed them, which is no fault), and those that resets or steps advanced.
    """
    started, layout = time.perf_counter(), ActionLayout(grid.action_space)
    generators.moved()
    seen: list[tuple[Array, ...]] = [(grid.reset()[0].copy(),)]
    touched, drawn = generators.moved(), set[str]()
    for action in actions:
        actions_of_all = np.stack([action] * grid.num_seeds)
        if grid.action_masks is not None:
            actions_of_all = nearest_allowed(actions_of_all, grid.action_masks, layout)
        stepped = grid.step(actions_of_all)
        seen.append(tuple(np.array(part[0]) for part in stepped))
        moved = generators.moved()
        touched |= moved
        if not (stepped.terminated | stepped.truncated).any():
            drawn |= moved
        if len(seen) > 3 and time.perf_counter() - started > patience:
            break
    return seen, " and ".join(sorted(drawn)), " and ".join(sorted(touched))


_PARTS = ("reward", "terminated", "truncated", "observation", "observation")


def _difference(first: list[tuple[Array, ...]], again: list[tuple[Array, ...]]) -> str | None:
    """Describe the first difference between two trajectories; return None if they are equal."""
    for step, (a, b) in enumerate(zip(first, again, strict=True)):
        names = ("first observation",) if step == 0 else _PARTS
        for name, x, y in zip(names, a, b, strict=True):
            if x.tobytes() != y.tobytes():
                when = "" if step == 0 else f" at step {step}"
                return f"the {name}{when} was {_short(y)} and not {_short(x)}"
    return None


def _short(value: Array) -> str:
    text = np.array2string(np.squeeze(value), precision=6, threshold=8, edgeitems=2)
    return " ".join(text.split())


class GlobalGenerators:
    """Detects whether the process's global random generators have advanced."""

    def __init__(self) -> None:
        self._before: dict[str, int] = {}
        self._before = self._states()

    def _states(self) -> dict[str, int]:
        state: Any = np.random.get_state()  # noqa: NPY002  read, not used
        states = {
            "numpy.random": hash((state[1].tobytes(), *state[2:])),
            "random": hash(random.getstate()),
        }
        torch = sys.modules.get("torch")
        if torch is not None:
            if "torch" not in self._before:  # imported since: compare with a generator just seeded
                fresh = torch.Generator().manual_seed(torch.initial_seed())
                self._before["torch"] = hash(fresh.get_state().numpy().tobytes())
            states["torch"] = hash(torch.get_rng_state().numpy().tobytes())
        return states

    def moved(self) -> set[str]:
        """Return the names of the generators that advanced since the previous call."""
        before, self._before = self._before, self._states()
        return {name for name, state in self._before.items() if before[name] != state}
