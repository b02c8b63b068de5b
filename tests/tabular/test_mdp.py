"""The model: what is accepted."""

from typing import Any

import numpy as np
import pytest
from scipy import sparse

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
        TabularMDP.from_padded(**{**valid(), name: value})


def test_the_arrays_are_copies_and_cannot_be_written() -> None:
    arrays = valid()
    mdp = TabularMDP.from_padded(**arrays)
    arrays["reward"][:] = 9
    assert (mdp.padded().reward == 0).all()
    with pytest.raises(ValueError, match="read-only"):
        mdp.reward[0] = 1


@pytest.mark.trap("T38")
def test_equal_successors_are_summed_not_overwritten() -> None:
    both = [(0.5, 0, 1.0, False), (0.25, 0, 3.0, False), (0.25, 1, 0.0, True)]
    mdp = TabularMDP.from_successors([[both], [both[:1] * 2]], initial_distribution=[1, 0])
    assert mdp.continuation.toarray().tolist() == [[0.75, 0.0], [1.0, 0.0]]
    assert mdp.expected_reward.tolist() == [[1.25], [1.0]]


def test_padding_repeats_the_last_successor_with_probability_zero() -> None:
    rows = [[[(0.5, 0, 1.0, False), (0.5, 1, 2.0, True)]], [[(1.0, 1, 5.0, True)]]]
    mdp = TabularMDP.from_successors(rows, initial_distribution=[1, 0])
    assert mdp.padded().probability[1, 0].tolist() == [1.0, 0.0]
    assert mdp.padded().next_state[1, 0].tolist() == [1, 1]
    assert mdp.padded().reward[1, 0].tolist() == [5.0, 5.0]
    assert mdp.padded().terminated[1, 0].tolist() == [True, True]


def test_single_precision_tables_are_rescaled_and_wrong_ones_rejected() -> None:
    third = float(np.float32(1 / 3))
    successors = [(third, 0, 0.0, False)] * 3
    mdp = TabularMDP.from_successors([[successors]], initial_distribution=[1.0])
    np.testing.assert_allclose(mdp.padded().probability.sum(), 1, rtol=1e-15)  # one rounding
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
    assert mdp.padded().terminated[:, 0, 0].tolist() == [False, True, True]
    assert mdp.initial_distribution.tolist() == [0.5, 0.5, 0]


def random_textbook(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Five states, two actions, about half of the transitions possible; r(s, a, s')."""
    rng = np.random.default_rng(seed)
    transition = rng.random((5, 2, 5)) * (rng.random((5, 2, 5)) < 0.5)
    transition[..., 0] += 0.1
    transition /= transition.sum(axis=-1, keepdims=True)
    return transition, rng.normal(size=(5, 2, 5))


def same_model(one: TabularMDP, other: TabularMDP) -> None:
    for name in ("probability", "next_state", "reward", "terminated", "row_start"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.initial_distribution, other.initial_distribution)
    assert (one.num_actions, one.time_limit) == (other.num_actions, other.time_limit)


@pytest.mark.parametrize("seed", range(3))
def test_dense_arrays_sparse_matrices_and_a_function_build_the_same_model(seed: int) -> None:
    transition, reward = random_textbook(seed)
    options: dict[str, Any] = {"terminal_states": [3], "time_limit": 7}
    mdp = TabularMDP.from_arrays(transition, reward, first_axis="state", **options)
    by_row = transition.reshape(10, 5), reward.reshape(10, 5)
    same_model(mdp, TabularMDP.from_sparse(*map(sparse.csr_array, by_row), **options))
    by_action = [[sparse.coo_matrix(x[:, a]) for a in range(2)] for x in (transition, reward)]
    same_model(mdp, TabularMDP.from_sparse(*by_action, **options))

    def successors(s: int, a: int) -> list[Any]:
        possible = np.flatnonzero(transition[s, a])
        return [(transition[s, a, t], t, reward[s, a, t], t == 3) for t in possible]

    start = [0.25, 0.25, 0.25, 0.0, 0.25]
    built = TabularMDP.from_function(
        successors, num_states=5, num_actions=2, initial_distribution=start, time_limit=7
    )
    same_model(mdp, built)
    padded = mdp.padded()
    again = TabularMDP.from_padded(
        *padded, initial_distribution=mdp.initial_distribution, time_limit=7
    )
    same_model(mdp, again)
    rows = [7, 2]
    for name in ("probability", "next_state", "reward", "terminated"):
        of_rows, of_all = getattr(mdp.padded(rows), name), getattr(padded, name)
        flat = of_all.reshape(10, -1)[rows, : of_rows.shape[1]]
        np.testing.assert_array_equal(of_rows, flat)


@pytest.mark.parametrize(
    ("successors", "message"),
    [
        (lambda s, a: None, "must be a list of .*, got None at state 0, action 0"),
        (lambda s, a: 3, "got 3 at state 0"),
        (lambda s, a: (1.0, s, 0.0, False), r"got \(1.0, 0, 0.0, False\) at state 0"),
        (lambda s, a: {s: 1.0}, "got {0: 1.0} at state 0"),
        (lambda s, a: [(1.0, s, 0.0, False, {})], r"got \[\(1.0, 0, 0.0, False, {}\)\] at"),
        (lambda s, a: [("all", s, 0.0, False)], "probability must hold numbers; .* 'all'"),
        (lambda s, a: [(1.0, s, "much", False)], "reward must hold numbers; .* 'much'"),
        ([[]], r"must be a function \(state, action\) .*, got \[\[\]\]"),
    ],
)
def test_functions_that_list_no_successors_are_rejected(successors: Any, message: str) -> None:
    sizes: Any = {"num_states": 1, "num_actions": 1}
    with pytest.raises(ValueError, match=f"building a TabularMDP: .*{message}"):
        TabularMDP.from_function(successors, **sizes, initial_distribution=[1.0])


@pytest.mark.parametrize("size", [0, "2", 1.5, None])
@pytest.mark.parametrize("name", ["num_states", "num_actions"])
def test_a_model_from_a_function_needs_states_and_actions(name: str, size: Any) -> None:
    sizes: Any = {"num_states": 1, "num_actions": 1} | {name: size}
    with pytest.raises(ValueError, match=f"{name} must be a whole number >= 1, got {size!r}"):
        TabularMDP.from_function(
            lambda s, a: [(1.0, s, 0.0, False)], **sizes, initial_distribution=[1.0]
        )


def test_successors_may_be_yielded() -> None:
    built = TabularMDP.from_function(
        lambda s, a: ((0.5, t, 1.0, False) for t in (0, 1)),
        num_states=2,
        num_actions=1,
        initial_distribution=[1.0, 0.0],
    )
    assert built.next_state.tolist() == [0, 1, 0, 1]


def test_rewards_of_states_or_actions_go_with_sparse_transitions() -> None:
    transition, _ = random_textbook(0)
    matrix = sparse.csr_array(transition.reshape(10, 5))
    for reward in (np.arange(5.0), np.arange(10.0).reshape(5, 2)):
        dense = TabularMDP.from_arrays(transition, reward, first_axis="state")
        same_model(dense, TabularMDP.from_sparse(matrix, reward))


@pytest.mark.parametrize(
    ("transition", "reward", "message"),
    [
        (np.eye(2), np.zeros(2), "transition must be a sparse matrix of scipy or a list of them"),
        (sparse.eye_array(3, 2), np.zeros(2), r"got \(3, 2\)"),
        ([sparse.eye_array(2), sparse.eye_array(3)], np.zeros(2), r"one square matrix per action"),
        (sparse.eye_array(2), np.zeros(3), r"reward must have shape \(2,\)"),
        (sparse.eye_array(2), sparse.eye_array(4, 2), r"reward must be \(2, 2\)"),
        (2 * sparse.eye_array(2), np.zeros(2), "sum to 1, got 2 at state 0, action 0"),
    ],
)
def test_sparse_matrices_that_are_not_an_mdp_are_rejected(
    transition: Any, reward: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TabularMDP.from_sparse(transition, reward)


@pytest.mark.parametrize("states", [[2], [-1], [0.5], ["end"]])
def test_terminal_states_that_are_no_states_are_rejected(states: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"terminal_states must be integers in \[0, 2\)"):
        TabularMDP.from_sparse(sparse.eye_array(2), np.zeros(2), terminal_states=states)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("row_start", [0], "row_start must have num_states"),
        ("row_start", [0, 1, 2], "initial_distribution must have shape"),
        ("row_start", [0, 2, 2, 2], "with at least one entry in each row"),
        ("row_start", [0, 1, 2, 4], "row_start must rise from 0 to num_entries = 3"),
        ("row_start", [0.0, 1.0, 2.0, 3.0], "row_start must hold integers"),
        ("num_actions", 0, "with num_actions = 0"),
        ("reward", np.zeros((3, 1)), r"reward must have the shape \[num_entries\]"),
        ("next_state", [0, 1, 3], r"in \[0, 3\), got 3 at state 2, action 0"),
    ],
)
def test_flat_arrays_that_are_not_an_mdp_are_rejected(name: str, value: Any, message: str) -> None:
    arrays: dict[str, Any] = {
        "probability": np.ones(3),
        "next_state": np.arange(3),
        "reward": np.zeros(3),
        "terminated": np.zeros(3, dtype=bool),
        "row_start": np.arange(4),
        "num_actions": 1,
        "initial_distribution": np.full(3, 1 / 3),
    }
    assert TabularMDP(**arrays).num_states == 3
    with pytest.raises(ValueError, match=message):
        TabularMDP(**{**arrays, name: value})


@pytest.mark.parametrize(
    ("successor", "expected"),
    [
        ((1.0, 0.7, 0.0, False), "next_state must hold whole numbers, got 0.7"),
        ((1.0, np.nan, 0.0, False), "next_state must hold whole numbers, got nan"),
        ((1.0, "0", 0.0, False), "next_state must hold whole numbers, got '0'"),
        ((1.0, 0, 0.0, 0.5), "terminated must be True or False, got 0.5"),
        ((1.0, 0, 0.0, "False"), "terminated must be True or False, got 'False'"),
        ((1.0, 0, 0.0), r"must be a list of .* got \[\(1.0, 0, 0.0\)\] at state 0, action 0"),
    ],
)
def test_a_successor_is_never_rounded_or_cut(successor: Any, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        TabularMDP.from_successors([[[successor]]], initial_distribution=[1.0])


def test_whole_numbers_and_flags_may_be_of_any_type() -> None:
    row = [(0.5, 1.0, 0, 0), (0.5, np.int64(0), 0, np.bool_(True))]
    mdp = TabularMDP.from_successors([[row], [row]], initial_distribution=[1.0, 0.0])
    assert mdp.next_state.tolist() == [1, 0, 1, 0]
    assert mdp.terminated.tolist() == [False, True, False, True]


def test_a_model_of_terminal_states_alone_has_no_start() -> None:
    with pytest.raises(ValueError, match="every state is terminal, so no episode can start"):
        TabularMDP.from_arrays([[[1.0]]], [[1.0]], terminal_states=[0])
