"""Maps with numbers in their cells."""

import numpy as np
from matplotlib.figure import Figure

from rlkit.tabular.grids.cell_maps import proto_value_figure, share_figure
from rlkit.tabular.grids.drawing import grid_of, share_map

GRID = grid_of(["SFFF", "FHFH", "FFFH", "HFFG"])
SHARE = np.array([50, 20, 10, 5, 5, 0, 5, 0, 2, 1, 1, 0, 0, 0.5, 0.49, 0.01]) / 100


def texts(figure: Figure, axes: int = 0) -> list[str]:
    return [text.get_text() for text in figure.axes[axes].texts]


def test_the_shares_are_colours_and_numbers_and_zero_is_white() -> None:
    assert GRID is not None
    figure = share_figure(GRID, SHARE, title="a run of $5")
    drawn = np.ma.getmaskarray(figure.axes[0].images[0].get_array())
    np.testing.assert_array_equal(drawn.ravel(), SHARE == 0)
    written = texts(figure)
    assert {"50.0", "20.0", "0.5", "<0.1", "S", "H", "G"} <= set(written)
    assert figure.get_suptitle() == r"a run of \$5"


def test_each_vector_has_a_small_map_with_colours_around_zero() -> None:
    assert GRID is not None
    vectors = np.vstack([np.full(16, 0.25), np.linspace(-2, 1, 16)])
    vectors[:, 5] = np.nan
    figure = proto_value_figure(GRID, np.array([0.0, 0.5]), vectors, title="lake")
    assert [axes.get_title() for axes in figure.axes] == ["1: eigenvalue 0", "2: eigenvalue 0.5"]
    for axes, limit in zip(figure.axes, (0.25, 2.0), strict=True):
        assert axes.images[0].get_clim() == (-limit, limit)
        assert np.ma.getmaskarray(axes.images[0].get_array()).ravel().nonzero()[0].tolist() == [5]


def test_a_map_of_shares_has_percentages_and_the_letters_where_nobody_acts() -> None:
    assert GRID is not None
    lines = share_map(GRID, SHARE).splitlines()
    assert lines[0].split() == ["50.00", "20.00", "10.00", "5.00"]
    assert lines[1].split() == ["5.00", "H", "5.00", "H"]
    assert lines[3].split() == ["H", "0.50", "0.49", "0.01"]
    assert len({len(line) for line in lines}) == 1
