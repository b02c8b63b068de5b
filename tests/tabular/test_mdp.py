"""The model: what is accepted."""

from typing import Any

import numpy as np
import pytest

from rlkit.tabular.mdp import TabularMDP


def valid() -> dict[str, Any]:
    return {
        "probability": np.array([[[0.5, 0.5]], [[1.0, 0.0]]]),
        "next_state": np.array([[[0, 1]], [[1, 1]]]),
        "reward": np.zeros((2, 1, 2)),
        "terminated": np.zeros((2, 1, 2), dtype=bool),
        "initial_distribution": np.array([1.0, 0.0]),
    }


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("probability", np.array([[[0.5, 0.6]], [[1.0, 0.0]]]), r"sum to 1, got 1.1 at state 0"),
        ("probability", np.array([[[1.5, -0.5]], [[1.0, 0.0]]]), "must be >= 0, got -0.5"),
        ("probability", np.full((2, 1, 2), np.nan), "must be >= 0, got nan"),
        ("probability", np.ones((2, 2)), r"\[num_states, num_actions, K\]"),
        ("next_state", np.array([[[0, 1]], [[2, 1]]]), r"in \[0, 2\), got 2 at state 1, action 0"),
        ("next_state", np.array([[[0, 1]], [[-1, 1]]]), r"got -1 at state 1"),
        ("next_state", np.zeros((2, 1, 2)), "must hold integers, got dtype float64"),
        ("reward", np.full((2, 1, 2), np.inf), "rewards must be finite, got inf"),
        ("reward", np.zeros((2, 1)), "reward must have the shape"),
        ("initial_distribution", np.array([0.5, 0.4]), "initial_distribution must be >= 0 and sum"),
        ("initial_distribution", np.array([1.0]), r"must have shape \(2,\)"),
        ("time_limit", 0, "whole number of steps >= 1, got 0"),
        ("time_limit", 2.5, "whole number of steps >= 1, got 2.5"),
        ("time_limit", True, "whole number of steps >= 1, got True"),
        ("time_limit", 2**63, "whole number of steps >= 1, got 9223372036854775808"),
    ],
)
def test_arrays_that_are_not_an_mdp_are_rejected_by_name(
    name: str, value: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TabularMDP(**{**valid(), name: value})


def test_the_arrays_are_copies_and_cannot_be_written() -> None:
    arrays = valid()
    mdp = TabularMDP(**arrays)
    arrays["reward"][:] = 9
    assert (mdp.reward == 0).all()
    with pytest.raises(ValueError, match="read-only"):
        mdp.reward[0, 0, 0] = 1


def test_equal_successors_are_summed_not_overwritten() -> None:
    both = [(0.5, 0, 1.0, False), (0.25, 0, 3.0, False), (0.25, 1, 0.0, True)]
    mdp = TabularMDP.from_successors([[both], [both[:1] * 2]], initial_distribution=[1, 0])
    assert mdp.continuation.toarray().tolist() == [[0.75, 0.0], [1.0, 0.0]]
    assert mdp.expected_reward.tolist() == [[1.25], [1.0]]


def test_padding_repeats_the_last_successor_with_probability_zero() -> None:
    rows = [[[(0.5, 0, 1.0, False), (0.5, 1, 2.0, True)]], [[(1.0, 1, 5.0, True)]]]
    mdp = TabularMDP.from_successors(rows, initial_distribution=[1, 0])
    assert mdp.probability[1, 0].tolist() == [1.0, 0.0]
    assert mdp.next_state[1, 0].tolist() == [1, 1]
    assert mdp.reward[1, 0].tolist() == [5.0, 5.0]
    assert mdp.terminated[1, 0].tolist() == [True, True]


def test_single_precision_tables_are_rescaled_and_wrong_ones_rejected() -> None:
    third = float(np.float32(1 / 3))
    successors = [(third, 0, 0.0, False)] * 3
    mdp = TabularMDP.from_successors([[successors]], initial_distribution=[1.0])
    np.testing.assert_allclose(mdp.probability.sum(), 1, rtol=1e-15)  # one rounding
    with pytest.raises(ValueError, match=r"sum to 1, got 0\.99"):
        TabularMDP.from_successors([[[(0.33, 0, 0.0, False)] * 3]], initial_distribution=[1.0])


def test_an_action_without_successors_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"\(state, action\) \[\(0, 1\)\]"):
        TabularMDP.from_successors([[[(1.0, 0, 0.0, True)], []]], initial_distribution=[1.0])


def test_dense_arrays_survive_the_way_into_successor_lists() -> None:
    rng = np.random.default_rng(3)
    transition = rng.dirichlet(np.ones(5), size=(5, 3)) * (rng.random((5, 3, 5)) < 0.6)
    transition[..., 2] += 1e-3
    transition /= transition.sum(axis=-1, keepdims=True)
    reward = rng.normal(size=(5, 3, 5))
    mdp = TabularMDP.from_arrays(transition, reward)
    # The same numbers, moved: only the sums over successors round, in another order.
    dense = mdp.continuation.toarray().reshape(5, 3, 5)
    np.testing.assert_array_equal(dense, transition)
    expected = (transition * reward).sum(axis=-1)
    np.testing.assert_allclose(mdp.expected_reward, expected, atol=1e-14)
    for shape in ((5,), (5, 3)):
        less = TabularMDP.from_arrays(
            transition, reward[..., 0] if len(shape) == 2 else reward[:, 0, 0]
        )
        wanted = reward[..., 0] if len(shape) == 2 else np.repeat(reward[:, :1, 0], 3, axis=1)
        np.testing.assert_allclose(less.expected_reward, wanted, atol=1e-14)


def test_dense_arrays_in_the_other_order_are_rejected_with_the_remedy() -> None:
    with pytest.raises(ValueError, match=r'got \(2, 3, 3\).*first_axis="action"'):
        TabularMDP.from_arrays(np.ones((2, 3, 3)) / 3, np.zeros(3))
    with pytest.raises(
        ValueError, match=r"must be \[num_actions, num_states, num_states\], got \(3, 2"
    ):
        TabularMDP.from_arrays(np.ones((3, 2, 3)) / 3, np.zeros(3), first_axis="action")
    with pytest.raises(ValueError, match="reward must have shape"):
        TabularMDP.from_arrays(np.ones((3, 2, 3)) / 3, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="first_axis must be"):
        TabularMDP.from_arrays(np.ones((3, 2, 3)) / 3, np.zeros(3), first_axis="actions")
    with pytest.raises(ValueError, match=r"got \(3, 3\)"):
        TabularMDP.from_arrays(np.eye(3), np.zeros(3))


@pytest.mark.parametrize("num_actions", [1, 2, 3, 4])
@pytest.mark.parametrize("reward_axes", [1, 2, 3])
def test_both_orders_are_read_alike_when_they_are_named(num_actions: int, reward_axes: int) -> None:
    rng = np.random.default_rng(num_actions)
    transition = rng.dirichlet(np.ones(3), size=(3, num_actions))
    reward = rng.normal(size=(3, num_actions, 3)[:reward_axes])
    by_state = TabularMDP.from_arrays(transition, reward, first_axis="state")
    by_action = TabularMDP.from_arrays(
        np.swapaxes(transition, 0, 1),
        np.swapaxes(reward, 0, 1) if reward_axes == 3 else reward,
        first_axis="action",
    )
    for name in ("probability", "next_state", "reward"):
        np.testing.assert_array_equal(getattr(by_state, name), getattr(by_action, name))
    np.testing.assert_array_equal(by_state.continuation.toarray(), transition.reshape(-1, 3))


def test_arrays_that_can_be_read_in_two_ways_must_be_named() -> None:
    rng = np.random.default_rng(0)
    transition = rng.dirichlet(np.ones(3), size=(3, 3))
    with pytest.raises(ValueError, match='first_axis="state" for the first or first_axis="action"'):
        TabularMDP.from_arrays(transition, np.zeros(3))
    # Either reading is the same here, but for the rewards.
    same = np.tile(transition[0], (3, 1, 1))
    same = same + np.swapaxes(same, 0, 1)
    assert TabularMDP.from_arrays(same / 2, np.zeros((3, 3))).num_states == 3
    with pytest.raises(ValueError, match="can be read"):
        TabularMDP.from_arrays(same / 2, rng.normal(size=(3, 3, 3)))


def test_terminal_states_end_the_episode_and_are_not_started_in() -> None:
    walk = np.zeros((3, 1, 3))
    walk[0, 0, 1] = walk[1, 0, 2] = walk[2, 0, 2] = 1
    mdp = TabularMDP.from_arrays(walk, np.zeros(3), terminal_states=[2])
    assert mdp.terminated[:, 0, 0].tolist() == [False, True, True]
    assert mdp.initial_distribution.tolist() == [0.5, 0.5, 0]
