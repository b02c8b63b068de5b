"""The figures show every trial once, where it is, and the confirmation."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from rlkit.training.tuning.figures import options_figure, trials_figure
from rlkit.training.tuning.study import Study


@pytest.fixture(scope="module")
def study(searched: Study) -> Study:
    """The search, of which the second trial had failed."""
    failed = dataclasses.replace(searched.trials[1], state="failed", interval=None, curve=None)
    trials = (searched.trials[0], failed, *searched.trials[2:])
    return dataclasses.replace(searched, trials=trials)


def test_each_trial_has_one_mark_of_its_state(study: Study) -> None:
    (axes,) = trials_figure(study).axes
    marks = {
        str(line.get_label()).split(":")[0]: line
        for line in axes.get_lines()
        if line.get_marker() in ("o", "x")
    }
    for label, state in (("finished, 90 % interval", "finished"), ("stopped early", "stopped")):
        known = [trial for trial in study.trials if trial.state == state]
        x, y = np.asarray(marks[label].get_xdata()), np.asarray(marks[label].get_ydata())
        assert x.tolist() == [trial.number for trial in known]
        assert y.tolist() == [trial.interval.estimate for trial in known if trial.interval]
    lowest = min(trial.interval.estimate for trial in study.trials if trial.interval)
    assert np.asarray(marks["failed"].get_ydata()).tolist() == [lowest]


def test_the_best_so_far_never_falls_and_ends_at_the_best(study: Study) -> None:
    (axes,) = trials_figure(study).axes
    (line,) = [one for one in axes.get_lines() if str(one.get_label()).startswith("best")]
    bounds = np.asarray(line.get_ydata())
    assert (np.diff(bounds) >= 0).all()
    best = dataclasses.replace(study, finals=()).best
    assert best is not None
    assert best.interval is not None
    assert bounds[-1] == best.interval.low


def test_the_confirmation_is_a_line_for_each_contender(study: Study) -> None:
    (axes,) = trials_figure(study).axes
    labels = [str(line.get_label()) for line in axes.get_lines()]
    assert study.comparison is not None
    for name, interval in study.comparison.intervals().items():
        assert f"{name}, fresh seeds: {interval.estimate:.4g}" in labels


def test_each_option_has_a_plot_on_the_scale_of_its_range(study: Study) -> None:
    axes = {one.get_title(): one for one in options_figure(study).axes if one.get_title()}
    assert list(axes) == ["step_size", "initial_value"]
    assert axes["step_size"].get_xscale() == "log"
    labels = [text.get_text() for text in axes["initial_value"].get_xticklabels()]
    assert labels == ["0.0", "0.1", "1.0"]
    for one in axes.values():
        assert sum(len(np.asarray(line.get_xdata())) for line in one.get_lines()) == 12
