"""Search spaces are read from TOML and tables, and every value in them is one the agent accepts."""

from __future__ import annotations

import math
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.agents import AGENTS, find_agent
from rlkit.agents.ppo import PPOConfig
from rlkit.agents.tabular.q_learning import QLearningConfig
from rlkit.errors import UsageError
from rlkit.training.specification import make_spec
from rlkit.training.tuning.built_in import SPACES
from rlkit.training.tuning.spaces import Between, Choices, load_space, read_space

TOML = """
discount = [0.9, 0.99, 1]
step_size = ["None", 0.1]
epsilon_end = { low = 0.001, high = 0.1, log = true }
epsilon_steps = { low = 0.1, high = 1, of_steps = true }
envs = { low = 1, high = 8 }
traces = ["replacing", "accumulating"]
"""


def read(content: dict[str, Any], **options: Any) -> dict[str, Any]:
    return read_space(content, "agent q-learning", QLearningConfig(), 2000, **options)


def test_a_file_says_what_is_searched(tmp_path: Path) -> None:
    file = tmp_path / "space.toml"
    file.write_text(TOML)
    assert read(dict(load_space(file, "q-learning")), fixed=["traces"]) == {
        "discount": Choices((0.9, 0.99, 1.0)),
        "step_size": Choices((None, 0.1)),
        "epsilon_end": Between(0.001, 0.1, log=True, whole=False),
        "epsilon_steps": Between(200, 2000, log=False, whole=True),
        "envs": Between(1, 8, log=False, whole=True),
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"step_sise": [0.1]}, r"has no option 'step_sise'. Did you mean 'step_size'\?"),
        ({"discount": 0.9}, r"discount = 0.9 cannot be read. The range of an option is a list"),
        ({"discount": []}, r"discount = \[\] cannot be read"),
        ({"discount": [0.9, 2.0]}, r"rejects 2.0: option discount .* in \[0, 1\], got 2.0"),
        ({"discount": {"low": 0.9, "high": 1.5}}, r"rejects 1.5: option discount"),
        ({"discount": [0.9, 0.9]}, r"\[0.9, 0.9\] has a value twice"),
        ({"discount": ["high"]}, r"discount: expected a number, got 'high'"),
        ({"discount": {"low": 0.9}}, r"cannot be read"),
        ({"discount": {"low": 0.9, "hihg": 1.0}}, r"Did you mean 'high'\?"),
        ({"discount": {"low": 0.9, "high": 0.9}}, r"expected low < high, got 0.9 and 0.9"),
        ({"discount": {"low": 0, "high": 1, "log": True}}, r"low = 0 has no logarithm"),
        ({"discount": {"low": 0, "high": 1, "log": "yes"}}, r"cannot be read"),
        ({"discount": {"low": 0, "high": math.nan}}, r"cannot be read"),
        ({"discount": {"low": 0, "high": 1, "of_steps": True}}, r"option that counts steps"),
        ({"epsilon_steps": {"low": 0.5, "high": 1.0}}, r"expected whole limits, got 0.5 and 1.0"),
        ({"epsilon_steps": {"low": 0.5, "high": 2, "of_steps": True}}, r"shares of the steps"),
        ({"traces": {"low": 1, "high": 2}}, r"traces is not a number"),
        ({"traces": ["both"]}, r"expected one of 'replacing', 'accumulating', got 'both'"),
        ({"envs": [0, 1]}, r"envs.* >= 1, got 0"),
        ({}, r"no option is searched"),
    ],
)
def test_what_cannot_be_searched_is_rejected_by_name(content: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read(content)


def test_fixing_everything_leaves_nothing_to_search() -> None:
    with pytest.raises(UsageError, match=r"because all are fixed \(discount\)"):
        read({"discount": [0.9, 1.0]}, fixed=["discount"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("none.toml", "reading none.toml: No such file"),
        (__file__, "is not TOML"),
        (3, "expected a file or a mapping, got 3"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error(given: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_space(given, "ppo")


@pytest.mark.parametrize("agent", SPACES)
def test_the_spaces_of_the_agents_fit_their_options(agent: str) -> None:
    for steps in (10, 100_000):
        config = find_agent(agent).Config()
        space = read_space(load_space(None, agent), f"agent {agent}", config, steps)
        assert space.keys() == SPACES[agent].keys()


def test_all_agents_with_options_to_search_have_a_space() -> None:
    without = {"value-iteration", "random", "behaviour-cloning"}  # the last needs demonstrations
    assert set(AGENTS) - set(SPACES) == without
    with pytest.raises(UsageError, match="agent random has no search space of its own"):
        load_space(None, "random")


def test_the_spaces_of_the_docs_are_read() -> None:
    text = (Path(__file__).parents[3] / "docs" / "tuning.md").read_text()
    blocks = [tomllib.loads(block) for block in re.findall(r"```toml\n(.*?)```", text, re.S)]
    configs = {"ppo": PPOConfig(), "q-learning": QLearningConfig()}
    for content, (agent, config) in zip(blocks, configs.items(), strict=True):
        assert read_space(content, f"agent {agent}", config, 2000).keys() == content.keys()


@pytest.mark.parametrize("agent", ["q-learning", "ppo"])
def test_presets_lie_within_the_spaces(agent: str) -> None:
    """So the first trial is the preset."""
    spec = make_spec(agent, {"q-learning": "FrozenLake-v1", "ppo": "CartPole-v1"}[agent])
    space = read_space(load_space(None, agent), f"agent {agent}", spec.config, spec.num_env_steps)
    outside = [name for name in space if getattr(spec.config, name) not in space[name]]
    assert outside == []


@pytest.mark.parametrize(
    ("between", "value", "expected"),
    [
        (Between(1e-5, 1.0, True, False), 0.00123456, 0.00123),
        (Between(0.1, 0.9, False, False), 0.89999, 0.9),
        (Between(0.00012345, 0.9, True, False), 0.000123451, 0.00012345),
        (Between(1, 1_000_000, False, True), 123_456, 123_000),
        (Between(1, 20, False, True), 17, 17),
        (Between(-1.0, 1.0, False, False), 0.0, 0.0),
        (Between(-1.0, 1.0, False, False), -0.12345, -0.123),
        (Between(0.999, 0.9999, False, False), 0.99941237, 0.999412),
        (Between(0.999, 0.9999, True, False), 0.99941237, 0.999412),
        (Between(1_000_000, 1_000_020, False, True), 1_000_007, 1_000_007),
    ],
)
def test_numbers_are_rounded_within_their_range(
    between: Between, value: float, expected: float
) -> None:
    rounded = between.rounded(value)
    assert rounded == expected
    assert type(rounded) is (int if between.whole else float)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("limits", [(0.99, 0.999), (0.9999, 0.99999), (-5.001, -5.0), (1e-9, 1)])
def test_a_range_has_at_least_a_hundred_numbers(limits: tuple[float, float], log: bool) -> None:
    low, high = limits
    if log and low < 0:
        pytest.skip("it has no logarithm")
    between = Between(low, high, log, False)
    drawn = np.geomspace(low, high, 999) if log else np.linspace(low, high, 999)
    assert len({between.rounded(float(value)) for value in drawn}) > 100


def test_a_choice_is_found_by_value_and_type() -> None:
    values = Choices((1, True, (64, 64), None))
    assert [values.position(one) for one in (True, 1, None, (64, 64))] == [1, 0, 3, 2]
    assert 1.0 not in values
