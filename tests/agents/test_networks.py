"""What networks see of observations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import FlattenObservation, TimeLimit

from rlkit.agent import Task
from rlkit.agents import find_agent
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.loop import interact
from rlkit.seeding import SeedStreams
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


@pytest.mark.long
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


# --- runs without an update -----------------------------------------------------------------------


def test_the_size_of_an_update_is_reported_in_steps_and_episodes() -> None:
    box_task = Task(spaces.Box(-1.0, 1.0, (1,)), spaces.Discrete(2), STREAMS[:1], 8, 500)
    ppo, reinforce = find_agent("ppo"), find_agent("reinforce")
    assert ppo.why_no_update(box_task, ppo.Config()) == (
        "an update takes a whole rollout of 1,024 steps per seed (rollout_length 128 x 8 "
        "environments)"
    )
    assert reinforce.why_no_update(box_task, reinforce.Config(episodes_per_update=16)) == (
        "an update takes 16 whole episodes per seed (episodes_per_update, 2 in each of 8 "
        "environments), and not as many ended"
    )
    single = Task(spaces.Box(-1.0, 1.0, (1,)), spaces.Discrete(2), STREAMS[:1], 1, 500)
    assert reinforce.why_no_update(single, reinforce.Config()) == (
        "an update takes 8 whole episodes per seed (episodes_per_update), and not as many ended"
    )
