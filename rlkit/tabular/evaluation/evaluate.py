"""Everything that is known exactly about one policy in one MDP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlkit.tabular.evaluation.chain import (
    EpisodeChain,
    episode_chain,
    expected_visits,
    visits_under_limit,
)
from rlkit.tabular.evaluation.long_run import long_run
from rlkit.tabular.mdp import FloatArray, TabularMDP, check_limit
from rlkit.tabular.policy_chain import NoFiniteReturn, check_model, policy_probabilities
from rlkit.tabular.returns import from_start, policy_value, return_under_limit, total_return


class PolicyTable(Protocol):
    """A trained policy that can list its probabilities, such as `run.actor(seed)`."""

    def policy_table(self) -> NDArray[Any]:
        """Return the probability of each action in each state, [num_states, num_actions]."""


class StatePolicy(Protocol):
    """An actor of one seed with `probabilities`, as in `rlkit.agent`."""

    def probabilities(self, obs: NDArray[Any]) -> NDArray[Any]:
        """Return [1, M, num_actions] for states [1, M]."""


Policy = ArrayLike | PolicyTable | StatePolicy


@dataclass(frozen=True, kw_only=True, eq=False)
class PolicyEvaluation:
    """The exact answers about one policy.

    Values are discounted and ignore the horizon. All other numbers are of an undiscounted episode
    of at most `horizon` steps, or of a whole episode where it is None; the long run ignores it too.
    """

    discount: float
    horizon: int | None  # steps after which an episode is truncated
    values: FloatArray  # v with v = T_pi v, [num_states]
    start_value: float  # its average over the initial distribution
    expected_return: float | None  # of an episode; None where no finite one exists
    success_probability: float | None  # see `evaluate`; None where no transition terminates
    expected_length: float  # steps of an episode; infinite where it may never end
    visits: FloatArray  # expected steps of an episode that are taken in each state, [num_states]
    long_run: FloatArray | None  # `stationary_distribution`; None where it depends on chance

    @property
    def share_of_time(self) -> FloatArray | None:
        """The share of all steps taken in each state, episode after episode, `[num_states]`.

        Episodes are truncated at the horizon, unlike those of `long_run`.
        """
        if np.isfinite(self.expected_length):
            return np.asarray(self.visits / self.expected_length)
        return self.long_run


def evaluate(
    mdp: TabularMDP,
    policy: Policy,
    *,
    discount: float = 0.99,
    horizon: int | str | None = "auto",
    action_values: bool = False,
) -> PolicyEvaluation:
    """Evaluate a policy exactly: values, return, success, length, visits and the long run.

    Success is an episode that ends, within the horizon, in a terminated transition with a positive
    reward: the goal of FrozenLake, the right destination of Taxi, a won hand of Blackjack. In an
    MDP where no terminated transition has a positive reward, such as CliffWalking, it is any
    episode that terminates.

    Args:
        mdp: the model.
        policy: actions `[num_states]`, probabilities `[num_states, num_actions]`, or a trained
            actor of one seed with `probabilities`, as `run.actor(seed)` returns it.
        discount: of `values`, in [0, 1].
        horizon: steps after which an episode is truncated; None for no limit, "auto" for the
            model's own.
        action_values: whether `policy` holds values `[num_states, num_actions]` in place of
            probabilities; its best action is taken, the first among equals.

    Raises:
        ValueError: the policy does not fit the model, or a number is out of range.
        NoFiniteReturn: at discount 1, if the policy may earn rewards without end; without a
            horizon, if episodes end so seldom that float64 cannot tell.
    """
    probabilities = _probabilities(mdp, policy, action_values)
    limit = _limit(mdp, horizon)
    values = policy_value(mdp, probabilities, discount=discount)
    chain = episode_chain(mdp, probabilities)
    visits = expected_visits(chain) if limit is None else visits_under_limit(chain, limit)
    return PolicyEvaluation(
        discount=float(discount),
        horizon=limit,
        values=values,
        start_value=from_start(mdp, values),
        expected_return=(
            total_return(mdp, probabilities)
            if limit is None
            else float(return_under_limit(mdp, probabilities, limit)[0])
        ),
        success_probability=_success(mdp, probabilities, visits),
        expected_length=float(visits.sum()),
        visits=visits,
        long_run=_long_run(chain),
    )


def _probabilities(mdp: TabularMDP, policy: Any, action_values: bool) -> FloatArray:
    """Return the probabilities `[num_states, num_actions]` of a policy in any of its forms."""
    check_model(mdp)
    shape = (mdp.num_states, mdp.num_actions)
    if action_values:
        values = np.asarray(policy, dtype=np.float64)
        if values.shape != shape or np.isnan(values).any():
            raise ValueError(
                f"evaluating a policy: expected action values of shape {list(shape)} without NaN, "
                f"got shape {list(values.shape)}"
            )
        return np.asarray(np.eye(mdp.num_actions)[values.argmax(axis=1)])
    if hasattr(policy, "policy_table"):
        policy = policy.policy_table()
    elif hasattr(policy, "probabilities"):
        policy = _of_actor(policy, shape)
    if hasattr(policy, "actor"):
        raise ValueError(
            "evaluating a policy: got a run, which has a policy for each seed; choose one, as in "
            "run.actor(0)"
        )
    if np.shape(policy) not in (shape, shape[:1]):
        raise ValueError(
            f"evaluating a policy: expected actions of shape [{shape[0]}] or probabilities of "
            f"shape {list(shape)}, got shape {list(np.shape(policy))}"
        )
    if np.shape(policy) == shape:  # a table of zeros and ones is no batch of actions
        policy = np.asarray(policy, dtype=np.float64)
    try:
        return policy_probabilities(mdp, policy)
    except ValueError as error:
        raise ValueError(
            f"{error}; if these are action values, pass action_values=True"
            if np.shape(policy) == shape
            else str(error)
        ) from error


def _of_actor(actor: StatePolicy, shape: tuple[int, int]) -> NDArray[Any]:
    table = np.asarray(actor.probabilities(np.arange(shape[0])[None]))
    if table.shape != (1, *shape):
        raise ValueError(
            f"evaluating a policy: expected the actor of one seed with probabilities of shape "
            f"{[1, *shape]} for all states, got {list(table.shape)}; choose a seed, as in "
            "run.actor(seed)"
        )
    return np.asarray(table[0])


def _limit(mdp: TabularMDP, horizon: int | str | None) -> int | None:
    if horizon == "auto":
        return mdp.time_limit
    if isinstance(horizon, str):
        raise ValueError(
            f'horizon: expected "auto", None or a number of steps >= 1, got {horizon!r}'
        )
    return None if horizon is None else check_limit(horizon)


def _success(mdp: TabularMDP, probabilities: FloatArray, visits: FloatArray) -> float | None:
    ends = mdp.terminated & (mdp.probability > 0)
    if not ends.any():
        return None
    rewarded = ends & (mdp.reward > 0)
    chosen = rewarded if rewarded.any() else ends
    by_row = np.add.reduceat(mdp.probability * chosen, mdp.row_start[:-1])
    in_state = (by_row.reshape(probabilities.shape) * probabilities).sum(axis=1)
    # Where no step succeeds, a state may be visited without end.
    return float((visits[in_state > 0] * in_state[in_state > 0]).sum())


def _long_run(chain: EpisodeChain) -> FloatArray | None:
    try:
        return long_run(chain)
    except NoFiniteReturn:
        return None
