"""`rlkit list`."""

import pytest

from tests.cli.commands import answer


def test_list_names_agents_presets_and_native_environments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    listed = answer(capsys, "list")
    assert {"ppo", "q-learning", "reinforce", "value-iteration", "random"} == set(listed["agents"])
    assert {"CartPole-v1", "Acrobot-v1", "Pendulum-v1"} <= set(listed["native_environments"])
    assert any(p["agent"] == "ppo" and p["steps"] == 100_000 for p in listed["presets"])
