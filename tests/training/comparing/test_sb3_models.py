"""Files of Stable-Baselines3 are read as data, loaded only with trust, and act as they do there."""

from __future__ import annotations

import base64
import importlib
import json
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rlkit.errors import UsageError
from rlkit.runs.integrity.trust import trusting
from rlkit.training.comparing.sb3_models import load_policy, read_models
from tests.training.comparing.sb3_files import saved

pytest.importorskip("stable_baselines3")


def spaces_of(environment: str) -> tuple[spaces.Space[Any], spaces.Space[Any]]:
    env = gym.make(environment)
    return env.observation_space, env.action_space


@pytest.mark.parametrize(
    ("algorithm", "environment"),
    [("PPO", "CartPole-v1"), ("A2C", "CartPole-v1"), ("DQN", "FrozenLake-v1"),
     ("SAC", "Pendulum-v1"), ("TD3", "Pendulum-v1"), ("DDPG", "Pendulum-v1")],
)  # fmt: skip
def test_a_file_says_its_algorithm_and_acts_as_predict_does(
    algorithm: str, environment: str, tmp_path: Path
) -> None:
    path, model = saved(tmp_path, algorithm, environment)
    (read,) = read_models(f"sb3:{path}")
    # DDPG is TD3 with other options, and their policies are of one form.
    assert read.algorithm == ("td3" if algorithm == "DDPG" else algorithm.lower())
    before = np.random.get_state()[1]  # noqa: NPY002
    with trusting(True):
        actor = load_policy(read, *spaces_of(environment))
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    model.observation_space.seed(0)
    obs = np.array([model.observation_space.sample() for _ in range(20)])
    expected, _ = model.predict(obs, deterministic=True)
    np.testing.assert_array_equal(actor.act(obs[None])[0], expected)


def test_a_normaliser_is_applied_as_it_is_there(tmp_path: Path) -> None:
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    path, model = saved(tmp_path, "PPO", "Pendulum-v1")
    wrapped = VecNormalize(DummyVecEnv([lambda: gym.make("Pendulum-v1")]))
    wrapped.reset()
    for _ in range(30):
        wrapped.step(np.zeros((1, 1)))
    normaliser = tmp_path / "vecnormalize.pkl"
    (bare,) = read_models(f"sb3:ppo:{path}")
    wrapped.save(str(normaliser))
    (read,) = read_models(f"sb3:ppo:{path}", [str(normaliser)])
    assert read.remarks == bare.remarks == ()
    assert read.digest != bare.digest
    with trusting(True):
        actor = load_policy(read, *spaces_of("Pendulum-v1"))
    obs = np.array([[1.0, 0.0, 3.0], [-1.0, 0.1, -8.0]], np.float32)
    expected, _ = model.predict(wrapped.normalize_obs(obs), deterministic=True)
    assert not np.array_equal(expected, model.predict(obs, deterministic=True)[0])
    np.testing.assert_array_equal(actor.act(obs[None])[0], expected)


@pytest.mark.parametrize(
    ("algorithm", "environment"),
    [("TRPO", "CartPole-v1"), ("ARS", "Pendulum-v1"), ("QRDQN", "FrozenLake-v1"),
     ("TQC", "Pendulum-v1"), ("CrossQ", "Pendulum-v1")],
)  # fmt: skip
def test_models_of_sb3_contrib_act_as_predict_does(
    algorithm: str, environment: str, tmp_path: Path
) -> None:
    pytest.importorskip("sb3_contrib")
    path, model = saved(tmp_path, algorithm, environment)
    (read,) = read_models(f"sb3:{path}")
    assert read.algorithm == algorithm.lower()
    with trusting(True):
        actor = load_policy(read, *spaces_of(environment))
    model.observation_space.seed(0)
    obs = np.array([model.observation_space.sample() for _ in range(20)])
    expected, _ = model.predict(obs, deterministic=True)
    np.testing.assert_array_equal(actor.act(obs[None])[0], expected)


@pytest.mark.parametrize(
    ("algorithm", "policy", "need"),
    [("RecurrentPPO", "MlpLstmPolicy", "recurrent"), ("MaskablePPO", "MlpPolicy", "maskable")],
)
def test_a_policy_that_needs_more_than_observations_is_rejected(
    algorithm: str, policy: str, need: str, tmp_path: Path
) -> None:
    pytest.importorskip("sb3_contrib")
    path, _ = saved(tmp_path, algorithm, "CartPole-v1", policy=policy)
    with pytest.raises(UsageError, match=f"has a {need} policy.*Judge it by evaluate_policy"):
        read_models(f"sb3:{path}")


class Remembering:
    """Made a policy below: it has a state, as recurrent ones do."""

    def predict(self, observation: Any, state: Any = None, *more: Any, **others: Any) -> Any:
        actions, _ = super().predict(observation, state, *more, **others)  # type: ignore[misc]
        return actions, (np.zeros(1),)


def test_a_policy_of_ones_own_with_a_state_is_rejected(tmp_path: Path) -> None:
    from stable_baselines3.common.policies import ActorCriticPolicy

    policy = type("Own", (Remembering, ActorCriticPolicy), {})
    path, _ = saved(tmp_path, "PPO", "CartPole-v1", policy=policy)
    (read,) = read_models(f"sb3:{path}")
    with trusting(True), pytest.raises(UsageError, match="has a recurrent policy"):
        load_policy(read, *spaces_of("CartPole-v1"))


def test_a_policy_in_a_file_that_is_not_found_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_policies.py").write_text(
        "from stable_baselines3.common.policies import ActorCriticPolicy\n"
        "class Own(ActorCriticPolicy):\n    pass\n"
    )
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        policy = importlib.import_module("own_policies").Own
        path, model = saved(tmp_path, "PPO", "CartPole-v1", policy=policy)
        (read,) = read_models(f"sb3:{path}")
        with trusting(True):
            actor = load_policy(read, *spaces_of("CartPole-v1"))
        obs = np.ones((3, 4), np.float32)
        expected = model.predict(obs, deterministic=True)[0]
        np.testing.assert_array_equal(actor.act(obs[None])[0], expected)
    monkeypatch.delitem(sys.modules, "own_policies")
    with (
        trusting(True),
        pytest.raises(UsageError, match=r"No module named 'own_policies'.*on PYTH"),
    ):
        load_policy(read, *spaces_of("CartPole-v1"))


def test_a_file_with_spaces_of_gym_says_which_packages_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = saved(tmp_path, "PPO", "CartPole-v1")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "gym", types.ModuleType("gym"))
        module = types.ModuleType("gym.spaces")
        module.Box = type("Box", (), {"__module__": "gym.spaces"})  # type: ignore[attr-defined]
        patch.setitem(sys.modules, "gym.spaces", module)
        pickled = base64.b64encode(pickle.dumps(module.Box())).decode()
    older = path.with_name("older.zip")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(older, "w") as new:
        data = json.loads(old.read("data"))
        data["observation_space"][":serialized:"] = pickled
        for name in old.namelist():
            new.writestr(name, json.dumps(data) if name == "data" else old.read(name))
    (read,) = read_models(f"sb3:{older}")
    with trusting(True), pytest.raises(UsageError, match=r"before 2.0 .*: pip install gym shimmy"):
        load_policy(read, *spaces_of("CartPole-v1"))


def test_nothing_in_a_file_runs_without_trust(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "PPO", "CartPole-v1")
    witness = tmp_path / "it ran"

    class Pickled:
        def __reduce__(self) -> Any:
            return Path.touch, (witness,)

    wrapped = path.with_name("wrapped.zip")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(wrapped, "w") as new:
        data = json.loads(old.read("data"))
        for name in data:
            if isinstance(data[name], dict) and ":serialized:" in data[name]:
                data[name][":serialized:"] = base64.b64encode(pickle.dumps(Pickled())).decode()
        for name in old.namelist():
            new.writestr(name, json.dumps(data) if name == "data" else old.read(name))
    (read,) = read_models(f"sb3:{wrapped}")
    with pytest.raises(UsageError, match=r"runs whatever code is in them.*add --trust"):
        load_policy(read, *spaces_of("CartPole-v1"))
    assert not witness.exists()
    with trusting(True), pytest.raises(UsageError, match="cannot be loaded as a PPO"):
        load_policy(read, *spaces_of("CartPole-v1"))
    assert witness.exists(), "the test shows nothing"


def test_a_model_of_another_space_is_rejected_by_name(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "PPO", "CartPole-v1")
    (read,) = read_models(f"sb3:{path}")
    with trusting(True):
        with pytest.raises(UsageError, match=r"model\.zip has the observation space Box\(\[-4\.8"):
            load_policy(read, *spaces_of("Pendulum-v1"))
        observations, _ = spaces_of("CartPole-v1")
        with pytest.raises(UsageError, match=r"the action space Discrete\(2\), and the environ"):
            load_policy(read, observations, spaces.Discrete(3))
        # Older versions wrote the largest float for "no bound".
        assert isinstance(observations, spaces.Box)
        most = np.finfo(np.float32).max
        older = spaces.Box(
            np.nan_to_num(observations.low, neginf=-most),
            np.nan_to_num(observations.high, posinf=most),
        )
        assert older != observations
        load_policy(read, older, spaces.Discrete(2))


def test_what_is_no_model_is_rejected(tmp_path: Path) -> None:
    path, _ = saved(tmp_path, "PPO", "CartPole-v1")
    text = tmp_path / "text.zip"
    text.write_text("text")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("data", json.dumps({"num_timesteps": 3, "policy_class": {}}))
    for word, message in (
        ("sb3:", "expected a file"),
        (f"sb3:{tmp_path}/none.zip", "none.zip of a contender cannot be read: no such file"),
        (f"sb3:{text}", "no model of Stable-Baselines3"),
        (f"sb3:pp:{path}", "expected the algorithm a2c, ars, crossq.*Did you mean 'ppo'"),
        (f"sb3:{tmp_path}/other.zip", "its algorithm cannot be told from the file; name it"),
        (f"sb3:{path},{path}", "a seed counts once"),
    ):
        with pytest.raises(UsageError, match=message):
            read_models(word)
