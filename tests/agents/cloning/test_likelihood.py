"""Policies of maximum likelihood: their losses, and the policy in original units."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from gymnasium import spaces

from rlkit.agents.cloning.likelihood import LikelihoodModel
from rlkit.agents.cloning.scaling import Scaling
from rlkit.nn.parameters import Parameters
from rlkit.seeding import SeedStreams

OBS = spaces.Box(-np.inf, np.inf, (3,), np.float32)
STREAMS = (SeedStreams(0, 0), SeedStreams(0, 1))


def built(action_space: spaces.Space, observation_space: spaces.Space = OBS) -> LikelihoodModel:
    shapes = {"hidden_sizes": (6,), "activation": "tanh", "min_std": 0.05}
    return LikelihoodModel(observation_space, action_space, **shapes)  # type: ignore[arg-type]


def parameters_of(model: LikelihoodModel) -> Parameters:
    parameters = Parameters(model.init(s.generator("init")) for s in STREAMS)
    noise = np.random.default_rng(0).normal(size=parameters.matrix.shape).astype(np.float32)
    parameters.matrix += 0.3 * torch.from_numpy(noise)
    return parameters


def test_the_loss_of_a_gaussian_is_its_log_density_in_the_units_of_the_actions() -> None:
    space = spaces.Box(-90.0, 90.0, (2,), np.float32)
    rng = np.random.default_rng(0)
    obs, actions = rng.normal(4, 2, (40, 3)), rng.normal([30.0, -2.0], [9.0, 0.1], (40, 2))
    scaling = Scaling.of(obs, actions, OBS, space)
    model = built(space)
    parameters = parameters_of(model)
    inputs, targets = model.inputs(obs, scaling), model.targets(actions, scaling)
    with torch.no_grad():
        losses = model.losses(
            parameters, inputs.expand(2, 40, 3), targets.expand(2, 40, 2), torch.zeros(0), scaling
        )
    # The actor has means and standard deviations in original units.
    actor = model.actor(parameters, scaling, STREAMS, greedy=True)
    means = actor.act(np.broadcast_to(obs, (2, 40, 3)).astype(np.float32))
    for s in range(2):
        std = np.exp(actor._extra[0][s].numpy())
        expected = -scipy.stats.norm.logpdf(actions, means[s], std).sum(1)
        np.testing.assert_allclose(losses[s].numpy(), expected, rtol=2e-4, atol=2e-4)


def test_the_loss_of_classes_is_the_cross_entropy_of_the_actors_probabilities() -> None:
    states, space = spaces.Discrete(5), spaces.Discrete(3)
    model, obs = built(space, states), np.arange(5)
    actions = np.array([0, 2, 1, 1, 0])
    scaling = Scaling.of(obs, actions, states, space)
    parameters = parameters_of(model)
    inputs, targets = (torch.from_numpy(x).expand(2, 5) for x in (obs, actions))
    with torch.no_grad():
        losses = model.losses(parameters, inputs, targets, torch.zeros(0), scaling).numpy()
    actor = model.actor(parameters, scaling, STREAMS, greedy=False)
    probabilities = actor.probabilities(np.tile(obs, (2, 1)))
    taken = np.take_along_axis(probabilities, np.tile(actions, (2, 1))[..., None], -1)[..., 0]
    np.testing.assert_allclose(losses, -np.log(taken), rtol=1e-4)


@pytest.mark.parametrize("space", [spaces.MultiDiscrete([2, 3]), spaces.MultiBinary(4)])
def test_several_discrete_parts_are_classes_of_their_own(space: spaces.Space) -> None:
    model = built(space)
    actor = model.actor(
        parameters_of(model),
        Scaling.none(OBS, space),
        STREAMS,
        greedy=True,
    )
    assert actor.act(np.zeros((2, 3, 3), dtype=np.float32)).dtype == np.int64


def test_a_standard_deviation_falls_to_the_smallest_and_not_below() -> None:
    model = built(spaces.Box(-1.0, 1.0, (2,), np.float32))
    parameters = parameters_of(model)
    with torch.no_grad():
        parameters["extra"][0].fill_(-50.0)
        model.constrain(parameters)
    np.testing.assert_allclose(parameters["extra"][0].detach().exp().numpy(), 0.05, rtol=1e-6)
