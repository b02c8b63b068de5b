"""The common loop, compiled: an agent on a table in a known finite MDP, one seed at a time.

One text, `_loop`, is compiled for each agent with that agent's own `act` and `learn`. It gives the
same bytes as `rlkit.loop.interact` with the trainer's tracker: the same numbers are drawn from the
same streams, and every sum is in the same order.

An agent offers `Kernels`, as `QLearning` does:

    act(state, obs, noise, actions)                          writes the actions [N]
    learn(state, obs, actions, outcome, metrics)             changes the state, writes the metrics

`state` is a named tuple of numbers and arrays of one seed, `noise` the seed's numbers of the step.
Both are compiled by `rlkit.maths.compiled.part` and must not make arrays.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rlkit.environments.table import TabularBatchEnv
from rlkit.environments.table_kernels import Outcome, Place, Table, step
from rlkit.maths.compiled import compose, in_threads, part
from rlkit.maths.local_arrays import GIVEN_ARRAYS, flat, local_copies
from rlkit.maths.pcg64 import next_state, uniform
from rlkit.seeding import NoiseBlocks
from rlkit.user_code import Origin, is_patched, origin_of_module

Array = NDArray[Any]

# NumPy adds up to so many numbers one after another, and more of them in another order.
MOST_ENVS = 7


class Totals(NamedTuple):
    """What a tracker counts of one seed; changed in place."""

    num_episodes: Array  # [1]
    episode_return: Array  # [N]
    episode_length: Array  # [N]
    longest_episode: Array  # [1]
    learned: Array  # [1]
    episodes: Array  # [3]: number, sum of returns and sum of lengths since the last row
    sums: Array  # [num_metrics]
    numbers: Array  # [num_metrics]


class Buffers(NamedTuple):
    """What the loop works in."""

    obs: Array  # [N]
    noise: Array  # the agent's numbers of one step
    actions: Array  # [N]
    env_noise: Array  # [2, N]
    outcome: Outcome
    metrics: Array  # [num_metrics]


class Kernels(NamedTuple):
    """The compiled functions of an agent; see the module."""

    act: Callable[..., None]
    learn: Callable[..., None]


@runtime_checkable
class CompiledAgent(Protocol):
    """What an agent offers in order to be trained by the compiled loop."""

    kernels: Kernels
    noise: NoiseBlocks  # of `Generator.random`; one row for each step

    def kernel_state(self, s: int, num_steps: int) -> Any | None:
        """Return the state of seed s for so many steps; arrays in it are views of the agent's.

        None asks for the ordinary loop instead.
        """


def _stub(*arguments: Any) -> Any:
    """Stand in the text of the loop for a function that it is compiled with."""
    raise NotImplementedError


act = learn = load_place = store_place = load_totals = store_totals = load_buffers = _stub


def _loop(
    table: Table,
    outer_place: Place,
    env_words: Array,
    state: Any,
    words: Array,
    outer_totals: Totals,
    buffers: Buffers,
    num_steps: int,
) -> None:
    place, totals = load_place(outer_place), load_totals(outer_totals)
    obs, noise, actions, env_noise, outcome, metrics = load_buffers(buffers)
    draws, env_draws = flat(noise), flat(env_noise)
    random, increment = (words[0], words[1]), (words[2], words[3])
    env_random, env_increment = (env_words[0], env_words[1]), (env_words[2], env_words[3])
    for _ in range(num_steps):
        for i in range(draws.shape[0]):
            random = next_state(random, increment)
            draws[i] = uniform(random)
        act(state, obs, noise, actions)
        for i in range(env_draws.shape[0]):
            env_random = next_state(env_random, env_increment)
            env_draws[i] = uniform(env_random)
        step(table, place, actions, env_noise, outcome)
        learn(state, obs, actions, outcome, metrics)
        for n in range(obs.shape[0]):
            obs[n] = place.state[n]
        observe(totals, outcome, metrics)
    store_place(place, outer_place)
    store_totals(totals, outer_totals)


@part
def observe(totals: Totals, outcome: Outcome, metrics: Array) -> None:
    """Add one step, as `rlkit.training.tracker.Tracker.observe` does."""
    ended, returns, lengths = 0, 0.0, 0
    for n in range(outcome.reward.shape[0]):
        totals.episode_return[n] += outcome.reward[n]
        totals.episode_length[n] += 1
        if outcome.terminated[n] or outcome.truncated[n]:
            ended += 1
            returns += totals.episode_return[n]
            lengths += totals.episode_length[n]
            totals.longest_episode[0] = max(totals.longest_episode[0], totals.episode_length[n])
            totals.episode_return[n], totals.episode_length[n] = 0.0, 0
    if ended:
        totals.num_episodes[0] += ended
        totals.episodes[0] += ended
        totals.episodes[1] += returns
        totals.episodes[2] += lengths
    for i in range(metrics.shape[0]):
        if not np.isnan(metrics[i]):
            totals.sums[i] += metrics[i]
            totals.numbers[i] += 1
            totals.learned[0] = True


def _act(state: Any, obs: Array, noise: Array, actions: Array) -> None:
    act(state, obs, noise, actions)


def _learn(state: Any, obs: Array, actions: Array, outcome: Outcome, metrics: Array) -> None:
    learn(state, obs, actions, outcome, metrics)


@functools.cache
def single_steps(kernels: Kernels) -> Kernels:
    """Return an agent's kernels compiled on their own, for its methods in the ordinary loop."""
    # Both beside `learn`: agents share `act`, but not the types of its arguments.
    parts = {"learn": kernels.learn, "act": kernels.act}
    return Kernels(compose(_act, **parts), compose(_learn, **parts))


class CompiledLoop:
    """Trains an agent in the environments of a table, as the ordinary loop would.

    Args:
        agent: offers kernels.
        env: the environments, already reset.
        totals: of each seed.
        count: called with the environment steps of each seed that were taken.
    """

    def __init__(
        self,
        agent: CompiledAgent,
        env: TabularBatchEnv,
        totals: Callable[[int], Totals],
        count: Callable[[int], None],
    ) -> None:
        self._agent, self._env, self._totals, self._count = agent, env, totals, count
        made = [_buffers(env.num_envs, agent.noise.row, totals(s)) for s in range(env.num_seeds)]
        self._buffers = [buffers for _, buffers in made]
        place, buffers = made[0]
        loads = {}
        for name, example in (("place", place), ("totals", totals(0)), ("buffers", buffers)):
            # For one environment: a loop that is compiled for each number would fill the cache.
            copies = local_copies(example) if env.num_envs == 1 else GIVEN_ARRAYS
            loads[f"load_{name}"], loads[f"store_{name}"] = copies
        self._loop = compose(_loop, **agent.kernels._asdict(), **loads)

    def run(self, num_steps: int) -> Array | None:
        """Take so many steps of every environment; seeds are shared by threads.

        Returns:
            what to act on next, [S, N], or None if nothing was done, because the agent asks for
            the ordinary loop.
        """
        states = [self._agent.kernel_state(s, num_steps) for s in range(self._env.num_seeds)]
        if any(state is None for state in states):
            return None
        table, places, env_noise = self._env.compiled()
        noise = self._agent.noise
        work = []
        columns = (places, env_noise.words(), states, noise.words())
        for s, own in enumerate(zip(*columns, strict=True)):
            self._buffers[s].obs[:] = own[0].state
            work.append((table, *own, self._totals(s), self._buffers[s], num_steps))
        in_threads(lambda each: self._loop(*each), work)
        env_noise.skip(num_steps)
        noise.skip(num_steps)
        self._count(num_steps * self._env.num_envs)
        return self._env.obs


def _buffers(num_envs: int, noise: Array, totals: Totals) -> tuple[Place, Buffers]:
    """Return arrays of the shapes that one seed's loop works on."""
    outcome = Outcome(
        reward=np.empty(num_envs),
        terminated=np.empty(num_envs, dtype=np.bool_),
        truncated=np.empty(num_envs, dtype=np.bool_),
        next_obs=np.empty(num_envs, dtype=np.int64),
    )
    obs, actions = np.empty((2, num_envs), dtype=np.int64)
    metrics = np.empty(len(totals.sums))
    place = Place(obs.copy(), obs.copy())
    return place, Buffers(obs, noise, actions, np.empty((2, num_envs)), outcome, metrics)


def compiled_loop(
    agent: Any, env: Any, totals: Callable[[int], Totals], count: Callable[[int], None]
) -> CompiledLoop | None:
    """Return the compiled loop of an agent and its environments, or None if there is none.

    Kernels stand for the methods of the class that lists them. A subclass may have other methods,
    and so may a class or an object in which one was replaced: they take the ordinary loop.
    """
    if not isinstance(agent, CompiledAgent) or not isinstance(env, TabularBatchEnv):
        return None
    cls = type(agent)
    if "kernels" not in vars(cls) or {"act", "learn"} & set(vars(agent)):
        return None
    if origin_of_module(cls.__module__) is Origin.LIBRARY and is_patched(cls):
        return None
    return CompiledLoop(agent, env, totals, count) if env.num_envs <= MOST_ENVS else None
