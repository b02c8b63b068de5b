"""The contract of agents: what the loop and a run ask of them.

`Agent` and `Actor` list what every agent and actor must have. `AgentTraits` and `ActorTraits` list
the members that they may have, and are the only place that looks for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.nn.demonstrations import Demonstrations
from rlkit.nn.reference import ReferencePolicy
from rlkit.seeding import SeedStreams

if TYPE_CHECKING:
    from rlkit.tabular.mdp import TabularMDP

Array = NDArray[Any]

# Everything that changes in an agent or an environment. `state[name][s]` belongs to seed s: an
# entry is an array with a leading seed axis, or a list with one array per seed where their lengths
# differ. So any set of seeds can be taken from a state, joined with others and continued.
State = dict[str, "Array | list[Array]"]


@dataclass(frozen=True)
class Task:
    """What an agent is built for: the spaces, the seeds and the budget.

    Args:
        observation_space: of one environment.
        action_space: of one environment.
        streams: the random streams of each seed; S is their number.
        num_envs: N, the environments of each seed.
        num_env_steps: the budget of each seed, in environment interactions; for schedules only.
        mdp: the model of the environment where it is known; for planners only.
        evaluated: whether the policy is evaluated beside its training; for remarks only.
        action_masks: whether `act` and `learn` are called with action masks.
        reference: the policy to stay near; for agents with `takes_reference` only.
        init: the policy to start from; for agents with `takes_init` only.
        demonstrations: what to imitate; for agents with `takes_demonstrations` only.
        planned_seeds: the seeds of the whole run, or 0 where that is not known; for estimates of
            memory only.
    """

    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    streams: tuple[SeedStreams, ...]
    num_envs: int
    num_env_steps: int
    mdp: TabularMDP | None = None
    evaluated: bool = True
    action_masks: bool = False
    planned_seeds: int = 0
    reference: ReferencePolicy | None = None
    init: ReferencePolicy | None = None
    demonstrations: Demonstrations | None = None

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
    following_obs: Array  # to act on next; the first of a new episode where one ended


class ActionMasks(NamedTuple):
    """Which actions were allowed around a transition, bool [S, N, choices].

    They are the second argument of `learn` where a run uses masks. See
    `rlkit.environments.views.masks` for their order.
    """

    obs: Array  # where the action was chosen
    next_obs: Array  # in the true successor; all True where the episode terminated


class Actor(Protocol):
    """A policy at one moment: acting changes nothing in the agent that it comes from."""

    def act(self, obs: Array) -> Array:
        """Return actions [S, M, ...] for observations [S, M, ...] with any M."""


class Agent(Protocol):
    """Acts in S * N environments at once and learns from what happens.

    An agent decides by itself when it updates. `learn` returns the metrics of the updates it made,
    each an array [S]; most calls return an empty mapping. The class lists the names of its metrics
    in `metrics`, which with other optional members is described by `AgentTraits`.
    """

    def act(self, obs: Array) -> Array:
        """Return exploring actions [S, N, ...] for observations [S, N, ...]."""

    def learn(self, transition: Transition) -> Mapping[str, Array]:
        """Take in the transition that followed the last `act`."""

    def actor(self, *, greedy: bool = True) -> Actor:
        """Return a copy of the current policy, greedy or exploring."""

    def state_dict(self) -> State:
        """Return everything that changes; each entry has a leading seed axis."""

    def load_state_dict(self, state: State) -> None:
        """Continue from a state that `state_dict` returned."""


@dataclass(frozen=True, kw_only=True)
class _Traits:
    """Optional members, each with the value that stands for one that is absent."""

    @classmethod
    def of(cls, owner: object) -> Self:
        """Return the members that `owner` has, and the defaults of the others."""
        return cls(
            **{field.name: getattr(owner, field.name, field.default) for field in fields(cls)}
        )


@dataclass(frozen=True, kw_only=True)
class AgentTraits(_Traits):
    """The optional members of an agent's class.

    Args:
        Config: a frozen, keyword-only dataclass: the options. The class is then called with a task
            and a config, otherwise with a task only.
        metrics: the names that `learn` may return.
        last_value_metrics: those of which a row has the last value, not the mean.
        default_num_envs: N where the user gives none.
        depends_on_total_steps: (config) -> whether a longer run differs from the start, because a
            schedule spans the run.
        takes_action_masks: whether `act(obs, action_masks)`, also of actors, and `learn(transition,
            action_masks)` take the masks of environments, bool [S, N, choices] and `ActionMasks`.
        takes_reference: whether it can be kept near the task's reference policy; its Config then
            has the options of `PenaltyOptions`.
        takes_init: whether the option `init` of its Config can be the folder of a run, whose policy
            it then starts from.
        takes_demonstrations: whether it learns from the task's demonstrations, and needs them.
        needs_discrete_observations: whether it keeps a table, so that observations of a Box must be
            divided into bins for it.
        needs_discrete_actions: whether combinations of discrete actions are numbered for it, so
            that its action space is Discrete.
        knows_rewards: whether it reads the environment's rewards off its model, so that it cannot
            learn from others.
        identified: (config) -> the same with the sha256 of each file that its options name, so
            that other contents are another configuration.
        remarks: (task, config) -> sentences about how the agent fits the environment.
        why_no_update: (task, config) -> what an update needs, for a seed that ended without one.
    """

    Config: type[Any] | None = None
    metrics: tuple[str, ...] = ()
    last_value_metrics: tuple[str, ...] = ()
    default_num_envs: int = 1
    depends_on_total_steps: Callable[[Any], bool] = lambda config: False
    takes_action_masks: bool = False
    takes_reference: bool = False
    takes_init: bool = False
    takes_demonstrations: bool = False
    needs_discrete_observations: bool = False
    needs_discrete_actions: bool = False
    knows_rewards: bool = False
    identified: Callable[[Any], Any] = lambda config: config
    remarks: Callable[[Task, Any], Sequence[str]] = lambda task, config: ()
    why_no_update: Callable[[Task, Any], str] = lambda task, config: ""


@dataclass(frozen=True, kw_only=True)
class ActorTraits(_Traits):
    """The optional methods of an actor; None where it has none.

    Args:
        restart: (*part) restarts its random streams; each part of an evaluation has its own.
        probabilities: (obs [S, M]) -> the probability of each action, [S, M, A].
        value: (obs) -> the value of each state, [S, M].
        action_values: (obs) -> the value of each action, [S, M, A].
        reward: (obs [S, M], actions [S, M]) -> the learned reward that the policy was trained on,
            [S, M].
    """

    restart: Callable[..., None] | None = None
    probabilities: Callable[[Array], Array] | None = None
    value: Callable[[Array], Array] | None = None
    action_values: Callable[[Array], Array] | None = None
    reward: Callable[[Array, Array], Array] | None = None


class ConfiguredAgent(Agent, Protocol):
    """An agent whose class has a Config and names its metrics, as all agents of rlkit do."""

    Config: ClassVar[Any]
    metrics: ClassVar[tuple[str, ...]]
    default_num_envs: ClassVar[int]

    def __init__(self, task: Task, config: Any) -> None: ...

    @staticmethod
    def depends_on_total_steps(config: Any) -> bool:
        """Return whether a longer run differs from the start."""
