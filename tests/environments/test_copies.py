"""Copies of one environment: separate, of the same spaces, and closed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from gymnasium import spaces
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from rlkit.environments.copies import make_copies, require_separate
from rlkit.errors import UsageError
from tests.faulty_envs import Counter, NamedError, Recorder

SHARING = [
    *("the same", "the same wrapper", "a new wrapper", "two new wrappers"),
    *("a shared wrapper within", "every other", "an attribute", "an attribute of an attribute"),
    *("a list", "a dict", "a class attribute"),
]


@pytest.mark.trap("F49")
def test_environments_that_differ_in_their_spaces_are_rejected_and_closed() -> None:
    sizes = iter([3, 3, 4])
    made = Recorder(lambda: Counter(action_space=spaces.Discrete(next(sizes))))
    with pytest.raises(UsageError, match="different spaces"):
        make_copies(made, 3)
    assert [single.num_closed for single in made.made] == [1, 1, 1]


class Holds(Counter):
    """Keeps something in an attribute that is not a wrapper's."""

    def __init__(self, held: Any) -> None:
        super().__init__()
        self.held = held


def sharing(kind: str) -> Callable[[], Any]:
    """A factory whose results share an environment."""
    one, another = Counter(), Counter()
    limited = TimeLimit(one, 50)
    pool = itertools.cycle([one, another])

    class HasOneInItsClass(Counter):
        inner = one

    return {
        "the same": lambda: one,
        "the same wrapper": lambda: limited,
        "a new wrapper": lambda: TimeLimit(one, 50),
        "two new wrappers": lambda: OrderEnforcing(TimeLimit(one, 50)),
        "a shared wrapper within": lambda: OrderEnforcing(limited),
        "every other": lambda: next(pool),
        "an attribute": lambda: Holds(one),
        "an attribute of an attribute": lambda: Holds(Holds(TimeLimit(one, 5))),
        "a list": lambda: TimeLimit(Holds([another, one]), 5),
        "a dict": lambda: Holds({"inner": one}),
        "a class attribute": HasOneInItsClass,
    }[kind]


@pytest.mark.parametrize("kind", SHARING)
def test_copies_that_are_or_hold_the_same_environment_are_rejected(kind: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_copies(sharing(kind), 3)
    text = str(caught.value)
    assert "Counter" in text or "Holds" in text or "HasOne" in text
    assert "returned the same environment" in text
    assert "return a new one from every call" in text


def test_environments_of_their_own_are_separate() -> None:
    table = {"shared": [1, 2]}
    for make in (
        lambda: OrderEnforcing(TimeLimit(Counter(), 5)),
        lambda: Holds(Counter()),
        lambda: Holds([Counter(), Counter()]),
        lambda: Holds(table),  # data may be shared
    ):
        require_separate([make() for _ in range(4)], "Counter")
    one = Counter()
    require_separate([TimeLimit(Holds([one, one]), 5)], "Counter")  # within one copy
    own = Holds(None)
    own.held = own
    require_separate([own, Counter()], "Counter")


def test_objects_that_are_not_environments_are_rejected() -> None:
    made = Recorder(lambda: Counter() if len(made.made) < 2 else None)  # type: ignore[arg-type,return-value]
    with pytest.raises(UsageError, match=r"expected a gymnasium.Env.*got None"):
        make_copies(made, 6)
    assert [single.num_closed for single in made.made[:2]] == [1, 1]


@pytest.mark.parametrize("error", [NamedError(1, 2), KeyboardInterrupt()], ids=repr)
def test_a_failing_constructor_closes_what_was_built_before(error: BaseException) -> None:
    def make() -> Counter:
        if len(made.made) == 4:
            raise error
        return Counter()

    made = Recorder(make)
    with pytest.raises(type(error)):
        make_copies(made, 6)
    assert [single.num_closed for single in made.made] == [1] * 4
