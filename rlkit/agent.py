"""The Agent contract: what the loop asks of anything that learns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.seeding import SeedStreams

if TYPE_CHECKING:
    from rlkit.tabular.mdp import TabularMDP

Array = NDArray[Any]

# What changes in an agent or an environment. `state[name][s]` is the part of seed s: an entry is an
# array with a leading seed axis, or a list with one array a seed where their lengths differ. So any
# set of seeds can be cut out of a state, joined with others and continued.
State = dict[str, "Array | list[Array]"]


@dataclass(frozen=True)
class Task:
    """What an agent is built for.

    Args:
        observation_space: of one environment.
        action_space: of one environment.
        streams: the random streams of each seed; S is their number.
        num_envs: N, the environments of each seed.
        num_env_steps: the budget of one seed, in environment interactions; for schedules only.
        mdp: the model of the environment where it is known; for planners only.
    """

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    streams: tuple[SeedStreams, ...]
    num_envs: int
    num_env_steps: int
    mdp: TabularMDP | None = None

    @property
    def num_seeds(self) -> int:
        """S."""
        return len(self.streams)


class Transition(NamedTuple):
    """One step of every environment; every array starts with [S, N]."""

    obs: Array
    action: Array
    reward: Array
    terminated: Array
    truncated: Array
    next_obs: Array  # the true successor of obs, also where the episode ended
    following_obs: Array  # what is acted on next; the first of a new episode where one ended


class Actor(Protocol):
    """A policy at one moment, detached from training: acting changes nothing in the agent."""

    def act(self, obs: Array) -> Array:
        """Return actions [S, M, ...] for observations [S, M, ...] with any M."""


class Agent(Protocol):
    """Something that acts in S * N environments at once and learns from what happens.

    An agent decides by itself when it updates. `learn` returns the metrics of the updates it made,
    each an array [S]; most calls return an empty mapping. The names that it may return are listed
    in the class attribute `metrics`.
    """

    def act(self, obs: Array) -> Array:
        """Return exploring actions [S, N, ...] for observations [S, N, ...]."""

    def learn(self, transition: Transition) -> Mapping[str, Array]:
        """Take in what followed the last `act`."""

    def actor(self, *, greedy: bool = True) -> Actor:
        """Return the current policy as an object of its own, greedy or as it explores."""

    def state_dict(self) -> State:
        """Return everything that changes; each entry has a leading seed axis."""

    def load_state_dict(self, state: State) -> None:
        """Continue from a state that `state_dict` returned."""
