"""Over-optimisation: fits of its laws, and its figures."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from experiments.rlhf_figures import (
    GapCurves,
    Panel,
    TrainingCurve,
    gap_figure,
    overoptimisation_grid,
    reward_model_figure,
    training_figure,
)
from rlkit.analysis.overoptimisation import (
    GOLD,
    PROXY,
    Path,
    fit_logarithmic_law,
    fit_square_law,
    overoptimisation_figure,
)

D = np.linspace(0.0, 3.0, 25)
DASHED = Path("best of n", kl=D**2, proxy=D, gold=D * (1.5 - 0.6 * D))
# Least squares in float64 of exact data: rounding is about 1e-15 times the condition, below 100.
EXACT = {"abs": 1e-10}


# ---- Fits ---------------------------------------------------------------------------------------


def test_square_law_recovers_its_constants() -> None:
    fit = fit_square_law(D, D * (1.5 - 0.6 * D))
    assert (fit.a, fit.b) == pytest.approx((1.5, 0.6), **EXACT)
    assert fit.r_squared == pytest.approx(1.0, **EXACT)


def test_logarithmic_law_recovers_its_constants() -> None:
    positive = D[1:]
    gold = positive * (0.8 - 0.7 * np.log(positive))
    # At d = 0 the law has the limit 0.
    fit = fit_logarithmic_law(D, np.append(0.0, gold))
    assert (fit.a, fit.b) == pytest.approx((0.8, 0.7), **EXACT)
    assert fit.r_squared == pytest.approx(1.0, **EXACT)


def test_fits_agree_with_a_search_for_the_least_squares() -> None:
    rng = np.random.default_rng(0)
    gold = D * (1.5 - 0.6 * D) + 0.1 * rng.standard_normal(len(D))
    fit = fit_square_law(D, gold)

    def residual(a: float, b: float) -> float:
        return float(((gold - D * (a - b * D)) ** 2).sum())

    least = residual(fit.a, fit.b)
    for da, db in ((1e-3, 0), (-1e-3, 0), (0, 1e-3), (0, -1e-3)):
        assert residual(fit.a + da, fit.b + db) > least
    total = float(((gold - gold.mean()) ** 2).sum())
    assert fit.r_squared == pytest.approx(1 - least / total, abs=1e-12)
    assert fit.r_squared < 1


def test_r_squared_is_measured_from_the_mean_so_it_can_be_negative() -> None:
    # Of a constant 1 and distances 1, 2, 3 the law d (a - b d) leaves something, the mean nothing.
    fit = fit_square_law([1.0, 2.0, 3.0], [1.0, 1.0, 1.0 + 1e-6])
    assert fit.r_squared < 0


def test_the_wrong_law_explains_less() -> None:
    gold = D * (1.5 - 0.6 * D)
    assert fit_logarithmic_law(D, gold).r_squared < fit_square_law(D, gold).r_squared - 0.01


def test_a_curve_that_turns_has_its_peak_where_the_derivative_vanishes() -> None:
    # d (a - b d) is greatest at a / 2b, where it is a^2 / 4b.
    gold = D * (1.5 - 0.6 * D)
    fit = fit_square_law(D, gold)
    assert fit.a / (2 * fit.b) == pytest.approx(1.25, **EXACT)
    assert fit.a**2 / (4 * fit.b) == pytest.approx(gold.max(), abs=1e-10)  # D has the point 1.25


@pytest.mark.parametrize("fit", [fit_square_law, fit_logarithmic_law])
@pytest.mark.parametrize(
    "distance",
    [[0.0, 1.0], [0.0, 1.0, -1.0], [0.0, 1.0, np.nan], [[0.0, 1.0, 2.0]]],
    ids=["too few", "negative", "not a number", "two axes"],
)
def test_fits_refuse_what_is_no_distance(fit, distance) -> None:
    with pytest.raises(ValueError, match="at least three distances >= 0"):
        fit(distance, np.zeros(np.shape(distance)))


# ---- Figures ------------------------------------------------------------------------------------


def _lines(axes: Axes, colour: str) -> list:
    return [line for line in axes.lines if to_hex(line.get_color()) == to_hex(colour)]


def _legend(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def test_figure_draws_gold_and_proxy_of_each_path_against_the_root_of_the_kl() -> None:
    itself = Path("optimum of gold", kl=D**2, proxy=None, gold=2 * D)
    points = Path("PPO", kl=[1.0, 4.0], proxy=[1.0, 2.0], gold=[0.9, 0.6], labels=["1", "0.1"])
    figure = overoptimisation_figure([DASHED, itself], [points], title="A title")
    (axes,) = figure.axes
    (gold, mark), (proxy, _) = _lines(axes, GOLD), _lines(axes, PROXY)
    np.testing.assert_allclose(gold.get_xdata(), D, atol=1e-12)
    np.testing.assert_array_equal(gold.get_ydata(), DASHED.gold)
    np.testing.assert_array_equal(proxy.get_ydata(), DASHED.proxy)
    np.testing.assert_array_equal(mark.get_xdata(), [1.0, 2.0])
    np.testing.assert_array_equal(mark.get_ydata(), [0.9, 0.6])
    assert {text.get_text() for text in axes.texts} == {"1", "0.1"}
    assert {"best of n", "optimum of gold", "PPO"} <= set(_legend(figure))
    assert "nats" in axes.get_xlabel()
    assert figure.get_suptitle() == "A title"


def test_grid_has_a_panel_for_each_reward_model_on_common_axes() -> None:
    other = Path("best of n", kl=D**2, proxy=D, gold=D * (1.2 - 0.6 * D))
    points = Path("PPO", kl=[1.0], proxy=[1.0], gold=[0.9], labels=["0.1"])
    panels = [Panel("few", [[DASHED, other]], points), Panel("many", [[DASHED]])]
    figure = overoptimisation_grid(panels, title="A title")
    left, right = figure.axes
    assert [axes.get_title() for axes in figure.axes] == ["few", "many"]
    assert left.get_ylim() == right.get_ylim()
    assert left.get_xlim() == right.get_xlim()
    first, second, mark = _lines(left, GOLD)
    assert first.get_linewidth() > second.get_linewidth()
    np.testing.assert_array_equal(mark.get_ydata(), [0.9])
    assert len(_lines(right, GOLD)) == 1
    assert _legend(figure).count("best of n") == 1  # once for all panels and seeds


def test_gap_figure_draws_the_median_thick_and_every_seed_thin_on_a_logarithmic_axis() -> None:
    gaps = np.array([[1.0, 0.1, 0.02], [2.0, 0.3, 0.03], [3.0, 0.2, 0.01]])
    figure = gap_figure([GapCurves("PPO", [0, 40, 80], gaps)], title="A title")
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    *seeds, median = axes.lines
    np.testing.assert_array_equal([line.get_ydata() for line in seeds], gaps)
    np.testing.assert_array_equal(median.get_ydata(), [2.0, 0.2, 0.02])
    assert median.get_linewidth() > max(line.get_linewidth() for line in seeds)
    assert _legend(figure) == ["PPO (n = 3)"]


def test_reward_model_figure_draws_means_and_the_ceiling() -> None:
    values = {"accuracy": [[0.6, 0.62], [0.7, 0.68]], "order": [[0.7, 0.7], [0.9, 0.9]]}
    figure = reward_model_figure([100, 1000], values, {"accuracy": 0.72})
    (axes,) = figure.axes
    drawn = [np.asarray(line.get_ydata(), dtype=float).tolist() for line in axes.lines]
    for expected in ([0.61, 0.69], [0.72, 0.72]):
        assert any(np.allclose(line, expected) for line in drawn if len(line) == 2)
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.texts] == ["ceiling of the accuracy, 0.720"]
    assert _legend(figure) == ["accuracy", "order"]


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
    assert _legend(figure) == ["beta = 0.1", "beta = 1"]


def test_the_label_of_a_policy_stands_below_both_of_its_marks() -> None:
    path = Path("PPO", [1.0, 4.0], proxy=[0.5, 2.0], gold=[1.0, 0.3], labels=["a", "b"])
    figure = overoptimisation_figure([], [path], title="A title")
    assert [text.xy for text in figure.axes[0].texts] == [(1.0, 0.5), (2.0, 0.3)]
