"""The maps of a belief: what is drawn in which cell."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from rlkit.tabular.grids.drawing import grid_of
from rlkit.tabular.grids.posterior_maps import Belief, posterior_figure


def test_four_maps_show_each_cell_and_hide_its_ends_and_what_was_never_visited() -> None:
    grid = grid_of(gym.make("FrozenLake-v1"))
    assert grid is not None
    numbers = np.arange(16.0)
    belief = Belief(numbers / 16, np.arange(16) % 4, np.arange(16) % 3, numbers, 2 * numbers)
    figure = posterior_figure(grid, belief, title="A title")
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert [panel.get_title() for panel in panels] == [
        "V and policy of the mean model",
        "visits",
        "standard deviation of the successors",
        "standard deviation of V",
    ]
    images = [panel.images[0].get_array() for panel in panels]
    ends = np.isin(grid.letters, list("HG"))
    drawn = [np.ma.getmaskarray(image) for image in images]
    for k in (0, 2, 3):
        np.testing.assert_array_equal(drawn[k], ends)
    np.testing.assert_array_equal(drawn[1], ends | (np.arange(16).reshape(4, 4) % 3 == 0))
    assert images[0][1, 2] == 6 / 16
    assert images[3][1, 2] == 12
    arrows = panels[0].collections[0]
    assert len(arrows.U) == 11  # type: ignore[attr-defined]
    # Left, down, right and up of the states 0 to 3.
    signs = np.sign(arrows.U[:4]), np.sign(arrows.V[:4])  # type: ignore[attr-defined]
    np.testing.assert_array_equal(signs, [[-1, 0, 1, 0], [0, -1, 0, 1]])


def test_a_map_that_was_never_visited_is_drawn() -> None:
    grid = grid_of(gym.make("FrozenLake-v1"))
    assert grid is not None
    nothing = np.zeros(16)
    states = np.zeros(16, dtype=np.int64)
    posterior_figure(grid, Belief(nothing, states, states, nothing, nothing), title="Nothing")
