"""Returns under a time limit in compiled sweeps are those of the simple code."""

from __future__ import annotations

import numpy as np
import pytest

from rlkit.tabular.planning import sweeps
from rlkit.tabular.planning.horizon import best_return, policy_return
from rlkit.tabular.returns import best_return_under_limit, return_under_limit
from tests.tabular.models import from_env, random_mdp


@pytest.mark.parametrize("limit", [1, 7, 100, 20_000])
def test_they_equal_the_simple_ones(limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeps, "_PART", 5)  # several parts, in threads
    for mdp in (from_env("FrozenLake-v1"), from_env("CliffWalking-v1"), random_mdp(1)):
        policy = np.arange(mdp.num_states) % mdp.num_actions
        # The sums are the same up to their order.
        assert best_return(mdp, limit) == pytest.approx(
            best_return_under_limit(mdp, limit), rel=1e-11
        )
        assert policy_return(mdp, policy, limit) == pytest.approx(
            float(return_under_limit(mdp, policy, limit)[0]), rel=1e-11
        )
