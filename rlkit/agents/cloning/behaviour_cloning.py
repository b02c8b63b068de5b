"""Behaviour cloning: a policy that imitates demonstrations (Pomerleau 1991).

1. Hold out a share of the episodes. Standardise observations and real actions.
2. After each step of the environments, take some gradient steps on minibatches of decisions (o, a):

       classes, gaussian:  -E[ log pi(a|o) ]
       diffusion:          E[ |eps - eps_theta(x_t, o, t)|^2 / A ],
                           x_t = sqrt(bar_alpha_t) a + sqrt(1 - bar_alpha_t) eps

   and average the parameters over these steps, the latest most.
3. Measure the loss of the average on the held-out episodes, and keep it where that is lowest.

The policy is that of the kept parameters. What happens in the environments teaches it nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from rlkit.agent import ActionMasks, Actor, State, Task, Transition
from rlkit.agents.cloning.batches import Minibatches, held_out_rows
from rlkit.agents.cloning.diffusion_policy import DiffusionModel
from rlkit.agents.cloning.likelihood import LikelihoodModel
from rlkit.agents.cloning.scaling import Scaling
from rlkit.agents.memory import network_bytes, require_room
from rlkit.environments.views.actions import ActionLayout
from rlkit.errors import Diverged, UsageError
from rlkit.nn.demonstrations import Demonstrations
from rlkit.nn.optimisers import Adam, clip_gradient_norm
from rlkit.nn.parameters import Parameters
from rlkit.options import require_choice, require_range, require_types, require_whole
from rlkit.seeding import SeedStreams

Array = NDArray[Any]
Method = Literal["classes", "gaussian", "diffusion"]

_CHUNK = 4096  # held-out decisions whose losses are computed at once


@dataclass(frozen=True, kw_only=True)
class BehaviourCloningConfig:
    """Options of behaviour cloning."""

    # classes: probabilities of discrete actions; gaussian or diffusion: real actions; None = by the
    # action space, classes or gaussian
    method: Method | None = None
    updates_per_step: int = 100  # gradient steps after each step of the environments, >= 1
    minibatch_size: int = 256  # decisions per gradient step, >= 1
    learning_rate: float = 1e-3  # of Adam, > 0
    max_gradient_norm: float = 1.0  # the gradient is scaled down to this norm, > 0
    # weight of the past in the running average of the parameters, which is what acts, in [0, 1)
    average_decay: float = 0.995
    held_out_share: float = 0.1  # of the episodes, by which the parameters are chosen, in [0, 1)
    hidden_sizes: tuple[int, ...] = (64, 64)  # widths of the layers
    activation: Literal["tanh", "relu"] = "tanh"  # of the hidden layers
    # smallest standard deviation of a gaussian, in those of the demonstrated actions, > 0
    min_std: float = 0.05
    diffusion_steps: int = 50  # T, from noise to an action, >= 1
    episodes: int = 100  # that a run plays as demonstrations, >= 1
    expert_seed: int = 0  # the seed of that run that plays them, >= 0
    expert_greedy: bool = True  # whether its greedy policy plays, not the exploring one

    def __post_init__(self) -> None:
        if self.method is not None:
            require_choice(self, "method", among=Method)
        require_choice(self, "activation", among=Literal["tanh", "relu"])
        require_whole(self, "updates_per_step", "minibatch_size", at_least=1)
        require_whole(self, "hidden_sizes", "diffusion_steps", "episodes", at_least=1)
        require_whole(self, "expert_seed", at_least=0)
        require_range(self, "held_out_share", "average_decay", low=0, high=1, open_high=True)
        require_range(self, "learning_rate", "max_gradient_norm", "min_std", low=0, open_low=True)
        require_types(self)


class BehaviourCloning:
    """Behaviour cloning for all seeds; the module's docstring has the numbered steps."""

    Config = BehaviourCloningConfig
    metrics: tuple[str, ...] = ("loss", "held_out_loss", "gradient_norm")
    default_num_envs = 1
    takes_action_masks = True
    takes_demonstrations = True

    @staticmethod
    def depends_on_total_steps(config: BehaviourCloningConfig) -> bool:
        """Whether a longer run differs from the start; no schedule spans the run."""
        return False

    @staticmethod
    def remarks(task: Task, config: BehaviourCloningConfig) -> list[str]:
        """Return a remark where no episode can be held out."""
        given = task.demonstrations
        if given is None or given.num_episodes > 1 or not config.held_out_share:
            return []
        return [
            "behaviour-cloning: the demonstrations are one episode, so none is held out, and the "
            "last parameters are kept; mark episodes by a column episode if there are several"
        ]

    def __init__(self, task: Task, config: BehaviourCloningConfig) -> None:
        self._task, self._config = task, config
        self._model = _model(task, config)
        require_room("behaviour-cloning", task, network_bytes(self._model.widths), "networks")
        self._parameters, self._average, self._kept = (
            Parameters(self._model.init(stream.generator("init")) for stream in task.streams)
            for _ in range(3)
        )
        self._adam = Adam(self._parameters.matrix)
        self._step = 0
        self._scaling = Scaling.none(task.observation_space, task.action_space)
        self._kept_loss = np.zeros(task.num_seeds)
        self._data: _Data | None = None
        if task.demonstrations is not None:  # without, trained policies can be played
            self._take(task.demonstrations)

    def _take(self, given: Demonstrations) -> None:
        """Step 1: split and scale the demonstrations."""
        config, task, model = self._config, self._task, self._model
        # One split for all seeds, which depends on none of those that are trained together.
        split = SeedStreams(task.streams[0].experiment_seed, 0).generator("data")
        held_out = held_out_rows(given.episodes, config.held_out_share, split)
        self._scaling = scaling = Scaling.of(
            given.observations[~held_out],
            given.actions[~held_out],
            task.observation_space,
            task.action_space,
        )
        inputs = model.inputs(given.observations, scaling)
        targets = model.targets(given.actions, scaling)
        trained, kept_out = (torch.from_numpy(np.flatnonzero(x)) for x in (~held_out, held_out))
        if len(kept_out):  # each as often as the loss has noise to be averaged over
            kept_out = kept_out.repeat(-(-model.num_draws // len(kept_out)))
        noise = torch.stack(
            [model.noise(s.generator("data", 1), len(kept_out)) for s in task.streams]
        )
        self._data = _Data(
            (inputs[trained], targets[trained]), (inputs[kept_out], targets[kept_out]), noise
        )
        self._batches = Minibatches(len(trained), config.minibatch_size, task.streams)
        if len(kept_out):
            self._kept_loss = self._held_out_loss(self._data)

    def act(self, obs: Array, action_masks: Array | None = None) -> Array:
        actor: Any = self.actor(greedy=False)
        actor.restart(self._step, 1)  # so each step has random numbers of its own
        actions: Array = actor.act(obs) if action_masks is None else actor.act(obs, action_masks)
        return actions

    def learn(
        self, transition: Transition, action_masks: ActionMasks | None = None
    ) -> Mapping[str, Array]:
        if self._data is None:
            raise UsageError(
                "behaviour-cloning learns from demonstrations, and the task has none; give them as "
                "--demonstrations (demonstrations=)"
            )
        # 2. Gradient steps.
        losses, norms = self._descend(self._data)
        self._step += 1
        finite = self._parameters.finite() & np.isfinite(losses)
        if not finite.all():
            raise Diverged(
                self._task.streams[int(np.argmin(finite))].index,
                f"behaviour cloning diverged at step {self._step}: loss or parameters are no "
                "longer finite; try a smaller learning_rate",
            )
        # 3. The held-out loss, and the parameters to keep.
        held_out = np.full(len(losses), np.nan)
        better = np.ones(len(losses), dtype=np.bool_)
        if self._data.num_held_out:
            held_out = self._held_out_loss(self._data)
            better = held_out < self._kept_loss
            self._kept_loss = np.where(better, held_out, self._kept_loss)
        rows = torch.from_numpy(better)
        self._kept.matrix[rows] = self._average.matrix[rows]
        return {
            "num_gradient_steps": np.full(len(losses), self._config.updates_per_step),
            "loss": losses,
            "held_out_loss": held_out,
            "gradient_norm": norms,
        }

    def _descend(self, data: _Data) -> tuple[Array, Array]:
        """Take the gradient steps of one step; return mean loss and gradient norm, [S]."""
        config, count = self._config, self._config.updates_per_step
        inputs, targets = data.trained
        losses = np.zeros((count, self._task.num_seeds))
        norms = np.zeros_like(losses)
        generators = [s.generator("data", 0, self._step) for s in self._task.streams]
        batches = self._batches.of_steps(self._step * count, count)
        for i, rows in enumerate(map(torch.from_numpy, batches)):
            noise = torch.stack([self._model.noise(rng, rows.shape[1]) for rng in generators])
            own = self._losses(self._parameters, inputs[rows], targets[rows], noise).mean(1)
            gradient = self._parameters.gradient(own)
            norms[i] = clip_gradient_norm(gradient, config.max_gradient_norm).numpy()
            self._adam.step(self._parameters.matrix, gradient, config.learning_rate)
            self._model.constrain(self._parameters)
            number = self._step * count + i + 1  # at first the past weighs less
            past = min(config.average_decay, number / (number + 9))
            self._average.matrix.lerp_(self._parameters.matrix, 1.0 - past)
            losses[i] = own.detach().numpy()
        return losses.mean(0), norms.mean(0)

    def _losses(
        self, parameters: Parameters, inputs: Tensor, targets: Tensor, noise: Tensor
    ) -> Tensor:
        return self._model.losses(parameters, inputs, targets, noise, self._scaling)

    @torch.no_grad()
    def _held_out_loss(self, data: _Data) -> Array:
        """Return the mean loss on the held-out decisions, [S], always with the same noise."""
        inputs, targets = (part.expand(self._task.num_seeds, *part.shape) for part in data.held_out)
        total = np.zeros(self._task.num_seeds)
        for first in range(0, data.num_held_out, _CHUNK):
            own = np.s_[:, first : first + _CHUNK]
            losses = self._losses(self._average, inputs[own], targets[own], data.noise[own])
            total += losses.double().sum(1).numpy()
        mean: Array = total / data.num_held_out
        return mean

    def actor(self, *, greedy: bool = True) -> Actor:
        return self._model.actor(self._kept, self._scaling, self._task.streams, greedy=greedy)

    def state_dict(self) -> State:
        num_seeds = self._task.num_seeds
        return {
            "parameters": self._parameters.matrix.numpy().copy(),
            "average_parameters": self._average.matrix.numpy().copy(),
            "kept_parameters": self._kept.matrix.numpy().copy(),
            "kept_loss": self._kept_loss.copy(),
            "scaling": self._scaling.state(num_seeds),
            "step": np.full(num_seeds, self._step),
            **self._adam.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._parameters.matrix.copy_(torch.from_numpy(state["parameters"]))
        self._average.matrix.copy_(torch.from_numpy(state["average_parameters"]))
        self._kept.matrix.copy_(torch.from_numpy(state["kept_parameters"]))
        self._kept_loss[:] = state["kept_loss"]
        self._scaling = self._scaling.loaded(state["scaling"])
        self._step = int(state["step"][0])
        self._adam.load_state_dict(state)


@dataclass(frozen=True)
class _Data:
    """Inputs and targets of the decisions, [D, ...] each, and noise [S, H, ...] for the losses."""

    trained: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]
    noise: Tensor

    @property
    def num_held_out(self) -> int:
        """H."""
        return len(self.held_out[0])


def _model(task: Task, config: BehaviourCloningConfig) -> LikelihoodModel | DiffusionModel:
    """Return the model of the method.

    Raises:
        UsageError: the method does not fit the actions.
    """
    space = task.action_space
    default = "classes" if ActionLayout(space).is_discrete else "gaussian"
    method = config.method or default
    fits = isinstance(space, spaces.Box) if method == "diffusion" else method == default
    if not fits:
        needs = {
            "classes": "discrete actions",
            "gaussian": "actions with real numbers",
            "diffusion": "actions of a Box",
        }
        raise UsageError(
            f"option method (--method) = {method}: it needs {needs[method]}, and the action space "
            f"is {space}; use {default}"
        )
    shared: dict[str, Any] = {"hidden_sizes": config.hidden_sizes, "activation": config.activation}
    if isinstance(space, spaces.Box) and method == "diffusion":
        return DiffusionModel(
            task.observation_space, space, **shared, num_steps=config.diffusion_steps
        )
    return LikelihoodModel(task.observation_space, space, **shared, min_std=config.min_std)
