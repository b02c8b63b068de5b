"""Models trained elsewhere get the returns that their own library gives them, and no verdict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import rlkit
from rlkit.errors import UsageError
from rlkit.reporting.opening import Compared, open_subjects
from rlkit.seeding import SeedStreams
from rlkit.training.comparing.judged import Judged
from tests.cli.commands import output
from tests.training.comparing.sb3_files import saved

pytest.importorskip("stable_baselines3")
pytestmark = pytest.mark.filterwarnings("ignore::rlkit.errors.RlkitWarning")


class Seeded(gym.Wrapper[Any, Any, Any, Any]):
    """Begins its episodes with given seeds, one after another."""

    def __init__(self, env: gym.Env[Any, Any], seeds: list[int]) -> None:
        super().__init__(env)
        self._seeds = iter(seeds)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self.env.reset(seed=next(self._seeds, 0), options=options)


def returns_there(model: Any, environment: str, seed: int, episodes: int) -> list[float]:
    """Return what evaluate_policy of Stable-Baselines3 says of the episodes of a seed."""
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.monitor import Monitor

    streams = SeedStreams(0, seed)
    seeds = [streams.episode_seed("evaluation", episode, 0) for episode in range(episodes)]
    env = Monitor(Seeded(gym.make(environment), seeds))
    returns, _ = evaluate_policy(
        model, env, n_eval_episodes=episodes, deterministic=True, return_episode_rewards=True
    )
    return [float(one) for one in returns]


@pytest.mark.parametrize(
    ("algorithm", "environment"), [("PPO", "CartPole-v1"), ("SAC", "Pendulum-v1")]
)
def test_the_score_is_that_of_evaluate_policy_on_the_same_episodes(
    algorithm: str, environment: str, tmp_path: Path
) -> None:
    paths = []
    expected = []
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        path, model = saved(tmp_path / str(seed), algorithm, environment, seed=seed)
        paths.append(str(path))
        expected.append(returns_there(model, environment, seed, 3))
    for native in (True, False):
        compared = rlkit.compare(
            {"theirs": f"sb3:{','.join(paths)}"},
            environment,
            evaluation_episodes=3,
            native=native,
            trust=True,
            out=tmp_path / "runs",
        )
        # Monitor rounds the returns of episodes to six decimals.
        np.testing.assert_allclose(
            compared.scores["theirs"], np.mean(expected, axis=1), rtol=0, atol=1e-6
        )
        if environment == "CartPole-v1":
            np.testing.assert_array_equal(compared.scores["theirs"], np.mean(expected, axis=1))


@pytest.fixture
def compared(tmp_path: Path) -> Callable[..., Any]:
    path, _ = saved(tmp_path, "DQN", "FrozenLake-v1")

    def compared(*agents: Any, **options: Any) -> Any:
        budget = {"seeds": 3, "steps": 200, "evaluate_every": 100, "out": tmp_path / "runs"}
        words = [str(one).replace("MODEL", str(path)) for one in agents]
        return rlkit.compare(words, **{"environment": "FrozenLake-v1", **budget, **options})

    return compared


def test_one_model_is_one_seed_and_never_wins(compared: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match=r"on FrozenLake-v1: .*add --trust"):
        compared("theirs=sb3:MODEL", "random", "q-learning")
    result = compared("random", "theirs=sb3:MODEL", "q-learning", trust=True)
    verdicts = {(pair.a, pair.b): pair for pair in result.pairs()}
    assert list(verdicts) == [
        ("random", "theirs"), ("random", "q-learning"), ("theirs", "q-learning")
    ]  # fmt: skip
    pair = verdicts["random", "theirs"]
    assert pair.verdict == "one seed"
    assert np.isnan([pair.p_value, pair.low]).all()
    # The others are tested as if the model were not there.
    alone = compared("random", "q-learning", trust=True).pairs()
    assert verdicts["random", "q-learning"] == alone[0]
    assert result.num_tests == 1
    written = json.loads((result.folder / "summary.json").read_text())
    theirs = written["agents"]["theirs"]
    assert theirs["trained_elsewhere"][0]["algorithm"] == "dqn"
    assert theirs["interval"] == [None, None]
    assert "trained elsewhere" in theirs["notes"][-1]
    assert "trained_elsewhere" not in written["agents"]["random"]
    assert written["pairs"][0]["p_value"] is None
    (opened,) = open_subjects([result.folder])
    assert isinstance(opened, Compared)
    assert opened.missing == {}  # a model has no run that could be missed
    assert len(opened.runs) == 2
    run = result.runs["theirs"]
    assert isinstance(run, Judged)
    # FrozenLake's table is known, and the policy is deterministic: the return is exact.
    table = run._actor.probabilities(np.arange(16)[None])[0]  # type: ignore[attr-defined]
    from rlkit.evaluation import return_under_limit

    mdp = run.environment.mdp
    assert mdp is not None
    np.testing.assert_array_equal(run.scores, return_under_limit(mdp, table[None]))


def test_fifty_seeds_do_not_make_one_model_a_winner(
    compared: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = compared("random", "theirs=sb3:MODEL", trust=True)
    values = dict(result.values)
    values["random"] = values["random"]._replace(scores=np.linspace(0.5, 0.6, 60))
    result.__dict__["values"] = values
    assert [pair.verdict for pair in result.pairs()] == ["one seed"]
    from rlkit.training.comparing.testing import pair_tests

    assert pair_tests(values)[0].p_value <= 0.05, "the test shows nothing"


def test_several_models_are_seeds(tmp_path: Path) -> None:
    paths = []
    for seed in (1, 2, 3):
        (tmp_path / str(seed)).mkdir()
        path, _ = saved(tmp_path / str(seed), "DQN", "FrozenLake-v1", seed=seed)
        paths.append(str(path))
    result = rlkit.compare(
        [f"theirs=sb3:{','.join(paths)}", "random"],
        "FrozenLake-v1",
        seeds=3,
        steps=100,
        trust=True,
        out=tmp_path / "runs",
    )
    (pair,) = result.pairs()
    assert pair.verdict in ("too few seeds", "tie")
    assert len(result.scores["theirs"]) == 3


def test_models_have_no_curve(compared: Callable[..., Any]) -> None:
    with pytest.raises(UsageError, match="theirs was trained elsewhere and has no learning curve"):
        compared("random", "theirs=sb3:MODEL", trust=True, metric="area")
    with pytest.raises(UsageError, match="can only be evaluated, and evaluation_episodes = 0"):
        compared("random", "theirs=sb3:MODEL", trust=True, evaluation_episodes=0)
    with pytest.raises(UsageError, match="'theirs': name the environment to judge it on"):
        compared("theirs=sb3:MODEL", trust=True, environment=None)
    for more in ("--discount 1", "--vecnormalize none --discount 1"):
        with pytest.raises(UsageError, match=r"is a model, .* alone: omit --discount"):
            compared(f"theirs=sb3:MODEL {more}", trust=True)
    with pytest.raises(UsageError, match=r"omit --vecnormalise\. Did you mean 'vecnormalize'"):
        compared("theirs=sb3:MODEL --vecnormalise none", trust=True)


def test_a_model_beside_a_finished_run_needs_no_environment(compared: Callable[..., Any]) -> None:
    ran = compared("random", trust=True).runs["random"]
    again = compared(ran.folder, "theirs=sb3:MODEL", trust=True, environment=None, steps=None)
    new = compared("random", "theirs=sb3:MODEL", trust=True)
    np.testing.assert_array_equal(again.scores["theirs"], new.scores["theirs"])


@pytest.mark.usefixtures("figures")
def test_the_command_says_in_words_that_one_model_has_no_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, _ = saved(tmp_path, "DQN", "FrozenLake-v1")
    words = [f"theirs=sb3:{path}", "random", "--env", "FrozenLake-v1", "--steps", "100"]
    words += ["--seeds", "2", "--out", str(tmp_path / "runs")]
    _, err = output(capsys, "compare", *words, code=2)
    assert "add --trust" in err
    out, _ = output(capsys, "compare", *words, "--trust")
    assert "theirs and random: no verdict, because a single model" in out
    assert (tmp_path / "runs" / "learning_curves.png").exists()
    only, _ = output(
        capsys, "compare", words[0], *words[2:], "--trust", "--out", str(tmp_path / "o")
    )
    assert "learning_curves.png" not in only
