"""REINFORCE: the Monte-Carlo policy gradient (Williams 1992; Sutton and Barto 2018, section 13.3).

For each seed:

1. Play whole episodes with the current policy, the same number in each of its N environments.
   With N > 1, what an environment plays while it waits for the others is not learned from:
   learning from whatever ends first would prefer short episodes.
2. Returns G_t = R_{t+1} + gamma R_{t+2} + ... to the end of each episode. An episode that was cut
   adds gamma^k b(s) of its last state if there is a baseline b, and nothing otherwise.
3. Advantages A_t = G_t - b(s_t), standardised over the batch if asked.
4. One step up the gradient E[ grad log pi(a_t|s_t) A_t ] + c_e grad H.
5. Some steps of Adam on E[(b(s_t) - G_t)^2 / 2] for the baseline.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.agent import State, Task, Transition
from rlkit.agents.policy import (
    Features,
    NetworkActor,
    action_range_remarks,
    init_policy,
    init_value,
    make_head,
)
from rlkit.errors import Diverged, UsageError
from rlkit.maths.losses import policy_gradient_loss, value_loss
from rlkit.maths.returns import monte_carlo_returns, standardise
from rlkit.nn.layers import mlp
from rlkit.nn.optimisers import Adam, clip_gradient_norm, make_optimiser
from rlkit.nn.parameters import Parameters
from rlkit.options import require_choice, require_range, require_types, require_whole
from rlkit.seeding import NoiseBlocks

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig:
    """Options of REINFORCE."""

    episodes_per_update: int = 8  # of one seed; a multiple of the number of its environments
    discount: float = 0.99  # gamma, in [0, 1]
    optimiser: Literal["adam", "sgd"] = "adam"  # of the policy; sgd is plain gradient ascent
    learning_rate: float = 5e-3  # of the policy, > 0
    learning_rate_schedule: Literal["constant", "linear"] = "constant"  # linear: to 0 at the end
    baseline: bool = True  # learn b(s) and subtract it
    baseline_learning_rate: float = 5e-3  # of Adam, > 0
    baseline_steps: int = 10  # gradient steps of the baseline an update, >= 1
    entropy_coef: float = 0.0  # c_e, >= 0
    max_gradient_norm: float = 0.5  # of the policy, > 0
    standardise_advantages: bool = True  # over the batch of an update
    hidden_sizes: tuple[int, ...] = (64, 64)  # of the policy and of the baseline
    activation: Literal["tanh", "relu"] = "tanh"
    init: Literal["orthogonal", "xavier"] = "orthogonal"

    def __post_init__(self) -> None:
        require_whole(self, "episodes_per_update", "baseline_steps", "hidden_sizes", at_least=1)
        require_range(self, "discount", low=0, high=1)
        require_range(
            self,
            *("learning_rate", "baseline_learning_rate", "max_gradient_norm"),
            low=0,
            open_low=True,
        )
        require_range(self, "entropy_coef", low=0)
        require_choice(self, "optimiser", among=Literal["adam", "sgd"])
        require_choice(self, "learning_rate_schedule", among=Literal["constant", "linear"])
        require_choice(self, "activation", among=Literal["tanh", "relu"])
        require_choice(self, "init", among=Literal["orthogonal", "xavier"])
        require_types(self)


class Reinforce:
    """The agent; see the module's docstring for the numbered steps."""

    Config = ReinforceConfig
    metrics = (
        "policy_loss",
        "baseline_loss",
        "entropy",
        "gradient_norm",
        "batch_size",
        "learning_rate",
    )
    default_num_envs = 1

    @staticmethod
    def depends_on_total_steps(config: ReinforceConfig) -> bool:
        """Whether a longer run differs from the start, because a schedule spans the run."""
        return config.learning_rate_schedule == "linear"

    @staticmethod
    def remarks(task: Task, config: ReinforceConfig) -> list[str]:
        """Return sentences about how the agent fits the environment."""
        return action_range_remarks("reinforce", task.action_space)

    @staticmethod
    def why_no_update(task: Task, config: ReinforceConfig) -> str:
        """Return what an update needs, for a seed that ended without one."""
        each = config.episodes_per_update // task.num_envs
        share = f", {each:,} in each of {task.num_envs:,} environments" if task.num_envs > 1 else ""
        return (
            f"an update takes {config.episodes_per_update:,} whole episodes per seed "
            f"(episodes_per_update{share}), and not as many ended"
        )

    def __init__(self, task: Task, config: ReinforceConfig) -> None:
        if config.episodes_per_update % task.num_envs:
            raise UsageError(
                f"option episodes_per_update: expected a multiple of the {task.num_envs} "
                f"environments of a seed, got {config.episodes_per_update}"
            )
        self._task, self._config = task, config
        num_seeds, num_envs = task.num_seeds, task.num_envs
        self._quota = config.episodes_per_update // num_envs
        self._features = Features(task.observation_space, num_seeds, normalise=False)
        self._head = make_head(task.action_space)
        sizes = (config.hidden_sizes, config.init)
        generators = [stream.generator("init") for stream in task.streams]
        self._policy = Parameters(
            init_policy(rng, self._features.size, self._head, *sizes) for rng in generators
        )
        self._baseline = Parameters(
            init_value(rng, self._features.size, *sizes) for rng in generators
        )
        # Seeds finish their batches at different times, so each is updated by itself.
        self._policies = [self._policy.row(s) for s in range(num_seeds)]
        self._baselines = [self._baseline.row(s) for s in range(num_seeds)]
        self._optimisers = [make_optimiser(config.optimiser, p.matrix) for p in self._policies]
        self._adams = [Adam(p.matrix) for p in self._baselines]
        self._noise = NoiseBlocks(
            [stream.generator("action") for stream in task.streams],
            functools.partial(self._head.noise, num_envs=num_envs),
            block_length=256,
        )
        # Transitions since the oldest one that may still be learned from; `_first` is its time.
        self._history: list[Transition] = []
        self._first = 0
        self._time = 0
        # For each environment, the times at which the episodes of its batch begin and end; an
        # episode that was running during an update is of two policies and does not count.
        self._begins: list[list[list[int]]] = [[[0] for _ in range(num_envs)] for _ in task.streams]
        self._ends: list[list[list[int]]] = [[[] for _ in range(num_envs)] for _ in task.streams]

    @torch.no_grad()
    def act(self, obs: Array) -> Array:
        outputs = mlp(
            self._features(obs), self._policy["policy"], activation=self._config.activation
        )
        noise = torch.from_numpy(self._noise.next())
        actions: Array = self._head.sample(outputs, self._policy["extra"], noise).numpy()
        return actions

    def learn(self, transition: Transition) -> Mapping[str, Array]:
        self._history.append(transition)
        now, self._time = self._time, self._time + 1
        is_last = transition.terminated | transition.truncated
        if not is_last.any():
            return {}
        for s, n in np.argwhere(is_last):
            begins, ends = self._begins[s][n], self._ends[s][n]
            if len(ends) < len(begins):
                ends.append(now)
            if len(ends) < self._quota:
                begins.append(now + 1)
        ready = [
            int(s)
            for s in np.flatnonzero(is_last.any(axis=1))
            if all(len(ends) == self._quota for ends in self._ends[s])
        ]
        if not ready:
            return {}
        metrics = {name: np.full(len(is_last), np.nan) for name in self.metrics}
        metrics["num_gradient_steps"] = np.zeros(len(is_last), dtype=np.int64)
        for s in ready:
            for name, value in self._update(s).items():
                metrics[name][s] = value
            for n in range(self._task.num_envs):
                self._begins[s][n] = [now + 1] if is_last[s, n] else []
                self._ends[s][n] = []
        self._forget()
        return metrics

    def _forget(self) -> None:
        needed = [begins[0] for seed in self._begins for begins in seed if begins]
        oldest = min(needed, default=self._time)
        del self._history[: oldest - self._first]
        self._first = oldest

    def _episodes(self, s: int) -> list[tuple[int, int, int]]:
        """The (environment, first time, last time) of each episode in a seed's batch."""
        return [
            (n, begin, end)
            for n in range(self._task.num_envs)
            for begin, end in zip(self._begins[s][n], self._ends[s][n], strict=True)
        ]

    def _update(self, s: int) -> dict[str, float]:
        config = self._config
        policy, baseline = self._policies[s], self._baselines[s]
        learning_rate = config.learning_rate
        if config.learning_rate_schedule == "linear":
            done = (self._time - 1) * self._task.num_envs / self._task.num_env_steps
            learning_rate *= max(0.0, 1.0 - done)

        # 1. The batch: one row a decision, episodes one after another; `grid` puts each at its
        # time [T, E] within its episode.
        episodes = self._episodes(s)
        lengths = torch.tensor([end - begin + 1 for _, begin, end in episodes])
        steps = [
            (self._history[t - self._first], n)
            for n, begin, end in episodes
            for t in range(begin, end + 1)
        ]

        def column(name: str) -> Array:
            return np.stack([getattr(transition, name)[s, n] for transition, n in steps])

        obs, next_obs = column("obs"), column("next_obs")
        features = self._features(obs[None])
        actions = torch.from_numpy(column("action"))[None]
        grid = torch.arange(int(lengths.max()))[:, None] < lengths

        def spread(values: Tensor) -> Tensor:
            spread = torch.zeros(tuple(reversed(grid.shape)), dtype=values.dtype)
            spread[grid.T] = values
            return spread.T

        # 2. Returns and 3. advantages.
        terminated, truncated = column("terminated"), column("truncated")
        with torch.no_grad():
            values = torch.zeros(len(steps))
            next_values = None
            if config.baseline:
                values = self._value(baseline, features)[0]
                next_values = spread(self._value(baseline, self._features(next_obs[None]))[0])
            returns = monte_carlo_returns(
                spread(torch.from_numpy(column("reward").astype(np.float32))),
                spread(torch.from_numpy(terminated)),
                spread(torch.from_numpy(terminated | truncated)),
                discount=config.discount,
                next_values=next_values,
                mask=grid,
            ).T[grid.T]
            advantages = returns - values
            if config.standardise_advantages:
                advantages = standardise(advantages, dim=0)

        # 4. The policy.
        outputs = mlp(features, policy["policy"], activation=config.activation)
        log_prob, entropy = self._head.log_prob_and_entropy(outputs, policy["extra"], actions)
        policy_loss = policy_gradient_loss(log_prob, advantages[None]).mean(dim=1)
        losses = policy_loss - config.entropy_coef * entropy.mean(dim=1)
        gradient = policy.gradient(losses)
        norm = clip_gradient_norm(gradient, config.max_gradient_norm)
        self._optimisers[s].step(policy.matrix, gradient, learning_rate)

        # 5. The baseline.
        baseline_loss = torch.zeros(1)
        if config.baseline:
            for _ in range(config.baseline_steps):
                predicted = self._value(baseline, features)
                baseline_loss = value_loss(predicted, returns[None]).mean(dim=1)
                step = baseline.gradient(baseline_loss)
                self._adams[s].step(baseline.matrix, step, config.baseline_learning_rate)

        if not (policy.finite()[0] and baseline.finite()[0]):
            raise Diverged(
                self._task.streams[s].index,
                f"REINFORCE diverged at step {self._time}: parameters are no longer finite; "
                "try a smaller learning_rate",
            )
        return {
            "policy_loss": float(policy_loss.detach()),
            "baseline_loss": float(baseline_loss.detach()),
            "entropy": float(entropy.detach().mean()),
            "gradient_norm": float(norm),
            "batch_size": float(len(steps)),
            "learning_rate": learning_rate,
            "num_gradient_steps": 1,
        }

    def _value(self, baseline: Parameters, features: Tensor) -> Tensor:
        return mlp(features, baseline["value"], activation=self._config.activation).squeeze(-1)

    def actor(self, *, greedy: bool = True) -> NetworkActor:
        return NetworkActor(
            self._features,
            self._policy,
            self._head,
            baseline=self._baseline if self._config.baseline else None,
            activation=self._config.activation,
            streams=self._task.streams,
            greedy=greedy,
        )

    def state_dict(self) -> State:
        num_seeds = self._task.num_seeds
        state: State = {
            "policy": self._policy.matrix.numpy().copy(),
            "baseline": self._baseline.matrix.numpy().copy(),
            "noise": self._noise.state(),
            "time": np.full(num_seeds, self._time),
        }
        for prefix, optimisers in (("policy", self._optimisers), ("baseline", self._adams)):
            parts = [optimiser.state_dict() for optimiser in optimisers]
            for name in parts[0]:
                state[f"{prefix}_{name}"] = np.concatenate([part[name] for part in parts])
        # Each seed keeps its own stretch of the history, so these entries are ragged.
        starts = [min((b[0] for b in seed if b), default=self._time) for seed in self._begins]
        for name in Transition._fields:
            state[f"history_{name}"] = [
                np.stack([getattr(x, name)[s] for x in self._history[start - self._first :]])
                if start < self._time
                else np.zeros(0)
                for s, start in enumerate(starts)
            ]
        for name, times in (("begins", self._begins), ("ends", self._ends)):
            table = np.full((num_seeds, self._task.num_envs, self._quota), -1)
            for s, seed in enumerate(times):
                for n, one in enumerate(seed):
                    table[s, n, : len(one)] = one
            state[name] = table
        return state

    def load_state_dict(self, state: State) -> None:
        self._policy.matrix.copy_(torch.from_numpy(np.asarray(state["policy"])))
        self._baseline.matrix.copy_(torch.from_numpy(np.asarray(state["baseline"])))
        self._noise.load(np.asarray(state["noise"]))
        self._time = int(state["time"][0])
        for prefix, optimisers in (("policy", self._optimisers), ("baseline", self._adams)):
            for s, optimiser in enumerate(optimisers):
                names = optimiser.state_dict()
                optimiser.load_state_dict(
                    {name: np.asarray(state[f"{prefix}_{name}"])[s : s + 1] for name in names}
                )
        for name, times in (("begins", self._begins), ("ends", self._ends)):
            for s, seed in enumerate(np.asarray(state[name])):
                times[s] = [[int(t) for t in one if t >= 0] for one in seed]
        lengths = [len(columns) for columns in state["history_obs"]]
        self._first = self._time - max(lengths)
        self._history = []
        for t in range(self._first, self._time):
            # Seeds whose stretch begins later have no part in the older transitions.
            fields = []
            for name in Transition._fields:
                columns = state[f"history_{name}"]
                longest = columns[int(np.argmax(lengths))]
                joined = np.zeros((len(lengths), *longest.shape[1:]), dtype=longest.dtype)
                for s, own in enumerate(columns):
                    index = t - (self._time - lengths[s])
                    if index >= 0:
                        joined[s] = own[index]
                fields.append(joined)
            self._history.append(Transition(*fields))
