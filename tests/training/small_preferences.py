"""Options of a run of preference-ppo that takes a fraction of a second."""

from typing import Any

SMALL_PREFERENCES: dict[str, Any] = {
    "steps": 1200,
    "evaluate_every": 600,
    "evaluation_episodes": 1,
    "envs": 4,
    "rollout_length": 16,
    "num_epochs": 2,
    "hidden_sizes": (8,),
    "num_preferences": 40,
    "num_rounds": 2,
    "steps_per_round": 400,
    "collect_steps": 400,
    "segment_length": 10,
    "held_out_share": 0.5,
    "reward_hidden_sizes": (8,),
    "reward_epochs": 5,
}
