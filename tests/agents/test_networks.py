"""What networks see of observations, and which ranges of actions they can explore."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation, RescaleAction, TimeLimit

import rlkit
from rlkit.agent import Task
from rlkit.agents import find_agent
from rlkit.agents.networks import action_range_remarks
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.loop import interact
from rlkit.seeding import SeedStreams
from tests.agents.far_actions import Target, rescaled
from tests.faulty_envs import Shifted

STREAMS = tuple(SeedStreams(0, index) for index in range(3))
LEARNERS = ("ppo", "reinforce")


def build(name: str, make: Callable[[], Any], **options: Any) -> tuple[Any, GymBatchEnv]:
    env = GymBatchEnv(make, STREAMS, 2)
    task = Task(env.observation_space, env.action_space, STREAMS, 2, 10_000)
    kind = find_agent(name)
    small = {"rollout_length": 20, "minibatch_size": 16} if name == "ppo" else {}
    return kind(task, kind.Config(**small, **options)), env


# --- discrete observations ------------------------------------------------------------------------


def states(num_states: int) -> Any:
    return TimeLimit(Shifted(num_states, -1), 5)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("hidden_sizes", [(), (8,), (16, 8)])
@pytest.mark.parametrize("num_states", [1, 4, 30])
def test_learning_from_indices_is_learning_from_unit_vectors(
    name: str, hidden_sizes: tuple[int, ...], num_states: int
) -> None:
    options = {"hidden_sizes": hidden_sizes}
    agent, env = build(name, lambda: states(num_states), **options)
    twin, twin_env = build(name, lambda: FlattenObservation(states(num_states)), **options)
    pairs = zip(interact(agent, env, 60), interact(twin, twin_env, 60), strict=True)
    num_updates = 0
    for (ours, learned), (theirs, twin_learned) in pairs:
        assert ours.action.tolist() == theirs.action.tolist()
        assert learned.keys() == twin_learned.keys()
        for metric, values in learned.items():
            # Float32 gradients that are added up in another order, over several steps of Adam.
            np.testing.assert_allclose(values, twin_learned[metric], rtol=1e-3, atol=1e-4)
        num_updates += bool(learned)
    assert num_updates >= 2
    obs = np.tile(np.arange(num_states), (3, 1))
    vectors = np.eye(num_states, dtype=np.float32)[obs]
    actors = agent.actor(greedy=False), twin.actor(greedy=False)
    for method in ("probabilities", "value"):
        ours, theirs = (getattr(actor, method) for actor in actors)
        np.testing.assert_allclose(ours(obs), theirs(vectors), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", LEARNERS)
def test_what_is_stored_of_a_discrete_observation_is_its_index(name: str) -> None:
    agent, env = build(name, lambda: states(90_000), hidden_sizes=(4,), init="xavier")
    seen = [transition.obs for transition, _ in interact(agent, env, 13)]
    state = agent.state_dict()
    if name == "ppo":
        stored = state["rollout_features"]
        assert np.array_equal(stored, np.stack(seen, axis=1))
        assert state["rollout_next_features"].shape == stored.shape
        assert stored.dtype.kind == "i"
    per_seed = sum(np.asarray(x[0]).nbytes for x in state.values())
    # Parameters and two moments of policy and critic, and little else.
    assert per_seed < 1.1 * 3 * 2 * 4 * (90_000 * 4 + 100)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEARNERS)
def test_a_table_of_logits_finds_the_rewarded_action_of_each_state(name: str) -> None:
    num_states, num_actions = 5, 3

    class Match(gym.Env[Any, Any]):
        observation_space = spaces.Discrete(num_states)
        action_space = spaces.Discrete(num_actions)

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            self.state = int(self.np_random.integers(num_states))
            return self.state, {}

        def step(self, action: Any) -> Any:
            return self.state, float(action == self.state % num_actions), True, False, {}

    agent, env = build(name, Match, hidden_sizes=(), learning_rate=0.1)
    for _ in interact(agent, env, 500):
        pass
    chosen = agent.actor().act(np.tile(np.arange(num_states), (3, 1)))
    assert chosen.tolist() == [[0, 1, 2, 0, 1]] * 3


# --- ranges of actions ----------------------------------------------------------------------------


def box(low: Any, high: Any, dtype: Any = np.float32) -> spaces.Box:
    low, high = np.broadcast_arrays(np.asarray(low, dtype), np.asarray(high, dtype))
    return spaces.Box(np.atleast_1d(low), np.atleast_1d(high), dtype=dtype)


@pytest.mark.parametrize(
    "space",
    [
        box(-2, 2),  # Pendulum
        box(-1, 1),
        box([-1.0] * 4, 1),  # BipedalWalker
        box([-1, 0, 0], 1),  # CarRacing
        box([-0.4] * 17, 0.4),  # Humanoid
        box(-3, 3),  # InvertedPendulum
        box(-np.inf, np.inf),
        box(0, np.inf),
        box(-3.4e38, 3.4e38),  # no bound, said with the largest number
        box(-1.7e308, 1.7e308, np.float64),
        box(7, 7),  # nothing to choose
        spaces.Discrete(1000),
    ],
    ids=str,
)
def test_ranges_that_a_unit_gaussian_explores_are_not_remarked_on(space: Any) -> None:
    assert action_range_remarks("ppo", space) == []


@pytest.mark.parametrize(
    ("space", "parts"),
    [
        (box(0, 100), ["Box(0.0, 100.0", "2 % of [0, 100]", "RescaleAction(env, -1.0, 1.0)"]),
        (box(-1000, 1000), ["0.2 % of [-1000, 1000]", "RescaleAction(env, -1.0, 1.0)"]),
        (box(-5e-4, 5e-4), ["100 % of them are clipped to [-0.0005, 0.0005]", "RescaleAction"]),
        (box(3, 4), ["0 % of [3, 4]"]),
        (box(-9, -3), ["0 % of [-9, -3]"]),
        (box([-1, 0, -50], [1, 1, 50]), ["[-50, 50]", "1 of 3 dimensions"]),
        (box([-np.inf, 0], [np.inf, 100]), ["[0, 100]", "TransformAction"]),
        (box(0, 255, np.uint8), ["[0, 255]", "TransformAction"]),
        (box([-50.0] * 40 + [0.0] * 40, 50.0), ["a Box of shape (80,)", "80 of 80 dimensions"]),
    ],
    ids=str,
)
def test_other_ranges_are_named_with_what_to_do(space: Any, parts: list[str]) -> None:
    (remark,) = action_range_remarks("ppo", space)
    assert remark.startswith("ppo starts with actions of mean 0 and standard deviation 1")
    for part in parts:
        assert part in remark
    assert len(remark) < 400
    assert "\n" not in remark


@pytest.mark.parametrize("name", LEARNERS)
def test_the_remark_goes_with_the_wrapper_that_it_names(name: str) -> None:
    kind = find_agent(name)

    def remarks(env: Any) -> list[str]:
        task = Task(env.observation_space, env.action_space, STREAMS[:1], 1, 100)
        listed: list[str] = kind.remarks(task, kind.Config())
        return listed

    for low, high in ((0, 100), (-1000, 1000), (-5e-4, 5e-4), (3, 4)):
        (remark,) = remarks(Target(low, high))
        assert name in remark
        assert remarks(RescaleAction(Target(low, high), np.float32(-1), np.float32(1))) == []
    assert remarks(states(3)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("low", "high"), [(-5e-4, 5e-4), pytest.param(-1000.0, 1000.0, marks=pytest.mark.slow)]
)
def test_ppo_learns_with_the_wrapper_what_it_does_not_without(
    low: float, high: float, tmp_path: Path
) -> None:
    options = {"rollout_length": 32, "learning_rate": 6e-3, "steps": 8192}
    options |= {"seeds": 1, "evaluate_every": 8192, "evaluation_episodes": 1, "out": tmp_path}
    env_args = {"low": low, "high": high, "target": 0.6}
    without = rlkit.train("ppo", Target, env_args=env_args, **options)
    wrapped = rlkit.train("ppo", rescaled, env_args=env_args, **options)
    # The middle of the range scores -0.04, its nearer end -0.64, the target 0.
    assert (without.scores < -0.015).all()
    assert (wrapped.scores > -0.004).all()


# --- runs without an update -----------------------------------------------------------------------


def test_the_size_of_an_update_is_reported_in_steps_and_episodes() -> None:
    box_task = Task(box(-1, 1), spaces.Discrete(2), STREAMS[:1], 8, 500)
    ppo, reinforce = find_agent("ppo"), find_agent("reinforce")
    assert ppo.why_no_update(box_task, ppo.Config()) == (
        "an update takes a whole rollout of 1,024 steps per seed (rollout_length 128 x 8 "
        "environments)"
    )
    assert reinforce.why_no_update(box_task, reinforce.Config(episodes_per_update=16)) == (
        "an update takes 16 whole episodes per seed (episodes_per_update, 2 in each of 8 "
        "environments), and not as many ended"
    )
    single = Task(box(-1, 1), spaces.Discrete(2), STREAMS[:1], 1, 500)
    assert reinforce.why_no_update(single, reinforce.Config()) == (
        "an update takes 8 whole episodes per seed (episodes_per_update), and not as many ended"
    )
