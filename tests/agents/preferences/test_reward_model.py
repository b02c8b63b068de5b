"""The learned reward against closed forms, an independent gradient, and its own seeds."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from scipy.special import expit

from rlkit.agents.preferences.reward_model import RewardEnsemble, RewardOptions, _Pairs
from rlkit.agents.preferences.segments import Segments
from rlkit.seeding import SeedStreams

OPTIONS = RewardOptions(
    ensemble_size=2,
    hidden_sizes=(5,),
    learning_rate=0.02,
    weight_decay=0.1,
    num_epochs=2,
    minibatch_size=7,
)
BOX = spaces.Box(-9.0, 9.0, (3,), np.float32)
STREAMS = [SeedStreams(0, index) for index in range(4)]


def random_pairs(num_seeds: int, count: int, length: int, states: int = 0) -> Segments:
    rng = np.random.default_rng(count)
    shape = (num_seeds, count, 2, length)
    lengths = rng.integers(1, length + 1, size=shape[:3])
    steps = np.arange(length) < lengths[..., None]
    obs: Any = rng.integers(states, size=shape) if states else rng.standard_normal((*shape, 3))
    return Segments(obs, rng.integers(2, size=shape), steps * 1.0, lengths)


def loss_by_hand(layers: list[Any], inputs: Any, lengths: Any, preferred: float) -> float:
    """-log P(label) of one pair, for a perceptron with one hidden layer, step by step."""
    w1, b1, w2, b2 = layers
    returns = []
    for i in range(2):
        total = 0.0
        for t in range(int(lengths[i])):
            total += float((np.tanh(inputs[i, t] @ w1 + b1) @ w2 + b2)[0])
        returns.append(total)
    probability = 1 / (1 + math.exp(returns[1] - returns[0]))
    return -preferred * math.log(probability) - (1 - preferred) * math.log(1 - probability)


def test_the_gradient_of_the_loss_is_that_of_differences_of_an_independent_computation() -> None:
    rng = np.random.default_rng(0)
    shapes = [(2, 4, 3), (2, 3), (2, 3, 1), (2, 1)]
    arrays = [rng.standard_normal(shape) for shape in shapes]
    layers = [torch.from_numpy(a).requires_grad_() for a in arrays]
    inputs = rng.standard_normal((3, 2, 5, 4))
    lengths = np.array([[5, 2], [1, 5], [4, 4]])
    preferred = np.array([1.0, 0.0, 0.5])
    steps = torch.from_numpy((np.arange(5) < lengths[..., None]) * 1.0)
    data = _Pairs(torch.from_numpy(inputs), steps, torch.from_numpy(preferred))
    chosen = torch.tensor([[0, 2], [1, 2]])  # of each of two networks
    losses = data.losses(layers, chosen)
    gradients = torch.autograd.grad(losses.sum(), layers)

    def by_hand(k: int, changed: list[Any]) -> float:
        own = [array[k] for array in changed]
        return sum(loss_by_hand(own, inputs[p], lengths[p], preferred[p]) for p in chosen[k])

    for k in range(2):
        assert losses[k].sum().item() == pytest.approx(by_hand(k, arrays), rel=1e-12)
    for j, array in enumerate(arrays):
        for index in np.ndindex(*array.shape):
            sides = []
            for step in (1e-5, -1e-5):
                changed = [a.copy() for a in arrays]
                changed[j][index] += step
                sides.append(by_hand(index[0], changed))
            slope = (sides[0] - sides[1]) / 2e-5
            assert gradients[j][index].item() == pytest.approx(slope, abs=1e-7)


def test_a_table_learns_the_true_rewards_and_their_level_from_segments_that_end_early() -> None:
    """Labels that are exact probabilities have their lowest loss at the true reward itself."""
    pairs = random_pairs(1, 300, 3, states=3)
    truth = np.array([[0.6, -0.4], [1.0, 0.3], [-0.8, 0.2]])
    steps = np.where(pairs.is_step, truth[pairs.obs, pairs.actions], 0.0).sum(-1)
    preferred = expit(steps[..., 0] - steps[..., 1])
    options = dataclasses.replace(
        OPTIONS, hidden_sizes=(), learning_rate=0.05, weight_decay=0.0, num_epochs=25
    )
    ensemble = RewardEnsemble(spaces.Discrete(3), spaces.Discrete(2), 1, options)
    loss = ensemble.fit(STREAMS[:1], 0, pairs, preferred)
    states, actions = np.divmod(np.arange(6), 2)
    learned = ensemble(states[None], actions[None])[0].reshape(3, 2)
    # Up to the scale, which is 1 over the root mean square of the steps.
    squares = np.where(pairs.is_step, truth[pairs.obs, pairs.actions] ** 2, 0.0).sum()
    scale = math.sqrt(squares / pairs.is_step.sum())
    np.testing.assert_allclose(learned, truth / scale, atol=0.02)
    entropy = -(preferred * np.log(preferred) + (1 - preferred) * np.log1p(-preferred)).mean()
    assert loss[0] == pytest.approx(entropy, abs=0.01)  # nothing lies below; a sample of a third


def test_rewards_of_the_labelled_steps_have_a_root_mean_square_of_one() -> None:
    pairs = random_pairs(2, 30, 4)
    options = dataclasses.replace(OPTIONS, ensemble_size=1)
    ensemble = RewardEnsemble(BOX, spaces.Discrete(2), 2, options)
    ensemble.fit(STREAMS[:2], 0, pairs, np.ones((2, 30)))
    flat = (pairs.obs.reshape(2, -1, 3), pairs.actions.reshape(2, -1))
    rewards = ensemble(*flat)
    for s in range(2):
        own = rewards[s][pairs.is_step[s].ravel()]
        assert math.sqrt((own**2).mean()) == pytest.approx(1.0, abs=1e-5)


def test_returns_are_sums_of_the_rewards_of_the_steps_that_were_taken() -> None:
    pairs = random_pairs(2, 6, 4)
    ensemble = RewardEnsemble(BOX, spaces.Discrete(2), 2, OPTIONS)
    ensemble.fit(STREAMS[:2], 0, pairs, np.ones((2, 6)))
    returns = ensemble.returns(pairs)
    for index in np.ndindex(2, 6, 2):
        n = pairs.lengths[index]
        obs, actions = (np.repeat(part[index][None, :n], 2, axis=0) for part in pairs[:2])
        assert returns[index] == pytest.approx(ensemble(obs, actions)[index[0]].sum(), abs=1e-5)


def test_there_may_be_no_segments() -> None:
    for space in (BOX, spaces.Discrete(3)):
        ensemble = RewardEnsemble(space, spaces.Discrete(2), 2, OPTIONS)
        states = 3 if space is not BOX else 0
        assert ensemble.returns(random_pairs(2, 0, 4, states)).shape == (2, 0, 2)


def test_a_seed_learns_the_same_bytes_alone_and_among_others() -> None:
    pairs = random_pairs(4, 20, 3)
    preferred = np.random.default_rng(3).random((4, 20)).round()
    whole = RewardEnsemble(BOX, spaces.Discrete(2), 4, OPTIONS)
    losses = whole.fit(STREAMS, 1, pairs, preferred)
    for s in range(4):
        alone = RewardEnsemble(BOX, spaces.Discrete(2), 1, OPTIONS)
        own = np.s_[s : s + 1]
        assert alone.fit(STREAMS[own], 1, pairs.at(own), preferred[own]) == losses[s]
        for name, value in alone.state_dict().items():
            assert np.asarray(value[0]).tobytes() == whole.state_dict()[name][s].tobytes(), name
        obs, actions = pairs.obs[own, :, 0, 0], pairs.actions[own, :, 0, 0]
        together = whole(pairs.obs[:, :, 0, 0], pairs.actions[:, :, 0, 0])
        assert alone(obs, actions)[0].tobytes() == together[s].tobytes()


def test_a_restored_reward_is_the_same_and_a_copy_does_not_follow_a_later_fit() -> None:
    pairs = random_pairs(2, 20, 3)
    ensemble = RewardEnsemble(BOX, spaces.Discrete(2), 2, OPTIONS)
    ensemble.fit(STREAMS[:2], 0, pairs, np.ones((2, 20)))
    other = RewardEnsemble(BOX, spaces.Discrete(2), 2, OPTIONS)
    other.load_state_dict(ensemble.state_dict())
    before, copy = ensemble.returns(pairs), ensemble.copy()
    assert (other.returns(pairs) == before).all()
    ensemble.fit(STREAMS[:2], 1, random_pairs(2, 9, 3), np.zeros((2, 9)))
    assert (copy.returns(pairs) == before).all()
    assert (ensemble.returns(pairs) != before).any()


def test_the_best_epoch_outside_the_sample_is_kept() -> None:
    """Of a single pair, which is in every sample, the last is kept."""
    pairs = random_pairs(1, 40, 2)
    preferred = np.random.default_rng(0).random((1, 40)).round()
    few, many = (dataclasses.replace(OPTIONS, num_epochs=n, learning_rate=0.1) for n in (1, 40))
    losses = [
        RewardEnsemble(BOX, spaces.Discrete(2), 1, options).fit(STREAMS[:1], 0, pairs, preferred)[0]
        for options in (few, many)
    ]
    assert losses[1] <= losses[0]
    assert losses[1] < 1.0  # fitting coin flips to the end gives several nats
    one = RewardEnsemble(BOX, spaces.Discrete(2), 1, many)
    one.fit(STREAMS[:1], 0, pairs.at(np.s_[:, :1]), np.ones((1, 1)))
    returns = one.returns(pairs.at(np.s_[:, :1]))[0, 0]
    assert returns[0] > returns[1]
