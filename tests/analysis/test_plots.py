"""Figures say what they show: texts, values and missing seeds are read back from the objects."""

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from rlkit.analysis.plots import (
    Curve,
    Reference,
    comparison_figure,
    learning_curve_figure,
    save_figure,
)
from rlkit.analysis.statistics import curve_band, iqm_interval, mean_interval

STEPS = np.linspace(0, 200_000, 21)
RETURNS = np.random.default_rng(0).normal(100, 10, (10, 21)) + np.linspace(0, 300, 21)


def texts(figure: Figure) -> list[str]:
    """Every text as it will be printed (matplotlib turns an escaped dollar into a plain one)."""
    import matplotlib.text

    figure.draw_without_rendering()
    artists = figure.findobj(matplotlib.text.Text)
    return [t.get_text().replace(r"\$", "$") for t in artists if t.get_text()]


def lines(figure: Figure, label: str) -> list[matplotlib.lines.Line2D]:
    return [line for line in figure.axes[0].lines if line.get_label() == label]


def test_learning_curve_shows_mean_band_and_every_seed():
    figure = learning_curve_figure([Curve("PPO", STEPS, RETURNS)], title="CartPole-v1")
    axes = figure.axes[0]
    (mean,) = lines(figure, "PPO (n = 10)")
    np.testing.assert_allclose(mean.get_ydata(), RETURNS.mean(axis=0))
    seeds = lines(figure, "_seed")
    np.testing.assert_array_equal([line.get_ydata() for line in seeds], RETURNS)
    band = curve_band(RETURNS)
    edges = axes.collections[0].get_paths()[0].vertices
    assert edges[:, 1].min() == pytest.approx(band.low.min())
    assert edges[:, 1].max() == pytest.approx(band.high.max())
    printed = texts(figure)
    for text in ("CartPole-v1", "environment steps per seed", "episode return", "PPO (n = 10)"):
        assert text in printed
    assert "200k" in printed


def test_reference_lines_are_dashed_and_carry_their_value():
    references = [Reference("optimum", 500.0), Reference("random policy", 22.25)]
    figure = learning_curve_figure([Curve("PPO", STEPS, RETURNS)], title="t", references=references)
    for label, value in (("optimum: 500", 500.0), ("random policy: 22.25", 22.25)):
        (line,) = lines(figure, label)
        assert set(line.get_ydata()) == {value}
        assert line.is_dashed()
        assert label in texts(figure)
    low, high = figure.axes[0].get_ylim()
    assert low < 22.25
    assert high > 500


def test_agents_differ_in_colour_and_in_line_style():
    curves = [Curve(f"agent {i}", STEPS, RETURNS + 10 * i) for i in range(8)]
    figure = learning_curve_figure(curves, title="t")
    means = [lines(figure, f"agent {i} (n = 10)")[0] for i in range(8)]
    looks = {(line.get_color(), str(line._dash_pattern)) for line in means}
    assert len(looks) == 8
    assert len({str(line._dash_pattern) for line in means[:4]}) == 4


@pytest.mark.trap("F59")
def test_seeds_that_failed_are_counted_in_the_legend():
    returns = RETURNS.copy()
    returns[4, 12:] = np.nan
    figure = learning_curve_figure([Curve("DQN", STEPS, returns)], title="t")
    assert "DQN (n = 9 of 10)" in texts(figure)
    figure = comparison_figure({"DQN": returns[:, -1]}, title="t")
    assert "DQN\nn = 9 of 10" in texts(figure)


def test_a_band_of_two_seeds_does_not_press_the_curves_flat():
    returns = np.array([[0.0, 100.0], [10.0, 120.0]])
    figure = learning_curve_figure([Curve("a", [0, 1], returns)], title="t")
    low, high = figure.axes[0].get_ylim()
    assert low >= -0.35 * 120 - 1e-9
    assert high <= 1.35 * 120 + 1e-9


def test_one_point_among_rows_without_numbers_is_seen(tmp_path):
    """As where training ends with the first episode: the row at 0 steps has no return."""
    curve = Curve("a", STEPS[:2], np.array([[np.nan, 1.0], [np.nan, 2.0]]))
    save_figure(learning_curve_figure([curve], title="t"), tmp_path / "curve.png")
    point = Curve("a", STEPS[1:2], np.array([[1.0], [2.0]]))
    save_figure(learning_curve_figure([point], title="t"), tmp_path / "point.png")
    assert (tmp_path / "curve.png").read_bytes() == (tmp_path / "point.png").read_bytes()


@pytest.mark.parametrize(
    ("steps", "returns"),
    [
        (STEPS, RETURNS[:1]),
        (STEPS[:1], RETURNS[:, :1]),
        ([5e9], [[1.0]]),
        (STEPS, np.full((3, 21), np.nan)),
        (STEPS, np.full((3, 21), 500.0)),
        (STEPS * 1e12, RETURNS * 1e200),
        (STEPS / 1e4, RETURNS / 1e200),
    ],
    ids=["one seed", "one point", "one number", "all failed", "all equal", "huge", "tiny"],
)
def test_awkward_curves_are_drawn_without_a_warning(tmp_path, steps, returns):
    figure = learning_curve_figure(
        [Curve("a", steps, returns)], title="t", references=[Reference("zero", 0.0)]
    )
    save_figure(figure, tmp_path / "curve.png")
    assert imread(tmp_path / "curve.png").std() > 0.01


@pytest.mark.parametrize(
    "scores", [[1.0], [np.nan, np.nan], [2.0, 2.0], [1e-9, 3e-9], [1e200, 2e200, 2e200]]
)
def test_awkward_scores_are_drawn_without_a_warning(tmp_path, scores):
    save_figure(comparison_figure({"a": scores, "b": [1.0, 2.0]}, title="t"), tmp_path / "c.png")
    assert imread(tmp_path / "c.png").std() > 0.01


def test_comparison_shows_seeds_mean_interval_and_iqm_of_every_agent():
    scores = {"PPO": RETURNS[:, -1], "DQN": RETURNS[:7, 0]}
    figure = comparison_figure(scores, title="final", references=[Reference("solved", 475.0)])
    for row, x in enumerate(scores.values()):
        interval = mean_interval(x)
        np.testing.assert_array_equal(lines(figure, "_seed")[row].get_xdata(), x)
        np.testing.assert_allclose(
            lines(figure, "_interval")[row].get_xdata(), [interval.low, interval.high]
        )
        assert lines(figure, "_mean")[row].get_xdata()[0] == interval.estimate
        assert lines(figure, "_iqm")[row].get_xdata()[0] == iqm_interval(x).estimate
    printed = texts(figure)
    for text in (
        "final", "PPO\nn = 10", "DQN\nn = 7", "final episode return", "one seed", "mean",
        "95 % interval of the mean", "interquartile mean", "solved: 475",
    ):  # fmt: skip
        assert text in printed


@pytest.mark.trap("F68")
@pytest.mark.parametrize("name", ["$x_1$", "_hidden", r"a\$b", "<script>alert(1)</script>", "50%"])
def test_names_are_shown_as_they_are(tmp_path, name):
    curve = learning_curve_figure([Curve(name, STEPS, RETURNS)], title=name)
    bars = comparison_figure({name: RETURNS[:, 0]}, title=name, references=[Reference(name, 1.0)])
    assert any(text.strip() == f"{name} (n = 10)" for text in texts(curve))
    assert any(text.strip() == f"{name}\nn = 10" for text in texts(bars))
    for figure in (curve, bars):
        assert not any(is_formula(text) for text in raw_texts(figure))
        save_figure(figure, tmp_path / "f.svg")
        assert b"<script" not in (tmp_path / "f.svg").read_bytes()


def raw_texts(figure: Figure) -> list[str]:
    import matplotlib.text

    return [t.get_text() for t in figure.findobj(matplotlib.text.Text)]


def is_formula(text: str) -> bool:
    return matplotlib.cbook.is_math_text(text)


def test_curves_that_do_not_fit_are_rejected_by_name():
    with pytest.raises(ValueError, match=r"'DQN'.*\(21,\) and \(10, 20\)"):
        learning_curve_figure([Curve("DQN", STEPS, RETURNS[:, 1:])], title="t")
    with pytest.raises(ValueError, match="no curves"):
        learning_curve_figure([], title="t")
    with pytest.raises(ValueError, match="no agents"):
        comparison_figure({}, title="t")
    with pytest.raises(ValueError, match="'DQN'"):
        comparison_figure({"DQN": RETURNS}, title="t")


def test_text_stays_readable_in_a_paper_column(tmp_path):
    """At 3.3 inches wide no text may fall below 5.5 points."""
    figures = [
        learning_curve_figure([Curve("a", STEPS, RETURNS)], title="t"),
        comparison_figure({"a": RETURNS[:, 0]}, title="t"),
    ]
    for figure in figures:
        import matplotlib.text

        shrink = 3.3 / figure.get_figwidth()
        sizes = [t.get_fontsize() for t in figure.findobj(matplotlib.text.Text) if t.get_text()]
        assert min(sizes) * shrink >= 5.5


def test_footnotes_are_written_above_the_plot_and_make_room_for_themselves() -> None:
    curve = Curve("ppo", [0, 1000], [[0.0, 1.0], [0.5, 0.7]])
    plain = learning_curve_figure([curve], title="t")
    note = "it draws from a global generator, so the run is not reproducible " * 3
    noted = learning_curve_figure([curve], title="t", footnotes=[note.strip()])
    text = noted.axes[0].get_title(loc="left").replace("\n", " ")
    assert text == note.strip()
    assert noted.get_figheight() > plain.get_figheight()
    scores = comparison_figure({"ppo": [1.0, 2.0]}, title="t", footnotes=["not reproducible"])
    assert scores.axes[0].get_title(loc="left") == "not reproducible"


def test_a_reference_far_away_does_not_press_the_curves_flat() -> None:
    curve = Curve("q-learning", [0, 1000], [[-100.0, -13.0], [-90.0, -14.0]])
    lines = [Reference("optimum", -13.0), Reference("random", -65_375.0)]
    figure = learning_curve_figure([curve], title="t", references=lines)
    low, high = figure.axes[0].get_ylim()
    assert -200 < low < -100
    assert high > -13
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert any("random: -65,375" in label for label in labels)


def test_a_long_legend_leaves_the_curves_their_room():
    curves = [
        Curve(f"a configuration of an agent with the number {k:2}", STEPS, RETURNS[:2])
        for k in range(20)
    ]
    figure = learning_curve_figure(curves, title="t")
    figure.canvas.draw()
    width, height = figure.axes[0].get_window_extent().size / figure.dpi
    assert width > 2
    assert height > 1
