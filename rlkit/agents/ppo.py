"""PPO-clip: proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347).

For each rollout of T steps in N environments, for each seed:

1. Act with the current policy; store observations, actions, rewards, ends and true successors.
   With a reference, the reward is R - beta (log pi(a|s) - log pi_ref(a|s)).
2. Evaluate V(s_t), V(s_{t+1}) and log pi(a_t|s_t) for the whole rollout.
3. Advantages by GAE(lambda) (Schulman et al. 2016, eq. 16): a termination stops the bootstrap,
   the end of an episode for any reason stops the trace. Value targets R_t = A_t + V(s_t).
4. For each epoch, for each minibatch of the shuffled decisions, one step of Adam on

       -E[ min(ratio A, clip(ratio, 1 - eps, 1 + eps) A) ] + c_v E[(V - R)^2 / 2] - c_e E[H],

   with A standardised within the minibatch and the gradient's norm clipped.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from rlkit.agent import ActionMasks, Task, Transition
from rlkit.agents.action_ranges import action_range_remarks
from rlkit.agents.heads import make_head, restricted
from rlkit.agents.memory import network_bytes, require_room
from rlkit.agents.networks import Features, NetworkActor, init_policy, init_value
from rlkit.agents.ppo_objective import Batch, Objective
from rlkit.agents.ppo_update import METRICS, ppo_update
from rlkit.agents.reference.penalty import StepPenalty, kl_penalty
from rlkit.agents.reference.start import require_init, start_from
from rlkit.environments.views.actions import ActionLayout
from rlkit.errors import Diverged
from rlkit.maths.returns import gae
from rlkit.maths.schedules import Schedule, scheduled
from rlkit.nn.layers import mlp
from rlkit.nn.optimisers import Adam, Decay, clip_gradient_norm, require_decay
from rlkit.nn.parameters import Parameters
from rlkit.nn.running_statistics import RewardScaler
from rlkit.options import ADDED_LATER, require_choice, require_range, require_types, require_whole
from rlkit.seeding import NoiseBlocks, SeedStreams, generator_states, restore_generators

Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Options of PPO-clip."""

    rollout_length: int = 128  # steps of each environment between updates, >= 1
    num_epochs: int = 4  # passes over each rollout, >= 1
    minibatch_size: int = 256  # decisions per gradient step, >= 1
    discount: float = 0.99  # gamma, in [0, 1]
    gae_lambda: float = 0.95  # lambda of the advantage estimate, in [0, 1]
    learning_rate: float = 3e-4  # of Adam, > 0
    learning_rate_schedule: Schedule = "constant"  # linear: falls to 0 at the end of the run
    clip_epsilon: float = 0.2  # the ratio is clipped to [1 - eps, 1 + eps], in (0, 1)
    clip_schedule: Schedule = "constant"  # linear: falls to 0 at the end of the run
    value_coef: float = 0.5  # c_v, weight of the value loss (V - R)^2 / 2, >= 0
    # half-width of the clip range around the old value, > 0; None = off
    value_clip: float | None = None
    entropy_coef: float = 0.0  # c_e, weight of the entropy bonus, >= 0
    max_gradient_norm: float = 0.5  # the joint gradient is scaled down to this norm, > 0
    # stop updating on a rollout once approx_kl exceeds 1.5 times this, > 0; None = off
    target_kl: float | None = None
    standardise_advantages: bool = True  # to mean 0 and standard deviation 1 in each minibatch
    normalise_observations: bool = False  # with a running mean and variance; Box observations only
    scale_rewards: bool = False  # divide by the running standard deviation of the discounted return
    hidden_sizes: tuple[int, ...] = (64, 64)  # widths of the layers of policy and critic
    activation: Literal["tanh", "relu"] = "tanh"  # of the hidden layers
    # of the weights: orthogonal or xavier; or the folder of a run whose policy to start from, which
    # has the same layers: of behaviour-cloning, ppo, reinforce or preference-ppo
    init: str = "orthogonal"
    weight_decay: float = field(default=0.0, metadata=ADDED_LATER)  # lambda, >= 0; 0 = off
    # l2: lambda w is added to the gradient; decoupled: AdamW
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
        require_whole(self, "rollout_length", "num_epochs", "minibatch_size", at_least=1)
        require_whole(self, "hidden_sizes", at_least=1)
        require_range(self, "discount", "gae_lambda", low=0, high=1)
        require_range(
            self, "learning_rate", "max_gradient_norm", "initial_std", low=0, open_low=True
        )
        require_range(self, "clip_epsilon", low=0, high=1, open_low=True, open_high=True)
        require_range(self, "value_coef", "entropy_coef", low=0)
        require_range(self, "value_clip", "target_kl", low=0, open_low=True)
        require_choice(self, "learning_rate_schedule", "clip_schedule", among=Schedule)
        require_choice(self, "activation", among=Literal["tanh", "relu"])
        require_init(self)
        require_decay(self)
        require_choice(self, "kl_placement", among=Literal["reward", "loss"])
        require_choice(self, "kl_estimator", among=Literal["k1", "k2", "full"])
        kl_penalty(self)
        require_types(self)


class PPO:
    """PPO-clip for all seeds; the module's docstring has the numbered steps."""

    Config = PPOConfig
    metrics: tuple[str, ...] = (*METRICS, "explained_variance", "learning_rate")
    default_num_envs = 8
    takes_action_masks = True
    takes_reference = True
    takes_init = True

    @staticmethod
    def depends_on_total_steps(config: PPOConfig) -> bool:
        """Whether a longer run differs from the start, because a schedule spans the run."""
        return "linear" in (config.learning_rate_schedule, config.clip_schedule)

    @staticmethod
    def remarks(task: Task, config: PPOConfig) -> list[str]:
        """Return remarks where the ranges of actions do not suit the policy."""
        return action_range_remarks("ppo", task.action_space, config.initial_std)

    @staticmethod
    def why_no_update(task: Task, config: PPOConfig) -> str:
        """Return the steps that an update needs, for a seed that ended without one."""
        needed = config.rollout_length * task.num_envs
        return (
            f"an update takes a whole rollout of {needed:,} steps per seed (rollout_length "
            f"{config.rollout_length:,} x {task.num_envs:,} environments)"
        )

    def __init__(self, task: Task, config: PPOConfig) -> None:
        self._task, self._config = task, config
        num_seeds, num_envs, length = task.num_seeds, task.num_envs, config.rollout_length
        self._features = Features(
            task.observation_space, num_seeds, normalise=config.normalise_observations
        )
        self._head = make_head(task.action_space, initial_std=config.initial_std)
        require_room("ppo", task, self._bytes_per_seed(), "networks")

        def networks(stream: SeedStreams) -> dict[str, list[Array]]:
            rng, sizes = stream.generator("init"), (config.hidden_sizes, config.init)
            policy = init_policy(rng, self._features.size, self._head, *sizes)
            return policy | init_value(rng, self._features.size, *sizes)

        self._parameters = Parameters(map(networks, task.streams))
        if task.init is not None:
            start_from(task.init, self._parameters, self._features, config)
        self._adam = Adam(
            self._parameters.matrix,
            eps=1e-5,
            weight_decay=config.weight_decay,
            decay=config.decay,
        )
        self._noise = NoiseBlocks(
            [stream.generator("action") for stream in task.streams],
            functools.partial(self._head.noise, num_envs=num_envs),
            block_length=length,
        )
        self._shufflers = [stream.generator("minibatch") for stream in task.streams]
        self._scaler = (
            RewardScaler(num_seeds, num_envs, config.discount) if config.scale_rewards else None
        )
        num_steps = -(-task.num_env_steps // num_envs)  # whole steps of all environments
        self._num_rollouts = max(1, num_steps // length)
        self._rollout_index = 0
        self._step = 0
        grid = (length, num_seeds, num_envs)
        layout = ActionLayout(task.action_space)
        action_type = torch.int64 if layout.is_discrete else torch.float32
        self._rollout = {
            "features": self._features.zeros(*grid),
            "next_features": self._features.zeros(*grid),
            "actions": torch.zeros(*grid, *layout.shape, dtype=action_type),
            "rewards": torch.zeros(grid),
            "terminated": torch.zeros(grid, dtype=torch.bool),
            "is_last": torch.zeros(grid, dtype=torch.bool),
        }
        if task.action_masks:
            masks = torch.zeros(*grid, layout.num_choices, dtype=torch.bool)
            self._rollout["action_masks"] = masks
        penalty = kl_penalty(config)
        self._penalty = None
        if penalty is not None:
            self._penalty = StepPenalty(penalty, task, self._head, num_seeds)
            self._k1 = np.zeros(grid[1:])  # of the latest actions
            self._rollout["kl"] = torch.zeros(grid)
            self.metrics = (*self.metrics, *StepPenalty.METRICS)
            if self._penalty.in_loss:
                self._rollout["reference"] = torch.zeros(*grid, self._head.num_outputs)
                self.metrics = (*self.metrics, "penalty")

    def _bytes_per_seed(self) -> int:
        """Return about the memory that networks and rollout take."""
        size, hidden, task = self._features.size, self._config.hidden_sizes, self._task
        of_networks = network_bytes((size, *hidden, self._head.num_outputs), (size, *hidden, 1))
        numbers = 2 * (1 if isinstance(task.observation_space, spaces.Discrete) else size) + 4
        of_rollout = 8 * self._config.rollout_length * task.num_envs * numbers
        return of_networks + of_rollout

    @torch.no_grad()
    def act(self, obs: Array, action_masks: Array | None = None) -> Array:
        self._features.update(obs)
        features = self._features(obs)
        noise = torch.from_numpy(self._noise.next())
        outputs = restricted(self._head, self._outputs(features), action_masks)
        actions = self._head.sample(outputs, self._extra, noise)
        if action_masks is not None:
            self._rollout["action_masks"][self._step] = torch.from_numpy(action_masks)
        if self._penalty is not None:
            whole = self._penalty.outputs(obs)
            reference = restricted(self._head, whole, action_masks)
            k1, kl = self._penalty.measure(outputs, self._extra, reference, actions)
            self._k1, self._rollout["kl"][self._step] = k1.numpy(), kl
            if "reference" in self._rollout:
                self._rollout["reference"][self._step] = whole  # finite, whatever is masked
        self._rollout["features"][self._step] = features
        self._rollout["actions"][self._step] = actions
        result: Array = actions.numpy()
        return result

    def learn(
        self, transition: Transition, action_masks: ActionMasks | None = None
    ) -> Mapping[str, Array]:
        is_last = transition.terminated | transition.truncated
        reward = transition.reward
        if self._penalty is not None:
            reward = self._penalty.rewards(reward, self._k1)
        if self._scaler is not None:
            reward = self._scaler.scale(reward, is_last)
        rollout, t = self._rollout, self._step
        rollout["next_features"][t] = self._features(transition.next_obs)
        rollout["rewards"][t] = torch.from_numpy(reward)
        rollout["terminated"][t] = torch.from_numpy(transition.terminated)
        rollout["is_last"][t] = torch.from_numpy(is_last)
        self._step += 1
        if self._step < self._config.rollout_length:
            return {}
        self._step = 0
        return self._update()

    def _update(self) -> dict[str, Array]:
        config = self._config
        progress = self._rollout_index / self._num_rollouts
        rate = scheduled(config.learning_rate, config.learning_rate_schedule, progress=progress)
        objective = Objective(
            clip_epsilon=scheduled(config.clip_epsilon, config.clip_schedule, progress=progress),
            value_coef=config.value_coef,
            entropy_coef=config.entropy_coef,
            value_clip=config.value_clip,
            standardise_advantages=config.standardise_advantages,
            target_kl=config.target_kl,
        )
        self._rollout_index += 1

        # 2. The log-probabilities and values of the rollout, 3. its advantages and value targets.
        batch = self._batch()

        # 4. Epochs of minibatches.
        num_decisions = batch.advantages.shape[1]
        epochs = [self._minibatches(num_decisions) for _ in range(config.num_epochs)]
        descend = functools.partial(self._descend, learning_rate=rate)
        metrics = ppo_update(batch, objective, epochs, evaluate=self._evaluate, descend=descend)

        finite = self._parameters.finite() & np.isfinite(metrics["gradient_norm"])
        if not finite.all():
            raise Diverged(
                self._task.streams[int(np.argmin(finite))].index,
                f"PPO diverged at update {self._rollout_index}: parameters or gradients are no "
                "longer finite; try a smaller learning_rate or scale_rewards",
            )
        errors = batch.value_targets - batch.behaviour_values
        unexplained = _variance(errors) / _variance(batch.value_targets).clamp(min=1e-8)
        metrics["explained_variance"] = (1.0 - unexplained).numpy()
        metrics["learning_rate"] = np.full(len(finite), rate)
        return metrics | self._adapt()

    def _adapt(self) -> dict[str, Array]:
        """Adapt the weight of the KL penalty to that of the rollout; return the metrics of both."""
        if self._penalty is None:
            return {}
        kl = _seed_major(self._rollout["kl"])
        each = [self._penalty.update(s, float(own.mean()), own.numel()) for s, own in enumerate(kl)]
        return {name: np.array([one[name] for one in each]) for name in StepPenalty.METRICS}

    @torch.no_grad()
    def _batch(self) -> Batch:
        """Steps 2 and 3: return the rollout with advantages, each seed's decisions in a row."""
        rollout = self._rollout
        # [T, S, N, ...] -> [S, T * N, ...]
        parts = ("features", "actions", "action_masks", "reference")
        names = [name for name in parts if name in rollout]
        inputs = tuple(_seed_major(rollout[name]) for name in names)
        log_prob, _, values, *_ = self._evaluate(inputs)
        next_values = self._values(_seed_major(rollout["next_features"]))
        grid = rollout["rewards"].shape
        advantages = _seed_major(
            gae(
                rollout["rewards"],
                _time_major(values, grid),
                _time_major(next_values, grid),
                rollout["terminated"],
                rollout["is_last"],
                discount=self._config.discount,
                gae_lambda=self._config.gae_lambda,
            )
        )
        return Batch(inputs, log_prob, values, advantages, advantages + values)

    def _evaluate(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return log pi(a|s), the entropy and V(s) of decisions, each [S, B].

        Where the KL penalty is in the loss, it is the fourth.
        """
        features, actions, *others = inputs
        masks = others.pop(0) if self._task.action_masks else None
        outputs, extra = restricted(self._head, self._outputs(features), masks), self._extra
        log_prob, entropy = self._head.log_prob_and_entropy(outputs, extra, actions)
        values = self._values(features)
        if not others or self._penalty is None:
            return log_prob, entropy, values
        reference = restricted(self._head, others[0], masks)
        return log_prob, entropy, values, self._penalty.losses(outputs, extra, reference, actions)

    @property
    def _extra(self) -> list[Tensor]:
        """The further parameters of the head."""
        return self._parameters["extra"]

    def _outputs(self, features: Tensor) -> Tensor:
        return mlp(features, self._parameters["policy"], activation=self._config.activation)

    def _values(self, features: Tensor) -> Tensor:
        values = mlp(features, self._parameters["value"], activation=self._config.activation)
        return values.squeeze(-1)

    def _descend(
        self, losses: Tensor, seeds: NDArray[np.int64] | None, *, learning_rate: float
    ) -> Tensor:
        """Take one step of Adam down the clipped gradient; return the norms before clipping."""
        gradient = self._parameters.gradient(losses)
        norms = clip_gradient_norm(gradient, self._config.max_gradient_norm)
        self._adam.step(self._parameters.matrix, gradient, learning_rate, seeds=seeds)
        return norms

    def _minibatches(self, num_decisions: int) -> list[Tensor | None]:
        size = self._config.minibatch_size
        if size >= num_decisions:
            return [None]
        order = np.stack([rng.permutation(num_decisions) for rng in self._shufflers])
        return list(torch.split(torch.from_numpy(order), size, dim=1))

    def actor(self, *, greedy: bool = True) -> NetworkActor:
        return NetworkActor(
            self._features,
            self._parameters,
            self._head,
            activation=self._config.activation,
            streams=self._task.streams,
            greedy=greedy,
        )

    def state_dict(self) -> dict[str, Array]:
        num_seeds = self._task.num_seeds
        state = {
            "parameters": self._parameters.matrix.numpy().copy(),
            "noise": self._noise.state(),
            "shufflers": generator_states(self._shufflers),
            "rollout_index": np.full(num_seeds, self._rollout_index),
            "step": np.full(num_seeds, self._step),
            **self._adam.state_dict(),
            **self._features.state_dict(),
        }
        if self._scaler is not None:
            state["reward_scaler"] = self._scaler.state()
        if self._penalty is not None:
            state |= self._penalty.state_dict()
        for name, x in self._rollout.items():
            state[f"rollout_{name}"] = x[: self._step].transpose(0, 1).numpy().copy()
        return state

    def load_state_dict(self, state: dict[str, Array]) -> None:
        self._parameters.matrix.copy_(torch.from_numpy(state["parameters"]))
        self._noise.load(state["noise"])
        restore_generators(self._shufflers, state["shufflers"])
        self._rollout_index = int(state["rollout_index"][0])
        self._step = int(state["step"][0])
        self._adam.load_state_dict(state)
        self._features.load_state_dict(state)
        if self._scaler is not None:
            self._scaler.load(state["reward_scaler"])
        if self._penalty is not None:
            self._penalty.load_state_dict(state)
        for name, x in self._rollout.items():
            x[: self._step] = torch.from_numpy(state[f"rollout_{name}"]).transpose(0, 1)


def _variance(x: Tensor) -> Tensor:
    """Return the variance of each row, [S, B] -> [S].

    With torch.var a seed's bytes might depend on the others.
    """
    return (x - x.mean(dim=1, keepdim=True)).square().mean(dim=1)


def _seed_major(x: Tensor) -> Tensor:
    """Return an array [T, S, N, ...] as [S, T * N, ...]."""
    length, num_seeds, num_envs = x.shape[:3]
    return x.transpose(0, 1).reshape(num_seeds, length * num_envs, *x.shape[3:])


def _time_major(x: Tensor, grid: torch.Size) -> Tensor:
    """Return an array [S, T * N] as [T, S, N]."""
    length, num_seeds, num_envs = grid
    return x.view(num_seeds, length, num_envs).transpose(0, 1)
