"""Which actions can end the episode or let the agent rest."""

import itertools

import numpy as np
import pytest

from rlkit.tabular.endings import extend_backwards, resting_actions, terminating_policy
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.policy_chain import policy_probabilities, total_reward


def sparse_mdp(seed: int) -> TabularMDP:
    """Four states, two actions, one or two successors; nothing leads out of the last state."""
    rng = np.random.default_rng(seed)
    shape = (4, 2, 2)
    first = rng.choice([0.5, 1.0], size=(4, 2, 1))
    next_state, terminated = rng.integers(4, size=shape), rng.random(shape) < 0.2
    next_state[3], terminated[3] = 3, False
    return TabularMDP.from_padded(
        probability=np.concatenate([first, 1 - first], axis=-1),
        next_state=next_state,
        reward=rng.random(shape) < 0.8,
        terminated=terminated,
        initial_distribution=np.full(4, 0.25),
    )


@pytest.mark.parametrize("seed", range(40))
def test_the_terminating_policy_is_sure_wherever_any_policy_is(seed: int) -> None:
    mdp = sparse_mdp(seed)

    def finite(policy: object) -> np.ndarray:
        return ~np.isnan(total_reward(mdp, policy_probabilities(mdp, np.array(policy)))[0])

    policy, sure = terminating_policy(mdp)
    # A finite total reward for one policy from each state is one for a single policy from all.
    by_enumeration = np.any([finite(p) for p in itertools.product(range(2), repeat=4)], axis=0)
    np.testing.assert_array_equal(sure, by_enumeration)
    assert finite(policy)[sure].all()


def test_the_enumerated_problems_have_sure_and_lost_states() -> None:
    sure = np.array([terminating_policy(sparse_mdp(seed))[1] for seed in range(40)])
    assert 0.2 < sure.mean() < 0.8


def chain() -> TabularMDP:
    """States 0 -> 1 -> 2 -> end by action 1; action 0 stays, with a reward in state 2 only."""
    table = [
        [[(1.0, 0, 0.0, False)], [(1.0, 1, 0.0, False)]],
        [[(1.0, 1, 0.0, False)], [(1.0, 2, 0.0, False)]],
        [[(1.0, 2, 5.0, False)], [(1.0, 2, 5.0, True)]],
    ]
    return TabularMDP.from_successors(table, initial_distribution=[1.0, 0.0, 0.0])


def test_extending_backwards_writes_only_allowed_actions_and_only_where_needed() -> None:
    mdp, everything = chain(), np.ones((3, 2), dtype=bool)
    policy = np.array([0, 0, 0])
    arrives = extend_backwards(mdp, policy, np.array([False, True, False]), allowed=everything)
    assert arrives.tolist() == [True, True, True]
    assert policy.tolist() == [1, 0, 1]
    only_staying = everything.copy()
    only_staying[:, 1] = False
    policy = np.array([1, 1, 1])
    arrives = extend_backwards(mdp, policy, np.zeros(3, dtype=bool), allowed=only_staying)
    assert arrives.tolist() == [False, False, False]
    assert policy.tolist() == [1, 1, 1]


def test_the_agent_rests_only_where_no_reward_can_follow() -> None:
    rests = resting_actions(chain(), np.ones((3, 2), dtype=bool))
    # Action 1 of state 1 leads to state 2, where every action has a reward.
    assert rests.tolist() == [[True, True], [True, False], [False, False]]
