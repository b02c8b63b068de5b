"""Preferences in memory and as JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rlkit.agents.preferences.labellers import UNKNOWN, Labels
from rlkit.agents.preferences.store import (
    Preferences,
    Store,
    from_arrays,
    new_preferences,
    read_lines,
    stacked,
    to_lines,
)
from rlkit.environments.views.actions import ActionLayout
from rlkit.errors import UsageError
from tests.agents.preferences.pairs import pairs_of

BOX, LAYOUT = spaces.Box(-1.0, 1.0, (1,), np.float32), ActionLayout(spaces.Discrete(2))


def some(count: int = 5) -> Preferences:
    rewards = [([0.1 + p, 0.2, 0.3], [1 / 3]) for p in range(count)]
    labels = Labels(np.linspace(0, 1, count), np.array([UNKNOWN, *np.linspace(0.1, 1, count - 1)]))
    return new_preferences(pairs_of(rewards, 3), labels, 2, 0.4)


def same(a: Preferences, b: Preferences) -> bool:
    parts = zip((*a.pairs, *a[1:]), (*b.pairs, *b[1:]), strict=True)
    return all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in parts)


def test_the_last_of_each_round_are_held_out_but_never_all() -> None:
    assert some().held_out.tolist() == [False, False, False, True, True]
    assert some().round.tolist() == [2] * 5
    one = new_preferences(pairs_of([([1], [2])], 1), Labels(np.ones(1), np.ones(1)), 0, 0.9)
    assert one.held_out.tolist() == [False]


def test_preferences_come_back_from_json_lines_to_the_last_bit(tmp_path: Path) -> None:
    file = tmp_path / "preferences.jsonl"
    pairs = some().pairs
    pairs.obs[...] = np.random.default_rng(0).standard_normal(pairs.obs.shape)
    pairs.obs[~pairs.is_step] = 0
    written = some()._replace(pairs=pairs)
    file.write_text(to_lines(written) + "\n")
    read = read_lines(file, 3, BOX, LAYOUT)
    assert same(read, written._replace(round=np.full(5, -1)))
    longer = read_lines(file, 4, BOX, LAYOUT)  # segments may be shorter than the run's
    assert longer.pairs.rewards.shape == (5, 2, 4)
    assert (longer.pairs.lengths == written.pairs.lengths).all()


def test_a_line_needs_only_observations_actions_and_which_is_preferred(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    segments = [{"obs": [[0.5], [1]], "actions": [0, 1]}, {"obs": [[0]], "actions": [1]}]
    file.write_text(json.dumps({"preferred": 0.5, "segments": segments}))
    read = read_lines(file, 3, BOX, LAYOUT)
    assert read.preferred.tolist() == [0.5]
    assert read.probability.tolist() == [UNKNOWN]
    assert read.pairs.lengths.tolist() == [[2, 1]]
    assert not read.held_out.any()


GOOD: dict[str, Any] = {
    "preferred": 1,
    "segments": [{"obs": [[0.5]], "actions": [0]}, {"obs": [[0]], "actions": [1]}],
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("{", "line 2: Expecting"),
        ("[1]", 'expected an object with "preferred" and two "segments"'),
        ({"preferred": 1.5}, '"preferred": expected a number from 0 to 1, got 1.5'),
        ({"preferred": True}, '"preferred": expected a number from 0 to 1, got True'),
        ({"probability": -1}, '"probability": expected a number from 0 to 1, got -1'),
        ({"held_out": "yes"}, "\"held_out\": expected true or false, got 'yes'"),
        ({"segments": GOOD["segments"][:1]}, "expected two segments, got 1"),
        ({"segments": [1, 2]}, "expected a segment to be an object, got 1"),
        ({"segments": [{"obs": [[1]]}, {}]}, "it has no 'actions'"),
        ({"segments": [{"obs": [], "actions": []}, {}]}, "has 0 steps, expected 1 to 3"),
        (
            {"segments": [{"obs": [[0]] * 4, "actions": [0] * 4}, {}]},
            r"has 4 steps, expected 1 to 3; .*--segment-length",
        ),
        (
            {"segments": [{"obs": [[0, 1]], "actions": [0]}, {}]},
            r'"obs" of a segment: expected numbers of shape \(1, 1\), got \(1, 2\)',
        ),
        (
            {"segments": [{"obs": [["a"]], "actions": [0]}, {}]},
            r'"obs" of a segment: expected numbers of shape \(1, 1\)',
        ),
        (
            {"segments": [{"obs": [[float("nan")]], "actions": [0]}, {}]},
            r'"obs" of a segment: expected finite numbers',
        ),
        (
            {"segments": [{"obs": [[0]], "actions": [2]}, GOOD["segments"][0]]},
            r'"actions" of a segment: expected numbers from 0 to 1, got 0 to 2',
        ),
        (
            {"segments": [{"obs": [[0]], "actions": [0.5]}, GOOD["segments"][0]]},
            r'"actions" of a segment: expected whole numbers',
        ),
        (
            {"segments": [{"obs": [[1e300]], "actions": [0]}, GOOD["segments"][0]]},
            r'"obs" of a segment: expected numbers that float32 can hold',
        ),
        ({"segments": [{"obs": 5, "actions": [0]}, {}]}, '"obs" of a segment: .* a list, got 5'),
        (
            {"segments": [{**GOOD["segments"][0], "terminated": "no"}, GOOD["segments"][0]]},
            "\"terminated\": expected true or false, got 'no'",
        ),
        (
            {
                "segments": [
                    {"obs": [[0], [0]], "actions": [0, 0]},
                    {"obs": [[0]], "actions": [0], "terminated": False},
                ]
            },
            "segments of 2 and 1 steps are compared, and the shorter did not terminate",
        ),
        (json.dumps(GOOD)[:-1] + ', "preferred": 0.5}', "the entry 'preferred' occurs twice"),
    ],
)
def test_a_line_that_is_no_preference_is_named(change: Any, message: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    line = change if isinstance(change, str) else json.dumps({**GOOD, **change})
    file.write_text(f"{json.dumps(GOOD)}\n{line}\n")
    with pytest.raises(UsageError, match=message) as caught:
        read_lines(file, 3, BOX, LAYOUT)
    assert f"{file}, line 2: " in str(caught.value)


def test_a_file_may_begin_with_a_byte_order_mark_and_end_its_lines_as_windows_does(
    tmp_path: Path,
) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + 2 * f"{json.dumps(GOOD)}\r\n".encode())
    assert read_lines(file, 3, BOX, LAYOUT).preferred.tolist() == [GOOD["preferred"]] * 2


def test_a_state_that_the_environment_does_not_have_is_named(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    segments = [{"obs": [0, 3], "actions": [0, 1]}, {"obs": [0], "actions": [1]}]
    file.write_text(json.dumps({"preferred": 1, "segments": segments}))
    assert read_lines(file, 2, spaces.Discrete(4), LAYOUT).pairs.obs[0, 0].tolist() == [0, 3]
    with pytest.raises(UsageError, match=r'line 1: "obs" .* from 0 to 2, got 0 to 3'):
        read_lines(file, 2, spaces.Discrete(3), LAYOUT)


def test_a_file_without_preferences_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    with pytest.raises(UsageError, match=r"--preferences\): cannot read .*mine.jsonl"):
        read_lines(file, 3, BOX, LAYOUT)
    file.write_text("\n")
    with pytest.raises(UsageError, match=r"mine.jsonl is empty"):
        read_lines(file, 3, BOX, LAYOUT)


def test_a_store_grows_and_comes_back_from_its_state() -> None:
    store = Store(2, 3, BOX, LAYOUT)
    assert store.known.preferred.shape == (2, 0)
    store.add(stacked([some(), some()]))
    store.add(stacked([some(4), some(4)]))
    assert store.known.preferred.shape == (2, 9)
    own = {name: value[1] for name, value in store.state_dict().items()}
    assert same(from_arrays(own).at(np.s_[:5]), some())
    assert same(from_arrays(own).at(np.s_[5:]), some(4))
    other = Store(2, 3, BOX, LAYOUT)
    other.load_state_dict(store.state_dict())
    assert same(other.known, store.known)
