"""Settings that work, as data: for an agent and an environment, what differs from the defaults.

`steps` is the budget of one seed in environment steps, `num_envs` the environments of each seed,
`evaluate_every` the distance between rows of the curve; the rest are options of the agent.
"""

from __future__ import annotations

from typing import Any

# Used where there is no preset.
DEFAULTS: dict[str, Any] = {"steps": 100_000, "evaluate_every": 5_000}

PRESETS: dict[tuple[str, str], dict[str, Any]] = {
    ("ppo", "CartPole-v1"): {
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
    },
}


def preset(agent: str, environment: str) -> dict[str, Any]:
    """Return the settings for a pair, over the defaults."""
    return DEFAULTS | PRESETS.get((agent, environment), {})
