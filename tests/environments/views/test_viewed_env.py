"""Grids whose agents see other actions than the environments get."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import rlkit
from rlkit.environments.resolve import find_environment
from rlkit.environments.views.view import View
from rlkit.environments.views.viewed_env import ViewedBatchEnv, copies_in
from rlkit.errors import UsageError
from rlkit.seeding import SeedStreams
from rlkit.training.specification import RunSpec, make_spec
from tests.agents.far_actions import Target
from tests.faulty_envs import Counter, Recorder

PARTS = spaces.Dict(a=spaces.Discrete(2, start=5), b=spaces.MultiDiscrete([3, 2]))


class Masked(Counter):
    """Forbids the second choice of each part."""

    def __init__(self) -> None:
        super().__init__(3, action_space=PARTS)

    def action_masks(self) -> Any:
        return [1, 0, 1, 0, 1, 1, 0]

    def step(self, action: Any) -> Any:
        assert action["a"] == 5
        assert action["b"][0] != 1
        assert action["b"][1] == 0
        return super().step(action)


def grid(make: Any, **view: bool) -> ViewedBatchEnv:
    seen = find_environment(make).seen_as(View(**view))
    env = seen.grid([SeedStreams(0, 0), SeedStreams(0, 1)], 2, kind="gymnasium")
    assert isinstance(env, ViewedBatchEnv)
    assert copies_in(env) is env.env
    assert env.action_space == seen.action_space
    return env


def test_a_number_reaches_the_environment_as_its_combination() -> None:
    made = Recorder(lambda: Counter(3, action_space=PARTS))
    env = grid(made, numbered_actions=True)
    env.reset()
    env.step(np.array([[0, 11], [7, 3]]))
    actions = [one.actions[0] for one in made.made[-4:]]
    assert [(a["a"], a["b"].tolist()) for a in actions] == [
        *((5, [0, 0]), (6, [2, 1])),
        *((6, [0, 1]), (5, [1, 1])),
    ]


def test_masks_are_those_of_the_combinations() -> None:
    env = grid(Masked, numbered_actions=True, action_masks=True)
    env.reset()
    expected = [a == 0 and b != 1 and c == 0 for a in (0, 1) for b in (0, 1, 2) for c in (0, 1)]
    assert env.action_masks is not None
    assert env.action_masks[1, 1].tolist() == expected
    env.step(np.full((2, 2), 4))
    assert env.next_action_masks is not None
    assert env.next_action_masks[0, 0].tolist() == expected


def test_tabular_agents_learn_in_combinations_and_their_actors_take_them_apart(
    tmp_path: Path,
) -> None:
    options: dict[str, Any] = {"seeds": 1, "steps": 60, "evaluation_episodes": 2, "out": tmp_path}
    for agent, masks in (("q-learning", True), ("psrl", False), ("lspi", False)):
        bins = {"bins": 2, "bin_low": 0, "bin_high": 5} if agent != "lspi" else {}
        make = Masked if masks else Parts
        run = rlkit.train(agent, make, action_masks=masks, **bins, **options)
        assert run.record["reproducible"]
        mask = [1, 0, 1, 0, 1, 1, 0] if masks else None
        action = run.actor().act(np.zeros(2, np.float32), mask)
        assert PARTS.contains(action)
        several = None if mask is None else [mask] * 3
        batch, _ = run.actor().predict(np.zeros((3, 2), np.float32), action_masks=several)
        assert [repr(one) for one in batch] == [repr(action)] * 3
        if masks:
            p = run.actor(greedy=False).probabilities(np.zeros(2, np.float32), mask)
            allowed = [
                a == 0 and b != 1 and c == 0 for a in (0, 1) for b in range(3) for c in (0, 1)
            ]
            assert ((p > 0) == allowed).all()
            assert p.sum() == pytest.approx(1.0, rel=1e-12)
    with pytest.raises(UsageError, match="Combinations of discrete parts are numbered for it up"):
        rlkit.train("q-learning", ManyParts, bins=2, bin_low=0, bin_high=5, **options)


class Parts(Counter):
    def __init__(self) -> None:
        super().__init__(3, action_space=PARTS)


class ManyParts(Counter):
    def __init__(self) -> None:
        super().__init__(3, action_space=spaces.MultiBinary(14))


def test_a_rescaled_run_learns_and_its_actor_acts_in_the_units_of_the_environment(
    tmp_path: Path,
) -> None:
    options: dict[str, Any] = {"seeds": 1, "evaluate_every": 2048, "evaluation_episodes": 1}
    run = rlkit.train(
        "ppo",
        Target,
        env_args={"low": -1000.0, "high": 1000.0, "target": 0.6},
        rescale_actions=True,
        steps=2048,
        rollout_length=32,
        learning_rate=0.02,
        out=tmp_path,
        **options,
    )
    assert run.record["notes"] == []
    assert run.record["rescale_actions"] is True
    action = run.actor().act([0.0])
    assert abs(action[0] - 200.0) < 100.0  # 0.6 of the range from -1000 on
    again = rlkit.load(run.folder, env=Target)
    assert again.spec.rescale_actions
    assert again.actor().act([0.0]) == action
    assert again.evaluate(episodes=1)["mean"] == run.scores[0]


def test_views_are_part_of_the_identity_only_where_they_are_chosen(
    spec_of: Callable[..., RunSpec],
) -> None:
    plain = make_spec("ppo", "Pendulum-v1", steps=100)
    rescaled = make_spec("ppo", "Pendulum-v1", steps=100, rescale_actions=True)
    identity = plain.identity(plain.resolve())
    assert {"rescale_actions", "action_masks", "view"}.isdisjoint(identity)
    assert rescaled.identity(rescaled.resolve()) == {**identity, "rescale_actions": True}
    assert rescaled.stepped_as(rescaled.resolve()) == "native"  # a twin can be rescaled as well
    taxi = make_spec("q-learning", "Taxi-v4", steps=100, action_masks=True)
    assert taxi.identity(taxi.resolve())["action_masks"] is True
    assert taxi.stepped_as(taxi.resolve()) == "gymnasium"  # a table offers no masks
