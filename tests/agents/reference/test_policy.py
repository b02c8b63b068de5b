"""References taken from actors, and what they say of observations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlkit.agent import Task
from rlkit.agents import find_agent
from rlkit.agents.heads import make_head
from rlkit.agents.networks import Features, NetworkActor, init_policy
from rlkit.agents.preferences.preference_ppo import RewardedActor
from rlkit.agents.reference.policy import ReferenceOutputs, policy_of, require_fit
from rlkit.errors import UsageError
from rlkit.nn.parameters import Parameters
from rlkit.nn.reference import ReferencePolicy
from rlkit.seeding import SeedStreams
from tests.agents.reference.oracle import OBSERVED, SPACES, drawn_reference, outputs_of

STREAMS = tuple(SeedStreams(0, index) for index in range(3))
HEAD = make_head(SPACES["mixed"])
OBS = np.random.default_rng(1).normal(size=(3, 5, 4)).astype(np.float32)


def outputs(policy: ReferencePolicy, observed: Any, acted: Any, num_seeds: int = 3) -> Any:
    return ReferenceOutputs(policy, observed, make_head(acted), num_seeds)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("normalised", [False, True], ids=["plain", "normalised"])
def test_a_network_gives_its_outputs_for_raw_observations(name: str, normalised: bool) -> None:
    policy = drawn_reference(name, normalised=normalised)
    got = outputs(policy, OBSERVED, SPACES[name])
    torch.testing.assert_close(got(OBS).double(), outputs_of(policy, OBS), rtol=1e-5, atol=1e-5)
    alone = outputs(policy, OBSERVED, SPACES[name], 1)(OBS[2:])
    assert alone.numpy().tobytes() == got(OBS)[2:].numpy().tobytes()


@pytest.mark.parametrize("agent", ["ppo", "reinforce"])
def test_the_reference_of_a_network_acts_as_the_agent_did(agent: str) -> None:
    options = {"normalise_observations": True} if agent == "ppo" else {"episodes_per_update": 5}
    kind = find_agent(agent)
    task = Task(OBSERVED, SPACES["mixed"], STREAMS[:1], 5, 100)
    learner = kind(task, kind.Config(hidden_sizes=(6,), **options))
    for _ in range(3):
        learner.act(OBS[:1] * 3 + 1)  # which a normaliser sees
    actor: Any = learner.actor(greedy=False)
    policy = policy_of(actor, OBSERVED, SPACES["mixed"], "r")
    assert ("moments" in policy.arrays) == (agent == "ppo")
    got = outputs(policy, OBSERVED, SPACES["mixed"], 1)
    assert got(OBS[:1]).numpy().tobytes() == actor.outputs(OBS[:1]).numpy().tobytes()


def test_a_table_gives_the_logarithms_of_its_probabilities() -> None:
    kind = find_agent("q-learning")
    states, actions = spaces.Discrete(4), spaces.Discrete(3)
    learner = kind(Task(states, actions, STREAMS[:1], 2, 100), kind.Config(epsilon_end=0.3))
    policy = policy_of(learner.actor(greedy=False), states, actions, "r")
    seen = np.array([[0, 3], [1, 1], [2, 0]])
    got = outputs(policy, states, actions)(seen).exp().numpy()
    np.testing.assert_allclose(got, policy.arrays["probabilities"][seen], rtol=1e-6)
    greedy = kind(
        Task(states, actions, STREAMS[:1], 2, 1), kind.Config(epsilon_start=0.0, epsilon_end=0.0)
    )
    with pytest.raises(UsageError, match=r"never takes action \d in state 0.*use a run of ppo"):
        policy_of(greedy.actor(greedy=False), states, actions, "r")


def test_an_actor_without_probabilities_is_rejected() -> None:
    kind = find_agent("lspi")
    learner = kind(Task(OBSERVED, spaces.Discrete(2), STREAMS[:1], 1, 100), kind.Config())
    with pytest.raises(UsageError, match=r"neither a network .* nor a table"):
        policy_of(learner.actor(greedy=False), OBSERVED, spaces.Discrete(2), "r")


def test_uniform_has_equal_outputs_and_needs_discrete_actions() -> None:
    policy = ReferencePolicy("uniform")
    assert not outputs(policy, OBSERVED, SPACES["joint"])(OBS).any()
    for name in ("Gaussian", "mixed"):
        with pytest.raises(UsageError, match="no distribution is uniform"):
            require_fit(policy, OBSERVED, SPACES[name], make_head(SPACES[name]))


def test_masked_actions_are_impossible_in_the_reference_too() -> None:
    masks = np.ones((3, 5, 3), dtype=bool)
    masks[0, 0, 1] = False
    got = outputs(drawn_reference("categorical"), OBSERVED, SPACES["categorical"])(OBS, masks)
    assert torch.isinf(got).nonzero().tolist() == [[0, 0, 1]]


def test_a_reference_of_other_observations_is_rejected() -> None:
    policy, head = drawn_reference("categorical"), make_head(SPACES["categorical"])
    with pytest.raises(UsageError, match="does not fit the observations"):
        require_fit(policy, spaces.Box(0, 1, (7,)), SPACES["categorical"], head)


def test_a_policy_on_a_learned_reward_is_a_reference_as_any_network() -> None:
    actor: Any = NetworkActor(
        Features(OBSERVED, 1, normalise=False),
        Parameters([init_policy(np.random.default_rng(0), 4, HEAD, (6,), "orthogonal")]),
        HEAD,
        activation="tanh",
        streams=STREAMS[:1],
        greedy=False,
    )
    reward: Any = None
    policy = policy_of(RewardedActor(actor, reward), OBSERVED, SPACES["mixed"], "r")
    got = outputs(policy, OBSERVED, SPACES["mixed"], 1)
    assert got(OBS[:1]).numpy().tobytes() == actor.outputs(OBS[:1]).numpy().tobytes()
