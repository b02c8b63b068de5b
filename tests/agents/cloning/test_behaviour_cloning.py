"""Behaviour cloning: what is learned, kept and held out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rlkit.agent import Task
from rlkit.agents.cloning.behaviour_cloning import BehaviourCloning, BehaviourCloningConfig
from rlkit.errors import Diverged, UsageError
from rlkit.nn.demonstrations import Demonstrations
from rlkit.seeding import SeedStreams

OBS, BOX = spaces.Box(-9.0, 9.0, (2,), np.float32), spaces.Box(-1.0, 1.0, (1,), np.float32)
NOTHING: Any = None  # a transition teaches nothing


def task(
    given: Demonstrations | None, action_space: Any = BOX, seeds: int = 1, obs: Any = OBS
) -> Task:
    streams = tuple(SeedStreams(0, s) for s in range(seeds))
    return Task(obs, action_space, streams, 1, 100, demonstrations=given)


def two_ways(share: float, count: int = 1500) -> Demonstrations:
    """Actions near -0.8 or 0.8 whatever is observed, in episodes of 10 decisions."""
    rng = np.random.default_rng(0)
    observations = rng.normal(size=(count, 2)).astype(np.float32)
    signs = np.where(rng.random(count) < share, 1.0, -1.0)
    actions = (0.8 * signs + 0.05 * rng.normal(size=count)).astype(np.float32)
    return Demonstrations(observations, actions[:, None], np.arange(count) // 10)


def config(**options: Any) -> BehaviourCloningConfig:
    return BehaviourCloningConfig(**{"hidden_sizes": (32,), "minibatch_size": 128, **options})


def learned(agent: BehaviourCloning, num_steps: int) -> dict[str, np.ndarray]:
    metrics: Any = {}
    for _ in range(num_steps):
        metrics = agent.learn(NOTHING)
    return metrics


@pytest.mark.parametrize("share", [0.75])
def test_diffusion_reaches_both_modes_in_the_shares_of_the_demonstrations_and_a_gaussian_neither(
    share: float,
) -> None:
    given = two_ways(share)
    demonstrated = float((given.actions > 0).mean())
    obs = np.random.default_rng(5).normal(size=(1, 3000, 2)).astype(np.float32)
    options: Any = {"learning_rate": 3e-3, "hidden_sizes": (64, 64), "activation": "relu"}
    agent = BehaviourCloning(task(given), config(method="diffusion", **options))
    learned(agent, 12)
    actions = agent.actor().act(obs)
    assert abs((actions > 0).mean() - demonstrated) < 0.05
    assert (np.abs(np.abs(actions) - 0.8) < 0.3).mean() > 0.96
    gaussian = BehaviourCloning(task(given), config(**options))
    learned(gaussian, 3)
    middle = gaussian.actor().act(obs)
    assert np.abs(middle - given.actions.mean()).max() < 0.5  # the wrong one
    spread = gaussian.actor(greedy=False).act(obs).std()
    assert spread == pytest.approx(given.actions.std(), rel=0.1)


def test_a_table_of_classes_learns_the_frequencies_of_the_demonstrations() -> None:
    # The optimum of the cross-entropy is known: the empirical frequencies, at their entropy.
    counts = np.array([[30, 10, 0], [5, 5, 30]])
    states = np.repeat([0, 0, 0, 1, 1, 1], counts.ravel())
    actions = np.repeat([0, 1, 2, 0, 1, 2], counts.ravel())
    given = Demonstrations(states, actions, np.zeros(80, dtype=np.int64))
    agent = BehaviourCloning(
        task(given, spaces.Discrete(3), obs=spaces.Discrete(2)),
        config(hidden_sizes=(), held_out_share=0.0, learning_rate=0.1),
    )
    loss = learned(agent, 3)["loss"][0]
    expected = counts / counts.sum(1, keepdims=True)
    actor: Any = agent.actor(greedy=False)
    np.testing.assert_allclose(actor.probabilities(np.array([[0, 1]]))[0], expected, atol=0.01)
    entropy = -(expected * np.log(np.maximum(expected, 1e-300))).sum(1).mean()
    assert loss == pytest.approx(entropy, abs=0.01)


def noisy(count: int = 60) -> Demonstrations:
    """Labels that mostly follow a rule; the others can only be learned by heart."""
    rng = np.random.default_rng(1)
    observations = rng.normal(size=(count, 2)).astype(np.float32)
    follows, rule = rng.random(count) < 0.7, (observations[:, 0] > 0).astype(np.int64)
    labels = np.where(follows, rule, rng.integers(3, size=count))
    return Demonstrations(observations, labels, np.arange(count) // 6)


def test_the_parameters_of_the_lowest_held_out_loss_are_kept() -> None:
    agent = BehaviourCloning(
        task(noisy(), spaces.Discrete(3), seeds=2),
        config(held_out_share=0.3, learning_rate=0.01, updates_per_step=5),
    )
    history, kept = [], []
    for _ in range(25):
        history.append(agent.learn(NOTHING)["held_out_loss"])
        kept.append(agent.state_dict()["kept_parameters"])
    losses = np.stack(history)
    assert (losses[-1] > losses.min(0) + 0.1).all()  # it learned by heart
    for s in range(2):
        best = int(losses[:, s].argmin())
        assert np.asarray(kept[-1])[s].tobytes() == np.asarray(kept[best])[s].tobytes()
        assert agent.state_dict()["kept_loss"][s] == losses[best, s]
    state = agent.state_dict()
    assert (np.asarray(state["kept_parameters"]) != np.asarray(state["parameters"])).any()


def test_without_held_out_episodes_the_last_parameters_are_kept_and_that_is_said() -> None:
    given = noisy()
    one = Demonstrations(given.observations, given.actions, np.zeros(60, dtype=np.int64))
    agent = BehaviourCloning(task(one, spaces.Discrete(3)), config())
    assert np.isnan(learned(agent, 2)["held_out_loss"]).all()
    state = agent.state_dict()
    np.testing.assert_array_equal(state["kept_parameters"], state["average_parameters"])
    (remark,) = BehaviourCloning.remarks(task(one), config())
    assert "one episode" in remark
    assert BehaviourCloning.remarks(task(given), config()) == []


def test_what_acts_is_the_running_average_of_the_parameters() -> None:
    given = task(noisy(), spaces.Discrete(3))
    agent = BehaviourCloning(given, config(updates_per_step=1, held_out_share=0.0))
    average = np.asarray(agent.state_dict()["parameters"]).astype(np.float64)
    for n in range(1, 40):
        learned(agent, 1)
        past = min(0.995, n / (n + 9))
        average = past * average + (1 - past) * np.asarray(agent.state_dict()["parameters"])
    np.testing.assert_allclose(agent.state_dict()["kept_parameters"], average, atol=1e-5)
    plain = BehaviourCloning(given, config(average_decay=0.0, held_out_share=0.0))
    learned(plain, 1)
    state = plain.state_dict()
    np.testing.assert_array_equal(state["kept_parameters"], state["parameters"])


def test_held_out_episodes_are_not_learned_from() -> None:
    given = noisy()
    first = BehaviourCloning(task(given, spaces.Discrete(3)), config(held_out_share=0.3))
    data: Any = first._data
    rows = {tuple(row) for row in data.held_out[0].numpy().round(4).tolist()}
    trained = {tuple(row) for row in data.trained[0].numpy().round(4).tolist()}
    assert (len(rows), len(trained)) == (18, 42)
    assert not rows & trained
    # Other labels of what is held out change no parameter that is learned.
    held = np.isin(
        (first._scaling.observations(given.observations)).round(4)[:, 0],
        [row[0] for row in rows],
    )
    other = Demonstrations(
        given.observations, np.where(held, (given.actions + 1) % 3, given.actions), given.episodes
    )
    second = BehaviourCloning(task(other, spaces.Discrete(3)), config(held_out_share=0.3))
    learned(first, 2)
    learned(second, 2)
    np.testing.assert_array_equal(
        first.state_dict()["parameters"], second.state_dict()["parameters"]
    )


@pytest.mark.parametrize(
    ("method", "space", "needs"),
    [
        ("classes", BOX, "classes: it needs discrete actions.*use gaussian"),
        ("gaussian", spaces.Discrete(3), "gaussian: it needs actions with real.*use classes"),
        ("diffusion", spaces.Discrete(3), "diffusion: it needs actions of a Box.*use classes"),
        ("diffusion", spaces.Tuple((BOX, spaces.Discrete(2))), "diffusion.*use gaussian"),
    ],
)
def test_a_method_that_does_not_fit_the_actions_is_rejected(
    method: str, space: Any, needs: str
) -> None:
    with pytest.raises(UsageError, match=needs):
        BehaviourCloning(task(None, space), config(method=method))


@pytest.mark.parametrize(
    "options",
    [
        {"method": "gauss"},
        {"held_out_share": 1.0},
        {"min_std": 0.0},
        {"average_decay": 1.0},
        {"updates_per_step": 0},
        {"diffusion_steps": 0},
        {"expert_seed": -1},
        {"episodes": 0},
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(options))):
        config(**options)


def test_without_demonstrations_it_can_act_and_not_learn() -> None:
    agent = BehaviourCloning(task(None), config())
    assert agent.act(np.zeros((1, 1, 2), dtype=np.float32)).shape == (1, 1, 1)
    with pytest.raises(UsageError, match="--demonstrations"):
        agent.learn(NOTHING)


def test_a_seed_that_diverges_is_named() -> None:
    agent = BehaviourCloning(task(two_ways(0.5), seeds=2), config(learning_rate=1e30))
    with pytest.raises(Diverged, match="smaller learning_rate"):
        learned(agent, 3)
