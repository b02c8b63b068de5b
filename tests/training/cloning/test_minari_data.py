"""Local Minari datasets; nothing is downloaded."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlkit.errors import UsageError
from rlkit.training.cloning.minari_data import minari_rows

NAME = "cartpole/test-v0"


def episode(length: int, action: int, **changes: Any) -> SimpleNamespace:
    """An episode as Minari has it, with one observation more than actions."""
    rng = np.random.default_rng(length)
    parts = {
        "observations": rng.normal(size=(length + 1, 4)).astype(np.float32),
        "actions": np.full(length, action),
        "rewards": np.ones(length),
    }
    return SimpleNamespace(**{**parts, **changes})


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """The episodes of the only local dataset of a module in Minari's place."""
    episodes = [episode(9, 0), episode(7, 1)]
    dataset = SimpleNamespace(iterate_episodes=lambda: iter(episodes))
    module = SimpleNamespace(
        list_local_datasets=lambda: {NAME: {}}, load_dataset=lambda name: dataset
    )
    monkeypatch.setitem(sys.modules, "minari", module)
    return episodes


def test_each_action_stands_beside_the_observation_before_it(
    stored: list[SimpleNamespace],
) -> None:
    rows = minari_rows(f"minari:{NAME}")
    np.testing.assert_array_equal(rows.episodes, np.repeat([0, 1], [9, 7]))
    np.testing.assert_array_equal(rows.actions[:, 0], rows.episodes)
    before = np.concatenate([one.observations[:-1] for one in stored])
    np.testing.assert_array_equal(rows.observations, before)
    assert rows.rewards is not None
    assert rows.rewards.sum() == 16
    assert rows.place(11, "observation", 3).endswith("episode 1, step 2, observation[3]")


def test_an_unknown_dataset_is_named_beside_those_there_are(stored: Any) -> None:
    with pytest.raises(UsageError, match=r"no local dataset 'cartpole/tset-v0'.*cartpole/test-v0"):
        minari_rows("minari:cartpole/tset-v0")


def test_observations_with_parts_and_an_empty_dataset_are_rejected(
    stored: list[SimpleNamespace],
) -> None:
    stored[1] = episode(7, 1, observations={"a": np.zeros((8, 2))})
    with pytest.raises(UsageError, match="episode 1, observation: got a dict, expected numbers"):
        minari_rows(f"minari:{NAME}")
    stored[:] = [episode(0, 0)]
    with pytest.raises(UsageError, match="has no step"):
        minari_rows(f"minari:{NAME}")


def test_a_missing_package_and_one_that_minari_misses_are_named(
    stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> None:
        try:
            raise ModuleNotFoundError("No module named 'h5py'", name="h5py")
        except ImportError:
            raise ImportError("h5py is not installed.")  # noqa: B904  as Minari does

    monkeypatch.setattr(sys.modules["minari"], "load_dataset", load)
    with pytest.raises(UsageError, match=r'the package h5py, .*pip install "rlkit\[minari\]"'):
        minari_rows(f"minari:{NAME}")
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(UsageError, match=r'the package minari, .*pip install "rlkit\[minari\]"'):
        minari_rows(f"minari:{NAME}")


@pytest.mark.filterwarnings("ignore")
def test_a_dataset_that_minari_wrote_is_read(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    minari = pytest.importorskip("minari")
    pytest.importorskip("h5py")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    env = gym.make("CartPole-v1")
    observations, rewards = [env.reset(seed=0)[0]], []
    ended = False
    while not ended:
        obs, reward, ended, _, _ = env.step(1)
        observations.append(obs)
        rewards.append(reward)
    count = len(rewards)
    buffer = minari.data_collector.EpisodeBuffer(
        id=0,
        seed=0,
        observations=np.array(observations),
        actions=np.ones(count, dtype=np.int64),
        rewards=rewards,
        terminations=[False] * (count - 1) + [True],
        truncations=[False] * count,
        infos={},
    )
    minari.create_dataset_from_buffers(NAME, buffer=[buffer], env=env)
    rows = minari_rows(f"minari:{NAME}")
    np.testing.assert_array_equal(rows.observations, observations[:-1])
    np.testing.assert_array_equal(rows.actions, np.ones((count, 1)))
