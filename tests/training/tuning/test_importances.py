"""An option that decides is found, chance is not, and of too few trials nothing is said."""

from __future__ import annotations

import numpy as np

from rlkit.training.tuning.importances import importances
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


def test_where_nothing_decides_nothing_is_said_to_matter() -> None:
    for seed in range(3):
        known = importances(SPACE, tried(20, weight=0.0, seed=seed))
        assert known is not None
        assert not any(one.matters for one in known.values())


def test_of_too_few_or_equal_trials_nothing_is_said() -> None:
    assert importances(SPACE, tried(9, weight=10.0)) is None
    (one,) = tried(1, weight=1.0)
    assert importances(SPACE, [one] * 20) is None
