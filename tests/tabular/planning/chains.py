"""The chain of one policy, sparse and entry by entry."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.tabular.planning.sweeps import Chain, Sweeps
from tests.tabular.models import dense, random_mdp

Array = NDArray[Any]


def greedy_chain(seed: int, num_states: int, discount: float) -> tuple[Chain, Array, Array]:
    """Return the chain of the greedy policy for v = 0, its transitions `[S, S]` and rewards."""
    mdp = random_mdp(seed, num_states)
    sweeps = Sweeps(mdp, discount)
    sweeps.optimality(np.zeros(num_states), np.empty(num_states))
    reward, transition = dense(mdp)
    rows, policy = np.arange(num_states), reward[:-1].argmax(axis=1)
    return sweeps.chain(), transition[rows, policy, :-1], reward[rows, policy]
