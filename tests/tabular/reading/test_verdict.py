"""The sentence about a probe that does not fit its model, and the subsets that it is based on."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv

from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.reading import verdict
from rlkit.tabular.reading.model import examine
from rlkit.tabular.reading.verdict import Indexing, disagreement
from tests.tabular.reading.records import Event, model, record
from tests.tabular.table_envs import Corridor, Starts, lake_slipping

GOOD: list[Event] = [(1, 1, 1, 5.0, False), (1, 1, 1, 5.0, False), (1, 1, 1, 5.0, False)]
AT_THE_END = np.array([False, False, True])


def judge(mdp: TabularMDP, env: Any = None, **changes: Any) -> str | None:
    events, starts = changes.pop("events", GOOD), changes.pop("starts", [1])
    return disagreement(mdp, record(events, starts, **changes), Indexing(env or Corridor()))


def test_a_record_of_the_model_is_accepted() -> None:
    assert judge(model()) is None
    assert judge(model(time_limit=3), truncated=AT_THE_END) is None


def test_an_impossible_step_is_named_in_the_environments_own_numbers() -> None:
    problem = judge(model(), events=[*GOOD, (1, 1, 0, 5.0, True)])
    assert problem is not None
    assert "state 1 and action 1 led to" in problem
    assert "= (0, 5, True), which P gives probability 0; correct P" in problem
    problem = judge(
        model(), Corridor(first_state=10, first_action=-3), events=[(1, 1, 0, 5.0, True)]
    )
    assert problem is not None
    assert "state 11 and action -2 led to" in problem
    assert "= (10, 5, True)" in problem


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        (
            Starts([0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]),
            "an episode started in state 0, which",
        ),
        (Corridor(), "3 resets started in 2 different states, state 0 among them"),
    ],
)
def test_an_impossible_start_is_named(env: Any, expected: str) -> None:
    problem = judge(model(), env, starts=[1, 0, 1])
    assert problem is not None
    assert expected in problem


@pytest.mark.parametrize("limit", [None, 2, 4])
def test_truncation_at_another_step_than_the_limit_is_named(limit: int | None) -> None:
    problem = judge(model(time_limit=limit), truncated=AT_THE_END)
    assert problem is not None
    step, truncated = (2, False) if limit == 2 else (3, True)
    assert f"step {step} of an episode returned truncated={truncated}" in problem


def _in_part_four() -> Callable[[], Any]:
    made: list[Any] = []

    def make() -> Any:
        made.append(lake_slipping(*((1 / 3,) * 3 if len(made) % 2 == 0 else (0.3, 0.4, 0.3)))())
        return made[-1]

    return make


@pytest.mark.long
@pytest.mark.parametrize(
    ("named", "make"),
    [
        ("of the probe", _in_part_four()),
        ("of episodes", lake_slipping(0.2, 0.6, 0.2, after=60)),
        ("after a step", lake_slipping(0.4, 0.3, 0.3, memory=True)),
    ],
)
def test_each_kind_of_subset_sees_a_fault_that_the_others_miss(
    named: str, make: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = examine(make).problem
    assert problem is not None
    assert named in problem
    subsets = verdict.subsets
    monkeypatch.setattr(
        verdict,
        "subsets",
        lambda *given: {name: m for name, m in subsets(*given).items() if named not in name},
    )
    assert examine(make).problem is None


@pytest.mark.slow
def test_the_rejection_names_the_worst_pair_and_the_remedy() -> None:
    problem = examine(lake_slipping(0.05, 0.9, 0.05)).problem
    assert problem is not None
    pattern = (
        r"it: state (\d+) and action (\d) lead to \(next_state, reward, terminated\) = "
        r"\((\d+), 0, \w+\) with probability (0\.\d+) by the table, and it occurred ([\d,]+) of "
        r"([\d,]+) times.*correct P, or remove it"
    )
    match = re.search(pattern, problem)
    assert match, problem
    s, a, to, count, total = (int(match[i].replace(",", "")) for i in (1, 2, 3, 5, 6))
    leads = np.array([next_state == to for _, next_state, _, _ in FrozenLakeEnv().P[s][a]])
    assert float(match[4]) == pytest.approx(leads.sum() / 3, abs=1e-4)
    in_step = float(leads @ (0.05, 0.9, 0.05))
    # Five standard errors of the frequency.
    assert abs(count / total - in_step) < 5 * np.sqrt(in_step * (1 - in_step) / total) + 1e-9
