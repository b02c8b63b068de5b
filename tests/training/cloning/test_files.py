"""Demonstrations in files: what is read, and what is wrong with a file, by line and column."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.errors import UsageError
from rlkit.nn.demonstrations import Demonstrations
from rlkit.training.cloning.files import read_rows

CSV = """episode, observation_0, observation_1, action, reward, note
7, 0.5, -1, 1, 2, first

7, 1.5, -2, 0, 3, second
9, 2.5, -3, 1, 4, "with, comma"
"""
LINES = """{"observation": [0.5, -1], "action": 1, "episode": 7, "reward": 2}
{"observation": [1.5, -2], "action": 0, "episode": 7, "reward": 3}

{"observation": [2.5, -3], "action": 1, "episode": 9, "reward": 4, "other": "x"}
"""
ARRAYS: dict[str, Any] = {
    "observations": np.array([[0.5, -1], [1.5, -2], [2.5, -3]]),
    "actions": np.array([1, 0, 1]),
    "episodes": np.array([7, 7, 9]),
    "rewards": np.array([2, 3, 4]),
}


def written(folder: Path, suffix: str, content: str | dict[str, Any] | bytes) -> Path:
    path = folder / f"demos{suffix}"
    if isinstance(content, dict):
        np.savez(path, **content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".csv", CSV),
        (".csv", "﻿" + CSV.replace("\n", "\r\n")),
        (".jsonl", LINES),
        (".npz", ARRAYS),
        (".CSV", CSV),
    ],
)
def test_every_format_gives_the_same_rows(tmp_path: Path, suffix: str, content: Any) -> None:
    rows = read_rows(written(tmp_path, suffix, content))
    np.testing.assert_array_equal(rows.observations, ARRAYS["observations"])
    np.testing.assert_array_equal(rows.actions, [[1], [0], [1]])
    np.testing.assert_array_equal(rows.episodes, [0, 0, 1])
    np.testing.assert_array_equal(rows.rewards, [2, 3, 4])


def test_episode_and_reward_are_optional_and_ten_columns_are_in_their_order(tmp_path: Path) -> None:
    header = [f"observation_{k}" for k in (1, 0, 10, 2, 3, 4, 5, 6, 7, 8, 9)]
    text = ",".join([*header, "action"]) + "\n" + "1,0,10,2,3,4,5,6,7,8,9,0\n"
    rows = read_rows(written(tmp_path, ".csv", text))
    np.testing.assert_array_equal(rows.observations, [np.arange(11)])
    assert rows.rewards is None
    np.testing.assert_array_equal(rows.episodes, [0])


def test_places_name_line_and_column(tmp_path: Path) -> None:
    rows = read_rows(written(tmp_path, ".csv", CSV))
    assert rows.place(1, "observation", 1).endswith("demos.csv, line 4, column observation_1")
    rows = read_rows(written(tmp_path, ".jsonl", LINES))
    assert rows.place(2, "action", 0).endswith("demos.jsonl, line 4, action[0]")
    rows = read_rows(written(tmp_path, ".npz", ARRAYS))
    assert rows.place(2, "action", 0).endswith("demos.npz, actions[2], number 0")


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        (".csv", "", "line 1: no column observation .*it has none"),
        (".csv", "observation,action\n", "no row"),
        (".csv", "observation\n1\n", "line 1: no column action"),
        (".csv", "obs,action\n1,1\n", "no column observation .* it has obs, action"),
        (".csv", "observation_1,action\n1,1\n", "no column observation_0"),
        (".csv", "observation_0,observation_2,action\n1,1,1\n", "no column observation_1"),
        (".csv", "observation,action,action\n1,1,0\n", "line 1: there are two columns action"),
        (".csv", "observation,action\n1,1\n2,left\n",
         "line 3, column action: expected a number, got 'left'"),
        (".csv", "observation,action\n1,1\n2,\n", "line 3, column action: .*got ''"),
        (".csv", "observation,action\n1,1\n2,1,0\n", "line 3: expected 2 columns .*got 3"),
        (".csv", b"\xff\xfe\x00", "no text in UTF-8"),
        (".csv", "observation,action,episode\n1,1,nan\n", "numbers of episodes must be finite"),
        (".csv", "observation,action,reward\n1,1,inf\n", "rewards must be finite"),
        (".jsonl", "[1]\n", "line 1: expected an object with the keys observation and action"),
        (".jsonl", '{"observation": 1, "action": 1}\n{"observation": 1}\n', "line 2: expected"),
        (".jsonl", "{", "line 1: it is no JSON"),
        (".jsonl", '{"observation": "x", "action": 1}', "line 1, observation: expected a number"),
        (".jsonl", '{"observation": [[1], [1, 2]], "action": 1}', "line 1, observation"),
        (".jsonl", '{"observation": [1, 2], "action": 1}\n{"observation": [1], "action": 1}',
         "line 2, observation: got 1 numbers, expected 2 as in line 1"),
        (".jsonl", '{"observation": 1, "action": 1, "episode": 0}\n{"observation": 1, "action": 1}',
         "some lines have episode and others not"),
        (".jsonl", "\n", "no row"),
        (".npz", {"observations": np.zeros(2)}, "no array actions; it has observations"),
        (".npz", {"observations": np.zeros(2), "actions": np.zeros(3)},
         "different lengths: observations 2, actions 3"),
        (".npz", {"observations": np.array(["a"]), "actions": np.zeros(1)},
         "array observations: expected a number"),
        (".npz", {"observations": np.zeros((0, 2)), "actions": np.zeros(0)}, "no row"),
        (".npz", b"x", "no arrays"),
        (".txt", CSV, "ends in .csv, .jsonl, .npz"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path: Path, suffix: str, content: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_rows(written(tmp_path, suffix, content))


def test_the_copy_in_a_runs_folder_is_not_taken_for_a_file_of_the_user(tmp_path: Path) -> None:
    # It holds what an agent saw: bins and rescaled actions would be applied twice.
    copy = Demonstrations(np.zeros((2, 1)), np.zeros(2), np.zeros(2, dtype=np.int64))
    with pytest.raises(UsageError, match="no array observations"):
        read_rows(written(tmp_path, ".npz", copy.to_bytes()))
