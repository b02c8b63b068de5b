"""Options that the learners of tables share."""

from __future__ import annotations

from typing import Any

import pytest

from rlkit.agents.tabular.learning.config import TableConfig, TraceConfig
from rlkit.errors import UsageError
from rlkit.options import identifying_options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_size_end": 0.1}, r"step_size_end.*step_size, which is None.*Give both, or neither"),
        ({"step_size": 0.5, "step_size_end": 0.0}, r"step_size_end.*\(0, 1\], got 0"),
        ({"temperature_end": 0.0}, r"temperature_end.*\(0, infinity\), got 0"),
        ({"temperature_steps": 0}, r"temperature_steps.*whole number >= 1, got 0"),
        ({"exploration": "softmax"}, r"exploration.*'epsilon-greedy', 'boltzmann', got 'softmax'"),
        ({"trace_decay": 1.5}, r"trace_decay.*\[0, 1\], got 1.5"),
        ({"traces": "dutch"}, r"traces.*'replacing', 'accumulating', got 'dutch'"),
        ({"initial_value": float("nan")}, r"initial_value"),
    ],
)
def test_a_value_that_does_not_fit_is_rejected_by_name(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        TraceConfig(**options)
    assert caught.value.exit_code == 2


def test_options_that_q_learning_did_not_have_are_no_part_of_the_identity_until_they_are_used() -> (
    None
):
    earlier = [
        *("discount", "step_size", "step_size_power", "initial_value"),
        *("epsilon_start", "epsilon_end", "epsilon_steps"),
    ]
    assert identifying_options(TraceConfig()) == earlier
    assert identifying_options(TableConfig()) == earlier
    used = TraceConfig(trace_decay=0.5, exploration="boltzmann")
    assert identifying_options(used) == [*earlier, "exploration", "trace_decay"]
