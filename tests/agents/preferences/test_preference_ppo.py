"""PPO on a learned reward: what it learns from, when it asks, and what it rejects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rlkit.agent import ActorTraits, Task
from rlkit.agents.preferences.preference_ppo import (
    PreferencePPO,
    PreferencePPOConfig,
    held_out_metrics,
    round_steps,
    stored_preferences,
)
from rlkit.agents.preferences.store import to_lines
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.errors import RewardFault, UsageError
from rlkit.loop import interact
from rlkit.seeding import SeedStreams

SMALL: dict[str, Any] = {
    "rollout_length": 16,
    "minibatch_size": 64,
    "hidden_sizes": (8,),
    "learning_rate": 0.02,
    "num_preferences": 30,
    "num_rounds": 2,
    "steps_per_round": 256,
    "collect_steps": 128,
    "segment_length": 4,
    "reward_hidden_sizes": (8,),
    "reward_minibatch_size": 8,
}
MORE_OF_ACTION_1 = """
def prefer(first, second):
    return float(first.actions.sum() > second.actions.sum())
"""


class Switch(gym.Env[Any, Any]):
    """Pays `pay` for action 0 in each of 6 steps."""

    observation_space = spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, pay: float = 1.0, limit: int = 0) -> None:
        self.pay, self.limit = pay, limit

    def reset(self, **options: Any) -> Any:
        super().reset(seed=options.get("seed"))
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        obs = np.array([self.t / 6], np.float32)
        return obs, self.pay * (action == 0), self.t == 6, self.t == self.limit, {}


def trained(
    num_steps: int, make: Any = Switch, **options: Any
) -> tuple[PreferencePPO, list[dict[str, Any]]]:
    streams = (SeedStreams(0, 3), SeedStreams(0, 5))
    env = GymBatchEnv(make, streams, 4)
    task = Task(env.observation_space, env.action_space, streams, 4, 4 * num_steps)
    agent = PreferencePPO(task, PreferencePPOConfig(**{**SMALL, **options}))
    metrics = [dict(m) for _, m in interact(agent, env, num_steps)]
    return agent, [m for m in metrics if m]


def share_of_action_1(agent: PreferencePPO) -> Any:
    obs = np.full((2, 5, 1), 0.5, np.float32)
    probabilities = ActorTraits.of(agent.actor(greedy=False)).probabilities
    assert probabilities is not None
    return probabilities(obs)[:, :, 1].mean(axis=1)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = tmp_path_factory.mktemp("labels") / "labels.py"
    file.write_text(MORE_OF_ACTION_1)
    return f"{file}:prefer"


def test_the_policy_learns_what_the_labeller_prefers_and_never_sees_the_reward(labels: str) -> None:
    agent, metrics = trained(300, labeller=labels)
    assert (share_of_action_1(agent) > 0.9).all()
    assert np.isnan([m["bayes_accuracy"] for m in metrics if "bayes_accuracy" in m]).all()
    other, _ = trained(300, lambda: Switch(pay=-7.0), labeller=labels)
    for name, value in agent.state_dict().items():
        if not name.endswith("rewards"):  # of segments, for the labeller and for the files
            assert np.array_equal(value, other.state_dict()[name]), name


def test_the_truth_as_labeller_leads_to_the_true_reward() -> None:
    agent, metrics = trained(300, rationality=3.0)
    assert (share_of_action_1(agent) < 0.1).all()
    rounds = [m for m in metrics if "num_preferences" in m]
    assert [m["num_preferences"].tolist() for m in rounds] == [[15, 15], [30, 30]]
    for m in rounds:  # 3 and 6 held out
        assert (m["held_out_accuracy"] >= 0.5).all()
        assert (m["bayes_accuracy"] > 0.5).all()
        assert (m["bayes_accuracy"] <= 1).all()


def test_rounds_follow_at_whole_rollouts_and_share_the_questions() -> None:
    config = PreferencePPOConfig(**{**SMALL, "num_preferences": 10, "num_rounds": 3})
    assert round_steps(config, 4) == [32, 96, 160]
    assert round_steps(config, 3) == [43, 43 + 96, 43 + 192]  # 256 / (3 x 16) is 6 rollouts
    agent, metrics = trained(170, num_preferences=10, num_rounds=3)
    asked = [m["num_preferences"][0] for m in metrics if "num_preferences" in m]
    assert asked == [3, 6, 10]
    stored = stored_preferences({name: x[0] for name, x in agent.state_dict().items()})
    assert np.bincount(stored.round).tolist() == [3, 3, 4]


def test_there_is_no_update_and_no_reward_before_the_first_round() -> None:
    agent, metrics = trained(31)
    assert metrics == []
    assert ActorTraits.of(agent.actor()).reward is None
    agent, metrics = trained(32 + 16)
    assert [("loss" in m or "policy_loss" in m, "num_preferences" in m) for m in metrics] == [
        (False, True),
        (True, False),
    ]
    assert metrics[0]["num_gradient_steps"].tolist() == [0, 0]  # the policy stays as it is
    assert (metrics[1]["num_gradient_steps"] > 0).all()
    assert ActorTraits.of(agent.actor()).reward is not None


def test_preferences_of_a_file_are_enough_and_are_learned_from_at_once(tmp_path: Path) -> None:
    agent, _ = trained(32, rationality=3.0)
    file = tmp_path / "known.jsonl"
    stored = stored_preferences({name: x[1] for name, x in agent.state_dict().items()})
    file.write_text(to_lines(stored))
    options = {"preferences": str(file), "num_preferences": 0}
    other, metrics = trained(200, **options)
    assert (share_of_action_1(other) < 0.3).all()
    assert metrics[0]["num_preferences"].tolist() == [15, 15]
    assert (metrics[0]["reward_loss"] > 0).all()
    assert "policy_loss" in metrics[1]
    known = stored_preferences({name: x[0] for name, x in other.state_dict().items()})
    assert (known.preferred == stored.preferred).all()
    assert (known.held_out == stored.held_out).all()
    _, metrics = trained(32, preferences=str(file))
    assert metrics[-1]["num_preferences"].tolist() == [30, 30]  # 15 known, 15 new
    config = PreferencePPO.identified(PreferencePPOConfig(**{**SMALL, **options}))
    assert PreferencePPO.identified(config) == config
    file.write_text(to_lines(stored.at(np.s_[:9])))
    with pytest.raises(UsageError, match=r"known\.jsonl has changed since the run began"):
        trained(1, **{**options, "preferences": config.preferences})


def test_what_an_update_needs_is_said_also_where_all_preferences_are_known() -> None:
    (agent, _), known = trained(1), PreferencePPOConfig(num_preferences=0, preferences="file")
    update = "an update takes a whole rollout of"
    first = f"the first preferences are asked for after 128 steps (collect_steps); then {update}"
    assert PreferencePPO.why_no_update(agent._task, agent._config).startswith(first)
    assert PreferencePPO.why_no_update(agent._task, known).startswith(update)


def test_held_out_preferences_change_no_reward(tmp_path: Path) -> None:
    agent, _ = trained(32)
    stored = stored_preferences({name: x[0] for name, x in agent.state_dict().items()})
    flipped = np.where(stored.held_out, 1 - stored.preferred, stored.preferred)
    rewards, accuracies = [], []
    for p, preferred in enumerate((stored.preferred, flipped)):
        file = tmp_path / f"{p}.jsonl"
        file.write_text(to_lines(stored._replace(preferred=preferred)))
        other, _ = trained(1, preferences=str(file), num_preferences=0)
        rewards.append(other._reward.returns(other._store.known.pairs).tobytes())
        known = other._store.known
        accuracies.append(held_out_metrics(other._reward, known.at(np.s_[:, known.held_out[0]])))
    assert rewards[0] == rewards[1]
    right, wrong = (m["held_out_accuracy"] for m in accuracies)
    np.testing.assert_allclose(right + wrong, 1.0)


def test_episodes_that_are_cut_before_a_segment_ends_fail_their_seed() -> None:
    with pytest.raises(RewardFault, match=r"round 0: .* hold 0 segments of 4 steps") as caught:
        trained(40, lambda: Switch(limit=3))
    assert caught.value.seed == 3


def test_a_run_too_short_for_its_rounds_is_remarked_upon() -> None:
    task = Task(Switch.observation_space, Switch.action_space, (SeedStreams(0, 0),), 4, 384)
    config = PreferencePPOConfig(**SMALL)
    (remark,) = PreferencePPO.remarks(task, config)
    assert "1 of 2 rounds of questions fit into 384 steps per seed: the last begins after 384" in (
        remark
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_preferences": 0}, r"--num-preferences\) is 0, so preferences .* must name a file"),
        ({"labeller": "nobody"}, r"--labeller\): expected truth, person or path/to/file.py:fun"),
        ({"num_preferences": 3, "num_rounds": 4}, r"--num-rounds\) is 4, more than the 3 of"),
        ({"rationality": -1.0}, "rationality"),
        ({"held_out_share": 1.0}, "held_out_share"),
        ({"reward_epochs": 0}, "reward_epochs"),
        ({"reward_hidden_sizes": (0,)}, "reward_hidden_sizes"),
        ({"steps_per_round": 0.5}, "steps_per_round"),
    ],
)
def test_options_that_do_not_fit_are_rejected(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PreferencePPOConfig(**options)


@pytest.mark.parametrize("option", ["preferences", "labeller"])
def test_a_missing_file_is_named_when_the_run_is_specified(option: str) -> None:
    config = PreferencePPOConfig(**{option: "no.py:f"})
    with pytest.raises(UsageError, match=rf"--{option}\).*: there is no file no.py"):
        PreferencePPO.identified(config)


def test_the_accuracy_is_that_of_the_signs_of_differences_of_returns() -> None:
    agent, _ = trained(32)
    known = agent._store.known
    returns = agent._reward.returns(known.pairs)
    first, second = returns[..., 0], returns[..., 1]
    right = np.where(known.preferred == 1, first > second, first < second) + 0.5 * (first == second)
    metrics = held_out_metrics(agent._reward, known)
    np.testing.assert_allclose(metrics["held_out_accuracy"], right.mean(axis=1))
    most = np.maximum(known.probability, 1 - known.probability)
    np.testing.assert_allclose(metrics["bayes_accuracy"], most.mean(axis=1))
    nothing = held_out_metrics(agent._reward, known.at(np.s_[:, :0]))
    assert all(np.isnan(values).all() for values in nothing.values())
