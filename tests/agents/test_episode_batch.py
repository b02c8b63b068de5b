"""Whole episodes out of drawn transitions, against the rule in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from rlkit.agent import Transition
from rlkit.agents.episode_batch import EpisodeBatch, EpisodeCollector

SEEDS, ENVS, QUOTA = 2, 3, 2


def drawn(num_steps: int) -> list[Transition]:
    """Transitions whose every number is different, with episodes of a few steps."""
    rng, shape = np.random.default_rng(0), (SEEDS, ENVS)
    result = []
    for t in range(num_steps):
        ends = rng.random((2, *shape)) < 0.2
        number = t * 100.0 + np.arange(6.0).reshape(shape)
        obs = np.stack([number, -number], axis=-1)
        result.append(Transition(obs, number, number + 0.5, *ends, obs + 0.1, obs + 0.2))
    return result


def by_the_rule(transitions: list[Transition], s: int) -> dict[int, list[list[tuple[int, int]]]]:
    """Return the episodes of each batch as lists of (t, n), by the time when it is complete.

    A batch is the first episodes of each environment that begin after the batch before.
    """
    batches: dict[int, list[list[tuple[int, int]]]] = {}
    after = 0
    while True:
        episodes, times = [], []
        for n in range(ENVS):
            all_of_env, begin = [], 0
            for t, transition in enumerate(transitions):
                if transition.terminated[s, n] or transition.truncated[s, n]:
                    all_of_env.append([(i, n) for i in range(begin, t + 1)])
                    begin = t + 1
            fresh = [e for e in all_of_env if e[0][0] >= after][:QUOTA]
            if len(fresh) < QUOTA:
                return batches
            episodes += fresh
            times.append(fresh[-1][-1][0])
        batches[max(times)] = episodes
        after = max(times) + 1


def collected(
    collector: EpisodeCollector, transitions: list[Transition], begin: int = 0
) -> dict[tuple[int, int], EpisodeBatch]:
    return {
        (t, s): collector.complete(s)
        for t, transition in enumerate(transitions[begin:], begin)
        for s in collector.collect(transition)
    }


def test_batches_hold_the_first_whole_episodes_since_the_one_before() -> None:
    transitions = drawn(150)
    batches = collected(EpisodeCollector(SEEDS, ENVS, QUOTA), transitions)
    expected = {
        (t, s): episodes
        for s in range(SEEDS)
        for t, episodes in by_the_rule(transitions, s).items()
    }
    assert len(expected) > 8
    assert batches.keys() == expected.keys()
    for (time, s), episodes in expected.items():
        steps, grid, masks = batches[time, s]
        assert masks is None
        for name in Transition._fields:
            rows = [getattr(transitions[t], name)[s, n] for e in episodes for t, n in e]
            np.testing.assert_array_equal(getattr(steps, name), rows)
        assert grid.sum(dim=0).tolist() == [len(e) for e in episodes]
        assert grid.shape == (max(len(e) for e in episodes), ENVS * QUOTA)


def test_a_grid_has_one_column_per_episode_and_zeros_beyond_its_end() -> None:
    transitions: Any = None
    grid = torch.tensor([[True, True], [True, False], [True, False]])
    batch = EpisodeBatch(transitions, grid)
    rows = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert batch.to_grid(rows).tolist() == [[1.0, 4.0], [2.0, 0.0], [3.0, 0.0]]
    assert batch.to_rows(batch.to_grid(rows)).tolist() == rows.tolist()


@pytest.mark.parametrize("at", [1, 17, 60, 61])
def test_a_collector_continues_from_its_state(at: int) -> None:
    transitions = drawn(150)
    whole, first, second = (EpisodeCollector(SEEDS, ENVS, QUOTA) for _ in range(3))
    collected(first, transitions[:at])
    second.load_state_dict(first.state_dict())
    expected = collected(whole, transitions)
    rest = collected(second, transitions, at)
    assert rest.keys() == {key for key in expected if key[0] >= at}
    for key, batch in rest.items():
        assert torch.equal(batch.grid, expected[key].grid)
        for own, other in zip(batch.steps, expected[key].steps, strict=True):
            np.testing.assert_array_equal(own, other)
