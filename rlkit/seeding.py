"""The tree of random streams: experiment seed -> seed index -> purpose -> further keys.

Every random number of a run comes from a stream that is named by its place in this tree. So a seed
draws the same numbers whatever else is computed beside it, and however often it is interrupted. No
global generator is used, and no stream is made by adding numbers to a seed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# The branches of one seed. Every stored result depends on these numbers: append, never renumber.
_PURPOSES = {
    "init": 0,
    "env": 1,
    "action": 2,
    "minibatch": 3,
    "evaluation": 4,  # of environments
    "exploration": 5,  # of actors outside training
    "data": 6,  # demonstrations and preferences drawn from a task
    "dropout": 7,
}

# The purposes that reset episodes, and their bit in the code of a place.
_EPISODE_PURPOSES = {"env": 0, "evaluation": 1}
_EPISODE_BITS = 31

_WORD = (1 << 64) - 1

# (generator, block length) -> the random numbers of a block, [block length, ...]
Draw = Callable[[np.random.Generator, int], NDArray[np.floating]]


@dataclass(frozen=True)
class SeedStreams:
    """All random streams of one seed of an experiment.

    Args:
        experiment_seed: the `--seed` of the experiment, a non-negative integer.
        index: of this seed in the experiment, from 0.
    """

    experiment_seed: int
    index: int

    def _sequence(self, purpose: str, *key: int) -> np.random.SeedSequence:
        return np.random.SeedSequence(
            self.experiment_seed, spawn_key=(self.index, _PURPOSES[purpose], *key)
        )

    def generator(self, purpose: str, *key: int) -> np.random.Generator:
        """Return the generator of a purpose and key."""
        return np.random.Generator(np.random.PCG64(self._sequence(purpose, *key)))

    def integer(self, purpose: str, *key: int) -> int:
        """Return the integer in [0, 2^63) of a purpose and key."""
        return int(self._sequence(purpose, *key).generate_state(1, np.uint64)[0]) >> 1

    def episode_seed(self, purpose: str, env_index: int, episode: int) -> int:
        """Return the integer in [0, 2^31) that resets this episode of this environment.

        Each episode has its own, so the state of an environment in the middle of an episode is
        determined by this integer and the actions since. Every simulator takes 31 bits:
        `np.random.seed` accepts 32, and many C libraries a signed 32-bit integer.

        All places of an experiment whose code fits into 31 bits have different integers: with 10
        seeds of 8 environments, 1,048,576 episodes of each environment, and evaluations of as many
        copies. Beyond that the integers are hashes, distinct up to chance.

        Args:
            purpose: "env" or "evaluation".
            env_index: n, from 0.
            episode: k, from 0.

        Raises:
            KeyError: the purpose resets no episodes.
            ValueError: a number is negative.
        """
        # Training plays few environments for many episodes each, evaluation the reverse.
        few, many = int(env_index), int(episode)
        if purpose == "evaluation":
            few, many = many, few
        bit = _EPISODE_PURPOSES[purpose]
        if min(self.index, few, many) >= 0:
            prefix, num_free = _place_prefix(bit, int(self.index), few)
            if many.bit_length() <= num_free:
                code = prefix << num_free | many
                return _mixed(code, _episode_key(self.experiment_seed), _EPISODE_BITS)
        return self.integer(purpose, env_index, episode) >> (63 - _EPISODE_BITS)


def _place_prefix(purpose: int, index: int, few: int) -> tuple[int, int]:
    """Return the code of a place without its last number, and the number of bits left for that.

    The code is one bit for the purpose, then exponential-Golomb codes of order 3. No code is a
    prefix of another, so two places never share their 31 bits.
    """
    code, num_bits = purpose, 1
    for number in (index, few):
        high = (number >> 3) + 1
        size = high.bit_length()
        code = (code << (2 * size - 1) | high) << 3 | number & 7
        num_bits += 2 * size + 2
    return code, _EPISODE_BITS - num_bits


@functools.lru_cache(maxsize=1024)
def _episode_key(experiment_seed: int) -> tuple[int, int, int]:
    """Return words that make the integers of one experiment differ from those of another."""
    # The streams of seeds have keys of at least two words, so this place belongs to none of them.
    sequence = np.random.SeedSequence(experiment_seed, spawn_key=(_WORD >> 32,))
    a, b, c = sequence.generate_state(3, np.uint32).tolist()
    return a, b, c


def _mixed(number: int, key: tuple[int, int, int], num_bits: int) -> int:
    """Return the image of a number under a permutation of [0, 2^num_bits) that the key selects.

    Neighbours, and images under other keys, look unrelated. It is a permutation because adding a
    constant, multiplying by an odd number and `x ^ x >> k` can each be undone.
    """
    mask = (1 << num_bits) - 1
    half = num_bits // 2
    a, b, c = key
    number = (number + a & mask) * 0x7FEB352D & mask
    number ^= number >> half
    number = (number + b & mask) * 0x046CA68B & mask
    number ^= number >> half
    number = (number + c & mask) * 0x2C1B3C6D & mask
    return number ^ number >> half


def episode_seeder(streams: Sequence[SeedStreams], purpose: str) -> Callable[[int, int, int], int]:
    """Return the function (position s in `streams`, env n, episode) -> episode seed."""
    return lambda s, n, episode: streams[s].episode_seed(purpose, n, episode)


def generator_states(generators: Sequence[np.random.Generator]) -> NDArray[np.uint64]:
    """Return the states of PCG64 generators as integers [S, 6]."""
    rows = []
    for generator in generators:
        state = generator.bit_generator.state
        number, increment = state["state"]["state"], state["state"]["inc"]
        rows.append(
            (
                *(number >> 64, number & _WORD, increment >> 64, increment & _WORD),
                *(state["has_uint32"], state["uinteger"]),
            )
        )
    return np.array(rows, dtype=np.uint64).reshape(len(rows), 6)


def restore_generators(
    generators: Sequence[np.random.Generator], states: NDArray[np.uint64]
) -> None:
    """Put PCG64 generators into the states that `generator_states` returned."""
    for generator, row in zip(generators, states, strict=True):
        a, b, c, d, has_uint32, uinteger = (int(word) for word in row)
        generator.bit_generator.state = {
            "bit_generator": "PCG64",
            "state": {"state": a << 64 | b, "inc": c << 64 | d},
            "has_uint32": has_uint32,
            "uinteger": uinteger,
        }


PCG64_MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645


def advanced(states: NDArray[np.uint64], num_words: int) -> NDArray[np.uint64]:
    """Return the states of PCG64 generators, as `generator_states`, after so many words of 64 bits.

    A word is one step x -> a x + c, so n of them are x -> a^n x + c (a^n - 1) / (a - 1).
    """
    power, sum_of_powers = _powers(num_words)
    moved = states.copy()
    words = []
    for high, low, added_high, added_low, *_ in states.tolist():  # numbers of Python have no bounds
        state = power * (high << 64 | low) + sum_of_powers * (added_high << 64 | added_low)
        words.append((state >> 64 & _WORD, state & _WORD))
    moved[:, :2] = np.array(words, dtype=np.uint64).reshape(-1, 2)
    return moved


@functools.lru_cache(maxsize=64)
def _powers(num_words: int) -> tuple[int, int]:
    """Return a^n and (a^n - 1) / (a - 1) for the multiplier a of PCG64 and n words."""
    a = PCG64_MULTIPLIER
    power = pow(a, num_words, (a - 1) << 128)
    return power, (power - 1) // (a - 1)


def uniform_rows(*shape: int) -> Draw:
    """Return a draw of numbers in [0, 1), `[block length, *shape]`, for `NoiseBlocks`."""
    return functools.partial(_uniform_rows, shape=shape)


def _uniform_rows(
    rng: np.random.Generator, length: int, *, shape: tuple[int, ...]
) -> NDArray[np.floating]:
    return rng.random((length, *shape))


class NoiseBlocks:
    """Random numbers [S, ...] for each step, drawn in blocks of steps for each seed.

    Drawing step by step would cost one call per seed and step. The state consists of those of the
    generators at the start of the current block and the position in it; on loading, the block is
    drawn again.

    Args:
        generators: one per seed.
        draw: (generator, block length) -> array [block length, ...] of that seed.
        block_length: steps per block; it changes the numbers if `draw` mixes kinds of them.
    """

    def __init__(
        self,
        generators: Sequence[np.random.Generator],
        draw: Draw,
        block_length: int,
    ) -> None:
        self._generators = list(generators)
        self._draw = draw
        self._block_length = block_length
        self._next_block()

    def _next_block(self) -> None:
        self._states = generator_states(self._generators)
        columns = [self._draw(generator, self._block_length) for generator in self._generators]
        self._block = np.stack(columns, axis=1)
        self._position = 0
        self._is_drawn = True

    def next(self) -> NDArray[np.floating]:
        """Return the numbers of the next step, [S, ...]."""
        if not self._is_drawn:
            position = self._position
            restore_generators(self._generators, self._states)
            self._next_block()
            self._position = position
        if self._position == self._block_length:
            self._next_block()
        self._position += 1
        row: NDArray[np.floating] = self._block[self._position - 1]
        return row

    @property
    def row(self) -> NDArray[np.floating]:
        """An array of the shape of one seed's numbers of one step."""
        return np.empty_like(self._block[0, 0])

    def words(self) -> NDArray[np.uint64]:
        """Return the states of generators that draw one by one what `next` would return next.

        For draws by `Generator.random` only, which takes 64 bits of the stream for each number.

        Returns:
            [S, 4]: the upper and the lower half of state and increment.
        """
        return advanced(self._states, self._position * self.row.size)[:, :4].copy()

    def skip(self, num_rows: int) -> None:
        """Continue as if `next` had been called so often; as for `generators`."""
        position = self._position + num_rows
        num_blocks = max(0, position - 1) // self._block_length
        if num_blocks:
            num_words = num_blocks * self._block_length * self.row.size
            self._states = advanced(self._states, num_words)
            self._is_drawn = False
        self._position = position - num_blocks * self._block_length

    def state(self) -> NDArray[np.uint64]:
        """Return the state [S, 7]: six words of each generator, then the position in the block."""
        positions = np.full((len(self._generators), 1), self._position, dtype=np.uint64)
        return np.concatenate([self._states, positions], axis=1)

    def load(self, state: NDArray[np.uint64]) -> None:
        """Continue from what `state` returned; all seeds must be at the same position."""
        restore_generators(self._generators, state[:, :6])
        self._next_block()
        self._position = int(state[0, 6])
