"""The figure of a solution shows the bounds, the values and the policy."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import LogNorm
from matplotlib.image import AxesImage
from matplotlib.quiver import Quiver

from rlkit.tabular.grids.drawing import grid_of
from rlkit.tabular.grids.figures import solution_figure
from rlkit.tabular.grids.lake import frozen_lake
from rlkit.tabular.grids.maps import random_map
from rlkit.tabular.solution import solve

HISTORY = [(1, 0.0, 2.0), (2, 1.0, 0.5), (3, 1e-7, 1e-8)]


def test_both_bounds_and_the_allowed_one_are_drawn() -> None:
    figure = solution_figure(HISTORY, tolerance=1e-6, title="a model of $5")
    (axes,) = figure.axes
    above, below, allowed = axes.get_lines()
    assert above.get_ydata().tolist() == [2.0, 0.5, 1e-8]
    assert below.get_ydata().tolist() == [0.0, 1.0, 1e-7]
    assert allowed.get_ydata() == [5e-7, 5e-7]
    assert axes.get_yscale() == "log"


def test_arrows_point_as_the_actions_go() -> None:
    lines = ["SFF", "FHF", "FFG"]
    grid = grid_of(lines)
    policy = np.array([0, 1, 2, 3, 0, 1, 2, 3, 0])  # left, down, right, up
    figure = solution_figure(
        HISTORY, tolerance=1e-6, title="", grid=grid, values=np.arange(9.0), policy=policy
    )
    axes = figure.axes[1]
    (arrows,) = [artist for artist in axes.collections if isinstance(artist, Quiver)]
    assert arrows.X.tolist() == [0, 1, 2, 0, 2, 0, 1]
    assert arrows.Y.tolist() == [0, 0, 0, 1, 1, 2, 2]  # neither the hole nor the goal
    assert np.sign(arrows.U).tolist() == [-1, 0, 1, 0, 0, 1, 0]
    assert np.sign(arrows.V).tolist() == [0, -1, 0, 1, -1, 0, 1]
    image = axes.get_images()[0]
    assert image.get_array().mask.tolist() == [
        [False] * 3,
        [False, True, False],
        [False] * 2 + [True],
    ]
    assert image.get_array()[2, 0] == 6.0


@pytest.mark.parametrize(("size", "num_arrows"), [(60, 1), (61, 0)])
def test_large_maps_are_images_without_arrows(size: int, num_arrows: int) -> None:
    cells = random_map(size, hole_probability=0.1)
    solution = solve(frozen_lake(cells), discount=0.8, tolerance=1e-6, history=True)
    figure = solution_figure(
        solution.history,
        tolerance=1e-6,
        title="",
        grid=grid_of(cells),
        values=solution.values,
        policy=solution.policy,
    )
    axes = figure.axes[1]
    assert sum(isinstance(artist, Quiver) for artist in axes.collections) == num_arrows
    image = axes.get_images()[0]
    assert isinstance(image, AxesImage)
    # Most values are next to nothing; on a linear scale nothing would be seen.
    assert isinstance(image.norm, LogNorm)
