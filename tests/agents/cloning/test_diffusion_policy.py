"""Diffusion policies: their loss, their samples, and the streams of their noise."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from rlkit.agents.cloning.diffusion_policy import DiffusionActor, DiffusionModel
from rlkit.agents.cloning.scaling import Scaling
from rlkit.nn.parameters import Parameters
from rlkit.seeding import SeedStreams

OBS, ACTIONS = spaces.Box(-9.0, 9.0, (2,), np.float32), spaces.Box(-90.0, 90.0, (1,), np.float32)
STREAMS = tuple(SeedStreams(0, s) for s in range(3))


class Known(DiffusionModel):
    """Predicts the noise of actions that are -1 or 1 (scaled) with given probabilities."""

    def __init__(self, above: float, num_steps: int = 50) -> None:
        super().__init__(OBS, ACTIONS, hidden_sizes=(4,), activation="tanh", num_steps=num_steps)
        self.above = above

    def predict(self, layers: object, noisy: Tensor, inputs: Tensor, times: Tensor) -> Tensor:
        # E[eps | x_t], from the posterior of the two points.
        (step,) = torch.where((self._times == times[0, 0]).all(1))[0]
        bar = self.bars[step]
        logit = 2 * bar.sqrt() * noisy / (1 - bar) + np.log(self.above / (1 - self.above))
        mean = 2 * torch.sigmoid(logit) - 1
        return (noisy - bar.sqrt() * mean) / (1 - bar).sqrt()


def scaling() -> Scaling:
    """That of actions 30 and 50: mean 40, standard deviation 10."""
    return Scaling.of(np.array([[0.0, 0], [2, 2]]), np.array([[30.0], [50.0]]), OBS, ACTIONS)


def test_with_the_best_prediction_the_samples_are_the_data() -> None:
    # 8,000 samples: a share has a standard error of 0.5 points.
    for above in (0.5, 0.8):
        actor = DiffusionActor(Known(above), [], scaling(), STREAMS[:1])
        actions = actor.act(np.zeros((1, 8000, 2), dtype=np.float32))[0, :, 0]
        assert abs((actions > 40).mean() - above) < 0.02
        assert np.abs(np.abs(actions - 40) - 10).max() < 0.5


def drawn(num_seeds: int) -> DiffusionActor:
    model = DiffusionModel(OBS, ACTIONS, hidden_sizes=(4,), activation="relu", num_steps=6)
    own = Parameters(model.init(s.generator("init")) for s in STREAMS[:num_seeds])
    own.matrix += 0.3
    return model.actor(own, scaling(), STREAMS[:num_seeds], greedy=True)


def test_a_seeds_actions_do_not_depend_on_the_others_and_restart_repeats_them() -> None:
    alone, together = drawn(1), drawn(3)
    obs = np.random.default_rng(0).normal(size=(3, 5, 2)).astype(np.float32)
    first = together.act(obs)
    assert alone.act(obs[:1]).tobytes() == first[:1].tobytes()
    assert (first[0] != first[1]).any()
    assert (together.act(obs) != first).any()
    together.restart()
    assert together.act(obs).tobytes() == first.tobytes()
    together.restart(50)
    assert (together.act(obs) != first).any()


def test_actions_stay_within_those_that_were_demonstrated() -> None:
    actions = drawn(3).act(np.full((3, 400, 2), 7.0, dtype=np.float32))
    assert actions.dtype == np.float32
    assert actions.min() >= 30 - 1e-3
    assert actions.max() <= 50 + 1e-3


def test_the_loss_is_the_squared_error_of_the_noise() -> None:
    model = DiffusionModel(OBS, ACTIONS, hidden_sizes=(), activation="tanh", num_steps=6)
    parameters = Parameters(model.init(s.generator("init")) for s in STREAMS[:1])
    parameters.matrix.zero_()  # so the prediction is 0
    noise = model.noise(np.random.default_rng(0), 500)
    assert set(noise[:, 0].tolist()) == set(range(6))
    shape = torch.zeros(1, 500, 2), torch.zeros(1, 500, 1)
    losses = model.losses(parameters, *shape, noise[None], scaling())
    np.testing.assert_allclose(losses.detach().numpy()[0], noise[:, 1].numpy() ** 2, rtol=1e-6)


def test_discrete_observations_are_unit_vectors() -> None:
    model = DiffusionModel(
        spaces.Discrete(4), ACTIONS, hidden_sizes=(), activation="tanh", num_steps=6
    )
    inputs = model.inputs(np.array([2, 0]), Scaling.none(spaces.Discrete(4), ACTIONS))
    assert inputs.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]
