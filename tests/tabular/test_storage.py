"""Models in files: what was saved is loaded, and nothing else."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlkit
from rlkit.errors import UsageError
from rlkit.tabular import memory, storage
from rlkit.tabular.mdp import TabularMDP
from tests.tabular.models import from_env, random_mdp

CHAIN = {
    "transition": np.array([[[0.5, 0.5]], [[0.0, 1.0]]]),
    "reward": np.array([1.0, 0.0]),
}


@pytest.mark.parametrize("mdp", [random_mdp(3), from_env("FrozenLake-v1")], ids=["random", "lake"])
def test_a_loaded_model_is_the_saved_one(mdp: TabularMDP, tmp_path: Path) -> None:
    mdp.save(tmp_path / "model.npz")
    again = TabularMDP.load(tmp_path / "model.npz")
    for name in ("probability", "next_state", "reward", "terminated", "row_start"):
        assert getattr(again, name).tobytes() == getattr(mdp, name).tobytes()
        assert not getattr(again, name).flags.writeable
    assert again.initial_distribution.tobytes() == mdp.initial_distribution.tobytes()
    assert (again.num_actions, again.time_limit) == (mdp.num_actions, mdp.time_limit)
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]


def test_dense_arrays_are_read_with_their_options(tmp_path: Path) -> None:
    path = tmp_path / "dense.npz"
    np.savez(path, **CHAIN, terminal_states=[1], time_limit=5, first_axis="state")
    mdp = TabularMDP.load(path)
    assert mdp.time_limit == 5
    assert mdp.terminated.tolist() == [False, True, True]
    assert mdp.initial_distribution.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"transition": CHAIN["transition"]}, "missing: reward, unknown: none"),
        ({"P": CHAIN["transition"]}, "missing: probability, .* unknown: P"),
        ({**CHAIN, "rewards": [1.0]}, "missing: none, unknown: rewards"),
        ({**CHAIN, "reward": np.array([1.0, None])}, "reward holds Python objects"),
        ({**CHAIN, "reward": np.array(["a", "b"])}, "reward must hold numbers, got <U1"),
        ({**CHAIN, "time_limit": 2.5}, "time_limit must be a whole number, got float64"),
        ({**CHAIN, "time_limit": [2, 3]}, r"time_limit must be .*, got int64 of shape \(2,\)"),
        ({**CHAIN, "first_axis": 1}, "first_axis must be a text, got int64"),
        ({**CHAIN, "first_axis": "up"}, 'first_axis must be "state" or "action", got \'up\''),
        ({**CHAIN, "terminal_states": [7]}, r"terminal_states must be integers in \[0, 2\)"),
        ({**CHAIN, "reward": np.array([1.0, np.inf])}, "rewards must be finite, got inf"),
        (
            {**CHAIN, "transition": np.array([[[0.5, 0.6]], [[0.0, 1.0]]])},
            "must sum to 1, got 1.1 at state 0, action 0",
        ),
        (
            {**CHAIN, "transition": np.array([[[1.5, -0.5]], [[0.0, 1.0]]])},
            "must be >= 0, got -0.5 at state 0, action 0",
        ),
    ],
)
def test_files_that_hold_no_model_are_rejected(
    content: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.npz"
    np.savez(path, **content)
    with pytest.raises(ValueError, match=message):
        TabularMDP.load(path)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 and then nothing", b"no archive at all"])
def test_damaged_files_are_rejected(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.npz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"damaged.npz"):
        TabularMDP.load(path)
    with pytest.raises(ValueError, match=r"none.npz' cannot be read: No such file"):
        TabularMDP.load(tmp_path / "none.npz")


def test_a_damaged_array_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "model.npz"
    random_mdp(0).save(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"model.npz'"):
        TabularMDP.load(path)


def test_a_model_that_does_not_fit_into_memory_is_rejected_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random_mdp(0).save(tmp_path / "model.npz")
    np.savez(tmp_path / "dense.npz", **CHAIN)
    for where in (memory, storage):
        with monkeypatch.context() as patch:
            patch.setattr(where, "available_bytes", lambda: 100)
            for name in ("model.npz", "dense.npz"):
                with pytest.raises(ValueError, match="GB are available"):
                    TabularMDP.load(tmp_path / name)


def npy(shape: str, content: bytes = b"") -> bytes:
    """An array of float64 that claims a shape."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("shape", ["(1000000000000,)", "(2000000, 2000000, 4)", "(10000, 10000)"])
@pytest.mark.parametrize("key", ["probability", "reward", "initial_distribution", "transition"])
def test_an_array_that_claims_more_than_it_holds_is_rejected_from_its_header(
    key: str, shape: str, compression: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dense = key == "transition"
    if dense:
        np.savez(tmp_path / "sound.npz", **CHAIN)
    else:
        random_mdp(0).save(tmp_path / "sound.npz")
    with (
        zipfile.ZipFile(tmp_path / "sound.npz") as sound,
        zipfile.ZipFile(tmp_path / "model.npz", "w", compression) as hostile,
    ):
        for name in sound.namelist():
            data = npy(shape, bytes(800)) if name == f"{key}.npy" else sound.read(name)
            hostile.writestr(name, data)
    monkeypatch.setattr(np.lib.format, "read_array", None)  # nothing is read
    message = rf"solving .*: {key}\.npy claims the shape .* of float64, but holds 800 bytes"
    with pytest.raises(UsageError, match=message):
        rlkit.solve(str(tmp_path / "model.npz"))


def test_a_bomb_is_rejected_from_its_directory(tmp_path: Path) -> None:
    """A compressed array of 10^13 zeros cannot be made here; its directory can say so."""
    path = tmp_path / "model.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for key in ("transition", "reward"):
            file.writestr(f"{key}.npy", npy("(1250000000, 1000)", bytes(800)))
            file.getinfo(f"{key}.npy").file_size = 10**13
    with pytest.raises(ValueError, match=r"take 2e\+04 GB of memory, and .* GB are available"):
        TabularMDP.load(path)
