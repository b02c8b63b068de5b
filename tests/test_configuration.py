"""Configurations made from options, and what is rejected by name."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rlkit.agents import AGENTS, find_agent
from rlkit.agents.ppo import PPOConfig
from rlkit.configuration import known_options, make_config, require_config
from rlkit.errors import UsageError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own:
    """A configuration of the user."""

    width: int = 3
    rate: float = 0.5

    def __post_init__(self) -> None:
        if self.width > 100:
            raise KeyError("too wide")


@pytest.mark.trap("F60")
@pytest.mark.parametrize("agent", AGENTS)
def test_unknown_options_are_rejected_and_configurations_are_frozen(agent: str) -> None:
    config = find_agent(agent).Config
    with pytest.raises(TypeError, match="gama"):
        config(gama=0.9)
    for field in dataclasses.fields(config):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config(), field.name, None)


def test_options_of_a_configuration_are_converted_to_their_types() -> None:
    config = make_config("agent 'own'", Own, {"width": np.int64(4), "rate": 1})
    assert config == Own(width=4, rate=1.0)
    assert (type(config.width), type(config.rate)) == (int, float)
    with pytest.raises(UsageError, match=r"width.*expected a whole number, got 4.0"):
        make_config("agent 'own'", Own, {"width": 4.0})


def test_an_error_of_a_users_configuration_names_its_owner_and_options() -> None:
    with pytest.raises(UsageError, match=r"agent 'own'.*\(width=101\) failed: KeyError"):
        make_config("agent 'own'", Own, {"width": 101})


def test_a_whole_configuration_has_the_right_class_and_values() -> None:
    config = Own(width=5)
    assert require_config("agent 'own'", Own, config) == config
    with pytest.raises(UsageError, match=r"got the class Own; give an instance"):
        require_config("agent 'own'", Own, Own)
    with pytest.raises(UsageError, match=r"expected a Own, or a mapping of its options, got a PPO"):
        require_config("agent 'own'", Own, PPOConfig())
    object.__setattr__(config, "width", "five")
    with pytest.raises(UsageError, match="width"):
        require_config("agent 'own'", Own, config)


def test_options_are_known_by_name_and_arguments_are_separate() -> None:
    assert known_options("agent 'own'", Own, ["rate"], ["seeds"]) == ["width", "rate"]
    with pytest.raises(UsageError, match=r"no option 'widht'\. Did you mean 'width'\? It has wid"):
        known_options("agent 'own'", Own, ["widht"])
    with pytest.raises(UsageError, match=r"'seeds' is not one of its options but a separate arg"):
        known_options("agent 'own'", Own, ["seeds"], ["seeds"])
    with pytest.raises(UsageError, match="expected its Config to be a dataclass"):
        known_options("agent 'own'", int, [])
