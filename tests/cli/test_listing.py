"""`rlkit list`."""

import pytest

from rlkit.agents import AGENTS
from tests.cli.commands import answer


def test_list_names_agents_presets_and_native_environments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    listed = answer(capsys, "list")
    assert set(listed["agents"]) == set(AGENTS)
    assert {"ppo", "q-learning", "reinforce", "value-iteration", "random"} <= set(AGENTS)
    assert {"CartPole-v1", "Acrobot-v1", "Pendulum-v1"} <= set(listed["native_environments"])
    assert any(p["agent"] == "ppo" and p["steps"] == 100_000 for p in listed["presets"])
