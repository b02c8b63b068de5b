"""Files are written as they were asked for, or nothing is."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import rlkit
from rlkit.errors import UsageError
from rlkit.training.exporting.card import model_card


def test_every_format_is_written(trained_folder: Callable[..., Path], tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    folder = trained_folder("q-learning", seeds=2)
    places = {
        "card": tmp_path / "new" / "card.md",
        "rliable": tmp_path / "scores.npz",
        "evaluations": tmp_path / "evaluations.npz",
        "safetensors": tmp_path / "agent.safetensors",
    }
    assert rlkit.export(folder, seed=1, **places) == list(places.values())
    run = rlkit.load(folder)
    assert places["card"].read_text() == model_card(run)
    np.testing.assert_array_equal(np.load(places["rliable"])["q-learning"][:, 0], run.scores)
    stored = np.load(places["evaluations"])
    assert set(stored) == {"timesteps", "results", "ep_lengths"}
    assert stored["ep_lengths"].shape == stored["results"].shape
    weights = safetensors.load_file(places["safetensors"])
    assert set(weights) == set(run.agent_state(1))


def test_a_mistake_leaves_no_file(trained_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = trained_folder("random", seeds=1, evaluation_episodes=0)
    with pytest.raises(UsageError, match="at least one format"):
        rlkit.export(folder)
    with pytest.raises(UsageError, match=r"expected a file name that ends in \.md"):
        rlkit.export(folder, card=tmp_path / "card.txt")
    with pytest.raises(UsageError, match="without evaluations"):
        rlkit.export(folder, card=tmp_path / "card.md", evaluations=tmp_path / "e.npz")
    with pytest.raises(UsageError, match="--card is of one run, got 2"):
        rlkit.export([folder, folder], card=tmp_path / "card.md")
    with pytest.raises(UsageError, match=r"--evaluations and --rliable are both .*each format"):
        rlkit.export(
            folder, rliable=tmp_path / "a.npz", evaluations=tmp_path / "b" / ".." / "a.npz"
        )
    assert list(tmp_path.glob("*.*")) == []
