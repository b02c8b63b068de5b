"""Each symptom is reported once, and a sound run gives no message."""

import pytest

from rlkit.rlhf.training.diagnostics import SYMPTOMS, MetricMonitor

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
# The change that shows each symptom, after a sound start.
CHANGES = {
    "negative KL": {"kl": -0.9},
    "exploding KL": {"kl": 60.0},
    "growing length": {"score": 3.0, "response_length": 9.0},
    "no end": {"ended_fraction": 0.1},
    "collapse": {"entropy": 0.05},
    "large steps": {"clip_fraction": 0.8},
}


def started() -> MetricMonitor:
    monitor = MetricMonitor(tuple(SOUND))
    for _ in range(3):
        assert monitor.observe(SOUND) == []
    return monitor


def test_each_symptom_is_tried_here() -> None:
    assert CHANGES.keys() == SYMPTOMS.keys()


@pytest.mark.parametrize("name", SYMPTOMS)
def test_a_symptom_is_reported_once_with_its_numbers_and_a_cause(name: str) -> None:
    monitor = started()
    changed = SOUND | CHANGES[name]
    (message,) = monitor.observe(changed)
    assert message.startswith(f"{name}: ")
    assert "{" not in message
    assert monitor.observe(changed) == []


def test_a_kl_that_is_negative_by_chance_is_not_reported() -> None:
    assert started().observe(SOUND | {"kl": -0.3, "kl_standard_error": 0.1}) == []


def test_a_score_that_rises_without_length_and_length_without_score_are_not_reported() -> None:
    monitor = started()
    assert monitor.observe(SOUND | {"score": 3.0}) == []
    assert monitor.observe(SOUND | {"response_length": 9.0}) == []


def test_a_restored_monitor_remembers_the_start_and_what_was_reported() -> None:
    first = started()
    first.observe(SOUND | CHANGES["collapse"])
    second = MetricMonitor(tuple(SOUND))
    second.load_state_dict(first.state_dict())
    assert second.observe(SOUND | CHANGES["collapse"]) == []
    (message,) = second.observe(SOUND | CHANGES["growing length"])
    assert "from 0.50 to 3.00" in message
