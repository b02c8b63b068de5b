"""The choices of a run about how its agent sees the environment."""

from __future__ import annotations

from rlkit.environments.bins import Binning
from rlkit.environments.resolve import find_environment
from rlkit.environments.views.view import View


def test_a_view_changes_what_agents_see_and_keeps_what_is_known() -> None:
    environment = find_environment("Pendulum-v1")
    assert environment.view == View()
    assert environment.seen_as(View()) is environment
    other = environment.seen_as(View(binning=Binning((3,)), rescaled_actions=True))
    assert other.probe is environment.probe
    assert other.observation_space.n == 27
    assert (other.action_space.low, other.action_space.high) == (-1.0, 1.0)
    assert environment.action_space.high == 2.0
