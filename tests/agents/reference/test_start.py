"""Networks that start from the policy of another run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rlkit.agent import Task
from rlkit.agents import find_agent
from rlkit.agents.reference.policy import policy_of
from rlkit.errors import UsageError
from rlkit.nn.reference import ReferencePolicy
from rlkit.seeding import SeedStreams

BOX = spaces.Box(-1.0, 1.0, (3,), np.float32)
OBS = np.random.default_rng(0).normal(size=(2, 4, 3)).astype(np.float32)
ACTIONS = {"discrete": spaces.Discrete(2), "box": spaces.Box(-1.0, 1.0, (2,), np.float32)}


def built(agent: str, actions: str, start: ReferencePolicy | None = None, **options: Any) -> Any:
    kind = find_agent(agent)
    streams = tuple(SeedStreams(7 if start else 0, s) for s in range(2))
    task = Task(BOX, ACTIONS[actions], streams, 4, 100, init=start)
    return kind(task, kind.Config(**{"hidden_sizes": (5,), **options}))


def policy(agent: str, actions: str, **options: Any) -> ReferencePolicy:
    one = built(agent, actions, **options)
    return policy_of(one.actor(greedy=False), BOX, ACTIONS[actions], "x", "init")


@pytest.mark.parametrize("agent", ["ppo", "reinforce", "preference-ppo"])
@pytest.mark.parametrize("actions", ACTIONS)
@pytest.mark.parametrize("origin", ["reinforce", "behaviour-cloning"])
def test_every_seed_starts_with_the_policy_and_a_critic_of_its_own(
    agent: str, actions: str, origin: str
) -> None:
    given = built(origin, actions)
    start = policy(origin, actions)
    one = built(agent, actions, start)
    expected = given.actor().outputs(OBS).numpy()[0]
    for row in one.actor().outputs(np.stack([OBS[0]] * 2)).numpy():
        np.testing.assert_allclose(row, expected, atol=1e-6)
    if agent == "ppo":
        values = one.actor().value(np.stack([OBS[0]] * 2))
        assert (values[0] != values[1]).any()


def test_standard_deviations_and_moments_are_taken_over() -> None:
    other = built("ppo", "box", initial_std=0.25, normalise_observations=True)
    for _ in range(3):
        other.act(5 + OBS)
    start = policy_of(other.actor(greedy=False), BOX, ACTIONS["box"], "x")
    one = built("ppo", "box", start, normalise_observations=True)
    np.testing.assert_allclose(one.actor()._extra[0].exp().numpy(), 0.25)
    np.testing.assert_allclose(
        one.actor().outputs(OBS).numpy()[0], other.actor().outputs(OBS).numpy()[0], atol=1e-6
    )


@pytest.mark.parametrize(
    ("origin", "options", "message"),
    [
        ({"hidden_sizes": (6, 6)}, {}, r"network of 3 x 6 x 6 x 2 with tanh, and this agent's is a "
         r"network of 3 x 5 x 2 with tanh; train with --hidden-sizes 6 6 --activation tanh"),
        ({"activation": "relu"}, {}, "relu, and.*tanh; train with .*--activation relu"),
        ({"normalise_observations": True}, {}, "train with --normalise-observations"),
        ({}, {"normalise_observations": True}, "train with --no-normalise-observations"),
    ],
)  # fmt: skip
def test_other_shapes_are_rejected_with_the_options_that_fit(
    origin: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        built("ppo", "discrete", policy("ppo", "discrete", **origin), **options)


def test_a_table_is_no_start_and_neither_is_a_diffusion_policy() -> None:
    with pytest.raises(UsageError, match="policy is a table"):
        built("ppo", "discrete", ReferencePolicy("table", {"probabilities": np.ones((2, 2)) / 2}))
    diffusion = built("behaviour-cloning", "box", method="diffusion").actor()
    for option, reason in (("init", "predicts noise"), ("reference", "density")):
        with pytest.raises(UsageError, match=f"{option} x: it is a diffusion policy: .*{reason}"):
            policy_of(diffusion, BOX, ACTIONS["box"], "x", option)


@pytest.mark.parametrize("agent", ["ppo", "reinforce"])
def test_init_is_a_way_to_draw_weights_or_a_place_that_exists(agent: str, tmp_path: Any) -> None:
    config = find_agent(agent).Config
    assert config(init="xavier").init == "xavier"
    assert config(init=str(tmp_path)).init == str(tmp_path)
    with pytest.raises(UsageError, match=r"'orthogonl'. Did you mean 'orthogonal'\?"):
        config(init="orthogonl")
    assert config(init="latest:ppo").init == "latest:ppo"
    for wrong in (3, ""):
        with pytest.raises(UsageError, match="folder of a run to start from, got"):
            config(init=wrong)
