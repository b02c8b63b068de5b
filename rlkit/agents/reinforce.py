"""REINFORCE: the Monte-Carlo policy gradient (Williams 1992; Sutton and Barto 2018, section 13.3).

For each seed:

1. Play whole episodes with the current policy, the same number in each of its N environments.
   With N > 1, episodes that an environment plays while it waits for the others are not used:
   learning from whichever end first would prefer short episodes.
   With a reference, the reward is R - beta (log pi(a|s) - log pi_ref(a|s)).
2. Returns G_t = R_{t+1} + gamma R_{t+2} + ... to the end of each episode. A truncated episode adds
   gamma^k b(s) of its last state if there is a baseline b, and nothing otherwise.
3. Advantages A_t = G_t - b(s_t), by default standardised over the batch.
4. One step up the gradient E[ grad log pi(a_t|s_t) A_t ] + c_e grad H.
5. A few steps of Adam on E[(b(s_t) - G_t)^2 / 2] for the baseline; or, for a linear one, the least
   squares of this batch.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlkit.agent import ActionMasks, State, Task, Transition
from rlkit.agents.action_ranges import action_range_remarks
from rlkit.agents.episode_batch import EpisodeBatch, EpisodeCollector
from rlkit.agents.heads import make_head, restricted
from rlkit.agents.linear.baseline import LinearBaseline
from rlkit.agents.memory import network_bytes, require_room
from rlkit.agents.networks import Features, NetworkActor, init_policy, init_value
from rlkit.agents.reference.penalty import StepPenalty, kl_penalty
from rlkit.agents.reference.start import require_init, start_from
from rlkit.errors import Diverged, UsageError
from rlkit.maths.losses import policy_gradient_loss, value_loss
from rlkit.maths.returns import monte_carlo_returns, standardise
from rlkit.maths.schedules import Schedule, scheduled
from rlkit.nn.layers import mlp
from rlkit.nn.optimisers import Decay, Optimiser, clip_gradient_norm, make_optimiser, require_decay
from rlkit.nn.parameters import Parameters
from rlkit.options import ADDED_LATER, require_choice, require_range, require_types, require_whole
from rlkit.seeding import NoiseBlocks

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class ReinforceConfig:
    """Options of REINFORCE."""

    episodes_per_update: int = 8  # episodes per seed, a multiple of its environments
    discount: float = 0.99  # gamma, in [0, 1]
    optimiser: Literal["adam", "sgd"] = "adam"  # of the policy; sgd is plain gradient ascent
    learning_rate: float = 5e-3  # of the policy, > 0
    learning_rate_schedule: Schedule = "constant"  # linear: falls to 0 at the end of the run
    # learn b(s) and subtract it: with a network, or by least squares on linear features of s and t
    baseline: bool | Literal["linear"] = True
    baseline_learning_rate: float = 5e-3  # of Adam, > 0
    baseline_steps: int = 10  # gradient steps of the baseline per update, >= 1
    entropy_coef: float = 0.0  # c_e, weight of the entropy bonus, >= 0
    max_gradient_norm: float = 0.5  # policy gradients are scaled down to this norm, > 0
    standardise_advantages: bool = True  # to mean 0 and standard deviation 1 over each update
    hidden_sizes: tuple[int, ...] = (64, 64)  # widths of the layers of policy and baseline
    activation: Literal["tanh", "relu"] = "tanh"  # of the hidden layers
    # of the weights: orthogonal or xavier; or the folder of a run whose policy to start from, which
    # has the same layers: of behaviour-cloning, ppo, reinforce or preference-ppo
    init: str = "orthogonal"
    weight_decay: float = field(default=0.0, metadata=ADDED_LATER)  # lambda, >= 0; 0 = off
    # l2: lambda w is added to the gradient; decoupled: AdamW. Plain sgd knows only l2
    decay: Decay = field(default="l2", metadata=ADDED_LATER)
    # standard deviation of Box actions before training, in their own units, > 0
    initial_std: float = field(default=1.0, metadata=ADDED_LATER)
    # weight of the KL divergence of each step from the policy --reference, in units of reward per
    # nat, >= 0; 0 = only measure it
    kl_coef: float | None = field(default=None, metadata=ADDED_LATER)
    # mean KL in nats per step that kl_coef adapts to, > 0; None = kl_coef is fixed
    kl_target: float | None = field(default=None, metadata=ADDED_LATER)
    # steps over which kl_coef adapts by up to a fifth, >= 1
    kl_horizon: int = field(default=10_000, metadata=ADDED_LATER)
    # where the penalty is applied
    kl_placement: Literal["reward", "loss"] = field(default="reward", metadata=ADDED_LATER)
    # reward: k1; loss: k2 or full
    kl_estimator: Literal["k1", "k2", "full"] = field(default="k1", metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        require_whole(self, "episodes_per_update", "baseline_steps", "hidden_sizes", at_least=1)
        require_range(self, "discount", low=0, high=1)
        require_range(
            self,
            *("learning_rate", "baseline_learning_rate", "max_gradient_norm", "initial_std"),
            low=0,
            open_low=True,
        )
        require_range(self, "entropy_coef", low=0)
        require_choice(self, "optimiser", among=Literal["adam", "sgd"])
        require_choice(self, "learning_rate_schedule", among=Schedule)
        require_choice(self, "activation", among=Literal["tanh", "relu"])
        require_init(self)
        require_decay(self)
        require_choice(self, "kl_placement", among=Literal["reward", "loss"])
        require_choice(self, "kl_estimator", among=Literal["k1", "k2", "full"])
        kl_penalty(self)
        if self.decay == "decoupled" and self.optimiser == "sgd" and self.baseline is not True:
            raise UsageError(
                "option decay (--decay): 'decoupled' has no effect of its own with optimiser='sgd' "
                f"and baseline={self.baseline!r}, as it equals 'l2' without Adam; omit it"
            )
        require_types(self)


class Reinforce:
    """REINFORCE for all seeds; the module's docstring has the numbered steps."""

    Config = ReinforceConfig
    metrics: tuple[str, ...] = (
        "policy_loss",
        "baseline_loss",
        "entropy",
        "gradient_norm",
        "batch_size",
        "learning_rate",
    )
    default_num_envs = 1
    takes_action_masks = True
    takes_reference = True
    takes_init = True

    @staticmethod
    def depends_on_total_steps(config: ReinforceConfig) -> bool:
        """Whether a longer run differs from the start, because a schedule spans the run."""
        return config.learning_rate_schedule == "linear"

    @staticmethod
    def remarks(task: Task, config: ReinforceConfig) -> list[str]:
        """Return remarks where the ranges of actions do not suit the policy."""
        return action_range_remarks("reinforce", task.action_space, config.initial_std)

    @staticmethod
    def why_no_update(task: Task, config: ReinforceConfig) -> str:
        """Return the episodes that an update needs, for a seed that ended without one."""
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
        self._features = Features(task.observation_space, num_seeds, normalise=False)
        self._head = make_head(task.action_space, initial_std=config.initial_std)
        hidden, inputs = config.hidden_sizes, self._features.size
        widths = (inputs, *hidden, self._head.num_outputs), (inputs, *hidden, 1)
        require_room("reinforce", task, network_bytes(*widths), "networks")
        sizes = (config.hidden_sizes, config.init)
        generators = [stream.generator("init") for stream in task.streams]
        self._policy = Parameters(
            init_policy(rng, self._features.size, self._head, *sizes) for rng in generators
        )
        if task.init is not None:
            start_from(task.init, self._policy, self._features, config)
        self._baseline = Parameters(
            init_value(rng, self._features.size, *sizes) for rng in generators
        )
        is_linear = config.baseline == "linear"
        self._linear = LinearBaseline(task.observation_space, num_seeds) if is_linear else None
        # Seeds complete their batches at different times, so each is updated by itself.
        policies, baselines = (
            [parameters.row(s) for s in range(num_seeds)]
            for parameters in (self._policy, self._baseline)
        )
        optimiser = functools.partial(
            make_optimiser, weight_decay=config.weight_decay, decay=config.decay
        )
        self._seed_policies = [(p, optimiser(config.optimiser, p.matrix)) for p in policies]
        self._seed_baselines = [(b, optimiser("adam", b.matrix)) for b in baselines]
        penalty = kl_penalty(config)
        self._penalty = None
        if penalty is not None:
            self._penalty = StepPenalty(penalty, task, self._head, 1)
            self.metrics = (*self.metrics, *StepPenalty.METRICS)
        self._noise = NoiseBlocks(
            [stream.generator("action") for stream in task.streams],
            functools.partial(self._head.noise, num_envs=num_envs),
            block_length=256,
        )
        self._episodes = EpisodeCollector(
            num_seeds,
            num_envs,
            config.episodes_per_update // num_envs,
            action_masks=task.action_masks,
        )

    @torch.no_grad()
    def act(self, obs: Array, action_masks: Array | None = None) -> Array:
        outputs = self._policy_outputs(self._policy, self._features(obs), action_masks)
        noise = torch.from_numpy(self._noise.next())
        actions: Array = self._head.sample(outputs, self._policy["extra"], noise).numpy()
        return actions

    def learn(
        self, transition: Transition, action_masks: ActionMasks | None = None
    ) -> Mapping[str, Array]:
        complete = self._episodes.collect(transition, action_masks)
        if not complete:
            return {}
        num_seeds = self._task.num_seeds
        metrics = {name: np.full(num_seeds, np.nan) for name in self.metrics}
        metrics["num_gradient_steps"] = np.zeros(num_seeds, dtype=np.int64)
        for s in complete:
            for name, value in self._update(s).items():
                metrics[name][s] = value
        return metrics

    def _update(self, s: int) -> dict[str, float]:
        config, task = self._config, self._task
        # 1. Whole episodes.
        batch = self._episodes.complete(s)
        features = self._features(batch.steps.obs[None])
        batch, reference, kl = self._penalised(s, batch, features)

        # 2. Returns and 3. advantages.
        returns = self._returns(s, batch)
        advantages = returns
        if config.baseline:
            with torch.no_grad():
                advantages = returns - self._baseline_values(s, batch.steps.obs, batch.times)
        if config.standardise_advantages:
            advantages = standardise(advantages, dim=0)

        # 4. The policy.
        done = (self._episodes.time - 1) * task.num_envs / task.num_env_steps
        rate = scheduled(config.learning_rate, config.learning_rate_schedule, progress=done)
        metrics = self._improve_policy(s, features, batch, advantages, rate, reference)

        # 5. The baseline.
        if self._linear is not None:
            baseline_loss = self._linear.fit(s, batch.steps.obs, batch.times, returns)
        else:
            baseline_loss = self._fit_baseline(s, features, returns) if config.baseline else 0.0

        if not (self._policy.finite()[s] and self._baseline.finite()[s]):
            raise Diverged(
                task.streams[s].index,
                f"REINFORCE diverged at step {self._episodes.time}: parameters are no longer "
                "finite; try a smaller learning_rate",
            )
        if self._penalty is not None:
            metrics |= self._penalty.update(s, kl, len(returns))
        return metrics | {
            "baseline_loss": baseline_loss,
            "batch_size": float(len(returns)),
            "learning_rate": rate,
            "num_gradient_steps": 1,
        }

    @torch.no_grad()
    def _penalised(
        self, s: int, batch: EpisodeBatch, features: Tensor
    ) -> tuple[EpisodeBatch, Tensor | None, float]:
        """Return a batch with penalised rewards, the reference's outputs and the mean KL.

        One policy chose all actions of a batch, and it is still the present one.
        """
        if self._penalty is None:
            return batch, None, 0.0
        steps, masks = batch.steps, _one_seed(batch.action_masks)
        reference = self._penalty.outputs(steps.obs[None], masks)
        policy, actions = self._seed_policies[s][0], torch.from_numpy(steps.action)[None]
        outputs = self._policy_outputs(policy, features, masks)
        k1, kl = self._penalty.measure(outputs, policy["extra"], reference, actions)
        rewards = self._penalty.rewards(steps.reward, k1[0].numpy(), s)
        return batch._replace(steps=steps._replace(reward=rewards)), reference, float(kl.mean())

    def _policy_outputs(
        self, policy: Parameters, features: Tensor, action_masks: Array | None
    ) -> Tensor:
        outputs = mlp(features, policy["policy"], activation=self._config.activation)
        return restricted(self._head, outputs, action_masks)

    @torch.no_grad()
    def _returns(self, s: int, batch: EpisodeBatch) -> Tensor:
        """Step 2: return the return of each decision of a batch, [D]."""
        steps, next_values = batch.steps, None
        if self._config.baseline:
            next_values = batch.to_grid(self._baseline_values(s, steps.next_obs, batch.times + 1))
        returns = monte_carlo_returns(
            batch.to_grid(torch.from_numpy(steps.reward.astype(np.float32))),
            batch.to_grid(torch.from_numpy(steps.terminated)),
            batch.to_grid(torch.from_numpy(steps.terminated | steps.truncated)),
            discount=self._config.discount,
            next_values=next_values,
            mask=batch.grid,
        )
        return batch.to_rows(returns)

    def _improve_policy(
        self,
        s: int,
        features: Tensor,
        batch: EpisodeBatch,
        advantages: Tensor,
        learning_rate: float,
        reference: Tensor | None,
    ) -> dict[str, float]:
        """Step 4: take one step up the policy gradient; return the metrics of the policy."""
        config = self._config
        policy, optimiser = self._seed_policies[s]
        outputs = self._policy_outputs(policy, features, _one_seed(batch.action_masks))
        actions = torch.from_numpy(batch.steps.action)[None]
        log_prob, entropy = self._head.log_prob_and_entropy(outputs, policy["extra"], actions)
        policy_loss = policy_gradient_loss(log_prob, advantages[None]).mean(dim=1)
        loss = policy_loss - config.entropy_coef * entropy.mean(dim=1)
        if self._penalty is not None and self._penalty.in_loss and reference is not None:
            penalty = self._penalty.losses(outputs, policy["extra"], reference, actions, s)
            loss = loss + penalty.mean(dim=1)
        gradient = policy.gradient(loss)
        norm = clip_gradient_norm(gradient, config.max_gradient_norm)
        optimiser.step(policy.matrix, gradient, learning_rate)
        return {
            "policy_loss": float(policy_loss.detach()),
            "entropy": float(entropy.detach().mean()),
            "gradient_norm": float(norm),
        }

    def _fit_baseline(self, s: int, features: Tensor, returns: Tensor) -> float:
        """Step 5: move the baseline towards the returns; return its last loss."""
        baseline, optimiser = self._seed_baselines[s]
        for _ in range(self._config.baseline_steps):
            loss = value_loss(self._values(s, features)[None], returns[None]).mean(dim=1)
            optimiser.step(
                baseline.matrix, baseline.gradient(loss), self._config.baseline_learning_rate
            )
        return float(loss.detach())

    def _baseline_values(self, s: int, obs: Array, times: Tensor) -> Tensor:
        """Return the baseline of observations [D, ...] at times [D] of their episodes, [D]."""
        if self._linear is not None:
            return self._linear.values(s, obs, times)
        return self._values(s, self._features(obs[None]))

    def _values(self, s: int, features: Tensor) -> Tensor:
        """Return the network's b of features [1, D, F], [D]."""
        layers = self._seed_baselines[s][0]["value"]
        return mlp(features, layers, activation=self._config.activation)[0, :, 0]

    def actor(self, *, greedy: bool = True) -> NetworkActor:
        return NetworkActor(
            self._features,
            self._policy,
            self._head,
            baseline=self._baseline if self._config.baseline is True else None,
            activation=self._config.activation,
            streams=self._task.streams,
            greedy=greedy,
        )

    def state_dict(self) -> State:
        state: State = {
            "policy": self._policy.matrix.numpy().copy(),
            "baseline": self._baseline.matrix.numpy().copy(),
            "noise": self._noise.state(),
        }
        for prefix, optimisers in self._optimisers().items():
            parts = [optimiser.state_dict() for optimiser in optimisers]
            for name in parts[0]:
                state[f"{prefix}_{name}"] = np.concatenate([part[name] for part in parts])
        if self._penalty is not None:
            state |= self._penalty.state_dict()
        if self._linear is not None:
            state["linear_baseline"] = self._linear.weights.numpy().copy()
        return state | self._episodes.state_dict()

    def load_state_dict(self, state: State) -> None:
        self._policy.matrix.copy_(torch.from_numpy(np.asarray(state["policy"])))
        self._baseline.matrix.copy_(torch.from_numpy(np.asarray(state["baseline"])))
        self._noise.load(np.asarray(state["noise"]))
        for prefix, optimisers in self._optimisers().items():
            for s, optimiser in enumerate(optimisers):
                names = optimiser.state_dict()
                optimiser.load_state_dict(
                    {name: np.asarray(state[f"{prefix}_{name}"])[s : s + 1] for name in names}
                )
        if self._penalty is not None:
            self._penalty.load_state_dict(state)
        if self._linear is not None:
            self._linear.weights.copy_(torch.from_numpy(np.asarray(state["linear_baseline"])))
        self._episodes.load_state_dict(state)

    def _optimisers(self) -> dict[str, list[Optimiser]]:
        return {
            "policy": [optimiser for _, optimiser in self._seed_policies],
            "baseline": [optimiser for _, optimiser in self._seed_baselines],
        }


def _one_seed(masks: Array | None) -> Array | None:
    """Return masks [D, choices] of one seed as [1, D, choices]."""
    return None if masks is None else masks[None]
