"""Tuned settings of agents on environments, where they differ from the defaults.

`steps` is the budget of one seed in environment steps, `num_envs` the environments of each seed,
`evaluate_every` the number of steps between rows of the curve, `bins`, `bin_low` and `bin_high` the
bins of its observations; the rest are options of the agent.
"""

from __future__ import annotations

from typing import Any

# Used where there is no preset.
DEFAULTS: dict[str, Any] = {"steps": 100_000, "evaluate_every": 5_000}
# A step of the environments stands for many gradient steps.
DEFAULTS_OF: dict[str, dict[str, Any]] = {
    "behaviour-cloning": {"steps": 50, "evaluate_every": 5},
}
DEFAULT_EVALUATION_EPISODES = 20

_LAKE: dict[str, Any] = {"steps": 400_000, "evaluate_every": 20_000, "epsilon_steps": 300_000}
_CLIFF: dict[str, Any] = {
    "steps": 50_000,
    "evaluate_every": 2_500,
    "discount": 1.0,
    "step_size": 0.5,
    "epsilon_start": 0.1,
    "epsilon_end": 0.1,
}
_FALLING: dict[str, Any] = {"step_size_end": 0.02, "step_size_steps": 40_000}
_BALANCING: dict[str, Any] = {
    "steps": 100_000,
    "num_envs": 8,
    "rollout_length": 32,
    "minibatch_size": 256,
    "num_epochs": 20,
    "discount": 0.98,
    "gae_lambda": 0.8,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "linear",
    "clip_schedule": "linear",
    "value_coef": 1.0,
}
_SWINGING: dict[str, Any] = {
    "steps": 100_000,
    "evaluate_every": 5_000,
    "num_envs": 4,
    "rollout_length": 1024,
    "minibatch_size": 64,
    "num_epochs": 10,
    "discount": 0.9,
    "learning_rate": 1e-3,
    "value_coef": 1.0,
}
_LEARNERS = ("sarsa", "expected-sarsa", "double-q-learning", "n-step-sarsa", "monte-carlo")

PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    # --- tables ---
    ("q-learning", "FrozenLake-v1"): _LAKE,
    **{(name, "FrozenLake-v1"): _LAKE for name in _LEARNERS},
    ("dyna-q", "FrozenLake-v1"): _LAKE | {"model_memory": 100},
    ("q-learning", "FrozenLake8x8-v1"): {
        "steps": 1_000_000,
        "evaluate_every": 50_000,
        "discount": 0.999,
        "step_size_power": 0.5,
        "epsilon_steps": 800_000,
    },
    ("q-learning", "CliffWalking-v1"): _CLIFF,
    # With a constant step size the values keep changing, and some greedy policies never end.
    ("sarsa", "CliffWalking-v1"): _CLIFF | _FALLING,
    ("n-step-sarsa", "CliffWalking-v1"): _CLIFF | _FALLING,
    ("expected-sarsa", "CliffWalking-v1"): _CLIFF,
    ("double-q-learning", "CliffWalking-v1"): _CLIFF,
    ("dyna-q", "CliffWalking-v1"): _CLIFF,
    # Episodes have no time limit: only while exploration falls slowly do they end often enough.
    ("monte-carlo", "CliffWalking-v1"): {
        "steps": 1_000_000,
        "evaluate_every": 50_000,
        "discount": 1.0,
        "epsilon_end": 0.1,
        "epsilon_steps": 800_000,
    },
    ("psrl", "FrozenLake-v1"): {"steps": 50_000, "evaluate_every": 2_500},
    ("psrl", "FrozenLake8x8-v1"): {"steps": 100_000, "discount": 0.999},
    # Epsilon-greedy on sample averages; an episode has nothing to look ahead to.
    ("q-learning", "BernoulliBandit-v0"): {
        "discount": 0.0,
        "step_size_power": 1.0,
        "epsilon_start": 0.1,
        "epsilon_end": 0.1,
    },
    # Optimistic values of unvisited states explore where the pole stands longest.
    ("q-learning", "CartPole-v1"): {
        "steps": 300_000,
        "evaluate_every": 15_000,
        "bins": (4, 4, 8, 8),
        "bin_low": (-2.4, -2.0, -0.21, -2.0),
        "bin_high": (2.4, 2.0, 0.21, 2.0),
        "step_size": 0.1,
        "initial_value": 100.0,
        "epsilon_start": 0.1,
        "epsilon_end": 0.01,
        "epsilon_steps": 100_000,
    },
    ("lspi", "FrozenLake-v1"): {
        "steps": 50_000,
        "evaluate_every": 2_500,
        "epsilon_end": 0.3,
        "epsilon_steps": 20_000,
    },
    # Far-sighted values of a pole that may fall at any time are hard for quadratic features.
    ("lspi", "CartPole-v1"): {
        "steps": 20_000,
        "evaluate_every": 1_000,
        "discount": 0.9,
        "epsilon_end": 0.5,
    },
    # --- policy gradients ---
    # Without hidden layers, on one-hot observations, the policy is a table of logits.
    ("reinforce", "FrozenLake-v1"): {
        "steps": 400_000,
        "evaluate_every": 20_000,
        "num_envs": 4,
        "episodes_per_update": 64,
        "learning_rate": 0.05,
        "baseline_learning_rate": 0.05,
        "baseline_steps": 4,
        "entropy_coef": 0.01,
        "hidden_sizes": (),
    },
    ("ppo", "FrozenLake-v1"): {"steps": 200_000, "evaluate_every": 10_000, "entropy_coef": 0.01},
    ("reinforce", "CartPole-v1"): {"steps": 200_000, "evaluate_every": 10_000},
    ("ppo", "CartPole-v1"): _BALANCING,
    # A learned reward differs a little between steps that are worth the same: a policy that does
    # not look far ahead takes the better steps, and leaves the track for them.
    ("preference-ppo", "CartPole-v1"): _BALANCING
    | {"steps": 60_000, "discount": 0.99, "gae_lambda": 0.95},
    ("ppo", "Acrobot-v1"): {
        "steps": 1_000_000,
        "evaluate_every": 50_000,
        "num_envs": 16,
        "rollout_length": 128,
        "minibatch_size": 256,
        "num_epochs": 10,
        "learning_rate": 1e-3,
        "learning_rate_schedule": "linear",
        "gae_lambda": 0.94,
        "value_coef": 1.0,
        "normalise_observations": True,
        "scale_rewards": True,
    },
    ("ppo", "MountainCar-v0"): {
        "steps": 1_000_000,
        "evaluate_every": 50_000,
        "num_envs": 16,
        "rollout_length": 64,
        "minibatch_size": 256,
        "num_epochs": 10,
        "learning_rate": 1e-3,
        "learning_rate_schedule": "linear",
        "gae_lambda": 0.98,
        "value_coef": 1.0,
        "normalise_observations": True,
        "scale_rewards": True,
    },
    ("ppo", "Pendulum-v1"): _SWINGING
    | {"discount": 0.95, "learning_rate_schedule": "linear", "activation": "relu"},
    ("preference-ppo", "Pendulum-v1"): _SWINGING | {"steps": 150_000, "evaluate_every": 15_000},
}


# Over these where the agent is kept near a reference. The penalty keeps it exploring, and a bonus
# for its entropy would be another objective.
NEAR_REFERENCE: dict[str, Any] = {"entropy_coef": 0.0}
# Measured by experiments/reference_gap.py: without hidden layers each state learns by itself, and
# large batches, whose rate falls to 0, leave little noise in the probabilities.
PRESETS_NEAR: dict[tuple[str, str], dict[str, Any]] = {
    ("ppo", "FrozenLake-v1"): {
        "steps": 400_000,
        "evaluate_every": 20_000,
        "num_envs": 32,
        "rollout_length": 64,
        "minibatch_size": 2048,
        "discount": 0.995,
        "gae_lambda": 0.9,
        "learning_rate": 0.05,
        "learning_rate_schedule": "linear",
        "max_gradient_norm": 5.0,
        "hidden_sizes": (),
    },
}


def preset(agent: str, environment: str, *, near: bool = False) -> dict[str, Any]:
    """Return the settings for a pair, over the defaults; `near`: that is kept near a reference."""
    settings = DEFAULTS | DEFAULTS_OF.get(agent, {}) | PRESETS.get((agent, environment), {})
    if near:
        settings |= NEAR_REFERENCE | PRESETS_NEAR.get((agent, environment), {})
    return settings
