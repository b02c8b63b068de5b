"""Each message appears at its sign, once, and a sound run gives none."""

import pytest

from rlkit.rlhf.training.diagnostics import SIGNS, Watch

SOUND = {
    "kl": 1.0,
    "kl_standard_error": 0.1,
    "score": 0.5,
    "score_std": 1.0,
    "response_length": 5.0,
    "ended_fraction": 0.8,
    "entropy": 1.5,
    "clip_fraction": 0.2,
    "kl_coef": 0.3,
}
# What makes each sign show, after a sound start.
CHANGES = {
    "negative KL": {"kl": -0.9},
    "exploding KL": {"kl": 60.0},
    "growing length": {"score": 3.0, "response_length": 9.0},
    "no end": {"ended_fraction": 0.1},
    "collapse": {"entropy": 0.05},
    "large steps": {"clip_fraction": 0.8},
}


def started() -> Watch:
    watch = Watch(tuple(SOUND))
    for _ in range(3):
        assert watch.observe(SOUND) == []
    return watch


def test_each_sign_is_tried_here() -> None:
    assert CHANGES.keys() == SIGNS.keys()


@pytest.mark.parametrize("name", SIGNS)
def test_a_sign_is_told_once_with_its_numbers_and_a_cause(name: str) -> None:
    watch = started()
    changed = SOUND | CHANGES[name]
    (message,) = watch.observe(changed)
    assert message.startswith(f"{name}: ")
    assert "{" not in message
    assert watch.observe(changed) == []


def test_a_kl_that_is_negative_by_chance_is_not_reported() -> None:
    assert started().observe(SOUND | {"kl": -0.3, "kl_standard_error": 0.1}) == []


def test_a_score_that_rises_without_length_and_length_without_score_are_not_reported() -> None:
    watch = started()
    assert watch.observe(SOUND | {"score": 3.0}) == []
    assert watch.observe(SOUND | {"response_length": 9.0}) == []


def test_a_watch_that_is_restored_remembers_the_start_and_what_was_told() -> None:
    first = started()
    first.observe(SOUND | CHANGES["collapse"])
    second = Watch(tuple(SOUND))
    second.load_state_dict(first.state_dict())
    assert second.observe(SOUND | CHANGES["collapse"]) == []
    (message,) = second.observe(SOUND | CHANGES["growing length"])
    assert "from 0.50 to 3.00" in message
