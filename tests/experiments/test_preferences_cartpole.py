"""Policies that optimise rewards learned on CartPole, measured by the true return."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import rlkit
from experiments import preferences_cartpole as experiment
from experiments.labelled_episodes import FixedPolicy, record
from rlkit.determinism import prepared_torch
from rlkit.seeding import SeedStreams

STREAMS = (SeedStreams(1, 0), SeedStreams(1, 1))


class OneForEachStep:
    """The reward of CartPole itself."""

    identity = "one"

    def for_seeds(self, seeds: object) -> object:
        return lambda obs, *_: np.ones(obs.shape[:2])


def uniform(obs: np.ndarray) -> np.ndarray:
    return np.full((*obs.shape[:2], 2), 0.5)


def to_the_right(obs: np.ndarray) -> np.ndarray:
    return np.broadcast_to([0.25, 0.75], (*obs.shape[:2], 2))


def test_a_policy_is_measured_until_its_first_episode_ends() -> None:
    reward = OneForEachStep()
    measured = experiment.play(
        FixedPolicy(uniform, STREAMS),
        FixedPolicy(to_the_right, STREAMS),
        reward,  # type: ignore[arg-type]
        STREAMS,
    )
    steps, learned, kl = measured
    assert steps.shape == (2, experiment.EPISODES)
    np.testing.assert_array_equal(learned, steps)
    assert 15 < steps.mean() < 30  # random play: about 22
    each = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    np.testing.assert_allclose(kl, each * steps, rtol=1e-12)


def test_a_seed_learns_the_same_reward_beside_others() -> None:
    with prepared_torch():
        rewards = []
        for streams in (STREAMS, STREAMS[:1]):
            recorder = record(FixedPolicy(uniform, streams), "CartPole-v1", streams, 2, 200)
            rewards.append(experiment.learn(recorder, streams, 20))
        obs, actions = np.zeros((1, 1, 4), dtype=np.float32), np.zeros((1, 1), dtype=np.int64)
        one, other = (reward.for_seeds([0])(obs, actions) for reward in rewards)
    np.testing.assert_array_equal(one, other)
    assert rewards[0].identity != rewards[1].identity


@pytest.mark.long
def test_the_experiment_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "KL_COEFS", (10.0, 0.1))
    monkeypatch.setattr(experiment, "STEPS", 4096)
    run = rlkit.train("ppo", "CartPole-v1", seeds=1, steps=4096, out=tmp_path)
    with prepared_torch():
        reference = experiment.reference_of(run, STREAMS)
        recorder = record(reference, "CartPole-v1", STREAMS, 2, 400)
    args = SimpleNamespace(seed=1, workers=1, runs=tmp_path)
    rows = experiment.optimise(50, recorder, run, STREAMS, args)
    assert rows["kl"].shape == (2, 2)
    assert (rows["kl"][0] < rows["kl"][1]).all()  # the smaller penalty goes further
    assert (rows["kl"] > 0).all()
    text = experiment.table({50: rows})
    assert text.count("\n") == 4
