"""The figure over environments: each agent's mean, interval and profile, at their values."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit.analysis.aggregate import interquartile_mean, performance_profile
from rlkit.training.comparing.drawing import over_environments_figure

SCORES = {
    "good": [np.array([0.7, 0.8, 0.9, 0.95, 1.0]), np.array([0.4, 0.5, 0.6, 0.7, 0.8])],
    "a-name-that-is-much-too-long/for-a-label/of-an-axis": [np.array([0.1]), np.array([-0.2])],
}


def test_means_intervals_and_profiles_are_drawn_at_their_values() -> None:
    figure = over_environments_figure(SCORES, title="t", footnotes=["note"])
    left, right = figure.axes
    marks = [line.get_xdata() for line in left.lines if line.get_marker() == "|"]
    np.testing.assert_allclose(np.ravel(marks), [interquartile_mean(x) for x in SCORES.values()])
    intervals = [line for line in left.lines if line.get_marker() != "|"]
    assert len(intervals) == 1  # one seed has none
    for line, scores in zip(right.lines, SCORES.values(), strict=True):
        grid, fraction = line.get_xdata(), line.get_ydata()
        np.testing.assert_allclose(fraction, performance_profile(scores, grid))
        assert (min(grid), max(grid)) == (-0.2, 1.0)
    labels = [text.get_text() for text in left.get_yticklabels()]
    assert labels == ["good", "…/for-a-label/of-an-axis"]
    assert left.get_title(loc="left") == "note"


def test_no_agents_are_rejected() -> None:
    with pytest.raises(ValueError, match="no agents"):
        over_environments_figure({}, title="t")
