"""The search spaces of the agents of rlkit, in the grammar of `read_space`."""

from __future__ import annotations

from typing import Any

_DISCOUNTS = [0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 1.0]
_TABLE: dict[str, Any] = {
    "discount": _DISCOUNTS,
    "step_size": ["None", 0.02, 0.05, 0.1, 0.2, 0.5],  # None = by the number of visits
    "step_size_power": {"low": 0.4, "high": 1.0},
    "epsilon_start": {"low": 0.1, "high": 1.0},
    "epsilon_end": {"low": 0.005, "high": 0.3, "log": True},
    "epsilon_steps": {"low": 0.1, "high": 1.0, "of_steps": True},
}
_TRACES = {"trace_decay": [0.0, 0.5, 0.8, 0.9, 0.95]}
_BETA = {"low": 0.1, "high": 10.0, "log": True}
_SIZES = [[], [32, 32], [64, 64], [128, 128]]

_REINFORCE: dict[str, Any] = {
    "episodes_per_update": [8, 16, 32, 64],
    "discount": _DISCOUNTS,
    "learning_rate": {"low": 1e-4, "high": 0.1, "log": True},
    "learning_rate_schedule": ["constant", "linear"],
    "baseline_learning_rate": {"low": 1e-4, "high": 0.1, "log": True},
    "baseline_steps": {"low": 1, "high": 20},
    "entropy_coef": [0.0, 0.001, 0.01, 0.03],
    "max_gradient_norm": [0.5, 1.0, 5.0],
    "hidden_sizes": _SIZES,
}
_PPO: dict[str, Any] = {
    "rollout_length": [16, 32, 64, 128, 256, 512, 1024],
    "minibatch_size": [32, 64, 128, 256, 512],
    "num_epochs": {"low": 2, "high": 20, "log": True},
    "discount": _DISCOUNTS,
    "gae_lambda": [0.8, 0.9, 0.92, 0.95, 0.98, 1.0],
    "learning_rate": {"low": 1e-5, "high": 1e-2, "log": True},
    "learning_rate_schedule": ["constant", "linear"],
    "clip_epsilon": [0.1, 0.2, 0.3],
    "entropy_coef": [0.0, 0.001, 0.01, 0.03],
    "value_coef": [0.5, 1.0],
    "max_gradient_norm": [0.5, 1.0, 2.0, 5.0],
}

# agent -> option -> range
SPACES: dict[str, dict[str, Any]] = {
    "q-learning": _TABLE,
    "sarsa": _TABLE | _TRACES,
    "expected-sarsa": _TABLE | _TRACES,
    "double-q-learning": _TABLE,
    "n-step-sarsa": _TABLE | {"return_steps": {"low": 1, "high": 16, "log": True}},
    "monte-carlo": _TABLE | {"visit": ["first", "every"]},
    "dyna-q": _TABLE
    | {"planning_steps": {"low": 1, "high": 20, "log": True}, "model_memory": [1, 10, 100]},
    "psrl": {
        "discount": _DISCOUNTS[:-1],
        "prior_count": {"low": 0.01, "high": 10.0, "log": True},
        "reward_scale": {"low": 0.1, "high": 10.0, "log": True},
        "model_steps": {"low": 20, "high": 2000, "log": True},
    },
    "thompson": {"prior_alpha": _BETA, "prior_beta": _BETA},
    "ucb": {"exploration": {"low": 0.01, "high": 10.0, "log": True}},
    "lspi": {
        "discount": _DISCOUNTS,
        "ridge": {"low": 1e-5, "high": 1.0, "log": True},
        "steps_per_update": {"low": 200, "high": 5000, "log": True},
        "epsilon_end": {"low": 0.02, "high": 0.5, "log": True},
        "epsilon_steps": {"low": 0.1, "high": 1.0, "of_steps": True},
    },
    "reinforce": _REINFORCE,
    "ppo": _PPO,
    "preference-ppo": _PPO
    | {
        "reward_learning_rate": {"low": 1e-3, "high": 0.1, "log": True},
        "reward_weight_decay": {"low": 0.1, "high": 10.0, "log": True},
        "reward_epochs": {"low": 5, "high": 30},
    },
}
