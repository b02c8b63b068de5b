"""The class around the kernels of a learner of tables.

A learner is written once, as two kernels of one seed. The compiled loop composes them with the
environment's step, and `TableLearner` calls them seed by seed, so both loops give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import ActionMasks, State, Task, Transition
from rlkit.agents.compiled import Kernels, single_steps
from rlkit.agents.memory import require_room
from rlkit.agents.tabular.learning.config import TableConfig
from rlkit.agents.tabular.learning.masks import masked
from rlkit.agents.tabular.learning.updates import StepSizes, StepSizeTable, Table
from rlkit.agents.tabular.tables import Exploration, TableActor, require_tabular
from rlkit.environments.table_kernels import Outcome
from rlkit.errors import UsageError
from rlkit.seeding import NoiseBlocks, uniform_rows

Array = NDArray[Any]
MOST_BYTES = 1 << 29  # of a history in the compiled loop, which takes many steps at once


class TableLearner:
    """What the learners of tables share, for all seeds.

    A learner lists its `kernels` and makes the state that they work on from a `Table`. Its entries
    are all arrays [S, ...] that change; those that begin with an underscore can be made from the
    others and are not stored.
    """

    name: ClassVar[str]
    kernels: ClassVar[Kernels]
    Config: ClassVar[Any] = TableConfig
    metrics = ("epsilon", "td_error")
    default_num_envs = 1
    takes_action_masks = True
    needs_discrete_observations = True
    needs_discrete_actions = True

    @staticmethod
    def depends_on_total_steps(config: Any) -> bool:
        """Return False: the schedules have lengths of their own."""
        return False

    def __init__(self, task: Task, config: Any) -> None:
        self._num_states, self._num_actions = require_tabular(self.name, task)
        self._task, self._config = task, config
        require_room(self.name, task, 8 * self._numbers_per_seed())
        self._entries = self._initial_entries()
        self._step_sizes = StepSizeTable(config)
        self._singly = single_steps(masked(self.kernels) if task.action_masks else self.kernels)
        self._states: list[Any] = []  # of the kernels in the ordinary loop
        self._made: dict[int, tuple[StepSizes, Any]] = {}  # states by seed, to be used again
        self._steps_left = 0  # for which these states are large enough
        if task.action_masks and not self.takes_action_masks:
            raise UsageError(f"{self.name} takes no action masks")
        grid = (task.num_seeds, task.num_envs) if task.action_masks else (task.num_seeds, 0)
        # Of the observations and of their successors; views of them are part of the states.
        self._masks = np.zeros((2, *grid, self._num_actions), dtype=np.bool_)
        self.noise = NoiseBlocks(
            [stream.generator("action") for stream in task.streams],
            uniform_rows(self._noise_rows(), task.num_envs),
            block_length=256,
        )

    @property
    def _pair_shape(self) -> tuple[int, int, int]:
        """Return [S, N, pairs]."""
        task = self._task
        return task.num_seeds, task.num_envs, self._num_states * self._num_actions

    # --- what a learner may add ---

    def _noise_rows(self) -> int:
        """Return how many numbers a step needs per environment: at least `explore`'s two."""
        return 2

    def _numbers_per_seed(self) -> int:
        """Return about how many numbers a seed needs: its tables, those of its actor, and noise."""
        num_envs, pairs = self._pair_shape[1:]
        traced = 2 * num_envs if getattr(self._config, "trace_decay", 0.0) > 0.0 else 0
        return (3 + traced) * pairs + 256 * self._noise_rows() * num_envs

    def _initial_entries(self) -> dict[str, Array]:
        """Return the arrays at the start."""
        table = (self._task.num_seeds, self._num_states, self._num_actions)
        return {
            "q": np.full(table, self._config.initial_value),
            "visits": np.zeros(table, dtype=np.int64),
            "num_env_steps": np.zeros(self._task.num_seeds, dtype=np.int64),
        }

    def _kernel_state(self, s: int, table: Table) -> Any:
        """Return the state of the kernels for seed s."""
        raise NotImplementedError

    def _num_waiting(self, s: int) -> int:
        """Return a bound on the steps of seed s that were taken and are not yet learned from."""
        return 0

    def _num_bytes(self, num_steps: int) -> int:
        """Return the memory that arrays must have that grow with the steps of an episode."""
        return 0

    def _make_room(self, num_steps: int) -> None:
        """Enlarge such arrays for this many more steps, and forget the states with the old ones."""

    def _derive(self) -> None:
        """Make the entries that are not stored, after the others were loaded."""

    def _action_values(self) -> Array:
        """Return the table that is acted on, [S, states, actions]."""
        return self._entries["q"]

    # --- the agent ---

    @property
    def epsilon(self) -> float:
        """The probability of a random action after the environment steps of a seed so far."""
        return self._level(self._epsilon_schedule())

    def _level(self, exploration: Exploration) -> float:
        progress = min(1.0, int(self._entries["num_env_steps"][0]) / exploration.steps)
        return exploration.start + progress * (exploration.end - exploration.start)

    def _epsilon_schedule(self) -> Exploration:
        c = self._config
        return Exploration(False, c.epsilon_start, c.epsilon_end, c.epsilon_steps)

    def _temperature_schedule(self) -> Exploration:
        c = self._config
        return Exploration(True, c.temperature_start, c.temperature_end, c.temperature_steps)

    def act(self, obs: Array, action_masks: Array | None = None) -> Array:
        if action_masks is not None:
            self._masks[0] = action_masks
        obs, noise = np.ascontiguousarray(obs, dtype=np.int64), self.noise.next()
        actions = np.empty(obs.shape, dtype=np.int64)
        for arguments in zip(self._ready(), obs, noise, actions, strict=True):
            self._singly.act(*arguments)
        return actions

    def learn(
        self, transition: Transition, action_masks: ActionMasks | None = None
    ) -> Mapping[str, Array]:
        if action_masks is not None:
            self._masks[:] = action_masks
        obs = np.ascontiguousarray(transition.obs, dtype=np.int64)
        action = np.ascontiguousarray(transition.action, dtype=np.int64)
        outcomes = zip(
            np.ascontiguousarray(transition.reward, dtype=np.float64),
            np.ascontiguousarray(transition.terminated, dtype=np.bool_),
            np.ascontiguousarray(transition.truncated, dtype=np.bool_),
            np.ascontiguousarray(transition.next_obs, dtype=np.int64),
            strict=True,
        )
        metrics = np.empty((len(obs), len(self.metrics)))
        columns = self._ready(), obs, action, outcomes, metrics
        for state, own_obs, own_action, outcome, own_metrics in zip(*columns, strict=True):
            self._singly.learn(state, own_obs, own_action, Outcome(*outcome), own_metrics)
        self._steps_left -= 1
        return dict(zip(self.metrics, metrics.T.copy(), strict=True))

    def _ready(self) -> Sequence[Any]:
        """Return the states of all seeds, large enough for one more step."""
        if self._steps_left < 1:
            self._steps_left = 256
            self._make_room(self._steps_left)
            self._states = [
                self._state_for(s, self._most_visits(s, self._steps_left))
                for s in range(self._task.num_seeds)
            ]
        return self._states

    def actor(self, *, greedy: bool = True) -> TableActor:
        q, streams = self._action_values().copy(), self._task.streams
        if greedy or self._config.exploration == "epsilon-greedy":
            return TableActor(q, 0.0 if greedy else self.epsilon, streams)
        temperature = self._level(self._temperature_schedule())
        return TableActor(q, 0.0, streams, temperature=temperature)

    def state_dict(self) -> State:
        stored = {name: self._entries[name].copy() for name in self._stored()}
        return {**stored, "noise": self.noise.state()}

    def load_state_dict(self, state: State) -> None:
        for name in self._stored():
            self._entries[name][...] = state[name]
        self.noise.load(np.asarray(state["noise"]))
        self._derive()
        self._steps_left = 0

    def _stored(self) -> list[str]:
        return [name for name in self._entries if not name.startswith("_")]

    # --- the compiled loop ---

    def kernel_state(self, s: int, num_steps: int) -> Any | None:
        """Return the state of one seed for the compiled loop; its arrays are views.

        None where its arrays would be too large.
        """
        most = self._most_visits(s, num_steps)
        self._steps_left = 0  # larger arrays may take the place of those of the ordinary loop
        if self._num_bytes(num_steps) > MOST_BYTES:
            return None
        self._make_room(num_steps)
        return self._state_for(s, most)

    def _most_visits(self, s: int, num_steps: int) -> int:
        """Return a bound on the visits of any pair after this many steps of each environment.

        It is 0 where no step size depends on them.
        """
        if not self._step_sizes.by_visits:
            return 0
        visits = int(self._entries["visits"][s].max())
        return visits + self._num_waiting(s) + num_steps * self._task.num_envs

    def _state_for(self, s: int, most_visits: int) -> Any:
        """Return the state of the kernels for seed s, which is the same until its arrays are."""
        step_sizes = self._step_sizes.up_to(most_visits)
        made_with, state = self._made.get(s, (None, None))
        if made_with is not step_sizes:
            state = self._kernel_state(s, self._table(s, step_sizes))
            self._made[s] = step_sizes, state
        return state

    def _table(self, s: int, step_sizes: StepSizes) -> Table:
        boltzmann = self._config.exploration == "boltzmann"
        return Table(
            q=self._action_values()[s],
            visits=self._entries["visits"][s],
            num_env_steps=self._entries["num_env_steps"][s : s + 1],
            discount=self._config.discount,
            step_sizes=step_sizes,
            exploration=self._temperature_schedule() if boltzmann else self._epsilon_schedule(),
            masks=self._masks[0, s],
            next_masks=self._masks[1, s],
        )
