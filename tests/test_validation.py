"""Checks of options: what is refused, and what the message says."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import pytest

from rlkit.agents import AGENTS, find_agent
from rlkit.agents.ppo import PPOConfig
from rlkit.agents.q_learning import QLearningConfig
from rlkit.agents.reinforce import ReinforceConfig
from rlkit.agents.value_iteration import ValueIterationConfig
from rlkit.errors import UsageError, closest
from rlkit.validation import require_choice, require_range, require_whole

DISCOUNTED = [PPOConfig, ReinforceConfig, QLearningConfig, ValueIterationConfig]
INF, NAN = float("inf"), float("nan")


def assert_refused(config: Any, name: str, value: Any, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        config(**{name: value})
    message = str(caught.value)
    assert name in message, message
    assert f"--{name.replace('_', '-')}" in message, message
    assert expected in message, message
    assert repr(value) in message, message


@pytest.mark.parametrize("config", DISCOUNTED)
@pytest.mark.parametrize("value", [1.0001, -0.1, INF, NAN, "0.9", True, None])
def test_a_discount_outside_0_to_1_is_refused(config: Any, value: Any) -> None:
    assert_refused(config, "discount", value, "[0, 1]")


@pytest.mark.parametrize("config", DISCOUNTED)
@pytest.mark.parametrize("value", [0, 0.0, 1, 1.0])
def test_discounts_0_and_1_are_accepted(config: Any, value: float) -> None:
    assert config(discount=value).discount == value


REFUSED = [
    (PPOConfig, "gae_lambda", 1.5, "[0, 1]"),
    (PPOConfig, "gae_lambda", -0.1, "[0, 1]"),
    (PPOConfig, "value_clip", 0, "(0, infinity)"),
    (PPOConfig, "value_clip", -0.2, "(0, infinity)"),
    (PPOConfig, "target_kl", 0.0, "(0, infinity)"),
    (PPOConfig, "clip_epsilon", 0.0, "(0, 1)"),
    (PPOConfig, "clip_epsilon", 1.0, "(0, 1)"),
    (PPOConfig, "learning_rate", 0.0, "(0, infinity)"),
    (PPOConfig, "learning_rate", None, "(0, infinity)"),
    (PPOConfig, "learning_rate", "1e-3", "(0, infinity)"),
    (PPOConfig, "value_coef", -1.0, "[0, infinity)"),
    (PPOConfig, "entropy_coef", NAN, "[0, infinity)"),
    (PPOConfig, "rollout_length", 0, ">= 1"),
    (PPOConfig, "rollout_length", 2.0, ">= 1"),
    (PPOConfig, "num_epochs", -3, ">= 1"),
    (PPOConfig, "num_epochs", (4,), ">= 1"),
    (PPOConfig, "minibatch_size", True, ">= 1"),
    (PPOConfig, "hidden_sizes", (64, 0), ">= 1"),
    (PPOConfig, "hidden_sizes", 64, ">= 1"),
    (PPOConfig, "activation", "gelu", "'tanh', 'relu'"),
    (PPOConfig, "learning_rate_schedule", "cosine", "'constant', 'linear'"),
    (ReinforceConfig, "episodes_per_update", 0, ">= 1"),
    (ReinforceConfig, "baseline_steps", 0, ">= 1"),
    (ReinforceConfig, "learning_rate", -1e-3, "(0, infinity)"),
    (ReinforceConfig, "optimiser", "rmsprop", "'adam', 'sgd'"),
    (ReinforceConfig, "init", "zeros", "'orthogonal', 'xavier'"),
    (QLearningConfig, "epsilon_start", 1.1, "[0, 1]"),
    (QLearningConfig, "epsilon_end", -0.1, "[0, 1]"),
    (QLearningConfig, "epsilon_steps", 0, ">= 1"),
    (QLearningConfig, "step_size", 0.0, "(0, 1]"),
    (QLearningConfig, "step_size", 1.5, "(0, 1]"),
    (QLearningConfig, "step_size_power", 1.5, "[0, 1]"),
    (QLearningConfig, "initial_value", INF, "expected a number"),
    (ValueIterationConfig, "tolerance", 0.0, "(0, infinity)"),
]


@pytest.mark.parametrize(("config", "name", "value", "expected"), REFUSED)
def test_an_option_out_of_range_is_refused_with_its_name_range_and_value(
    config: Any, name: str, value: Any, expected: str
) -> None:
    assert_refused(config, name, value, expected)


@pytest.mark.parametrize(
    ("config", "name"),
    [(PPOConfig, "value_clip"), (PPOConfig, "target_kl"), (QLearningConfig, "step_size")],
)
def test_none_is_accepted_where_it_has_a_meaning(config: Any, name: str) -> None:
    assert getattr(config(**{name: None}), name) is None


def test_a_misspelt_choice_is_answered_with_the_closest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'linear'"):
        PPOConfig(clip_schedule="liner")  # type: ignore[arg-type]


@pytest.mark.parametrize("agent", AGENTS)
def test_unknown_options_are_refused_and_configurations_are_frozen(agent: str) -> None:
    config = find_agent(agent).Config
    with pytest.raises(TypeError, match="gama"):
        config(gama=0.9)
    for field in dataclasses.fields(config):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config(), field.name, None)


def test_an_unknown_agent_is_refused_with_the_closest_and_the_list() -> None:
    with pytest.raises(UsageError, match="Did you mean 'reinforce'") as caught:
        find_agent("reinforced")
    for name in AGENTS:
        assert name in str(caught.value)


def test_the_closest_name_is_the_nearest_or_nothing() -> None:
    assert closest("gama", ["gamma", "lambda", "epsilon"]) == " Did you mean 'gamma'?"
    assert closest("xyz", ["gamma", "lambda"]) == ""


# --- the checks themselves ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Options:
    number: float = 0.5
    maybe: float | None = None
    count: int = 1
    widths: tuple[int, ...] = (1, 2)
    colour: Literal["red", "green"] = "red"


@pytest.mark.parametrize("value", [2**31, 10**18])
def test_large_whole_numbers_stay_exact(value: int) -> None:
    options = Options(count=value)
    require_whole(options, "count", at_least=0)
    assert options.count == value


@pytest.mark.parametrize(
    ("value", "open_low", "open_high", "inside"),
    [
        (0, False, False, True),
        (0, True, False, False),
        (1, False, False, True),
        (1, False, True, False),
        (0.5, True, True, True),
        (-1e-9, False, False, False),
    ],
)
def test_ranges_are_open_or_closed_as_asked(
    value: float, open_low: bool, open_high: bool, inside: bool
) -> None:
    def check() -> None:
        require_range(
            Options(number=value), "number", low=0, high=1, open_low=open_low, open_high=open_high
        )

    if inside:
        check()
    else:
        left, right = "(" if open_low else "[", ")" if open_high else "]"
        with pytest.raises(UsageError) as caught:
            check()
        assert f"{left}0, 1{right}" in str(caught.value)


def test_none_passes_only_where_the_field_allows_it() -> None:
    require_range(Options(maybe=None), "maybe", low=0)
    with pytest.raises(UsageError, match="number"):
        require_range(Options(number=None), "number", low=0)  # type: ignore[arg-type]


def test_a_tuple_passes_only_where_the_field_is_one() -> None:
    require_whole(Options(widths=()), "widths", at_least=1)
    for wrong in (3, [3], ("3",), (2.0,), (True,)):
        with pytest.raises(UsageError, match="widths"):
            require_whole(Options(widths=wrong), "widths", at_least=1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="count"):
        require_whole(Options(count=(3,)), "count", at_least=1)  # type: ignore[arg-type]


def test_choices_are_compared_by_value() -> None:
    require_choice(Options(colour="green"), "colour", among=Literal["red", "green"])
    with pytest.raises(UsageError, match="colour"):
        require_choice(Options(colour=None), "colour", among=Literal["red", "green"])  # type: ignore[arg-type]
