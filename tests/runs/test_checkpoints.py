"""A checkpoint can be trusted after a crash, and only arrays that were written are read."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.runs import checkpoints, store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store.prepare_folder(tmp_path / "run")
    return tmp_path / "run"


def put_checkpoint(folder: Path, data: bytes, steps: int = 5) -> Path:
    """A file with any content under a name whose digest is right."""
    seed_folder = folder / "checkpoints" / "seed-000"
    seed_folder.mkdir(exist_ok=True)
    digest = checkpoints.hashlib.sha256(data).hexdigest()
    path = seed_folder / f"step-{steps:012d}-{digest}.npz"
    path.write_bytes(data)
    return path


def npz(compression: int = zipfile.ZIP_STORED, **entries: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def npy(array: Any, **changes: Any) -> bytes:
    """An array as a file, with entries of its header changed."""
    buffer = io.BytesIO()
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape} | changes
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + array.tobytes()


@pytest.mark.trap("T89", "F29")
def test_all_names_on_the_way_to_a_checkpoint_are_forced_to_the_disk(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced: list[str] = []
    fsync = os.fsync

    def logged_fsync(descriptor: int) -> None:
        forced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    all_folder = str(folder / "checkpoints")
    for num_steps in (9, 10):
        forced.clear()
        checkpoints.save_checkpoint(folder, 0, num_steps, {"a": np.arange(2)})
        assert forced[-1] == f"{all_folder}/seed-000"
        # The name of the seed's own folder is new at the first one only.
        assert (all_folder in forced) == (num_steps == 9)


def test_the_newest_checkpoints_are_kept_by_their_number_of_steps(folder: Path) -> None:
    most = 10**12  # with one digit more
    for num_steps in (most - 2, most - 1, most):
        checkpoints.save_checkpoint(folder, 0, num_steps, {"a": np.arange(2)})
    assert [steps for steps, _ in checkpoints.list_checkpoints(folder, 0)] == [most, most - 1]
    checkpoints.save_checkpoint(folder, 0, most, {"a": np.arange(3)})
    (steps, path), (before, _) = checkpoints.list_checkpoints(folder, 0)
    assert (steps, before) == (most, most - 1)
    assert len(checkpoints.read_checkpoint(path)["a"]) == 3


@pytest.mark.trap("T94")
def test_a_checkpoint_comes_back_as_it_was(folder: Path) -> None:
    state = {
        "a/x": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array(2**63 - 1),
        "c": np.array([np.nan, -0.0, np.inf]),
        "d": np.zeros((0, 4), dtype=bool),
        "e": np.array(2**64 - 1, dtype=np.uint64),
        "f": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "g": np.array(["seed", "é"]),
    }
    checkpoints.save_checkpoint(folder, 3, 10, state)
    steps, read, problems = checkpoints.newest_checkpoint(folder, 3)
    assert (steps, problems) == (10, [])
    assert read.keys() == state.keys()
    for name, array in state.items():
        assert read[name].dtype == array.dtype
        assert read[name].shape == array.shape
        assert read[name].tobytes() == array.tobytes()
        assert read[name].strides == array.strides
        assert read[name].flags.writeable
        assert read[name].flags.owndata


def test_equal_states_are_equal_bytes_whatever_the_order_of_entries(folder: Path) -> None:
    a, b = np.ones(3), np.zeros(2)
    checkpoints.save_checkpoint(folder, 0, 1, {"a": a, "b": b})
    checkpoints.save_checkpoint(folder, 1, 1, {"b": b, "a": a})
    names = [checkpoints.list_checkpoints(folder, seed)[0][1].name for seed in (0, 1)]
    assert names[0] == names[1]


def test_only_the_newest_checkpoints_are_kept_and_other_files_left_alone(folder: Path) -> None:
    for steps in (10, 9, 10**13, 11):
        checkpoints.save_checkpoint(folder, 0, steps, {"x": np.array(steps)})
        (folder / "checkpoints" / "seed-000" / "notes.txt").write_text("mine")
    assert [steps for steps, _ in checkpoints.list_checkpoints(folder, 0)] == [10**13, 11]
    assert (folder / "checkpoints" / "seed-000" / "notes.txt").exists()


@pytest.mark.trap("F18")
@pytest.mark.parametrize("per_cent", [0, 0.1, 10, 50, 90, 99, 99.99])
def test_a_truncated_checkpoint_is_passed_over_and_named(folder: Path, per_cent: float) -> None:
    checkpoints.save_checkpoint(folder, 0, 1, {"x": np.zeros(3)})
    checkpoints.save_checkpoint(folder, 0, 2, {"x": np.random.default_rng(0).random(5000)})
    path = checkpoints.list_checkpoints(folder, 0)[0][1]
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * per_cent / 100)])
    steps, state, problems = checkpoints.newest_checkpoint(folder, 0)
    assert steps == 1
    assert state["x"].tolist() == [0, 0, 0]
    assert len(problems) == 1
    assert str(path) in problems[0]
    assert "damaged" in problems[0]


@pytest.mark.trap("F19")
def test_each_of_a_hundred_flipped_bits_is_noticed(folder: Path) -> None:
    checkpoints.save_checkpoint(folder, 0, 2, {"x": np.random.default_rng(0).random(50)})
    path = checkpoints.list_checkpoints(folder, 0)[0][1]
    data = path.read_bytes()
    for position in np.random.default_rng(1).choice(8 * len(data), 100, replace=False):
        damaged = bytearray(data)
        damaged[position // 8] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="sha256"):
            checkpoints.read_checkpoint(path)
    path.write_bytes(data)
    checkpoints.read_checkpoint(path)


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return (os.system, (f"touch {self._path}",))


@pytest.mark.trap("T95", "F65")
def test_a_pickle_in_a_checkpoint_is_rejected_and_not_run(folder: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([Bomb(marker)], dtype=object))
    path = put_checkpoint(folder, buffer.getvalue())
    with pytest.raises(ValueError, match="Python objects, which are never read"):
        checkpoints.read_checkpoint(path)
    assert not marker.exists()


@pytest.mark.trap("F64")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an archive"),
        (b"PK", "not an archive"),
        (npz(x=b"no array"), "not an archive"),
        (npz(x=npy(np.zeros(3))[:20]), "not an archive"),
        (npz(x=npy(np.zeros(3), shape=(10**15,))), r"claims the shape \(1000000000000000,\)"),
        (npz(x=npy(np.zeros(3), shape=(2**62, 2**62))), "claims the shape"),
        (npz(x=npy(np.zeros(3), shape=(-1,))), "claims the shape"),
        (npz(x=npy(np.zeros(3), shape=(2,))), "claims the shape"),
        (npz(x=npy(np.zeros(3), shape=(-1, -3))), "not an archive"),
        (npz(x=b"\x93NUMPY\x01\x00\xff\xff" + b" " * 70_000), "not an archive"),
        (npz(zipfile.ZIP_DEFLATED, x=npy(np.zeros(10**7))), "compressed"),
        (npz(x=b"\x93NUMPY\x09\x00" + npy(np.zeros(3))[8:]), "unknown array format"),
    ],
    ids=lambda part: part if isinstance(part, str) else f"{len(part)} bytes",
)
def test_a_file_that_claims_more_than_it_holds_is_rejected(
    folder: Path, content: bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        checkpoints.read_checkpoint(put_checkpoint(folder, content))
