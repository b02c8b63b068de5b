"""What the agents for bandits share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from gymnasium import spaces

from rlkit.agents.tabular.bandits import Grouping, remarks_on_evaluation, require_bandit
from rlkit.errors import UsageError
from tests.agents.tabular.bandit_parts import bandit_mdp, bandit_task


def test_a_bandit_has_one_observation_and_discrete_arms() -> None:
    assert require_bandit("ucb", bandit_task(arms=4)) == 4
    box = spaces.Box(0, 1, (2,), np.float32)
    with pytest.raises(UsageError, match=r"ucb is for bandits.*Discrete\(16\).*q-learning, psrl"):
        require_bandit("ucb", replace(bandit_task(), observation_space=spaces.Discrete(16)))
    with pytest.raises(UsageError, match=r"ucb is for bandits.*are Box.*or ppo there"):
        require_bandit("ucb", replace(bandit_task(), observation_space=box))
    with pytest.raises(UsageError, match=r"ucb keeps a table.*actions are Box"):
        require_bandit("ucb", replace(bandit_task(), action_space=box))


def test_environments_share_a_group_only_where_all_bandits_are_the_same() -> None:
    task = bandit_task(num_envs=3)
    own, shared = Grouping(task, "new"), Grouping(task, "same")
    assert [own.of(n) for n in range(3)] == [0, 1, 2]
    assert [shared.of(n) for n in range(3)] == [0, 0, 0]
    counts = np.ones((2, 3, 2))
    own.forget(np.array([[True, False, False], [False, False, True]]), counts)
    assert counts[..., 0].tolist() == [[0, 1, 1], [1, 1, 0]]
    kept = np.ones((2, 1, 2))
    shared.forget(np.ones((2, 3), dtype=bool), kept)
    assert (kept == 1).all()


def test_all_bandits_are_taken_as_the_same_where_the_model_is_known() -> None:
    assert Grouping(bandit_task(), "auto").forgets
    assert not Grouping(bandit_task(mdp=bandit_mdp([0.5, 0.2])), "auto").forgets


def test_only_an_evaluation_that_misleads_is_remarked_on() -> None:
    task = bandit_task()
    assert "use evaluation_episodes=0" in remarks_on_evaluation("ucb", task)[0]
    assert not remarks_on_evaluation("ucb", replace(task, evaluated=False))
    assert not remarks_on_evaluation("ucb", bandit_task(mdp=bandit_mdp([0.5, 0.2])))
