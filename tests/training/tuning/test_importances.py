"""An option that decides is found, chance is not, and of too few trials nothing is said."""

from __future__ import annotations

import dataclasses

import numpy as np

from rlkit.training.tuning.importances import SHUFFLES, _ranks, importances
from rlkit.training.tuning.racing import TrialCurve, objective
from rlkit.training.tuning.spaces import Between, Choices
from rlkit.training.tuning.trials import Trial

SPACE = {
    "decides": Between(0.0, 1.0, log=False, whole=False),
    "idle": Between(0.0, 1.0, log=False, whole=False),
    "either": Choices((1, 2, 3)),
}


def tried(number: int, weight: float, seed: int = 0) -> list[Trial]:
    """Trials whose mean is `weight` times one of the options, and noise."""
    rng, trials = np.random.default_rng(seed), []
    for n in range(number):
        params = {"decides": rng.random(), "idle": rng.random(), "either": int(rng.integers(1, 4))}
        scores = weight * params["decides"] + rng.normal(0, 0.1, 3)
        curve = TrialCurve(np.zeros(1), scores[:, None])
        about = {"origin": "proposed", "state": "finished", "interval": objective(scores)}
        trials.append(Trial(number=n, params=params, curve=curve, **about))  # type: ignore[arg-type]
    return trials


def test_the_option_that_decides_is_first_and_beyond_chance() -> None:
    known = importances(SPACE, tried(40, weight=10.0))
    assert known is not None
    assert next(iter(known)) == "decides"
    assert [one.matters for one in known.values()] == [True, False, False]
    assert abs(sum(one.share for one in known.values()) - 1) < 1e-12


def test_no_p_value_is_below_that_of_the_trials_among_all_shuffles() -> None:
    known = importances(SPACE, tried(40, weight=10.0))
    assert known is not None
    assert known["decides"].p_value == 1 / (SHUFFLES + 1)


def test_an_option_of_few_values_is_not_drowned_by_the_noise_of_others() -> None:
    rng, trials = np.random.default_rng(5), tried(100, weight=0.0)
    for n, one in enumerate(trials):
        scores = rng.normal(one.params["either"] == 2, 0.1, 3)
        trials[n] = dataclasses.replace(one, interval=objective(scores))
    known = importances(SPACE, trials)
    assert known is not None
    assert [name for name, one in known.items() if one.matters] == ["either"]


def test_ranks_are_those_of_the_race() -> None:
    (one, other) = tried(2, weight=0.0)
    assert one.interval is not None
    assert one.curve is not None
    high = dataclasses.replace(one, interval=objective(np.array([8.0, 9.0])))
    higher_area = dataclasses.replace(
        high, curve=TrialCurve(one.curve.steps, one.curve.returns + 1)
    )
    equal = dataclasses.replace(high, number=7)
    early = dataclasses.replace(other, state="stopped", steps=10, scores=())
    late = dataclasses.replace(early, steps=20, interval=objective(np.array([-8.0, -9.0])))
    late_and_better = dataclasses.replace(late, interval=objective(np.array([-7.0, -8.0])))
    failed = dataclasses.replace(one, state="failed", interval=None, curve=None)
    trials = [higher_area, high, equal, one, late_and_better, late, early, failed]
    assert _ranks(trials).tolist() == [6, 5, 5, 4, 3, 2, 1, 0]


def test_settings_that_were_not_tried_again_count_once() -> None:
    trials = tried(20, weight=10.0)
    again = [dataclasses.replace(trials[0], number=20 + n, same_as=0) for n in range(20)]
    assert importances(SPACE, trials + again) == importances(SPACE, trials)
    assert importances(SPACE, trials[:9] + again) is None


def test_where_nothing_decides_nothing_is_said_to_matter() -> None:
    for seed in range(3):
        known = importances(SPACE, tried(20, weight=0.0, seed=seed))
        assert known is not None
        assert not any(one.matters for one in known.values())


def test_of_too_few_or_equal_trials_nothing_is_said() -> None:
    assert importances(SPACE, tried(9, weight=10.0)) is None
    (one,) = tried(1, weight=1.0)
    assert importances(SPACE, [one] * 20) is None
