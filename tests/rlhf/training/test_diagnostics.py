"""Each symptom is reported once, and a sound run gives no message."""

import pytest

from rlkit.rlhf.training.diagnostics import SYMPTOMS, SYMPTOMS_LATER, MetricMonitor

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
    "constant score": {"score_std": 0.0},
}
# What shows a symptom from the first update on.
FROM_THE_START = {
    "constant score": {"score_std": 0.0, "score": 7.0},
    "scale of the score": {"score_std": 1e6},
    "cut responses": {"ended_fraction": 0.1},
}


def started() -> MetricMonitor:
    monitor = MetricMonitor(tuple(SOUND))
    for _ in range(3):
        assert monitor.observe(SOUND) == []
    return monitor


def test_each_symptom_is_tried_here() -> None:
    assert CHANGES.keys() | FROM_THE_START.keys() == SYMPTOMS.keys() | SYMPTOMS_LATER.keys()


@pytest.mark.parametrize("name", FROM_THE_START)
def test_what_is_wrong_from_the_start_is_reported_at_the_first_update(name: str) -> None:
    monitor = MetricMonitor(tuple(SOUND))
    (message,) = monitor.observe(SOUND | FROM_THE_START[name])
    assert message.startswith(f"{name}: ")
    assert "{" not in message
    again = MetricMonitor(tuple(SOUND))
    again.load_state_dict(monitor.state_dict())
    assert again.observe(SOUND | FROM_THE_START[name]) == []


def test_the_state_of_a_sound_run_has_no_entry_that_older_versions_lack() -> None:
    assert started().state_dict().keys() == {"sums", "num_updates", "told"}


@pytest.mark.parametrize("name", CHANGES)
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
