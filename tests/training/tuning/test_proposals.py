"""A proposal is a function of the space, the trials before it and a seed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rlkit.errors import RlkitError, UsageError
from rlkit.training.tuning.proposals import (
    RANDOM_TRIALS,
    Result,
    derived_seed,
    propose,
    read_proposal,
    require_optuna,
    write_proposal,
)
from rlkit.training.tuning.spaces import Between, Choices, Space

SPACE: Space = {
    "rate": Between(1e-5, 1e-1, log=True, whole=False),
    "epochs": Between(1, 20, log=False, whole=True),
    "sizes": Choices(((64, 64), (32,), None)),
}


def results(number: int) -> list[Result]:
    """Trials that are better the closer the rate is to .01; of a bad third none ends well."""
    known: list[Result] = []
    for k in range(number):
        params = propose(SPACE, known, derived_seed(0, "proposal", k))
        if params["sizes"] is None:
            known.append(Result(params))
        elif params["sizes"] == (32,):
            known.append(Result(params, stopped_at=(100, 0.1)))
        else:
            known.append(Result(params, value=-abs(params["rate"] - 0.01)))
    return known


@pytest.fixture(scope="module")
def known() -> list[Result]:
    return results(30)


def test_the_same_trials_give_the_same_proposal(known: list[Result]) -> None:
    assert [one.params for one in results(14)] == [one.params for one in known[:14]]


def test_other_seeds_and_other_trials_give_other_proposals(known: list[Result]) -> None:
    some = propose(SPACE, known[:12], 1)
    assert some == propose(SPACE, known[:12], 1)
    assert some != propose(SPACE, known[:12], 2)
    assert some != propose(SPACE, known[:11], 1)


def test_proposals_lie_in_the_space_and_are_short_numbers(known: list[Result]) -> None:
    for result in known:
        assert all(result.params[name] in values for name, values in SPACE.items())
        assert float(f"{result.params['rate']:.3g}") == result.params["rate"]
        assert type(result.params["epochs"]) is int


def test_failed_and_stopped_trials_repel(known: list[Result]) -> None:
    modelled = [one.params["sizes"] for one in known[RANDOM_TRIALS:]]
    assert modelled.count((64, 64)) > len(modelled) / 2  # a third at random
    assert {one.params["sizes"] for one in known[:RANDOM_TRIALS]} == {(64, 64), (32,), None}


def test_a_failed_trial_is_worse_than_one_that_was_stopped_early() -> None:
    a, b = ({"one": Choices((0, 1))} for _ in range(2))
    told = [Result({"one": 0})] * 15 + [Result({"one": 1}, stopped_at=(1, -9.9))] * 15
    drawn = [propose(a, told, seed)["one"] for seed in range(20)]
    assert sum(drawn) > 13
    told = [Result({"one": 0}, stopped_at=(1, -9.9))] * 15 + [Result({"one": 1})] * 15
    assert sum(propose(b, told, seed)["one"] for seed in range(20)) < 7


def test_the_seeds_of_purposes_differ() -> None:
    seeds = {derived_seed(s, "proposal", k) for s in range(5) for k in range(5)}
    seeds |= {derived_seed(s, "confirmation") for s in range(5)}
    assert len(seeds) == 30
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_a_proposal_is_stored_and_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "proposal.json"
    assert read_proposal(path, SPACE) is None
    params = {"rate": 0.00123, "epochs": 3, "sizes": (64, 64)}
    write_proposal(path, params, "start")
    assert read_proposal(path, SPACE) == (params, "start")
    with pytest.raises(RlkitError, match="it has other options than the search space"):
        read_proposal(path, {"rate": SPACE["rate"]})
    path.write_text(path.read_text().replace("0.00123", "0.00124"))
    with pytest.raises(RlkitError, match=r"proposal.json is damaged: its sha256"):
        read_proposal(path, SPACE)


def test_without_optuna_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UsageError, match=r'pip install "rlkit\[tune\]"'):
        require_optuna()
