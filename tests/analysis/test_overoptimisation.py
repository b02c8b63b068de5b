"""The figure of over-optimisation: what is drawn where."""

import numpy as np
import pytest

from rlkit.analysis.overoptimisation import (
    GOLD,
    PROXY,
    RewardCurve,
    overoptimisation_figure,
    seeds_figure,
)
from tests.drawn import legend_of, lines_of

D = np.linspace(0.0, 3.0, 25)
DASHED = RewardCurve("best of n", kl=D**2, proxy=D, gold=D * (1.5 - 0.6 * D))


def test_figure_draws_gold_and_proxy_of_each_path_against_the_root_of_the_kl() -> None:
    itself = RewardCurve("optimum of gold", kl=D**2, proxy=None, gold=2 * D)
    points = RewardCurve(
        "PPO", kl=[1.0, 4.0], proxy=[1.0, 2.0], gold=[0.9, 0.6], labels=["1", "0.1"]
    )
    figure = overoptimisation_figure([DASHED, itself], [points], title="A title")
    (axes,) = figure.axes
    (gold, mark), (proxy, _) = lines_of(axes, GOLD), lines_of(axes, PROXY)
    np.testing.assert_allclose(gold.get_xdata(), D, atol=1e-12)
    np.testing.assert_array_equal(gold.get_ydata(), DASHED.gold)
    np.testing.assert_array_equal(proxy.get_ydata(), DASHED.proxy)
    np.testing.assert_array_equal(mark.get_xdata(), [1.0, 2.0])
    np.testing.assert_array_equal(mark.get_ydata(), [0.9, 0.6])
    assert {text.get_text() for text in axes.texts} == {"1", "0.1"}
    assert {"best of n", "optimum of gold", "PPO"} <= set(legend_of(figure))
    assert "nats" in axes.get_xlabel()
    assert figure.get_suptitle() == "A title"


def test_the_label_of_a_policy_stands_below_both_of_its_marks() -> None:
    path = RewardCurve("PPO", [1.0, 4.0], proxy=[0.5, 2.0], gold=[1.0, 0.3], labels=["a", "b"])
    figure = overoptimisation_figure([], [path], title="A title")
    assert [text.xy for text in figure.axes[0].texts] == [(1.0, 0.5), (2.0, 0.3)]


def test_a_panel_of_seeds_has_means_and_bands_of_one_standard_error() -> None:
    kl = np.array([[4.0, 14.0], [0.5, 1.5]])  # the policies are drawn in the order of distance
    proxy, gold = np.array([[2.0, 4.0], [1.0, 1.0]]), np.array([[-1.0, 0.0], [0.0, 1.0]])
    rows = {"kl": kl, "proxy": proxy, "gold": gold}
    figure = seeds_figure({"few": rows, "many": rows}, title="two")
    axes = figure.axes[0]
    assert [each.get_title() for each in figure.axes] == ["few", "many"]
    first, second = axes.get_lines()[:2]
    np.testing.assert_allclose(first.get_xydata(), [[1.0, 1.0], [3.0, 3.0]])
    np.testing.assert_allclose(second.get_xydata(), [[1.0, 0.5], [3.0, -0.5]])
    band = np.asarray(axes.collections[0].get_paths()[0].vertices)
    assert [band[:, 1].min(), band[:, 1].max()] == pytest.approx([1.0, 4.0])  # 3 +- 1
