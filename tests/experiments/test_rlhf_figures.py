"""Figures of the RLHF experiments: what is drawn where."""

import numpy as np

from experiments.rlhf_figures import (
    GapCurves,
    Panel,
    TrainingCurve,
    gap_figure,
    overoptimisation_grid,
    reward_model_figure,
    training_figure,
)
from rlkit.analysis.overoptimisation import GOLD, RewardCurve
from tests.drawn import legend_of, lines_of

D = np.linspace(0.0, 3.0, 25)
DASHED = RewardCurve("best of n", kl=D**2, proxy=D, gold=D * (1.5 - 0.6 * D))


def test_grid_has_a_panel_for_each_reward_model_on_common_axes() -> None:
    other = RewardCurve("best of n", kl=D**2, proxy=D, gold=D * (1.2 - 0.6 * D))
    points = RewardCurve("PPO", kl=[1.0], proxy=[1.0], gold=[0.9], labels=["0.1"])
    panels = [Panel("few", [[DASHED, other]], points), Panel("many", [[DASHED]])]
    figure = overoptimisation_grid(panels, title="A title")
    left, right = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["few", "many"]
    assert left.get_ylim() == right.get_ylim()
    assert left.get_xlim() == right.get_xlim()
    first, second, mark = lines_of(left, GOLD)
    assert first.get_linewidth() > second.get_linewidth()
    np.testing.assert_array_equal(mark.get_ydata(), [0.9])
    assert len(lines_of(right, GOLD)) == 1
    assert legend_of(figure).count("best of n") == 1  # once for all panels and seeds


def test_gap_figure_draws_the_median_thick_and_every_seed_thin_on_a_logarithmic_axis() -> None:
    gaps = np.array([[1.0, 0.1, 0.02], [2.0, 0.3, 0.03], [3.0, 0.2, 0.01]])
    figure = gap_figure([GapCurves("PPO", [0, 40, 80], gaps)], title="A title")
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    *seeds, median = axes.lines
    np.testing.assert_array_equal([line.get_ydata() for line in seeds], gaps)
    np.testing.assert_array_equal(median.get_ydata(), [2.0, 0.2, 0.02])
    assert median.get_linewidth() > max(line.get_linewidth() for line in seeds)
    assert legend_of(figure) == ["PPO (n = 3)"]


def test_reward_model_figure_draws_means_and_the_ceiling() -> None:
    values = {"accuracy": [[0.6, 0.62], [0.7, 0.68]], "order": [[0.7, 0.7], [0.9, 0.9]]}
    figure = reward_model_figure([100, 1000], values, {"accuracy": 0.72})
    (axes,) = figure.axes
    drawn = [np.asarray(line.get_ydata(), dtype=float).tolist() for line in axes.lines]
    for expected in ([0.61, 0.69], [0.72, 0.72]):
        assert any(np.allclose(line, expected) for line in drawn if len(line) == 2)
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.texts] == ["ceiling of the accuracy, 0.720"]
    assert legend_of(figure) == ["accuracy", "order"]


def test_training_figure_draws_score_and_kl_side_by_side() -> None:
    curve = TrainingCurve("beta = 0.1", [1, 2], score=[0.0, 1.0], kl=[0.0, 3.0])
    left, right = training_figure([curve], title="A title").axes
    np.testing.assert_array_equal(left.lines[0].get_ydata(), [0.0, 1.0])
    np.testing.assert_array_equal(right.lines[0].get_ydata(), [0.0, 3.0])
    assert "nats" in right.get_ylabel()


def test_seeds_in_a_training_figure_share_a_colour_and_a_name() -> None:
    curves = [
        TrainingCurve(name, [1, 2], score=[0.0, seed], kl=[0.0, 3.0])
        for name in ("beta = 0.1", "beta = 1")
        for seed in range(3)
    ]
    figure = training_figure(curves, title="A title")
    lines = figure.axes[0].lines
    assert [line.get_linewidth() == 1.6 for line in lines] == [True, False, False] * 2
    assert len({line.get_color() for line in lines[:3]}) == 1
    assert lines[0].get_color() != lines[3].get_color()
    assert legend_of(figure) == ["beta = 0.1", "beta = 1"]
