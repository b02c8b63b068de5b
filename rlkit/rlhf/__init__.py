"""RLHF on one ordinary machine, with an answer key.

    sft = rlhf.sft("enumerable")                         # demonstrations -> a language model
    reward = rlhf.reward(sft, num_pairs=3000)            # preferences -> a reward model
    policy = rlhf.ppo(sft, reward=reward, kl_coef=0.3)   # reward -> KL-penalised policy
    rlhf.KLPenalisedPolicy(model, reference, score, ...) # the open loop: collect, update, fit

The stages are runs in folders; the parts below them know no files.
"""

from __future__ import annotations

import importlib
from typing import Any

# Where each public name lives; it is imported when first used.
_HOME = {
    **dict.fromkeys(
        ("sft", "reward", "dpo", "ppo", "rloo", "grpo", "policy_gradient"),
        "rlkit.rlhf.stages.api",
    ),
    **dict.fromkeys(("sample_run", "evaluate_run"), "rlkit.rlhf.stages.evaluation.evaluate_policy"),
    **dict.fromkeys(("load_policy", "load_reward_model"), "rlkit.rlhf.stages.loading"),
    "export": "rlkit.rlhf.exporting.export",
    "score": "rlkit.rlhf.stages.evaluation.evaluate_reward",
    "best_of_n_run": "rlkit.rlhf.stages.evaluation.evaluate_best_of_n",
    "ModelSource": "rlkit.rlhf.stages.sources",
    **dict.fromkeys(
        ("SFTConfig", "RewardConfig", "DPOConfig", "PPOConfig", "RLOOConfig", "GRPOConfig"),
        "rlkit.rlhf.training.configs",
    ),
    **dict.fromkeys(("GPT", "GPTConfig"), "rlkit.rlhf.models.gpt"),
    "KLPenalisedPolicy": "rlkit.rlhf.training.policy",
    "RewardModel": "rlkit.rlhf.training.reward_model",
    "AnswerKey": "rlkit.rlhf.exact.answer_key",
    "TextScore": "rlkit.rlhf.data.scores",
    "generate": "rlkit.rlhf.data.sampling",
    "evaluate_policy": "rlkit.rlhf.evaluation.evaluate",
    "best_of_n": "rlkit.rlhf.evaluation.best_of",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rlkit.rlhf' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
