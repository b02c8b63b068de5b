"""Checks of options: what is refused, and what the message says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pytest
import torch

from rlkit.agents.ppo import PPOConfig
from rlkit.agents.reinforce import ReinforceConfig
from rlkit.agents.tabular.q_learning import QLearningConfig
from rlkit.agents.tabular.value_iteration import ValueIterationConfig
from rlkit.errors import UsageError
from rlkit.options import (
    Unfit,
    converted,
    require_choice,
    require_range,
    require_types,
    require_whole,
)

if TYPE_CHECKING:
    from decimal import Decimal as OnlyForTypeCheckers

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


@pytest.mark.trap("F57")
@pytest.mark.parametrize("config", DISCOUNTED)
@pytest.mark.parametrize("value", [1.0001, -0.1, INF, NAN, "0.9", True, None])
def test_a_discount_outside_0_to_1_is_rejected(config: Any, value: Any) -> None:
    assert_refused(config, "discount", value, "[0, 1]")


@pytest.mark.trap("F57")
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
    (QLearningConfig, "initial_value", -INF, "(-infinity, infinity)"),
    (QLearningConfig, "epsilon_start", 1.1, "[0, 1]"),
    (QLearningConfig, "epsilon_end", -0.1, "[0, 1]"),
    (QLearningConfig, "epsilon_steps", 0, ">= 1"),
    (QLearningConfig, "step_size", 0.0, "(0, 1]"),
    (QLearningConfig, "step_size", 1.5, "(0, 1]"),
    (QLearningConfig, "step_size_power", 1.5, "[0, 1]"),
    (QLearningConfig, "initial_value", INF, "expected a number"),
    (ValueIterationConfig, "tolerance", 0.0, "(0, infinity)"),
]


@pytest.mark.trap("F56")
@pytest.mark.parametrize(("config", "name", "value", "expected"), REFUSED)
def test_an_option_out_of_range_is_rejected_with_its_name_range_and_value(
    config: Any, name: str, value: Any, expected: str
) -> None:
    assert_refused(config, name, value, expected)


@pytest.mark.parametrize(
    ("config", "name"),
    [(PPOConfig, "value_clip"), (PPOConfig, "target_kl"), (QLearningConfig, "step_size")],
)
def test_none_is_accepted_where_it_has_a_meaning(config: Any, name: str) -> None:
    assert getattr(config(**{name: None}), name) is None


@pytest.mark.trap("F60")
def test_a_misspelt_choice_is_answered_with_the_closest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'linear'"):
        PPOConfig(clip_schedule="liner")  # type: ignore[arg-type]


# --- the checks themselves ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Options:
    number: float = 0.5
    maybe: float | None = None
    count: int = 1
    widths: tuple[int, ...] = (1, 2)
    colour: Literal["red", "green"] = "red"


@pytest.mark.trap("F57")
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
    for wrong in (3, {3}, "33", ("3",), (2.0,), (True,), (0,), np.zeros((2, 2), dtype=int)):
        with pytest.raises(UsageError, match="widths"):
            require_whole(Options(widths=wrong), "widths", at_least=1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="count"):
        require_whole(Options(count=(3,)), "count", at_least=1)  # type: ignore[arg-type]


def test_choices_are_compared_by_value() -> None:
    require_choice(Options(colour="green"), "colour", among=Literal["red", "green"])
    with pytest.raises(UsageError, match="colour"):
        require_choice(Options(colour=None), "colour", among=Literal["red", "green"])  # type: ignore[arg-type]


# --- values and their types -----------------------------------------------------------------------

SAME = [
    (64, int, [np.int64(64), np.uint8(64), np.array(64), torch.tensor(64)]),
    (0.5, float, [np.float32(0.5), np.float64(0.5), np.longdouble(0.5), np.array(0.5)]),
    (0.5, float, [Fraction(1, 2), torch.tensor(0.5)]),
    (1.0, float, [1, np.int8(1), np.array(1), np.float32(1)]),
    (True, bool, [np.True_, np.array(True)]),
    ((64, 32), tuple[int, ...], [[64, 32], np.array([64, 32]), (np.int64(64), np.int8(32))]),
    ((0, 1, 2), tuple[int, ...], [range(3), [np.array(0), 1, 2]]),
    ((1.0, 2.0), tuple[float, float], [[1, 2], np.array([1, 2]), range(1, 3)]),
    ([1, 2], list[int], [(1, 2), np.array([1, 2])]),
    ("adam", str, [np.str_("adam")]),
    ("red", Literal["red", "green"], [np.str_("red")]),
    (3, int | None, [np.int64(3)]),
    (1, int | float, [np.int64(1)]),
    (True, bool | int, [np.True_]),
    ((3,), tuple[int, ...] | None, [[3]]),
    (0.1, float | Callable[[int], float], [np.float64(0.1)]),
    (1.0, float | Callable[[int], float], [1]),
    (2, Annotated[int, "a number"], [np.int64(2)]),
]


@pytest.mark.parametrize(("value", "kind", "spellings"), SAME)
def test_spellings_of_one_value_become_that_value_and_type(
    value: Any, kind: Any, spellings: list[Any]
) -> None:
    for spelt in [value, *spellings]:
        taken = converted(spelt, kind)
        assert taken == value
        assert type(taken) is type(value)
        if isinstance(taken, (tuple, list)):
            assert [type(one) for one in taken] == [type(one) for one in value]


UNFIT = [
    (bool, ["no", "yes", "True", "", 0, 1, 1.0, None, np.int64(1), [], np.array([True])]),
    (int, [True, np.True_, 1.0, np.float32(1), "1", None, (1,), np.array([1]), 1j]),
    (float, [True, np.True_, "0.5", None, (0.5,), np.array([0.5]), 1j, 10**400]),
    (str, [1, None, b"a", True, ["a"]]),
    (tuple[int, ...], ["12", 3, {1, 2}, {1: 2}, (1.0,), [True], np.zeros((2, 2)), None, b"ab"]),
    (tuple[float, float], [(1,), (1, 2, 3), 1.0, ("a", 1)]),
    (tuple[str, ...], ["abc", (1,)]),
    (Literal["red", "green"], ["blue", None, 1, np.array(["red"])]),
    (Literal[1, 2], [1.5, "1"]),
    (int | None, [1.0, "None", False]),
]


@pytest.mark.parametrize(("kind", "values"), UNFIT)
def test_values_of_another_meaning_do_not_fit(kind: Any, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(Unfit):
            converted(value, kind)


def test_types_that_are_not_known_take_anything() -> None:
    for kind in (Any, dict[str, int], Path, Callable[[], int], object, np.ndarray):
        value = [object()]
        assert converted(value, kind) is value


@pytest.mark.parametrize("config", [PPOConfig, ReinforceConfig])
@pytest.mark.parametrize("value", ["no", "yes", 0, 1, None, ()])
def test_only_a_boolean_is_a_boolean(config: Any, value: Any) -> None:
    flags = [f.name for f in dataclasses.fields(config) if f.type == "bool"]
    assert "standardise_advantages" in flags
    for name in flags:
        assert_refused(config, name, value, "True or False")


@pytest.mark.parametrize("config", [PPOConfig, ReinforceConfig, QLearningConfig])
def test_numpy_values_and_lists_give_an_equal_configuration_of_plain_values(config: Any) -> None:
    wrapped = {}
    for name, value in dataclasses.asdict(config()).items():
        if isinstance(value, tuple):
            wrapped[name] = np.array(value)
        elif isinstance(value, (bool, int, float)):
            wrapped[name] = np.asarray(value)[()]
    made = config(**wrapped)
    assert made == config()
    for value, plain in zip(
        dataclasses.asdict(made).values(), dataclasses.asdict(config()).values(), strict=True
    ):
        assert type(value) is type(plain)


def test_a_whole_float_is_rejected_with_its_integer_spelling() -> None:
    with pytest.raises(UsageError, match=r"got 1000\.0; write 1000, not 1e3$"):
        PPOConfig(rollout_length=1e3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"write 64, not 64\.0$"):
        PPOConfig(rollout_length=np.float32(64))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"got 1\.5$"):
        PPOConfig(rollout_length=1.5)  # type: ignore[arg-type]


def test_annotations_that_cannot_be_evaluated_take_anything_and_the_others_are_checked() -> None:
    class Local:
        """Known only inside of this function."""

    @dataclasses.dataclass(frozen=True)
    class Config:
        number: OnlyForTypeCheckers | None = None
        local: Local | None = None
        width: int = 64
        flag: bool = False

    require_types(Config(number="anything", local=3, width=np.int64(3)))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"option flag .*True or False, got 'no'"):
        require_types(Config(flag="no"))  # type: ignore[arg-type]
