"""Callbacks are called apart: what they draw, seed and set is theirs alone."""

from __future__ import annotations

import functools
import random
from typing import Any

import numpy as np
import pytest

from rlkit.errors import UsageError
from rlkit.training.watching.callbacks import CallbackError, Callbacks, Generators, callback_names
from rlkit.training.watching.progress import Progress, constant

PROGRESS = Progress(
    run="a-run",
    step=40,
    target=100,
    seeds=(0, 1),
    measured="eval_return",
    metrics={"eval_return": constant(np.array([1.0, 2.0]))},
)


def stops(progress: Progress) -> str:
    return "stop"


def watches(progress: Progress) -> None:
    assert progress.step == 40


def test_the_first_that_stops_is_named_and_all_are_called() -> None:
    called: list[int] = []

    def counts(progress: Progress) -> None:
        called.append(progress.step)

    assert Callbacks([watches, stops, counts]).stopping(PROGRESS) == "callback stops"
    assert called == [40]
    assert Callbacks([watches]).stopping(PROGRESS) is None


def raises(progress: Progress) -> None:
    raise KeyError("no such thing")


def leaves(progress: Progress) -> None:
    raise SystemExit(3)


def answers(progress: Progress) -> Any:
    return True


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (raises, r"callback raises raised KeyError\('no such thing'\) at step 40 of a-run"),
        (leaves, r"callback leaves raised SystemExit\(3\) at step 40"),
        (answers, 'callback answers returned True at step 40 of a-run: expected None or "stop"'),
    ],
)
def test_a_callback_that_goes_wrong_is_named(callback: Any, message: str) -> None:
    with pytest.raises(CallbackError, match=message):
        Callbacks([callback]).stopping(PROGRESS)


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (watches, "expected a list of functions"),
        ([watches, 3], "expected functions of a Progress, got 3"),
        ([stops, stops], "two are called stops"),
    ],
)
def test_what_is_no_callback_is_rejected(callbacks: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        callback_names(callbacks)


def test_an_object_is_called_what_its_class_is() -> None:
    class Counter:
        def __call__(self, progress: Progress) -> None: ...

    (name,) = callback_names([Counter()])
    assert name.startswith("callback ")
    assert name.endswith("Counter")


def test_generators_of_callbacks_go_on_and_leave_the_others_alone() -> None:
    def draw() -> tuple[float, float]:
        return random.random(), float(np.random.random())  # noqa: NPY002

    def seed_and_draw() -> tuple[float, float]:
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002
        return draw()

    before = random.getstate(), np.random.get_state()[1].tobytes()  # type: ignore[index]  # noqa: NPY002
    generators = Generators()
    first = generators.call(seed_and_draw)
    second, third = generators.call(draw), generators.call(draw)
    after = random.getstate(), np.random.get_state()[1].tobytes()  # type: ignore[index]  # noqa: NPY002
    assert before == after
    own, numbers = random.Random(7), np.random.RandomState(7)
    expected = [(own.random(), float(numbers.random_sample())) for _ in range(3)]
    assert [first, second, third] == expected  # not the same number again and again


def stop_after(step: int, progress: Progress, *, why: str = "") -> str | None:
    return "stop" if progress.step >= step else None


def test_a_partial_function_is_called_what_is_bound() -> None:
    callbacks = [
        functools.partial(stop_after, 10),
        functools.partial(stop_after, 20, why="late"),
        functools.partial(functools.partial(stop_after, 30), why=object()),  # type: ignore[arg-type]
        functools.partial(watches),
    ]
    assert callback_names(callbacks) == [  # without the address of an object
        "callback stop_after(10)",
        "callback stop_after(20, why='late')",
        "callback stop_after(30, why=object)",
        "callback watches()",
    ]
    named = functools.partial(stop_after, 10)
    named.__qualname__ = "patient"  # type: ignore[attr-defined]
    assert callback_names([named]) == ["callback patient"]
