"""A run that was trained, opened again: its curves, scores and policies."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlkit import tabular
from rlkit.cli import main
from rlkit.errors import UsageError
from rlkit.loop import interact
from rlkit.seeding import SeedStreams
from rlkit.training.comparing.contenders import read_contenders
from rlkit.training.run import Run, load
from rlkit.training.train import train

PROBES = Path(__file__).parents[1] / "probe_envs.py"


def test_curves_have_a_row_a_seed_and_a_column_a_step(trained: Callable[..., Run]) -> None:
    run = trained("q-learning", seeds=3)
    assert run.steps.tolist() == [0, 100, 200, 300, 400, 500, 600]
    assert run.curve.shape == (3, 7)
    assert run.scores.shape == (3,)
    np.testing.assert_array_equal(run.scores, run.curve[:, -1])
    assert run.interval().estimate == pytest.approx(run.scores.mean(), rel=1e-12)
    assert run.env_steps_per_second > 0
    assert "3 seeds, finished" in repr(run)


def test_without_evaluation_the_returns_of_training_are_the_curve(
    trained: Callable[..., Run],
) -> None:
    run = trained("ppo", seeds=2, evaluation_episodes=0)
    assert run.measured == "train_return"
    assert np.isnan(run.curve[:, 0]).all()
    assert (run.curve[:, 1:] > 0).all()
    assert np.isfinite(run.scores).all()


@pytest.mark.parametrize("name", ["ppo", "ppo-normalised", "reinforce", "q-learning", "random"])
def test_a_run_that_is_opened_again_is_the_run_that_was_trained(
    name: str, small: Callable[..., Run]
) -> None:
    run = small(name, seeds=2)
    again = load(run.folder)
    np.testing.assert_array_equal(again.steps, run.steps)
    np.testing.assert_array_equal(again.curve, run.curve)
    assert again.spec.config == run.spec.config
    assert again.spec.identity(again.environment) == run.spec.identity(run.environment)
    env = run.environment.make()
    obs, _ = env.reset(seed=0)
    for seed in range(2):
        np.testing.assert_array_equal(again.actor(seed).act(obs), run.actor(seed).act(obs))


@pytest.mark.parametrize("name", ["ppo", "ppo-normalised", "q-learning"])
def test_a_policy_acts_on_one_observation_as_on_a_batch(
    name: str, trained: Callable[..., Run]
) -> None:
    run = trained(name, seeds=1)
    actor = run.actor(0)
    env = run.environment.make()
    env.observation_space.seed(0)
    batch = np.array([env.observation_space.sample() for _ in range(5)])
    batch = np.nan_to_num(batch, posinf=1.0, neginf=-1.0)
    actions, state = actor.predict(batch)
    assert state is None
    assert len(actions) == 5
    for obs, action in zip(batch, actions, strict=True):
        single = actor.act(obs)
        assert env.action_space.contains(single)
        assert type(single) is (int if name != "ppo-normalised" else np.ndarray)
        np.testing.assert_allclose(single, action, rtol=1e-6)
    with pytest.raises(UsageError, match="observations of shape"):
        actor.act(np.zeros((2, 3, 4)))


def test_actions_are_counted_from_the_start_of_their_space(trained: Callable[..., Run]) -> None:
    run = trained("ppo-probe", seeds=1, env_args={"start": -1}, learning_rate=1e-6)
    obs = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32) * 5
    actor = run.actor(0, greedy=False)
    assert {actor.act(o) for o in obs} == {-1, 0, 1}


def test_actions_are_clipped_into_their_box(trained: Callable[..., Run]) -> None:
    run = trained("ppo-probe", environment=f"{PROBES}:Bounded", seeds=1, learning_rate=1e-6)
    actor = run.actor(0, greedy=False)
    space = run.environment.make().action_space
    actions = [actor.act(obs) for obs in (2, 3, 4, 5) * 20]
    assert all(space.contains(action) for action in actions)
    # A standard deviation near 1 leaves the box often, to either side.
    assert np.min(actions) == np.float32(-0.5)
    assert np.max(actions) == np.float32(0.25)
    batch, _ = run.actor(0, greedy=False).predict(np.array([2, 5]))
    assert batch.shape == (2, 2)
    assert (batch >= space.low).all()
    assert (batch <= space.high).all()


@pytest.mark.parametrize("name", ["ppo", "random"])
def test_a_policy_that_explores_takes_batches_of_any_size(
    name: str, trained: Callable[..., Run]
) -> None:
    run = trained(name, seeds=1)
    actor, space = run.actor(0, greedy=False), run.environment.make().observation_space
    for size in (1, 3, 2):
        actions, _ = actor.predict(np.array([space.sample() for _ in range(size)]))
        assert len(actions) == size


@pytest.mark.filterwarnings("ignore")  # of the other library
def test_the_evaluation_of_stable_baselines3_takes_a_policy(trained: Callable[..., Run]) -> None:
    from stable_baselines3.common.evaluation import evaluate_policy

    run = trained("ppo", seeds=1)
    returns, lengths = evaluate_policy(
        run.actor(0), gym.make("CartPole-v1"), n_eval_episodes=3, return_episode_rewards=True
    )
    assert len(returns) == 3
    assert returns == [float(length) for length in lengths]


def test_fewer_seeds_can_be_requested_than_there_are(small: Callable[..., Run]) -> None:
    small("random", seeds=3)
    assert small("random", seeds=2).curve.shape[0] == 2


def test_a_class_as_agent_trains_and_gives_its_policies_to_the_same_process(
    small: Callable[..., Run],
) -> None:
    from rlkit.agents.random import Random, RandomConfig

    class Mine(Random):
        def __init__(self, task: Any, config: Any = None) -> None:
            super().__init__(task, config or RandomConfig())

    run = small("random", agent=Mine, seeds=2)
    assert run.agent == "Mine"
    assert run.actor(1).act(0) in range(4)
    with pytest.raises(UsageError, match="not an agent of rlkit"):
        load(run.folder).actor(1)


@pytest.mark.usefixtures("figures")
def test_a_plot_can_be_drawn_of_a_run_that_is_not_finished(
    small: Callable[..., Run], tmp_path: Path
) -> None:
    from rlkit.runs.reports import Reports
    from rlkit.training.train import Interrupted

    looks = itertools.count()
    with pytest.raises(Interrupted):
        small("q-learning", seeds=2, reports=Reports(stop=lambda: next(looks) > 12))
    (folder,) = (tmp_path / "runs").iterdir()
    run = load(folder)
    assert run.status == "interrupted"
    assert np.isnan(run.scores).all()
    run.plot(tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


# --- regret ---------------------------------------------------------------------------------------


def test_regret_is_the_optimum_minus_the_curve(trained: Callable[..., Run]) -> None:
    run = trained("q-learning", seeds=2)
    assert run.optimum == pytest.approx(0.7441902878, abs=1e-8)
    np.testing.assert_allclose(run.regret, 0.7441902878 - run.curve, atol=1e-9)
    assert not run.is_bandit


@pytest.mark.parametrize("means", [[0.2, 0.9], None])
def test_the_regret_of_a_bandit_is_summed_over_the_episodes_of_training(
    means: list[float] | None, tmp_path: Path
) -> None:
    """Every reward of the same training, collected step by step."""
    args = {"max_episode_steps": 5} | ({"means": means} if means else {})
    options: Any = {"seeds": 3, "steps": 124, "evaluate_every": 14, "envs": 4, "out": tmp_path}
    run = train("ucb", "BernoulliBandit-v0", env_args=args, evaluation_episodes=0, **options)
    assert run.is_bandit
    optimum = 4.5 if means else tabular.bayes_optimal_return([[1, 1], [1, 1]], 5)

    streams = tuple(SeedStreams(0, seed) for seed in range(3))
    env = run.environment.grid(streams, 4, kind=run.spec.stepped_as(run.environment))
    agent = run.spec.build_agent(run.spec.task(env, streams, run.environment.mdp))
    regret, total, expected = np.zeros(3), np.zeros((3, 4)), {0: np.zeros(3)}
    for t, (transition, _) in enumerate(interact(agent, env, 31), start=1):
        total += transition.reward
        ended = transition.terminated | transition.truncated
        regret += np.where(ended, optimum - total, 0.0).sum(axis=1)
        total[ended] = 0.0
        expected[4 * t] = regret.copy()
    assert run.steps.tolist()[-1] == 124  # not a multiple of 14
    for steps, lost in zip(run.steps, run.regret.T, strict=True):
        np.testing.assert_allclose(lost, expected[int(steps)], atol=1e-9)


def test_where_the_optimum_is_not_known_there_is_no_regret(trained: Callable[..., Run]) -> None:
    run = trained("ppo", seeds=1)
    with pytest.raises(UsageError, match="regret needs the exact optimum of CartPole-v1"):
        _ = run.regret


def test_a_name_stands_for_a_run_wherever_one_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"seeds": 2, "steps": 20, "evaluation_episodes": 2}
    run = train("random", "FrozenLake-v1", name="lake", **options)
    plain = train("random", "FrozenLake-v1", out="plain", **options)
    assert run.folder.name == plain.folder.name
    assert [p.read_bytes() for p in sorted(run.folder.glob("*.csv"))] == [
        p.read_bytes() for p in sorted(plain.folder.glob("*.csv"))
    ]
    assert load("lake").folder == Path("runs") / run.folder.name
    assert load("runs/lake").folder == load("lake").folder
    others = ["random", "FrozenLake-v1", "--steps", "20", "--seeds", "2", "--seed", "1", "--name"]
    assert main(["train", *others, "q"]) == 0
    assert main(["train", *others, "lake"]) == 2
    for words in (
        ["evaluate", "lake"],
        ["verify", "lake"],
        ["reproduce", "lake"],
        ["plot", "lake", "--out", "lake.png"],
        ["export", "lake", "--rliable", "scores.npz"],
    ):
        assert main(words) == 0, words
    (contender,) = read_contenders(["lake"])
    assert [run.folder for run in contender.runs] == [load("lake").folder]
    told = capsys.readouterr()
    assert "option name (--name): 'lake' is the name of" in told.err
    assert "lake" in told.out
