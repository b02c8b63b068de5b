"""Scores, curves and weights in the layouts of other programs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlkit
from rlkit.errors import UsageError
from rlkit.training.exporting.arrays import evaluations, rliable_scores, tensors
from rlkit.training.run import Run


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Run]:
    """Two agents on two environments, one of them with more seeds."""
    out = tmp_path_factory.mktemp("exported")
    options: dict[str, Any] = {"steps": 40, "evaluate_every": 20, "evaluation_episodes": 2}
    return {
        (agent, env): rlkit.train(agent, env, seeds=seeds, out=out, **options)
        for agent, env, seeds in (
            ("random", "FrozenLake-v1", 3),
            ("random", "FrozenLake8x8-v1", 2),
            ("q-learning", "FrozenLake-v1", 2),
            ("q-learning", "FrozenLake8x8-v1", 2),
        )
    }


def test_scores_of_agents_have_a_row_per_seed_and_a_column_per_environment(table: Any) -> None:
    scores = rliable_scores(list(table.values()))
    assert list(scores) == ["random", "q-learning"]
    assert scores["random"].shape == (2, 2)
    np.testing.assert_array_equal(
        scores["random"][:, 0], table["random", "FrozenLake-v1"].scores[:2]
    )
    np.testing.assert_array_equal(
        scores["q-learning"][:, 1], table["q-learning", "FrozenLake8x8-v1"].scores
    )


def test_a_table_with_gaps_is_rejected(table: Any) -> None:
    runs = list(table.values())
    with pytest.raises(UsageError, match="q-learning has no run on FrozenLake8x8-v1"):
        rliable_scores(runs[:3])
    with pytest.raises(UsageError, match="two runs of random on FrozenLake-v1"):
        rliable_scores([runs[0], *runs])


def test_evaluations_have_the_layout_of_stable_baselines3(table: Any) -> None:
    run = table["random", "FrozenLake-v1"]
    content = evaluations(run)
    assert content["timesteps"].tolist() == [0, 20, 40]
    assert content["results"].shape == (3, 3)
    np.testing.assert_array_equal(content["results"][-1], run.scores)


def test_a_run_without_evaluations_has_none(trained_folder: Callable[..., Path]) -> None:
    folder = trained_folder("random", seeds=1, evaluation_episodes=0)
    with pytest.raises(UsageError, match="without evaluations"):
        evaluations(rlkit.load(folder))


def test_weights_are_those_of_the_seed_and_say_what_they_are(table: Any) -> None:
    run = table["q-learning", "FrozenLake-v1"]
    arrays, about = tensors(run, 1)
    for name, value in run.agent_state(1).items():
        np.testing.assert_array_equal(arrays[name], value)
    assert (about["agent"], about["seed"]) == ("q-learning", "1")
    assert about["identity"] == run.record["identity"]
    with pytest.raises(UsageError, match="seed"):
        tensors(run, 2)
