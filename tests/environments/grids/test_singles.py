"""One copy of what steps many at once."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from rlkit.environments.grids.singles import (
    OneOfBatch,
    OneOfVector,
    is_batched,
    makes_vectors,
    own_info,
)
from rlkit.errors import UsageError
from rlkit_envs.cartpole import BatchedCartPole
from tests.faulty_envs import Counter
from tests.vector_envs import AsOne, Walks, walks


@pytest.mark.parametrize(
    ("make", "vectors", "batched"),
    [
        (Walks, True, False),
        (walks, True, False),
        (lambda num_envs: Walks(num_envs), True, False),
        (BatchedCartPole, False, True),
        (Counter, False, False),
        (lambda num_envs=3: Counter(num_envs), False, False),  # a number of its own
        (print, False, False),
    ],
)
def test_what_a_callable_makes_is_recognised(make: Any, vectors: bool, batched: bool) -> None:
    assert (makes_vectors(make, {}), is_batched(make)) == (vectors, batched)


def test_an_argument_that_is_given_is_no_number_of_copies() -> None:
    assert not makes_vectors(walks, {"num_envs": 3})


def test_what_requires_a_number_of_copies_must_return_a_vector_environment() -> None:
    def fails(num_envs: int) -> Any:
        raise SystemExit(3)

    with pytest.raises(UsageError, match=r"num_envs=1 failed: SystemExit\(3\)"):
        makes_vectors(fails, {})
    with pytest.raises(UsageError, match=r"expected a .*VectorEnv.*, got a Counter.*--env-arg"):
        makes_vectors(lambda num_envs: Counter(), {})


@pytest.mark.parametrize("mode", [mode.value for mode in AutoresetMode])
def test_one_copy_is_the_single_environment(mode: str) -> None:
    one, single = OneOfVector(Walks, "Walks", mode=mode), AsOne()
    rng = np.random.default_rng(0)
    for seed in range(5):
        first = [env.reset(seed=seed)[0].copy() for env in (one, single)]
        assert one.np_random_seed == seed  # without which Gymnasium's checker advises to seed
        assert first[0].tobytes() == first[1].tobytes()
        for _ in range(200):
            action = int(rng.integers(3))
            a, b = one.step(action), single.step(action)
            assert a[0].tobytes() == b[0].tobytes()
            assert tuple(map(float, a[1:4])) == tuple(map(float, b[1:4]))
            if b[2] or b[3]:
                break


def test_one_copy_of_a_batch_is_the_original() -> None:
    one = OneOfBatch(BatchedCartPole, "Cart", max_episode_steps=20)
    original = gym.make("CartPole-v1", disable_env_checker=True, max_episode_steps=20)
    for seed in (3, 4):
        assert one.reset(seed=seed)[0].tobytes() == original.reset(seed=seed)[0].tobytes()
        for action in (0, 1, 1, 0, 1):
            a, b = one.step(action), original.step(action)
            assert a[0].tobytes() == b[0].tobytes()
            assert tuple(map(float, a[1:4])) == tuple(map(float, b[1:4]))
    original.close()


def test_infos_are_those_of_the_copy() -> None:
    info = {
        "action_mask": np.array([[True, False], [False, True]]),
        "sometimes": np.array([1.0, 0.0]),
        "_sometimes": np.array([True, False]),
        "text": "for all",
    }
    assert own_info(info, 1)["action_mask"].tolist() == [False, True]
    assert sorted(own_info(info, 0)) == ["action_mask", "sometimes"]
    assert sorted(own_info(info, 1)) == ["action_mask"]
    assert own_info(None, 0) == {}
    listed = {"action_mask": [[1, 0], (0, 1)], "version": np.array(3), "one": [5]}
    assert own_info(listed, 1) == {"action_mask": (0, 1)}
