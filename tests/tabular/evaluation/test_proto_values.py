"""The eigenvectors of the graph of states, against closed forms."""

import numpy as np
import pytest

from rlkit.tabular.evaluation import proto_values as module
from rlkit.tabular.evaluation.proto_values import proto_values
from rlkit.tabular.mdp import TabularMDP
from tests.tabular.models import from_env


def corridor(length: int) -> TabularMDP:
    """Left or right, with walls at both ends."""
    rows = [
        [[(1.0, max(s - 1, 0), 0.0, False)], [(1.0, min(s + 1, length - 1), 0.0, False)]]
        for s in range(length)
    ]
    return TabularMDP.from_successors(rows, initial_distribution=np.eye(length)[0])


def waves(length: int, k: int) -> np.ndarray:
    wave = np.cos(np.pi * k * (np.arange(length) + 0.5) / length)
    return wave / np.linalg.norm(wave)


def test_the_vectors_of_a_corridor_are_cosines() -> None:
    result = proto_values(corridor(9), 9)
    # Neighbours have the weight 1/2: half of 2 - 2 cos(pi k / n).
    np.testing.assert_allclose(result.eigenvalues, 1 - np.cos(np.pi * np.arange(9) / 9), atol=1e-12)
    for k, vector in enumerate(result.vectors):
        np.testing.assert_allclose(vector, waves(9, k), atol=1e-10)


def rectangle(rows: int, columns: int) -> TabularMDP:
    table = []
    for s in range(rows * columns):
        row, column = divmod(s, columns)
        cells = [(row, column - 1), (row + 1, column), (row, column + 1), (row - 1, column)]
        inside = [np.clip(r, 0, rows - 1) * columns + np.clip(c, 0, columns - 1) for r, c in cells]
        table.append([[(1.0, int(to), 0.0, False)] for to in inside])
    return TabularMDP.from_successors(table, initial_distribution=np.eye(rows * columns)[0])


@pytest.mark.parametrize("dense", [1000, 0])
def test_the_vectors_of_a_rectangle_are_products_of_cosines(
    dense: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DENSE", dense)
    result = proto_values(rectangle(5, 8), 6)
    pairs = [(j, k) for j in range(5) for k in range(8)]
    value = {(j, k): (2 - np.cos(np.pi * j / 5) - np.cos(np.pi * k / 8)) / 2 for j, k in pairs}
    first = sorted(pairs, key=lambda pair: value[pair])[:6]
    np.testing.assert_allclose(result.eigenvalues, [value[pair] for pair in first], atol=1e-10)
    for vector, (j, k) in zip(result.vectors, first, strict=True):
        expected = np.outer(waves(5, j), waves(8, k)).ravel()
        np.testing.assert_allclose(vector, expected, atol=1e-8)


def test_states_that_are_never_reached_have_none() -> None:
    result = proto_values(from_env("CliffWalking-v1"), 3)
    # The cells of the cliff lead back to the start before anybody stands on them.
    assert np.flatnonzero(np.isnan(result.vectors[0])).tolist() == [*range(37, 47)]
    assert np.ptp(result.vectors[0][~np.isnan(result.vectors[0])]) < 1e-10
    assert result.eigenvalues[0] == pytest.approx(0, abs=1e-12)
    assert result.eigenvalues[1] > 1e-3


def test_endings_are_part_of_the_graph_and_what_follows_them_is_not() -> None:
    # 0 - 1 - 2, and 2 ends in 3; from 3 the table leads to 4, but nobody acts there.
    rows = [[(1.0, 1, 0.0, False)], [(0.5, 0, 0.0, False), (0.5, 2, 0.0, False)]]
    rows += [[(1.0, 3, 1.0, True)], [(1.0, 4, 0.0, False)], [(1.0, 4, 0.0, False)]]
    mdp = TabularMDP.from_successors([[row] for row in rows], initial_distribution=np.eye(5)[0])
    weights = {(0, 1): 0.75, (1, 2): 0.25, (2, 3): 0.5}
    laplacian = np.zeros((4, 4))
    for (a, b), weight in weights.items():
        laplacian[a, a] += weight
        laplacian[b, b] += weight
        laplacian[a, b] -= weight
        laplacian[b, a] -= weight
    result = proto_values(mdp, 4)
    np.testing.assert_allclose(result.eigenvalues, np.linalg.eigvalsh(laplacian), atol=1e-12)
    for value, vector in zip(result.eigenvalues, result.vectors, strict=True):
        np.testing.assert_allclose(laplacian @ vector[:4], value * vector[:4], atol=1e-12)
        assert np.isnan(vector[4])


@pytest.mark.parametrize("number", [0, 10])
def test_more_vectors_than_states_are_an_error(number: int) -> None:
    with pytest.raises(ValueError, match=rf"from 1 to 9, .* got {number}"):
        proto_values(corridor(9), number)
