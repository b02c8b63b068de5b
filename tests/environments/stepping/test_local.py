"""Copies in this process: in the order given, each named where it goes wrong."""

from __future__ import annotations

import pytest

from rlkit.environments.stepping.local import CopyProblem, LocalCopies
from tests.faulty_envs import Counter, Recorder


class FailsLater(Counter):
    def step(self, action: int) -> tuple[object, ...]:  # type: ignore[override]
        if action == 2:
            raise ValueError("two")
        return super().step(action)


def test_a_replay_ends_where_the_steps_did() -> None:
    stepped, replayed = LocalCopies(Counter, 2), LocalCopies(Counter, 2)
    list(stepped.reset({0: 3, 1: 4}, None))
    for _ in range(2):
        outcomes = dict(stepped.step({0: 1, 1: 0}, None))
    again = dict(replayed.replay({0: (3, [1, 1]), 1: (4, [0, 0])}, None))
    assert {i: now.obs.tolist() for i, now in again.items()} == {
        i: outcome.obs.tolist() for i, outcome in outcomes.items()
    }


def test_a_problem_names_its_copy_and_how_far_a_replay_came() -> None:
    copies = LocalCopies(FailsLater, 3)
    list(copies.reset({0: 0, 1: 0, 2: 0}, None))
    with pytest.raises(CopyProblem) as caught:
        list(copies.step({0: 0, 1: 2, 2: 0}, None))
    assert (caught.value.copy, caught.value.steps) == (1, None)
    with pytest.raises(CopyProblem) as caught:
        list(copies.replay({2: (0, [0, 2, 1])}, None))
    assert (caught.value.copy, caught.value.steps) == (2, 2)


def test_who_asks_is_asked_before_each_copy() -> None:
    made = Recorder(Counter)
    copies = LocalCopies(made, 3)
    calls = iter(range(5))

    def ask() -> None:
        if next(calls) == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        list(copies.reset({0: 0, 1: 0, 2: 0}, ask)) + list(copies.step({0: 0, 1: 0, 2: 0}, ask))
    assert [env.num_steps for env in made.made] == [1, 0, 0]
