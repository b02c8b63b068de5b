"""Play an environment and record what it does.

Half of the steps are random and half follow the table's best policy, so that common states,
valuable states and late steps of episodes are all visited. The probe cannot get stuck: half of the
random steps are in episodes that are abandoned early, and random play abandons an episode whose
state does not change. Further resets sample the first states. The probe has parts of equal length,
each played in its own given environment.

The numbers of steps and resets, the random numbers of the actions and the seeds of the resets are
fixed: an environment gets the same probe every time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Discrete
from numpy.typing import NDArray

from rlkit.processes.calls import describe
from rlkit.tabular.mdp import BoolArray, FloatArray, IntArray, TabularMDP
from rlkit.tabular.operators import bellman_optimality, greedy
from rlkit.tabular.reading.parts import states_of
from rlkit.tabular.reading.published import UnknownModel, call, index, reset

NUM_PARTS = 4
STEPS, RESETS = 5_000, 500  # of a part
SHORT, LONG = 10, 1_000  # steps after which the probe abandons an episode
EXPLORATION = 0.1  # probability of a random action when following the best policy

# Where the first 500 steps (25 resets) take longer than this on average, the parts are shorter.
# Time decides which of the two lengths the parts have, and nothing else. The slowest tenth of the
# calls does not count: other programs may have delayed it.
SLOW_STEP, SLOW_RESET = 5e-4, 5e-3  # seconds
STEP_TRIAL, RESET_TRIAL = 500, 25


class Step(NamedTuple):
    """One step; states and actions are indices from 0."""

    state: int
    action: int
    next_state: int
    reward: float
    terminated: bool
    truncated: bool
    elapsed: int  # steps of the episode before this one
    part: int  # of the probe


@dataclass(frozen=True, kw_only=True, eq=False)
class Record:
    """T steps and R resets, in the order in which they were made."""

    state: IntArray  # [T]
    action: IntArray  # [T]
    next_state: IntArray  # [T]
    reward: FloatArray  # [T]
    terminated: BoolArray  # [T]
    truncated: BoolArray  # [T]
    elapsed: IntArray  # [T], steps of the episode before this one
    part: IntArray  # [T], of the probe
    start: IntArray  # [R], the first states of episodes
    start_part: IntArray  # [R]


def play(envs: Sequence[gym.Env[Any, Any]], mdp: TabularMDP) -> Record:
    """Play one part of the probe in each of these environments.

    Args:
        envs: environments with discrete spaces, one per part; they need not be distinct.
        mdp: the model that they claim to follow.

    Raises:
        UnknownModel: an environment raised, or returned something that no table describes.
    """
    uniform, seeds = _uniform(np.random.default_rng(0)), np.random.default_rng(1)
    best = best_policy(mdp)
    spent = [0] * 4  # steps in each kind of episode
    steps: list[Step] = []
    starts: list[tuple[int, int]] = []
    for part, env in enumerate(envs):

        def begin(env: gym.Env[Any, Any] = env, part: int = part) -> int:
            states = states_of(env.observation_space)
            assert states is not None
            state = reset(env, int(seeds.integers(2**31)), states)
            starts.append((state, part))
            return state

        moves = _moves(env, part, begin, best, mdp.num_actions, uniform, spent)

        def move(moves: Iterator[Step] = moves) -> None:
            steps.append(next(moves))

        if part == 0:
            num_resets = RESET_TRIAL if _seconds(begin, RESET_TRIAL) > SLOW_RESET else RESETS
            _repeat(begin, num_resets - RESET_TRIAL)
            num_steps = slow_steps(mdp) if _seconds(move, STEP_TRIAL) > SLOW_STEP else STEPS
            _repeat(move, num_steps - STEP_TRIAL)
        else:
            _repeat(begin, num_resets)
            _repeat(move, num_steps)
    columns = {
        name: np.array(c) for name, c in zip(Step._fields, zip(*steps, strict=True), strict=True)
    }
    first, first_part = np.array(starts).T
    return Record(**columns, start=first, start_part=first_part)


def slow_steps(mdp: TabularMDP) -> int:
    """Return the steps per part for a slow environment: a quarter of the pairs, 500 to 1,250."""
    return int(np.clip(mdp.num_states * mdp.num_actions // NUM_PARTS, STEP_TRIAL, STEPS // 4))


def best_policy(mdp: TabularMDP) -> IntArray:
    """Return a policy that visits what the best policy visits, `[num_states]`."""
    values = np.zeros(mdp.num_states)
    for _ in range(100):
        values = bellman_optimality(mdp, values, 0.99)
    return greedy(mdp, values, 0.99)


def _repeat(function: Callable[[], object], times: int) -> None:
    for _ in range(times):
        function()


def _seconds(function: Callable[[], object], times: int) -> float:
    """Call a function several times; return the mean of the seconds that nine tenths took."""
    clock = [time.perf_counter()]
    for _ in range(times):
        function()
        clock.append(time.perf_counter())
    return float(np.sort(np.diff(clock))[: -times // 10].mean())


def _uniform(rng: np.random.Generator) -> Iterator[float]:
    while True:
        yield from rng.random(4096).tolist()


def _moves(
    env: gym.Env[Any, Any],
    part: int,
    begin: Callable[[], int],
    best: NDArray[np.int64],
    num_actions: int,
    uniform: Iterator[float],
    spent: list[int],
) -> Iterator[Step]:
    """Yield the steps of endless episodes, each of the kind with the fewest steps so far."""
    states, actions = states_of(env.observation_space), env.action_space
    assert states is not None
    assert isinstance(actions, Discrete)
    first_action = int(actions.start)
    policy = best.tolist()
    while True:
        kind = spent.index(min(spent))
        explores = 1.0 if kind < 2 else EXPLORATION
        length = SHORT if kind == 0 else LONG
        state, elapsed, still, is_last = begin(), 0, 0, False
        while not is_last and elapsed < length and (kind > 1 or still < SHORT):
            random = next(uniform) < explores
            action = int(next(uniform) * num_actions) if random else policy[state]
            result = call("step", env.step, action + first_action)
            reward, terminated, truncated = _outcome(result)
            successor = index(result[0], states, "step")
            yield Step(state, action, successor, reward, terminated, truncated, elapsed, part)
            still = still + 1 if successor == state else 0
            state, elapsed, is_last = successor, elapsed + 1, terminated or truncated
            spent[kind] += 1


def _outcome(result: Any) -> tuple[float, bool, bool]:
    """Return the reward, `terminated` and `truncated` of a result of `step`."""
    if not (isinstance(result, tuple) and len(result) == 5):
        raise UnknownModel(
            f"step returned {describe(result)}, expected (observation, reward, terminated, "
            "truncated, info)"
        )
    _, reward, terminated, truncated, _ = result
    if type(reward) is not float:
        array = np.asarray(reward)
        if array.shape != () or array.dtype.kind not in "biuf":
            raise UnknownModel(f"step returned the reward {describe(reward)}, expected a number")
        reward = float(array)
    flags = []
    for name, flag in (("terminated", terminated), ("truncated", truncated)):
        if type(flag) is not bool:
            array = np.asarray(flag)
            if array.shape != () or array.dtype.kind not in "biu":
                raise UnknownModel(f"step returned {name}={describe(flag)}, expected a bool")
        flags.append(bool(flag))
    return reward, flags[0], flags[1]
