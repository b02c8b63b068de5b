"""PPO on a reward that is learned from preferences (Christiano et al. 2017, arXiv 1706.03741).

1. Act with the current policy and record the latest steps.
2. At the start of a round, draw pairs of segments from these steps and ask the labeller which of
   the two is better.
3. Fit an ensemble of rewards r(o, a) to all preferences so far by binary cross-entropy:
   P(first > second) = sigmoid(sum_t r(o_t, a_t) - sum_t r(o'_t, a'_t)).
4. Train the policy with PPO on r in place of the environment's reward, until the next round.

After the last round the reward stays as it is. Before the first the policy acts as it was drawn,
nearly at random. The environment's reward is seen by the labeller only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import ActionMasks, Actor, State, Task, Transition
from rlkit.agents.networks import NetworkActor
from rlkit.agents.ppo import PPO, PPOConfig
from rlkit.agents.preferences.labellers import Labeller, agreement, bayes_ceiling
from rlkit.agents.preferences.naming import (
    identified,
    is_person,
    make_labeller,
    require_digest,
    require_labeller,
    split_digest,
    with_digest,
)
from rlkit.agents.preferences.reward_model import RewardEnsemble, RewardOptions
from rlkit.agents.preferences.segments import Recorder
from rlkit.agents.preferences.store import (
    Preferences,
    Store,
    from_arrays,
    new_preferences,
    read_lines,
    stacked,
)
from rlkit.environments.views.actions import ActionLayout
from rlkit.errors import RewardFault, UsageError
from rlkit.options import require_range, require_types, require_whole

Array = NDArray[Any]

STORE_PREFIX = "preferences/"  # of what is stored of them in the state of the agent


@dataclass(frozen=True, kw_only=True)
class PreferencePPOConfig(PPOConfig):
    """Options of PPO on a learned reward, and of learning it."""

    labeller: str = "truth"  # truth, FILE.py:function, or person: you, on a page of your browser
    # of truth: P(first preferred) = sigmoid(rationality x difference of returns), >= 0
    rationality: float = 1.0
    num_preferences: int = 500  # labels per seed that are asked for, over all rounds, >= 0
    num_rounds: int = 4  # in which they are asked for, >= 1
    # environment steps per seed from round to round, rounded up to whole rollouts, >= 1
    steps_per_round: int = 10_000
    segment_length: int = 25  # steps, >= 1
    # environment steps per seed that the first round waits for, and from the latest of which
    # segments are drawn, >= 1
    collect_steps: int = 4096
    # a file of preferences that are known from the start, as runs write them; None = none
    preferences: str | None = None
    held_out_share: float = 0.2  # of each round's preferences, kept for measuring, in [0, 1)
    ensemble_size: int = 3  # networks whose mean is the learned reward, >= 1
    reward_hidden_sizes: tuple[int, ...] = (32, 32)  # widths of their layers
    reward_learning_rate: float = 0.03  # of AdamW, > 0
    reward_weight_decay: float = 3.0  # lambda of AdamW, >= 0; bounds weights by about 1 / lambda
    reward_epochs: int = 15  # passes over the preferences per round; the best is kept, >= 1
    reward_minibatch_size: int = 32  # pairs per gradient step, >= 1

    def __post_init__(self) -> None:
        if callable(self.labeller):
            raise UsageError(
                "option labeller (--labeller): a function is named by its file, path/to/file.py:"
                f"function, from which a run can be continued; got the object {self.labeller!r:.80}"
            )
        super().__post_init__()
        require_range(self, "rationality", "reward_weight_decay", low=0)
        require_whole(self, "num_preferences", at_least=0)
        require_whole(self, "num_rounds", "steps_per_round", at_least=1)
        require_whole(self, "segment_length", "collect_steps", at_least=1)
        require_whole(self, "ensemble_size", "reward_epochs", "reward_minibatch_size", at_least=1)
        require_whole(self, "reward_hidden_sizes", at_least=1)
        require_range(self, "held_out_share", low=0, high=1, open_high=True)
        require_range(self, "reward_learning_rate", low=0, open_low=True)
        require_types(self)
        if not self.num_preferences and self.preferences is None:
            raise UsageError(
                "num_preferences (--num-preferences) is 0, so preferences (--preferences) must "
                "name a file with some"
            )
        if 0 < self.num_preferences < self.num_rounds:
            raise UsageError(
                f"num_rounds (--num-rounds) is {self.num_rounds}, more than the "
                f"{self.num_preferences} of num_preferences (--num-preferences): each round asks "
                "for at least one"
            )
        require_labeller(self.labeller)

    @property
    def reward_options(self) -> RewardOptions:
        """The options of the ensemble."""
        return RewardOptions(
            ensemble_size=self.ensemble_size,
            hidden_sizes=self.reward_hidden_sizes,
            learning_rate=self.reward_learning_rate,
            weight_decay=self.reward_weight_decay,
            num_epochs=self.reward_epochs,
            minibatch_size=self.reward_minibatch_size,
        )


class PreferencePPO:
    """PPO on a learned reward, for all seeds; the module's docstring has the numbered steps."""

    Config = PreferencePPOConfig
    # Of the latest round, also where several are between two rows.
    last_value_metrics = ("num_preferences", "reward_loss", "held_out_accuracy", "bayes_accuracy")
    own_metrics = ("learned_return", *last_value_metrics)
    metrics: tuple[str, ...] = (*PPO.metrics, *own_metrics)
    default_num_envs = PPO.default_num_envs
    takes_action_masks = True
    takes_reference = True
    takes_init = True

    @staticmethod
    def identified(config: PreferencePPOConfig) -> PreferencePPOConfig:
        """Return the options with the sums of the files of labeller and preferences."""
        labeller, preferences = identified(config.labeller), config.preferences
        if preferences is not None:
            preferences = with_digest(preferences, "option preferences (--preferences)")
        return dataclasses.replace(config, labeller=labeller, preferences=preferences)

    depends_on_total_steps = staticmethod(PPO.depends_on_total_steps)

    @staticmethod
    def remarks(task: Task, config: PreferencePPOConfig) -> list[str]:
        """Return remarks where the run is too short for its rounds, and those of PPO.

        Raises:
            UsageError: there is no such labeller; found out before anything is written.
        """
        make_labeller(config.labeller, config.rationality)
        num_steps = -(-task.num_env_steps // task.num_envs)
        rounds = round_steps(config, task.num_envs)
        done = sum(step < num_steps for step in rounds)
        remarks = [*_work_of_person(config), *PPO.remarks(task, config)]
        if done == len(rounds):
            return remarks
        return [
            f"preference-ppo: {done} of {len(rounds)} rounds of questions fit into "
            f"{task.num_env_steps:,} steps per seed: the last begins after "
            f"{rounds[-1] * task.num_envs:,}. Train longer, or choose smaller collect_steps "
            "(--collect-steps) or steps_per_round (--steps-per-round)",
            *remarks,
        ]

    @staticmethod
    def why_no_update(task: Task, config: PreferencePPOConfig) -> str:
        """Return the steps that an update needs, for a seed that ended without one."""
        update = PPO.why_no_update(task, config)
        if not round_steps(config, task.num_envs)[0]:  # all preferences are known
            return update
        return (
            f"the first preferences are asked for after {config.collect_steps:,} steps "
            f"(collect_steps); then {update}"
        )

    def __init__(self, task: Task, config: PreferencePPOConfig) -> None:
        self._task, self._config = task, config
        self._rounds = round_steps(config, task.num_envs)
        collect = self._rounds[0]
        left = task.num_env_steps - collect * task.num_envs
        self._ppo = PPO(dataclasses.replace(task, num_env_steps=max(1, left)), config)
        self.metrics = (*self._ppo.metrics, *self.own_metrics)  # those of a reference among them
        self._layout = ActionLayout(task.action_space)
        spaces = (task.observation_space, self._layout)
        # Only a person sees how a segment ends; the checkpoints of other runs stay as they are.
        self._recorder = Recorder(
            *(task.num_seeds, task.num_envs, max(1, collect), *spaces),
            keep_ends=is_person(config.labeller),
        )
        self._store = Store(task.num_seeds, config.segment_length, *spaces)
        self._reward = RewardEnsemble(
            task.observation_space, task.action_space, task.num_seeds, config.reward_options
        )
        self._labeller: Labeller | None = None  # until it is needed
        self._num_rounds = 0  # that are done
        self._first_metrics: dict[str, Array] = {}  # of a round before the first step
        self._step = 0
        self._learned_returns = np.zeros((task.num_seeds, task.num_envs))  # of running episodes
        self._ended = np.zeros((task.num_seeds, 2))  # since the last update: episodes, returns

    def act(self, obs: Array, action_masks: Array | None = None) -> Array:
        if self._labeller is None and self._asks_again:
            space, config = self._task.observation_space, self._config
            self._labeller = make_labeller(config.labeller, config.rationality, space)
        if self._rounds[0] == self._num_rounds == 0:  # all preferences are known
            self._first_metrics = self._start_round()
        return self._ppo.act(obs, action_masks)

    def learn(
        self, transition: Transition, action_masks: ActionMasks | None = None
    ) -> Mapping[str, Array]:
        if self._asks_again:
            self._recorder.add(transition)
        self._step += 1
        metrics, self._first_metrics = self._first_metrics, {}
        if self._num_rounds:
            learned = self._reward(transition.obs, transition.action)
            self._count_returns(transition, learned)
            # 4. PPO on the learned reward; while there is none, the policy stays as it is.
            rewarded = transition._replace(reward=learned)
            metrics |= self._ppo.learn(rewarded, action_masks)
            if metrics:
                metrics["learned_return"] = self._mean_return()
        if self._asks_again and self._step == self._rounds[self._num_rounds]:
            metrics |= self._start_round()
        if metrics:
            metrics.setdefault("num_gradient_steps", np.zeros(self._task.num_seeds, dtype=np.int64))
        return metrics

    @property
    def _asks_again(self) -> bool:
        """Whether a round is still to come."""
        return self._num_rounds < len(self._rounds)

    def _start_round(self) -> dict[str, Array]:
        """Steps 2 and 3: ask for preferences, and fit the reward to all of them."""
        config, number = self._config, self._num_rounds
        streams = self._task.streams
        if number == 0 and config.preferences is not None:
            self._store.add(self._given(config.preferences))
        until = [n * config.num_preferences // config.num_rounds for n in (number, number + 1)]
        count = until[1] - until[0]
        if count:
            self._store.add(stacked([self._ask(s, number, count) for s in range(len(streams))]))
        known = self._store.known
        trained = ~known.held_out[0]  # the same places for all seeds
        used = known.at(np.s_[:, trained])
        loss = self._reward.fit(streams, number, used.pairs, used.preferred)
        self._num_rounds += 1
        return {
            "num_preferences": np.full(len(streams), known.preferred.shape[1], dtype=np.float64),
            "reward_loss": loss,
            **held_out_metrics(self._reward, known.at(np.s_[:, ~trained])),
        }

    def _ask(self, s: int, number: int, count: int) -> Preferences:
        """Step 2, for one seed."""
        assert self._labeller is not None
        config, stream = self._config, self._task.streams[s]
        rng = stream.generator("data", 0, number)
        try:
            pairs, ends = self._recorder.draw_with_ends(s, rng, count, config.segment_length)
            labels = self._labeller(pairs, stream.generator("data", 1, number), ends)
        except ValueError as error:
            message = f"preferences, round {number}: {error}"
            raise RewardFault(stream.index, message) from error
        return new_preferences(pairs, labels, number, config.held_out_share)

    def _given(self, preferences: str) -> Preferences:
        """Return the preferences of a file, for each seed."""
        file, digest = split_digest(preferences)
        wanted_by = "option preferences (--preferences)"
        require_digest(file, digest, wanted_by)
        spaces = (self._task.observation_space, self._layout)
        given = read_lines(Path(file), self._config.segment_length, *spaces)
        if given.held_out.all():
            raise UsageError(f"{wanted_by}: all preferences in {file} are held out")
        return stacked([given] * self._task.num_seeds)

    def _count_returns(self, transition: Transition, learned: Array) -> None:
        self._learned_returns += learned
        is_last = transition.terminated | transition.truncated
        self._ended[:, 0] += is_last.sum(axis=1)
        self._ended[:, 1] += np.where(is_last, self._learned_returns, 0.0).sum(axis=1)
        self._learned_returns[is_last] = 0.0

    def _mean_return(self) -> Array:
        """Return the mean learned return of the episodes since the last update; NaN of none."""
        number, total = self._ended.T
        mean: Array = np.where(number > 0, total / np.maximum(number, 1), np.nan)
        self._ended[:] = 0.0
        return mean

    def actor(self, *, greedy: bool = True) -> Actor:
        actor = self._ppo.actor(greedy=greedy)
        return RewardedActor(actor, self._reward.copy()) if self._num_rounds else actor

    def state_dict(self) -> State:
        num_seeds = self._task.num_seeds
        state: State = {
            "preference_step": np.full(num_seeds, self._step),
            "num_rounds": np.full(num_seeds, self._num_rounds),
            "learned_returns": self._learned_returns.copy(),
            "learned_ended": self._ended.copy(),
        }
        for prefix, part in self._parts:
            state |= {prefix + name: value for name, value in part.state_dict().items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._step = int(state["preference_step"][0])
        self._num_rounds = int(state["num_rounds"][0])
        self._learned_returns[...] = state["learned_returns"]
        self._ended[...] = state["learned_ended"]
        for prefix, part in self._parts:
            own = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
            part.load_state_dict(own)

    @property
    def _parts(self) -> tuple[tuple[str, PPO | Recorder | Store | RewardEnsemble], ...]:
        recorder = [("recorder/", self._recorder)] if self._asks_again else []
        return (
            ("ppo/", self._ppo),
            (STORE_PREFIX, self._store),
            ("reward/", self._reward),
            *recorder,
        )


def _work_of_person(config: PreferencePPOConfig) -> list[str]:
    """Return how many questions a person will be asked, if one is."""
    if not (is_person(config.labeller) and config.num_preferences):
        return []
    rounds = f"{config.num_rounds} round{'s' * (config.num_rounds > 1)}"
    return [
        f"preference-ppo: you will be asked {config.num_preferences:,} questions per seed, in "
        f"{rounds}; fewer with num_preferences (--num-preferences) and seeds (--seeds)"
    ]


def round_steps(config: PreferencePPOConfig, num_envs: int) -> list[int]:
    """Return the steps of each environment after which the rounds start.

    The first comes after `collect_steps`, or at once if all preferences are known from the start;
    the others follow at whole rollouts of PPO.
    """
    if not config.num_preferences:
        return [0]
    first = -(-config.collect_steps // num_envs)
    rollouts = -(-config.steps_per_round // (num_envs * config.rollout_length))
    return [
        first + number * rollouts * config.rollout_length for number in range(config.num_rounds)
    ]


def stored_preferences(state: Mapping[str, Array]) -> Preferences:
    """Return the preferences of one seed from the state of its agent, without the seed axis."""
    return from_arrays(
        {
            name.removeprefix(STORE_PREFIX): np.asarray(value)
            for name, value in state.items()
            if name.startswith(STORE_PREFIX)
        }
    )


def held_out_metrics(reward: RewardEnsemble, held_out: Preferences) -> dict[str, Array]:
    """Return the accuracy on preferences [S, P] and that of the best prediction, each [S]."""
    num_seeds, count = held_out.preferred.shape
    if not count:
        unknown = np.full(num_seeds, np.nan)
        return {"held_out_accuracy": unknown, "bayes_accuracy": unknown.copy()}
    returns = reward.returns(held_out.pairs)
    agreed = agreement(returns[..., 0] - returns[..., 1], held_out.preferred)
    ceilings = [bayes_ceiling(own).accuracy for own in held_out.probability]
    return {"held_out_accuracy": agreed.mean(axis=1), "bayes_accuracy": np.array(ceilings)}


class RewardedActor:
    """A policy at one moment, with the learned reward of that moment.

    Args:
        actor: the policy.
        reward: (obs [S, M], actions [S, M]) -> the learned rewards, [S, M].
    """

    def __init__(self, actor: NetworkActor, reward: RewardEnsemble) -> None:
        self._actor = actor
        self.reward = reward
        self.act, self.restart = actor.act, actor.restart
        self.probabilities, self.value = actor.probabilities, actor.value
        self.arrays = actor.arrays
