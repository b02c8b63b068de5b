"""Agents that would not fit into memory are rejected before anything is allocated."""

from __future__ import annotations

from typing import Any

import pytest

from rlkit.agents import memory
from rlkit.agents.memory import network_bytes
from rlkit.errors import UsageError
from rlkit.nn.parameters import Parameters
from rlkit.training import prepare
from rlkit.training.prepare import SEED_BYTES
from rlkit.training.train import train


def test_the_estimate_of_networks_counts_weights_gradients_and_moments() -> None:
    layers = [((5, 7), (7,)), ((7, 3), (3,))]
    numbers = sum(a * b + c for (a, b), (c,) in layers)
    assert network_bytes((5, 7, 3)) == 4 * 4 * numbers
    assert network_bytes((5, 7, 3), (2, 1)) == 4 * 4 * (numbers + 3)


@pytest.mark.trap("F70")
@pytest.mark.parametrize(
    ("agent", "options", "text"),
    [
        ("ppo", {"hidden_sizes": (10**9,)}, r"GB of memory for 2 seeds, and .* smaller layers"),
        ("ppo", {"hidden_sizes": (10**6, 10**6)}, "smaller layers"),
        ("ppo", {"rollout_length": 10**13}, "shorter rollouts"),
        ("reinforce", {"hidden_sizes": (10**9,)}, "smaller layers"),
        ("reinforce", {"hidden_sizes": (10**6, 10**6)}, "smaller layers"),
    ],
)
def test_networks_beyond_memory_are_rejected_before_they_are_drawn(
    agent: str, options: dict[str, Any], text: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn(*_: Any) -> None:
        raise AssertionError("networks were drawn")

    monkeypatch.setattr(Parameters, "__init__", drawn)
    with pytest.raises(UsageError, match=text):
        train(agent, "CartPole-v1", seeds=2, steps=10, out=tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("agent", "options"), [("dyna-q", {"model_memory": 50}), ("ppo", {"hidden_sizes": (64, 64)})]
)
def test_all_seeds_of_a_run_must_fit_together(
    agent: str, options: dict[str, Any], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One seed fits, and one is built before training; forty do not."""
    monkeypatch.setattr(memory, "available_bytes", lambda: 4_000_000)
    with pytest.raises(UsageError, match="GB of memory for 40 seeds"):
        train(agent, "FrozenLake-v1", seeds=40, steps=10, out=tmp_path / "runs", **options)
    assert not (tmp_path / "runs").exists()  # before training, which would notice it as well


def test_more_seeds_than_there_can_be_are_rejected(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"<= 1,000,000, got 10000000"):
        train("random", "FrozenLake-v1", seeds=10**7, out=tmp_path)
    monkeypatch.setattr(prepare, "available_bytes", lambda: 1000 * SEED_BYTES - 1)
    with pytest.raises(UsageError, match=r"1,000 seeds need about 0\.02 GB of memory"):
        train("random", "FrozenLake-v1", seeds=1000, out=tmp_path)
