"""The compiled generator draws NumPy's numbers, from any state."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rlkit.maths.compiled import kernel
from rlkit.maths.pcg64 import next_state, uniform

WORD = (1 << 64) - 1


@kernel
def draw(words: NDArray[np.uint64], numbers: NDArray[np.float64]) -> None:
    state, increment = (words[0], words[1]), (words[2], words[3])
    for i in range(numbers.shape[0]):
        state = next_state(state, increment)
        numbers[i] = uniform(state)
    words[0], words[1] = state


def generator(state: int, increment: int) -> np.random.Generator:
    bits: Any = np.random.PCG64(0)
    bits.state = {**bits.state, "state": {"state": state, "inc": increment}}
    return np.random.Generator(bits)


def words_of(rng: np.random.Generator) -> NDArray[np.uint64]:
    numbers = rng.bit_generator.state["state"]
    halves = [
        f(numbers[name])
        for name in ("state", "inc")
        for f in (lambda x: x >> 64, lambda x: x & WORD)
    ]
    return np.array(halves, dtype=np.uint64)


ALL = (1 << 128) - 1


@pytest.mark.parametrize(
    ("state", "increment"),
    [
        *((0, 1), (1, 1), (ALL, ALL), (0, ALL), (ALL, 1), (WORD, WORD), (WORD << 64, 1 << 64 | 1)),
        *((1 << 127, 1), (1 << 64, 3), (63 << 122, 5)),  # turned by 0 and by 63 bits
    ],
)
def test_the_numbers_and_the_state_are_numpys(state: int, increment: int) -> None:
    rng = generator(state, increment)
    words, numbers = words_of(rng), np.empty(1000)
    draw(words, numbers)
    assert numbers.tobytes() == rng.random(1000).tobytes()
    assert words.tolist() == words_of(rng).tolist()


@pytest.mark.parametrize("seed", range(20))
def test_the_numbers_of_random_states_are_numpys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    words, numbers = words_of(rng), np.empty(50_000)
    draw(words, numbers)
    assert numbers.tobytes() == rng.random(50_000).tobytes()
    assert words.tolist() == words_of(rng).tolist()
