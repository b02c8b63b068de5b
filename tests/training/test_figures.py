"""The lines to compare learning curves with."""

import pytest

from rlkit.environments.resolve import find_environment
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.reading.model import Model
from rlkit.training.references import optimum, random_return, references


def test_without_a_time_limit_the_lines_are_those_of_whole_episodes() -> None:
    cliff = find_environment("CliffWalking-v1")
    assert optimum(cliff) == pytest.approx(-13, abs=1e-9)
    # By a dense linear solve, see tests/tabular/test_returns.py.
    assert random_return(cliff) == pytest.approx(-65_375, abs=0.5)
    # Twenty steps are enough for the 13 of the best way, and random play pays for all of them.
    limited = find_environment("CliffWalking-v1", {"max_episode_steps": 20})
    assert optimum(limited) == pytest.approx(-13, abs=1e-9)
    random = random_return(limited)
    assert random is not None
    assert -2000 < random < -20


def test_where_no_finite_optimum_exists_no_line_is_drawn() -> None:
    environment = find_environment("CliffWalking-v1")
    forever = TabularMDP.from_successors([[[(1.0, 0, 1.0, False)]]], initial_distribution=[1.0])
    environment = environment.with_model(Model(forever, None))
    assert optimum(environment) is None
    assert random_return(environment) == 1000  # of the first 1,000 steps
    assert references(environment) == [("random", 1000.0)]
