"""Figures of stages."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rlkit.errors import UsageError
from rlkit.rlhf.stages.figures import _titles, plot_stages


def test_a_panel_shows_one_metric_of_every_run_that_has_it(
    parents: dict[str, Any], tmp_path: Path
) -> None:
    figure = plot_stages([parents["sft"], parents["reward"]], tmp_path / "curves.png")
    panels = {axes.get_title(): axes for axes in figure.axes if axes.get_visible()}
    assert list(panels) == ["loss", "held-out loss", "accuracy, minibatches"]
    seeds, mean = 2, 1
    assert len(panels["held-out loss"].lines) == seeds + mean
    x, values = parents["reward"].metric("held_out_loss")
    line = panels["held-out loss"].lines[-1]
    assert list(line.get_xdata()) == list(x)
    assert list(line.get_ydata()) == pytest.approx(values.mean(0))
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_runs_are_told_apart_by_their_names_and_lines(parents: dict[str, Any]) -> None:
    named: Any = SimpleNamespace(
        folder=parents["sft"].folder,
        stage="sft",
        label="enumerable",
        seeds=range(2),
        columns=parents["sft"].columns,
        metric=parents["sft"].metric,
        record={"alias": "polite"},
    )
    figure = plot_stages([named, *[parents["sft"]] * 7])
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0] == "polite: sft on enumerable, n = 2"
    assert labels[1] == f"{parents['sft'].folder.name}, n = 2"
    styles = [(line.get_color(), line.get_linestyle()) for line in figure.legends[0].get_lines()]
    dashes = [line._dash_pattern for line in figure.legends[0].get_lines()]  # type: ignore[attr-defined]
    assert styles[0][0] == styles[7][0]  # there are seven colours
    assert dashes[0] != dashes[7]


def test_a_run_without_rows_is_reported(parents: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.setattr("rlkit.rlhf.stages.figures.PANELS", {"score": "score"})
    with pytest.raises(UsageError, match="has no row yet"):
        plot_stages([parents["sft"]])


def test_the_parts_of_a_weighted_score_follow_their_sum() -> None:
    columns = {name: np.ones(2) for name in ("num_updates", "score/polite", "score", "kl")}
    run: Any = SimpleNamespace(columns=[columns])
    titles = list(_titles([run]).items())[:3]
    assert titles == [
        ("score", "score"),
        ("score/polite", "score/polite, unweighted"),
        ("kl", "KL from the reference, nats"),
    ]
