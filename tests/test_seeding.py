"""The tree of random streams."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from rlkit.agent import Task
from rlkit.agents.ppo import PPO, PPOConfig
from rlkit.batch_env import GymBatchEnv
from rlkit.loop import interact, play
from rlkit.seeding import (
    NoiseBlocks,
    SeedStreams,
    episode_seeder,
    generator_states,
    restore_generators,
)

PURPOSES = ("init", "env", "action", "minibatch", "evaluation")


# --- the tree -------------------------------------------------------------------------------------


def test_episode_seeds_of_100_seeds_and_16_environments_are_all_distinct() -> None:
    seeds = [
        SeedStreams(0, index).episode_seed("env", n, 0) for index in range(100) for n in range(16)
    ]
    assert len(set(seeds)) == 1600


def test_episode_seeds_of_neighbouring_experiments_episodes_and_purposes_are_all_distinct() -> None:
    # The classical `seed + i` makes environment 1 of seed 0 equal to environment 0 of seed 1.
    places = itertools.product(range(4), range(4), ("env", "evaluation"), range(4), range(4))
    seeds = [SeedStreams(e, i).episode_seed(p, n, k) for e, i, p, n, k in places]
    assert len(set(seeds)) == 4 * 4 * 2 * 4 * 4


def test_episode_seeds_are_python_integers_that_gymnasium_takes() -> None:
    env = gym.make("CartPole-v1", disable_env_checker=True)
    for episode in range(200):
        seed = SeedStreams(0, 0).episode_seed("env", 0, episode)
        assert type(seed) is int
        assert 0 <= seed < 2**63
        env.reset(seed=seed)
    env.close()


def test_episode_seeds_use_all_of_their_63_bits() -> None:
    seeds = [SeedStreams(1, 0).episode_seed("env", 0, episode) for episode in range(2000)]
    share = np.mean([[seed >> bit & 1 for bit in range(63)] for seed in seeds], axis=0)
    # A fair bit of 2000 has a standard deviation of 0.0112; 5 of them.
    assert np.abs(share - 0.5).max() < 0.056


def test_streams_are_the_numpy_seed_sequences_at_their_documented_places() -> None:
    # The places are part of every stored result, so they are written out here once more.
    place = {"init": 0, "env": 1, "action": 2, "minibatch": 3, "evaluation": 4}
    for purpose, number in place.items():
        sequence = np.random.SeedSequence(123, spawn_key=(7, number, 5))
        expected = np.random.Generator(np.random.PCG64(sequence)).random(4)
        actual = SeedStreams(123, 7).generator(purpose, 5).random(4)
        assert actual.tobytes() == expected.tobytes()


def test_streams_do_not_depend_on_the_order_in_which_they_are_asked_for() -> None:
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


def test_an_unknown_purpose_is_refused() -> None:
    with pytest.raises(KeyError, match="training"):
        SeedStreams(0, 0).generator("training")


def test_training_and_evaluation_episodes_never_share_a_seed() -> None:
    streams = [SeedStreams(0, index) for index in range(20)]
    train, evaluate = episode_seeder(streams, "env"), episode_seeder(streams, "evaluation")
    places = list(itertools.product(range(20), range(8), range(10)))
    assert not {train(*place) for place in places} & {evaluate(*place) for place in places}


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


def test_importing_every_core_module_leaves_the_global_generators_as_they_were() -> None:
    script = """
import random, numpy as np, torch
before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
import rlkit.environments, rlkit.evaluation, rlkit.loop, rlkit.presets
from rlkit.agents import AGENTS, find_agent
for name in AGENTS:
    find_agent(name)
after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
assert before == after
"""
    # A process of its own: here everything has been imported already.
    subprocess.run([sys.executable, "-c", script], check=True)
