"""A model that saw observations through VecNormalize is never judged without its statistics."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import rlkit
from rlkit.errors import RlkitWarning, UsageError
from rlkit.runs.integrity.trust import trusting
from rlkit.seeding import SeedStreams
from rlkit.training.comparing.sb3_models import load_policy, read_models
from rlkit.training.comparing.sb3_normalisers import Normaliser
from tests.training.comparing.test_judged import Seeded

pytest.importorskip("stable_baselines3")
pytestmark = pytest.mark.filterwarnings("ignore::rlkit.errors.RlkitWarning")

BUDGETS: dict[str, dict[str, Any]] = {
    "PPO": {"n_steps": 32, "batch_size": 32},
    "A2C": {},
    "SAC": {"learning_starts": 16, "buffer_size": 100},
}


def trained(folder: Path, algorithm: str, steps: int = 64, **normalising: Any) -> tuple[Path, Any]:
    """Train on Pendulum, through VecNormalize if it has options; return the file and the model."""
    import stable_baselines3
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    env: Any = DummyVecEnv([lambda: gym.make("Pendulum-v1")])
    env.seed(3)
    env = VecNormalize(env, **normalising) if normalising else env
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = getattr(stable_baselines3, algorithm)
        model = kind("MlpPolicy", env, device="cpu", seed=1, **BUDGETS[algorithm])
        if steps:
            model.learn(steps)
        model.save(folder / "model.zip")
    return folder / "model.zip", model


def returns_there(model: Any, episodes: int) -> float:
    """Return what evaluate_policy says of a model in its VecNormalize on episodes of seed 0."""
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    streams = SeedStreams(0, 0)
    seeds = [streams.episode_seed("evaluation", episode, 0) for episode in range(episodes)]
    env: Any = DummyVecEnv([lambda: Monitor(Seeded(gym.make("Pendulum-v1"), seeds))])
    wrapper = model.get_vec_normalize_env()
    env = VecNormalize(env, training=False, norm_obs=wrapper.norm_obs)
    if wrapper.norm_obs:
        env.obs_rms = wrapper.obs_rms
    mean, _ = evaluate_policy(model, env, n_eval_episodes=episodes, deterministic=True)
    return float(mean)


@pytest.fixture
def judged(tmp_path: Path) -> Callable[..., Any]:
    def judged(agent: Any) -> Any:
        options = {"evaluation_episodes": 2, "trust": True, "out": tmp_path / "runs"}
        return rlkit.compare({"theirs": agent}, "Pendulum-v1", **options)

    return judged


@pytest.mark.parametrize("algorithm", BUDGETS)
def test_the_score_with_statistics_is_that_of_evaluate_policy_in_its_wrapper(
    algorithm: str, tmp_path: Path, judged: Callable[..., Any]
) -> None:
    path, model = trained(tmp_path, algorithm, norm_obs=True)
    statistics = tmp_path / "statistics.pkl"
    model.get_vec_normalize_env().save(str(statistics))
    expected = returns_there(model, 2)
    for agent in (
        f"sb3:{path} --vecnormalize {statistics}",
        {"agent": f"sb3:{path}", "vecnormalize": [statistics]},
    ):
        scores = judged(agent).scores["theirs"]
        assert scores == pytest.approx([expected], rel=1e-6)
    without = judged(f"sb3:{path} --vecnormalize none").scores["theirs"]
    assert without != pytest.approx([expected], rel=1e-3), "the test shows nothing"


@pytest.mark.parametrize("algorithm", ["PPO", "A2C"])
def test_a_file_that_says_it_was_normalised_is_rejected_without_statistics(
    algorithm: str, tmp_path: Path, judged: Callable[..., Any]
) -> None:
    path, model = trained(tmp_path, algorithm, norm_obs=True)
    with pytest.raises(
        UsageError, match=r"VecNormalize: without .* --vecnormalize \S+/vecnormalize\.pkl\""
    ):
        read_models(f"sb3:{path}")  # before anything is unpickled or trained
    model.get_vec_normalize_env().save(str(tmp_path / "vec_normalize.pkl"))
    with pytest.raises(UsageError, match=r"--vecnormalize \S+/vec_normalize.pkl"):
        read_models(f"sb3:{path}")
    (named,) = read_models(f"sb3:{path}", ["none"])
    assert "as --vecnormalize none says" in named.remarks[0]
    with pytest.warns(RlkitWarning, match="as --vecnormalize none says"):
        summary = judged(f"sb3:{path} --vecnormalize NONE").summary()
    assert "as --vecnormalize none says" in json.dumps(summary)


@pytest.mark.parametrize("algorithm", ["PPO", "A2C"])
def test_a_file_that_says_it_was_not_normalised_needs_no_word(
    algorithm: str, tmp_path: Path
) -> None:
    path, _ = trained(tmp_path, algorithm)
    (tmp_path / "vecnormalize.pkl").write_bytes(b"of another model")
    assert read_models(f"sb3:{path}")[0].remarks == ()
    (given,) = read_models(f"sb3:{path}", [str(tmp_path / "vecnormalize.pkl")])
    assert "although its file says that it was trained without" in given.remarks[0]


def test_a_file_that_does_not_say_is_judged_with_a_remark_unless_statistics_lie_beside_it(
    tmp_path: Path,
) -> None:
    for normalising in ({}, {"norm_obs": True}):
        path, _ = trained(tmp_path, "SAC", **normalising)
        (remark,) = read_models(f"sb3:{path}")[0].remarks
        assert remark.startswith("a file of SAC does not say")
    assert read_models(f"sb3:{path}", ["none"])[0].remarks == ()
    # Where RL Zoo has it.
    (tmp_path / "Pendulum-v1").mkdir()
    (tmp_path / "Pendulum-v1" / "vecnormalize.pkl").touch()
    with pytest.raises(UsageError, match=r"may have been trained through the VecNormalize of "
                       r"Pendulum-v1/vecnormalize.pkl, which lies beside it"):  # fmt: skip
        read_models(f"sb3:{path}")
    # A file of PPO says nothing before it is trained.
    untrained, _ = trained(tmp_path, "PPO", steps=0)
    with pytest.raises(UsageError, match="may have been trained"):
        read_models(f"sb3:{untrained}")


class Precise(gym.Env[Any, Any]):
    """Has observations of float64, as the environments of MuJoCo."""

    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, *, in_a_dict: bool = False) -> None:
        point: spaces.Space[Any] = spaces.Box(-np.inf, np.inf, (2,), np.float64)
        self.observation_space = spaces.Dict(place=point) if in_a_dict else point

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        return self._observe(), float(action[0]), self._steps > 9, False, {}

    def _observe(self) -> Any:
        place = self.np_random.normal(5.0, 3.0, 2)
        return {"place": place} if isinstance(self.observation_space, spaces.Dict) else place


@pytest.mark.parametrize("in_a_dict", [False, True])
def test_the_type_of_the_last_observation_tells_where_a_file_does_not_say(
    in_a_dict: bool, tmp_path: Path
) -> None:
    from stable_baselines3 import SAC
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    env: Any = DummyVecEnv([lambda: Precise(in_a_dict=in_a_dict)])
    spaces_of_it = env.observation_space, env.action_space
    for norm_obs in (None, False, True):
        wrapped = env if norm_obs is None else VecNormalize(env, norm_obs=norm_obs)
        policy = "MultiInputPolicy" if in_a_dict else "MlpPolicy"
        SAC(policy, wrapped, device="cpu", seed=1, **BUDGETS["SAC"]).learn(12).save(
            tmp_path / "model.zip"
        )
        (model,) = read_models(f"sb3:{tmp_path}/model.zip")
        (plain,) = read_models(f"sb3:{tmp_path}/model.zip", ["none"])
        with trusting(True):
            load_policy(plain, *spaces_of_it)
            if norm_obs:
                with pytest.raises(UsageError, match="probably trained through a VecNormalize, as"):
                    load_policy(model, *spaces_of_it)
            else:
                load_policy(model, *spaces_of_it)


def test_statistics_of_rewards_alone_change_nothing(
    tmp_path: Path, judged: Callable[..., Any]
) -> None:
    path, model = trained(tmp_path, "PPO", norm_obs=False)
    statistics = tmp_path / "vecnormalize.pkl"
    model.get_vec_normalize_env().save(str(statistics))
    with_them = judged(f"sb3:{path} --vecnormalize {statistics}").scores["theirs"]
    assert with_them == judged(f"sb3:{path} --vecnormalize none").scores["theirs"]
    assert with_them == pytest.approx([returns_there(model, 2)], rel=1e-6)


def test_other_files_in_the_place_of_statistics_are_rejected(
    tmp_path: Path, judged: Callable[..., Any]
) -> None:
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    path, _ = trained(tmp_path, "SAC")
    other = tmp_path / "other.pkl"
    other.write_bytes(b"text")
    with pytest.raises(UsageError, match=r"other.pkl cannot be loaded.*VecNormalize.save wrote"):
        judged(f"sb3:{path} --vecnormalize {other}")
    other.write_bytes(pickle.dumps({"mean": 0}))
    with pytest.raises(UsageError, match=r"other.pkl: expected a VecNormalize.*got dict"):
        judged(f"sb3:{path} --vecnormalize {other}")
    VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")])).save(str(other))
    with pytest.raises(UsageError, match=r"are of observations of shape \(4,\), and those of the"):
        judged(f"sb3:{path} --vecnormalize {other}")


def test_each_model_has_statistics_of_its_own(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        trained(tmp_path / name, "A2C", norm_obs=True)
        (tmp_path / f"{name}.pkl").write_text(name)
    word = f"sb3:{tmp_path}/a/model.zip,{tmp_path}/b/model.zip"
    files = [str(tmp_path / "a.pkl"), str(tmp_path / "b.pkl")]
    with pytest.raises(UsageError, match=r"expected 2 files of --vecnormalize, .* got 1"):
        read_models(word, files[:1])
    models = read_models(word, files)
    assert [one.normaliser and one.normaliser.name for one in models] == ["a.pkl", "b.pkl"]
    assert [one.normaliser for one in read_models(word, [files[0], "none"])][1] is None
    assert [one.normaliser for one in read_models(word, ["none"])] == [None, None]


def test_statistics_run_no_code_without_trust(tmp_path: Path) -> None:
    witness = tmp_path / "it ran"

    class Pickled:
        def __reduce__(self) -> Any:
            return Path.touch, (witness,)

    path, _ = trained(tmp_path, "SAC")
    statistics = tmp_path / "statistics.pkl"
    statistics.write_bytes(pickle.dumps(Pickled()))
    word = {"theirs": f"sb3:{path} --vecnormalize {statistics}"}
    with pytest.raises(UsageError, match="add --trust"):
        rlkit.compare(word, "Pendulum-v1", out=tmp_path / "runs")
    assert not witness.exists()


@pytest.mark.parametrize("keys", [None, ["seen"], ["place"]])
def test_images_are_numbers_once_they_are_normalised(
    keys: list[str] | None, tmp_path: Path
) -> None:
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    def parts() -> spaces.Dict:
        image = spaces.Box(0, 255, (3, 40, 36), np.uint8)
        return spaces.Dict(seen=image, place=spaces.Box(-2.0, 5.0, (2,)))

    class Looking(gym.Env[Any, Any]):
        observation_space = parts()  # which the wrapper changes
        action_space = spaces.Discrete(2)

    wrapper = VecNormalize(DummyVecEnv([Looking]), norm_obs_keys=keys)
    wrapper.save(str(tmp_path / "statistics.pkl"))
    normalise = Normaliser(tmp_path / "statistics.pkl")
    assert normalise.space(parts()) == wrapper.observation_space
    obs = {key: np.stack([space.sample()] * 2) for key, space in parts().items()}
    expected = wrapper.normalize_obs(obs)
    for key, value in normalise(obs).items():
        np.testing.assert_array_equal(value, expected[key])
