"""The environments by which Stable-Baselines3 tests spaces, as they are, trained by ppo.

In the identity environments the best action is the observation itself, and an episode has 100
steps; in the grid with Dict observations an episode that reaches the goal by the shortest path
returns 0.5.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3.common.envs import identity_env
from stable_baselines3.common.envs.multi_input_envs import SimpleMultiObsEnv
from stable_baselines3.common.evaluation import evaluate_policy

import rlkit
from rlkit.evaluation import play_many
from rlkit.seeding import SeedStreams
from rlkit.training.run import Run


def identity(name: str, *args: Any) -> Callable[[], Any]:
    """Make an identity environment that `reset(seed=...)` seeds: the original samples its space."""
    kind = getattr(identity_env, name)

    class Seeded(kind):  # type: ignore[misc]
        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            if seed is not None:
                self.action_space.seed(seed)
            return super().reset(seed=seed)

    return lambda: Seeded(*args)


ENVIRONMENTS = {
    "discrete": identity("IdentityEnv", 4),
    "box": identity("IdentityEnvBox", -1.0, 1.0, 0.5),
    "multi-discrete": identity("IdentityEnvMultiDiscrete", 4),
    "multi-binary": identity("IdentityEnvMultiBinary", 4),
}
OPTIONS: dict[str, Any] = {
    "rollout_length": 32,
    "minibatch_size": 64,
    "discount": 0.0,
    "learning_rate": 0.01,
    "hidden_sizes": (32,),
}


def train(name: str, out: Path, **changes: Any) -> Run:
    settings: dict[str, Any] = {"seeds": 3, "steps": 8192, "evaluation_episodes": 5, **changes}
    settings = {"evaluate_every": 256, **OPTIONS, **settings}
    return rlkit.train("ppo", ENVIRONMENTS[name], out=out, **settings)


@pytest.mark.trap("T71", "F44")
@pytest.mark.torture
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_ppo_learns_the_identity_environments(name: str, tmp_path: Path) -> None:
    run = train(name, tmp_path)
    assert run.record["reproducible"]
    assert (run.scores > 90).all()


def grid() -> SimpleMultiObsEnv:
    """Each copy draws its pictures when it is made; these are the same."""
    np.random.seed(0)  # noqa: NPY002  what it draws from
    return SimpleMultiObsEnv(random_start=False)


@pytest.mark.torture
def test_ppo_learns_the_grid_with_dict_observations(tmp_path: Path) -> None:
    run = rlkit.train(
        "ppo",
        grid,
        seeds=2,
        steps=8192,
        evaluate_every=8192,
        evaluation_episodes=100,
        normalise_observations=True,
        rollout_length=64,
        learning_rate=1e-3,
        hidden_sizes=(32,),
        out=tmp_path,
    )
    assert np.allclose(run.scores, 0.5)  # 100 of 100 episodes, each by a shortest path


@pytest.mark.filterwarnings("ignore")  # of the other library
def test_the_evaluation_of_stable_baselines3_agrees_with_ours_in_every_episode(
    tmp_path: Path,
) -> None:
    run = train("multi-discrete", tmp_path, seeds=1, steps=768, learning_rate=0.02)
    assert 10 < run.scores[0] < 100  # a policy that is neither perfect nor random
    streams = SeedStreams(0, 0)
    ours = play_many(run.batch_actor([0]), run.environment, [streams], 6, kind="gymnasium")

    class Scheduled(type(run.environment.make())):  # type: ignore[misc]
        """Resets with the integers of our evaluation, one episode after another."""

        episode = 0

        def reset(self, *, seed: Any = None, options: Any = None) -> Any:
            seed, self.episode = (
                streams.episode_seed("evaluation", self.episode, 0),
                self.episode + 1,
            )
            return super().reset(seed=seed)

    env = Scheduled(4)
    env.episode = 0  # the constructor resets it as well
    returns, lengths = evaluate_policy(
        run.actor(0), env, n_eval_episodes=6, return_episode_rewards=True
    )
    assert returns == ours.returns[0].tolist()
    assert lengths == ours.lengths[0].tolist()
    assert len(set(returns)) > 2
    longer = train("multi-discrete", tmp_path, seeds=1, steps=2304, learning_rate=0.02)
    assert longer.scores[0] > 90
