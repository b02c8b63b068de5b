"""Common parts of the agents for bandits: what they fit, and which environments share a belief."""

from __future__ import annotations

from typing import Any, Literal

from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agent import Task
from rlkit.agents.tabular.tables import require_tabular
from rlkit.errors import UsageError

Array = NDArray[Any]
Bandits = Literal["auto", "new", "same"]


def require_bandit(agent: str, task: Task) -> int:
    """Return the number of arms.

    Raises:
        UsageError: observations or actions are not discrete, or there is more than one observation.
    """
    space = task.observation_space
    if not isinstance(space, spaces.Discrete) or space.n != 1:
        raise UsageError(
            f"{agent} is for bandits, which have one observation, but the observations are "
            f"{space}. Use q-learning, psrl or ppo there."
        )
    return require_tabular(agent, task)[1]


def remarks_on_evaluation(agent: str, task: Task) -> list[str]:
    """Return a sentence on evaluation where each episode may be another bandit."""
    if task.mdp is not None or not task.evaluated:
        return []
    return [
        f"{agent} learns within an episode, and an evaluated policy does not: eval_return is that "
        "of the arm that looks best now, in other episodes. If each episode is another bandit, "
        "use evaluation_episodes=0, so that the score is train_return"
    ]


class Grouping:
    """Which environments of a seed share what was observed.

    If each episode is another bandit, every environment has a group of its own, and what it
    observed is forgotten when its episode ends. Otherwise all share one group that is never reset.

    Args:
        task: its model is known where all episodes are the same bandit, for "auto".
        bandits: "new" in each episode, "same" in all, or "auto".
    """

    def __init__(self, task: Task, bandits: Bandits) -> None:
        self.forgets = bandits == "new" or (bandits == "auto" and task.mdp is None)
        self.num_groups = task.num_envs if self.forgets else 1

    def of(self, n: int) -> int:
        """Return the group of environment n."""
        return n % self.num_groups

    def forget(self, ended: Array, *counts: Array) -> None:
        """Set the entries `[S, groups, ...]` of episodes that ended, `[S, N]`, to 0."""
        if self.forgets and ended.any():
            for each in counts:
                each[ended] = 0
