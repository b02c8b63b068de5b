"""The model of a map is the table of Gymnasium's environment, entry for entry."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv

from rlkit.tabular import mdp as mdp_module
from rlkit.tabular import memory
from rlkit.tabular.grids.lake import frozen_lake, require_room
from rlkit.tabular.grids.maps import parse_map, random_map
from rlkit.tabular.reading.published import read_table

MAPS = [
    ["SFFF", "FHFH", "FFFH", "HFFG"],
    ["SG"],
    ["GS", "FF"],
    ["SFS", "GHG"],
    [bytes(row).decode() for row in random_map(9, hole_probability=0.3, seed=4)],
    [bytes(row).decode() for row in random_map(20, hole_probability=0.1, seed=1)],
]


@pytest.mark.parametrize("slippery", [True, False])
@pytest.mark.parametrize("lines", MAPS)
def test_every_entry_is_that_of_the_environment(lines: list[str], slippery: bool) -> None:
    ours = frozen_lake(parse_map(lines), slippery=slippery)
    theirs = read_table(FrozenLakeEnv(desc=lines, is_slippery=slippery))
    for name in ("probability", "next_state", "reward", "terminated", "row_start"):
        one, other = getattr(ours, name), getattr(theirs, name)
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(ours.initial_distribution, theirs.initial_distribution)
    assert ours.num_actions == theirs.num_actions
    assert ours.time_limit is None


def test_the_arrays_are_kept_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    own, kept = mdp_module._own, []

    def watched(given: Any, dtype: Any) -> Any:
        kept.append(own(given, dtype) is given)
        return own(given, dtype)

    monkeypatch.setattr(mdp_module, "_own", watched)
    mdp = frozen_lake(random_map(5), time_limit=7)
    assert kept == [True] * 6
    assert mdp.time_limit == 7
    assert not mdp.probability.flags.writeable


def test_a_map_that_does_not_fit_into_memory_is_rejected_with_the_estimate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match=r"120,000,000,000 transitions, and at most 2,147,483,647"):
        require_room(10**10)
    monkeypatch.setattr(memory, "available_bytes", lambda: 10**6)
    with pytest.raises(ValueError, match=r"need about 0.0029 GB of memory, and 0.001 GB are"):
        frozen_lake(random_map(64, hole_probability=0.0))
    frozen_lake(random_map(20))
