"""The loop: act, step, learn; and whole episodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rlkit.agent import Task
from rlkit.agents.q_learning import QLearning, QLearningConfig
from rlkit.agents.random import RandomActor
from rlkit.batch_env import GymBatchEnv
from rlkit.loop import interact, play
from rlkit.seeding import SeedStreams
from rlkit.tabular.batch_env import TabularBatchEnv
from rlkit.tabular.mdp import TabularMDP
from tests.faulty_envs import Counter, Recorder

STREAMS = tuple(SeedStreams(0, index) for index in range(2))


class Scribe:
    """An agent that writes down what is asked of it, and acts by counting."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []

    def act(self, obs: Any) -> Any:
        self.calls.append(("act", obs.copy()))
        return np.full(obs.shape[:2], (len(self.calls) // 2) % 3)

    def learn(self, transition: Any) -> Mapping[str, Any]:
        self.calls.append(("learn", transition))
        return {"calls": np.full(2, len(self.calls))}


def counters(length: int = 3, **options: Any) -> tuple[GymBatchEnv, Recorder]:
    made = Recorder(lambda: Counter(length, **options))
    return GymBatchEnv(made, STREAMS, 3), made


def test_each_step_is_act_then_step_then_learn() -> None:
    env, made = counters()
    agent = Scribe()
    pairs = list(interact(agent, env, 7))  # type: ignore[arg-type]
    assert [name for name, _ in agent.calls] == ["act", "learn"] * 7
    for i, (transition, metrics) in enumerate(pairs):
        seen, learned = agent.calls[2 * i][1], agent.calls[2 * i + 1][1]
        assert learned is transition
        assert (metrics["calls"] == 2 * i + 2).all()
        assert transition.obs.tobytes() == seen.tobytes()
        assert (transition.action == i % 3).all()
        assert (transition.obs[..., 0] == i % 3).all()
        assert (transition.next_obs[..., 0] == i % 3 + 1).all()
        assert (transition.reward == i % 3 + 1).all()
        if i:
            assert transition.obs.tobytes() == pairs[i - 1][0].following_obs.tobytes()
    assert [single.actions for single in made.made] == [[i % 3 for i in range(7)]] * 6


def test_the_number_of_transitions_is_the_number_of_real_steps() -> None:
    env, made = counters(2, cuts=True)
    transitions = [t for t, _ in interact(Scribe(), env, 9)]  # type: ignore[arg-type]
    assert sum(t.reward.size for t in transitions) == sum(single.num_steps for single in made.made)
    assert sum(t.reward.sum() for t in transitions) == 6 * (4 * 3 + 1)


def test_given_observations_are_gone_on_from_without_a_reset() -> None:
    env, made = counters()
    first = [t for t, _ in interact(Scribe(), env, 4)]  # type: ignore[arg-type]
    second = list(interact(Scribe(), env, 3, obs=first[-1].following_obs))  # type: ignore[arg-type]
    assert second[0][0].obs.tobytes() == first[-1].following_obs.tobytes()
    assert [t.reward[0, 0] for t, _ in second] == [2, 3, 1]
    assert all(len(single.seeds) == 3 for single in made.made)


def test_nothing_happens_before_the_first_transition_is_asked_for() -> None:
    env, made = counters()
    interact(Scribe(), env, 5)  # type: ignore[arg-type]
    assert not any(single.seeds for single in made.made)


# --- whole episodes -------------------------------------------------------------------------------


class Zero:
    def act(self, obs: Any) -> Any:
        return np.zeros(obs.shape[:2], dtype=np.int64)


def test_play_counts_the_undiscounted_rewards_and_steps_of_one_episode_each() -> None:
    lengths = iter([1, 4, 2, 3, 5, 1])
    made = Recorder(lambda: Counter(next(lengths)))
    env = GymBatchEnv(made, STREAMS, 3, autoreset=False)
    episodes = play(Zero(), env, max_steps=100)
    assert episodes.lengths.tolist() == [[1, 4, 2], [3, 5, 1]]
    assert episodes.returns.tolist() == [[1, 10, 3], [6, 15, 1]]
    assert not episodes.cut.any()
    assert sum(single.num_steps for single in made.made) == 16  # none after its end


def test_play_cuts_endless_episodes_and_says_so() -> None:
    lengths = iter([2, 10**9, 5, 5, 6, 10**9])
    env = GymBatchEnv(lambda: Counter(next(lengths)), STREAMS, 3, autoreset=False)
    episodes = play(Zero(), env, max_steps=5)
    assert episodes.cut.tolist() == [[False, True, False], [False, True, True]]
    assert episodes.lengths.tolist() == [[2, 5, 5], [5, 5, 5]]
    assert episodes.returns[0, 1] == 15


def two_lengths() -> TabularMDP:
    """Episodes of 1 or of 100 steps, evenly, with reward 1 a step: the mean return is 50.5."""
    table = [[[(1.0, min(s + 1, 99), 1.0, s == 99)]] for s in range(100)]
    start = np.zeros(100)
    start[0] = start[99] = 0.5
    return TabularMDP.from_successors(table, initial_distribution=start)


def test_play_does_not_prefer_short_episodes() -> None:
    env = TabularBatchEnv(
        two_lengths(), [SeedStreams(0, i) for i in range(400)], 20, autoreset=False
    )
    returns = play(Zero(), env, max_steps=1000).returns
    # 8000 episodes of deviation 49.5: a standard error of 0.55; 5 of them.
    assert abs(returns.mean() - 50.5) < 2.8


def test_the_first_episodes_to_end_would_be_the_short_ones() -> None:
    env = TabularBatchEnv(two_lengths(), [SeedStreams(0, i) for i in range(400)], 8)
    env.reset()
    finished: list[list[int]] = [[] for _ in range(400)]
    elapsed = np.zeros((400, 8), dtype=int)
    while min(len(one) for one in finished) < 20:
        step = env.step(np.zeros((400, 8), dtype=int))
        elapsed += 1
        for s, n in np.argwhere(step.terminated):
            finished[s].append(int(elapsed[s, n]))
            elapsed[s, n] = 0
    first = np.array([one[:20] for one in finished])
    assert first.mean() < 45  # more than 10 % below the truth


def test_evaluation_plays_other_episodes_than_training() -> None:
    made = {purpose: Recorder(lambda: Counter(2)) for purpose in ("env", "evaluation")}
    for purpose, recorder in made.items():
        env = GymBatchEnv(recorder, STREAMS, 4, purpose=purpose)
        list(interact(Scribe(), env, 20))  # type: ignore[arg-type]
    seeds = {p: {s for single in r.made for s in single.seeds} for p, r in made.items()}
    assert len(seeds["env"]) == 2 * 4 * 11
    assert not seeds["env"] & seeds["evaluation"]


def test_two_evaluations_with_the_same_streams_are_equal_and_do_not_explore() -> None:
    mdp = two_lengths()
    env = TabularBatchEnv(mdp, STREAMS, 4)
    task = Task(env.observation_space, env.action_space, STREAMS, 4, 100)
    agent = QLearning(task, QLearningConfig(epsilon_start=1.0, epsilon_end=1.0))
    obs = np.arange(100)[None].repeat(2, axis=0)
    assert agent.actor().probabilities(obs).max(axis=-1).min() == 1.0
    results = [
        play(
            agent.actor(),
            TabularBatchEnv(mdp, STREAMS, 10, purpose="evaluation", autoreset=False),
            max_steps=1000,
        )
        for _ in range(2)
    ]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("num_envs", [1, 7])
def test_a_random_actors_actions_are_uniform(num_envs: int) -> None:
    env = GymBatchEnv(Counter, STREAMS, num_envs)
    actor = RandomActor(env.action_space, STREAMS)
    obs = np.zeros((2, num_envs, 2))
    actions = np.stack([actor.act(obs) for _ in range(2000)])
    counts = np.bincount(actions.ravel(), minlength=3)
    assert stats.chisquare(counts).pvalue > 1e-3  # fixed seeds: fails for 1 seed in 1000
