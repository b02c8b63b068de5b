"""The tree of random streams."""

from __future__ import annotations

import ctypes
import itertools
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from scipy import stats

from rlkit.agent import Task
from rlkit.agents.ppo import PPO, PPOConfig
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.loop import interact, play
from rlkit.seeding import (
    NoiseBlocks,
    SeedStreams,
    _episode_key,
    _mixed,
    _place_prefix,
    advanced,
    episode_seeder,
    generator_states,
    restore_generators,
)

PURPOSES = ("init", "env", "action", "minibatch", "evaluation")


# --- the tree -------------------------------------------------------------------------------------


def test_streams_are_the_numpy_seed_sequences_at_their_documented_places() -> None:
    # The places are part of every stored result, so they are written out here once more.
    place = {"init": 0, "env": 1, "action": 2, "minibatch": 3, "evaluation": 4}
    for purpose, number in place.items():
        sequence = np.random.SeedSequence(123, spawn_key=(7, number, 5))
        expected = np.random.Generator(np.random.PCG64(sequence)).random(4)
        actual = SeedStreams(123, 7).generator(purpose, 5).random(4)
        assert actual.tobytes() == expected.tobytes()


def test_streams_do_not_depend_on_the_order_in_which_they_are_requested() -> None:
    def draws(order: tuple[tuple[int, str], ...]) -> dict[tuple[int, str], bytes]:
        return {
            (index, purpose): SeedStreams(3, index).generator(purpose).random(8).tobytes()
            for index, purpose in order
        }

    order = tuple(itertools.product(range(5), PURPOSES))
    assert draws(order) == draws(order[::-1])


def test_no_two_streams_of_an_experiment_draw_the_same_numbers() -> None:
    draws = {
        SeedStreams(e, index).generator(purpose).integers(2**63)
        for e, index, purpose in itertools.product(range(3), range(100), PURPOSES)
    }
    assert len(draws) == 3 * 100 * len(PURPOSES)


def test_an_unknown_purpose_is_rejected() -> None:
    with pytest.raises(KeyError, match="training"):
        SeedStreams(0, 0).generator("training")


def test_integers_are_the_words_of_the_tree_as_stored_runs_have_them() -> None:
    expected = {
        (0, 0, 0, 0): 2874630548581212094,
        (0, 0, 0, 1): 7035072249148854321,
        (3, 5, 0, 12): 1449243400273893461,
        (123, 7, 0, 100000): 3142755922677553856,
    }
    for (experiment, index, *key), value in expected.items():
        assert SeedStreams(experiment, index).integer("dropout", *key) == value
    sequence = np.random.SeedSequence(3, spawn_key=(5, 6, 2))
    word = int(sequence.generate_state(1, np.uint64)[0])
    assert SeedStreams(3, 5).integer("data", 2) == word >> 1


# --- integers that reset episodes -----------------------------------------------------------------


def all_seeds(
    experiment: int, purpose: str, index: int, few: int, length: int
) -> np.ndarray[Any, Any]:
    """The episode seeds of `length` places that differ in the number that grows."""
    prefix, num_free = _place_prefix({"env": 0, "evaluation": 1}[purpose], index, few)
    assert length <= 1 << num_free
    codes = prefix << num_free | np.arange(length)
    return _mixed(codes, _episode_key(experiment), 31)  # type: ignore[arg-type, return-value]


@pytest.mark.trap("T19")
@pytest.mark.long
def test_no_two_episodes_of_a_large_experiment_have_the_same_seed() -> None:
    parts = [all_seeds(0, "env", i, n, 10_000) for i in range(30) for n in range(8)]
    parts += [all_seeds(0, "evaluation", i, 0, 1000) for i in range(30)]
    seeds = np.concatenate(parts).astype(np.uint32)
    assert len(np.unique(seeds)) == 30 * 8 * 10_000 + 30 * 1000
    assert seeds.min() >= 0
    assert seeds.max() < 2**31
    # The arrays above are what the method returns, place by place.
    rng = np.random.default_rng(0)
    for row in rng.integers(30 * 8 + 30, size=200).tolist():
        last = int(rng.integers(1000))
        if row < 240:
            seed = SeedStreams(0, row // 8).episode_seed("env", row % 8, last)
        else:
            seed = SeedStreams(0, row - 240).episode_seed("evaluation", last, 0)
        assert seed == parts[row][last]


def test_codes_of_places_are_distinct_whatever_grows() -> None:
    places = [
        *itertools.product(range(2), range(40), range(40), range(40)),
        *((0, i, n, k) for i in (0, 1, 99) for n in (0, 1, 63) for k in (999, 1000, 1023)),
        *((1, i, k, n) for i in (0, 99) for k in (0, 1) for n in range(60_000, 60_100)),
    ]
    codes = set()
    for purpose, index, few, many in set(places):
        prefix, num_free = _place_prefix(purpose, index, few)
        assert many < 1 << num_free
        codes.add(prefix << num_free | many)
    assert len(codes) == len(set(places))
    assert max(codes) < 2**31


@pytest.mark.parametrize(
    ("num_seeds", "num_envs", "episodes", "copies"),
    [
        (1, 1, 2**22, 2**22),
        (10, 8, 2**20, 2**20),
        (30, 8, 2**18, 2**18),
        (100, 16, 2**14, 2**16),
    ],
)
def test_as_many_episodes_have_a_code_as_the_documentation_says(
    num_seeds: int, num_envs: int, episodes: int, copies: int
) -> None:
    assert 1 << _place_prefix(0, num_seeds - 1, num_envs - 1)[1] == episodes
    assert 1 << _place_prefix(1, num_seeds - 1, 0)[1] == copies
    table = (Path(__file__).parents[1] / "docs" / "seeds.md").read_text()
    assert f"| {num_seeds} | {num_envs} | {episodes:,} | {copies:,} |" in table


@pytest.mark.parametrize("num_bits", [7, 12, 17])
@pytest.mark.parametrize("key", [(0, 0, 0), (2**32 - 1, 5, 77), (123456789, 987654321, 2**31)])
def test_mixing_is_a_permutation_of_all_numbers(num_bits: int, key: tuple[int, int, int]) -> None:
    numbers: Any = np.arange(1 << num_bits)
    assert (np.sort(_mixed(numbers, key, num_bits)) == numbers).all()


def test_mixing_of_31_bits_can_be_undone() -> None:
    # Each step backwards: that one exists for every value shows that no two share a result.
    mask, multipliers = 2**31 - 1, (0x7FEB352D, 0x046CA68B, 0x2C1B3C6D)
    key = _episode_key(7)
    rng = np.random.default_rng(0)
    for number in [0, 1, mask, *rng.integers(2**31, size=500).tolist()]:
        value = _mixed(number, key, 31)
        for word, multiplier in zip(key[::-1], multipliers[::-1], strict=True):
            value ^= value >> 15 ^ value >> 30
            value = value * pow(multiplier, -1, 2**31) - word & mask
        assert value == number


def test_a_place_beyond_the_code_gets_the_upper_bits_of_its_branch() -> None:
    cases = [(0, "env", 0, 2**22), (10**6, "env", 10**6, 0), (2**31, "evaluation", 3, 0)]
    cases += [(0, "evaluation", 2**22, 0), (0, "env", 2**40, 2**40)]
    for index, purpose, n, k in cases:
        streams = SeedStreams(5, index)
        assert streams.episode_seed(purpose, n, k) == streams.integer(purpose, n, k) >> 32
    coded = SeedStreams(5, 0)
    assert coded.episode_seed("env", 0, 2**22 - 1) != coded.integer("env", 0, 2**22 - 1) >> 32
    seeds = {SeedStreams(5, 0).episode_seed("env", 0, 2**22 + k) for k in range(1000)}
    assert len(seeds) == 1000  # a repetition has a chance of 1 in 4000


def test_episode_seeds_stay_as_they_are() -> None:
    expected = {
        ("env", 0, 0, 0, 0): 1247975991,
        ("env", 0, 0, 0, 1): 2136706075,
        ("env", 0, 0, 1, 0): 1027825085,
        ("env", 0, 1, 0, 0): 716805830,
        ("env", 3, 5, 7, 12): 977927846,
        ("env", 123, 7, 100000, 100000): 501455934,
        ("env", 1, 1000, 1000, 1000000): 103505490,
        ("evaluation", 0, 0, 0, 0): 2134010679,
        ("evaluation", 0, 0, 0, 1): 1679359392,
        ("evaluation", 0, 0, 1, 0): 1839335339,
        ("evaluation", 0, 1, 0, 0): 1558932741,
        ("evaluation", 3, 5, 7, 12): 1418903065,
        ("evaluation", 123, 7, 100000, 100000): 1802868220,
        ("evaluation", 1, 1000, 1000, 1000000): 1629828007,
    }
    for (purpose, experiment, index, n, k), value in expected.items():
        assert SeedStreams(experiment, index).episode_seed(purpose, n, k) == value


@pytest.mark.trap("T20")
def test_episode_seeds_are_python_integers_that_generators_and_simulators_take() -> None:
    env = gym.make("CartPole-v1", disable_env_checker=True)
    places = [(0, k) for k in range(100)] + [(10**7, 10**7), (np.int64(3), np.int64(4))]
    for n, episode in places:
        seed = SeedStreams(0, 0).episode_seed("env", n, episode)
        assert type(seed) is int
        assert 0 <= seed < 2**31
        assert ctypes.c_int32(seed).value == seed
        np.random.RandomState(seed)  # as np.random.seed
        env.reset(seed=seed)
    env.close()


def test_an_episode_seed_is_a_function_of_its_place_alone() -> None:
    places = list(
        itertools.product(range(3), range(4), ("env", "evaluation"), (0, 3, 10**9), (0, 2, 10**9))
    )
    forwards = {place: place_seed(*place) for place in places}
    _episode_key.cache_clear()
    assert {place: place_seed(*place) for place in places[::-1]} == forwards
    # The classical `seed + i` makes environment 1 of seed 0 equal to environment 0 of seed 1.
    assert len(set(forwards.values())) == len(places)


def place_seed(experiment: int, index: int, purpose: str, n: int, k: int) -> int:
    return SeedStreams(experiment, index).episode_seed(purpose, n, k)


@pytest.mark.parametrize("experiment", [0, 1, 2**70])
def test_all_31_bits_of_neighbouring_episodes_are_fair_and_independent(experiment: int) -> None:
    seeds = all_seeds(experiment, "env", 0, 0, 4096)
    bits = (seeds[:, None] >> np.arange(31) & 1).astype(float)
    # A fair bit of 4096 has a standard deviation of 0.0078; 5 of them.
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 0.039
    flips = np.abs(np.diff(bits, axis=0))
    assert np.abs(flips.mean(axis=0) - 0.5).max() < 0.039
    correlation = np.corrcoef(bits.T) - np.eye(31)
    assert np.abs(correlation).max() < 5 / np.sqrt(4096)


@pytest.mark.parametrize("shift", [0, 23])
def test_the_lowest_and_the_highest_8_bits_are_uniform(shift: int) -> None:
    for varied in (
        all_seeds(0, "env", 0, 0, 20_000),
        all_seeds(0, "evaluation", 3, 0, 20_000),
        np.array([SeedStreams(0, i).episode_seed("env", 0, 0) for i in range(5_000)]),
        np.array([SeedStreams(0, 0).episode_seed("env", n, 0) for n in range(5_000)]),
        np.array([SeedStreams(e, 0).episode_seed("env", 0, 0) for e in range(5_000)]),
    ):
        counts = np.bincount(varied >> shift & 255, minlength=256)
        assert stats.chisquare(counts).pvalue > 1e-4  # fixed seeds: nothing is drawn


def first_draw_of_numpy(seed: int) -> float:
    return float(np.random.default_rng(seed).random())


def first_draw_of_the_old_numpy(seed: int) -> float:
    return float(np.random.RandomState(seed).random_sample())


def first_draw_of_python(seed: int) -> float:
    return random.Random(seed).random()


@pytest.mark.parametrize(
    "draw", [first_draw_of_numpy, first_draw_of_the_old_numpy, first_draw_of_python]
)
def test_first_draws_of_neighbouring_episodes_are_uniform_and_uncorrelated(
    draw: Callable[[int], float],
) -> None:
    numbers = np.array([draw(int(seed)) for seed in all_seeds(0, "env", 2, 1, 3000)])
    assert stats.kstest(numbers, "uniform").pvalue > 1e-4
    for lag in (1, 2, 8):
        # A correlation of n independent pairs has a standard deviation of n^-1/2; 4 of them.
        assert abs(np.corrcoef(numbers[:-lag], numbers[lag:])[0, 1]) < 4 / np.sqrt(3000)


@pytest.mark.trap("T19")
def test_another_experiment_has_other_episode_seeds_and_not_the_same_ones_shifted() -> None:
    first, second = (all_seeds(experiment, "env", 0, 0, 4096) for experiment in (0, 1))
    assert len(np.intersect1d(first, second)) <= 2  # 0.008 are expected by chance
    for offset in range(-3, 4):
        difference = np.roll(second, offset) - first & (2**31 - 1)
        assert len(np.unique(difference)) > 4000


@pytest.mark.parametrize("purpose", ["dropout", "init", "training"])
def test_only_environments_have_episode_seeds(purpose: str) -> None:
    with pytest.raises(KeyError, match=purpose):
        SeedStreams(0, 0).episode_seed(purpose, 0, 0)


@pytest.mark.parametrize("place", [(-1, 0, 0), (0, -1, 0), (0, 0, -1)])
@pytest.mark.parametrize("purpose", ["env", "evaluation"])
def test_negative_positions_are_rejected(purpose: str, place: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="non-negative"):
        SeedStreams(0, place[0]).episode_seed(purpose, *place[1:])


def test_episode_seeder_counts_positions_and_not_seed_indices() -> None:
    seeder = episode_seeder([SeedStreams(0, 7), SeedStreams(0, 2)], "env")
    assert seeder(1, 3, 4) == SeedStreams(0, 2).episode_seed("env", 3, 4)


# --- states ---------------------------------------------------------------------------------------


def mixed_draws(rng: np.random.Generator) -> list[float]:
    return [
        float(rng.random(dtype=np.float32)),  # takes half of a 64-bit word and keeps the other
        float(rng.integers(1000, dtype=np.int32)),
        float(rng.random()),
        float(rng.standard_normal()),
        *rng.permutation(5).tolist(),
    ]


@pytest.mark.parametrize("drawn_before", range(4))
def test_a_restored_generator_continues_with_the_same_numbers(drawn_before: int) -> None:
    generators = [SeedStreams(0, index).generator("action") for index in range(3)]
    for generator in generators:
        for _ in range(drawn_before):
            generator.random(dtype=np.float32)
    states = generator_states(generators)
    expected = [mixed_draws(generator) for generator in generators]
    others = [np.random.Generator(np.random.PCG64(99)) for _ in range(3)]
    restore_generators(others, states)
    assert [mixed_draws(generator) for generator in others] == expected
    assert states.dtype == np.uint64
    assert states.shape == (3, 6)


def test_the_state_of_a_generator_includes_the_half_word_it_keeps() -> None:
    generator = SeedStreams(0, 0).generator("action")
    generator.integers(2**32, dtype=np.uint32)
    states = generator_states([generator])
    assert states[0, 4] == 1
    expected = generator.random(3, dtype=np.float32).tobytes()
    forgetful = states.copy()
    forgetful[0, 4:] = 0
    restore_generators([generator], forgetful)
    assert generator.random(3, dtype=np.float32).tobytes() != expected
    restore_generators([generator], states)
    assert generator.random(3, dtype=np.float32).tobytes() == expected


def uniform(rng: np.random.Generator, length: int) -> Any:
    return rng.random((length, 2))


def mixed(rng: np.random.Generator, length: int) -> Any:
    return np.concatenate(
        [rng.random((length, 1), dtype=np.float32), rng.standard_normal((length, 1))], axis=1
    )


def blocks(indices: list[int], draw: Callable[..., Any], length: int = 5) -> NoiseBlocks:
    return NoiseBlocks([SeedStreams(0, i).generator("action") for i in indices], draw, length)


@pytest.mark.parametrize("draw", [uniform, mixed])
@pytest.mark.parametrize("position", range(12))
def test_noise_blocks_loaded_in_the_middle_of_a_block_continue(draw: Any, position: int) -> None:
    noise = blocks([0, 1, 2], draw)
    for _ in range(position):
        noise.next()
    state = noise.state().copy()
    expected = [noise.next().tobytes() for _ in range(12)]
    other = blocks([5, 6, 7], draw)
    other.next()
    other.load(state)
    assert other.state().tobytes() == state.tobytes()
    assert [other.next().tobytes() for _ in range(12)] == expected


def test_noise_of_a_seed_does_not_depend_on_the_seeds_beside_it() -> None:
    alone, batch = blocks([3], mixed), blocks([0, 3, 8], mixed)
    for _ in range(11):
        assert alone.next()[0].tobytes() == batch.next()[1].tobytes()


def test_noise_blocks_hand_out_a_generators_numbers_in_order() -> None:
    noise = blocks([4], uniform)
    rng = SeedStreams(0, 4).generator("action")
    expected = np.concatenate([uniform(rng, 5), uniform(rng, 5)])
    assert np.stack([noise.next()[0] for _ in range(10)]).tobytes() == expected.tobytes()


@pytest.mark.parametrize("number", [0, 1, 2, 5, 1000, 2**70 + 3])
def test_states_are_moved_as_numpy_moves_them(number: int) -> None:
    generators = [SeedStreams(0, i).generator("action") for i in range(3)]
    generators[1].random(dtype=np.float32)  # leaves half a word
    moved = advanced(generator_states(generators), number)
    for generator in generators:
        half = generator.bit_generator.state
        generator.bit_generator.advance(number)  # type: ignore[attr-defined]
        kept = {name: half[name] for name in ("has_uint32", "uinteger")}
        generator.bit_generator.state = generator.bit_generator.state | kept
    assert moved.tolist() == generator_states(generators).tolist()


@pytest.mark.parametrize("skipped", [0, 1, 4, 5, 6, 17])
@pytest.mark.parametrize("position", [0, 3, 5])
def test_noise_that_is_skipped_is_that_of_the_words(position: int, skipped: int) -> None:
    noise, other = blocks([0, 1], uniform), blocks([0, 1], uniform)
    for _ in range(position):
        noise.next()
        other.next()
    words = np.concatenate([noise.words(), np.zeros((2, 2), dtype=np.uint64)], axis=1)
    noise.skip(skipped)
    drawn = [other.next() for _ in range(skipped)]
    assert noise.state().tobytes() == other.state().tobytes()
    assert noise.words().tolist() == other.words().tolist()
    assert [noise.next().tobytes() for _ in range(7)] == [other.next().tobytes() for _ in range(7)]
    generators = [np.random.default_rng(0) for _ in range(2)]
    restore_generators(generators, words)
    for step in drawn:
        for s, generator in enumerate(generators):
            assert generator.random(step[s].shape).tobytes() == step[s].tobytes()


# --- global generators ----------------------------------------------------------------------------


def global_states() -> list[bytes]:
    numpy_state = np.random.get_state()  # noqa: NPY002 (it is the one being watched)
    return [
        repr(random.getstate()).encode(),
        repr([np.asarray(part).tolist() for part in numpy_state]).encode(),
        torch.get_rng_state().numpy().tobytes(),
    ]


def test_a_run_leaves_the_global_generators_as_they_were() -> None:
    before = global_states()
    streams = tuple(SeedStreams(0, index) for index in range(2))
    make = lambda: gym.make("CartPole-v1", disable_env_checker=True)  # noqa: E731
    env = GymBatchEnv(make, streams, 2)
    task = Task(env.observation_space, env.action_space, streams, 2, 64)
    agent = PPO(task, PPOConfig(rollout_length=8, minibatch_size=5, hidden_sizes=(4,)))
    for _ in interact(agent, env, 32):
        pass
    held_out = GymBatchEnv(make, streams, 2, purpose="evaluation", autoreset=False)
    play(agent.actor(greedy=False), held_out, max_steps=50)
    env.close()
    held_out.close()
    assert global_states() == before


@pytest.mark.trap("T58")
@pytest.mark.long
def test_importing_every_core_module_leaves_the_global_generators_as_they_were() -> None:
    script = """
import random, numpy as np, torch
before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
import rlkit.environments.resolve, rlkit.evaluation, rlkit.loop, rlkit.training.presets
from rlkit.agents import AGENTS, find_agent
for name in AGENTS:
    find_agent(name)
after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
assert before == after
"""
    # A process of its own: here everything has been imported already.
    subprocess.run([sys.executable, "-c", script], check=True)
