"""`evaluate` shows how far policies near a reference are from the exact optimum."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import rlkit
from rlkit.runs.reports import Reports
from rlkit.solving import model_of
from rlkit.tabular.planning.soft import soft_return_under_limit
from rlkit.training.playing.penalised import has_answer_key
from rlkit.training.run import Run
from tests.cli.commands import output
from tests.tabular.planning.test_near import by_steps


@pytest.fixture
def near(small: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """A run of PPO on FrozenLake near the uniform policy, some arguments changed."""
    monkeypatch.setattr(Run, "plot", lambda self, path=None: None)
    settings: dict[str, Any] = {"environment": "FrozenLake-v1", "reference": "uniform",
                                "kl_coef": 0.05, "seeds": 2, "reports": Reports()}  # fmt: skip
    return lambda **changes: small("ppo", **{**settings, **changes})


def test_each_seed_has_its_exact_gap(
    near: Callable[..., Run], capsys: pytest.CaptureFixture[str]
) -> None:
    run = near()
    mdp = model_of("FrozenLake-v1")
    uniform = np.full((16, 4), 0.25)
    optimum = soft_return_under_limit(mdp, uniform, kl_coef=0.05)
    actor: Any = run.batch_actor([0, 1], greedy=False)
    policies = actor.probabilities(np.tile(np.arange(16), (2, 1)))
    rows = run.evaluate(episodes=1)["seeds"]
    for row, policy in zip(rows, policies, strict=True):
        total, kl = by_steps(mdp, policy, uniform, 100)
        assert row["kl_coef"] == 0.05
        assert row["kl"] == pytest.approx(kl, rel=1e-9)
        assert row["penalised_return"] == pytest.approx(total - 0.05 * kl, rel=1e-9)
        assert row["penalised_optimum"] == optimum
        assert row["gap"] == optimum - row["penalised_return"] > 0
    opened = rlkit.load(run.folder)  # from its own copy of the reference
    assert opened.evaluate(episodes=1, greedy=False)["seeds"][0]["gap"] == rows[0]["gap"]
    printed, _ = output(capsys, "evaluate", str(run.folder), "--episodes", "1")
    gaps = [row["gap"] for row in rows]
    assert f"gap {gaps[0]:.6f}   KL {rows[0]['kl']:.4f} nats per episode\n" in printed
    assert f"median gap {np.median(gaps):.6g}\n" in printed


def test_an_adapted_coefficient_counts_as_it_ended(near: Callable[..., Run]) -> None:
    run = near(kl_target=0.5, kl_horizon=500)
    ended = [float(run.agent_state(seed)["kl_coef"]) for seed in range(2)]
    rows = run.evaluate(episodes=1)["seeds"]
    assert [row["kl_coef"] for row in rows] == ended
    assert all(coef < 0.05 for coef in ended)


def test_what_is_not_known_is_not_shown(near: Callable[..., Run]) -> None:
    measured = near(kl_coef=0.0, seeds=1).evaluate(episodes=1)["seeds"][0]
    assert measured["kl_coef"] == 0.0
    assert "gap" not in measured
    own = near(reward=lambda o, a, n, t: n / 15.0, seeds=1)
    assert not has_answer_key(own.spec, own.environment)
    masked = dataclasses.replace(near(seeds=1).spec, action_masks=True)
    assert not has_answer_key(masked, own.environment)
    pole = near(environment="CartPole-v1", seeds=1, steps=8, rollout_length=2)
    assert not has_answer_key(pole.spec, pole.environment)
    assert "kl_coef" not in pole.evaluate(episodes=1)["seeds"][0]
