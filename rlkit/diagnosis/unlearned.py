"""The check whether a finished run learned nothing, so that the doctor is worth a visit."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from rlkit.training.run import Run

_LEAST_STEPS, _LEAST_ROWS = 5_000, 3
_SURE = 2.0  # standard errors by which a row must be above the first
_CLOSE = 1e-9
_WITHOUT_LEARNING = ("random", "value-iteration")


def learned_nothing(run: Run) -> str | None:
    """Return a sentence on a run in which no seed ever rose above its first evaluation.

    The first row is the policy before any training. Excepted are runs that are short, unfinished,
    not evaluated or as good as is known to be possible, and agents that do not learn.

    Args:
        run: of any agent.

    Returns:
        the sentence, or None.
    """
    if run.status != "finished" or run.measured != "eval_return" or run.agent in _WITHOUT_LEARNING:
        return None
    curve, steps = run.curve, run.steps
    if len(steps) < _LEAST_ROWS or steps[0] != 0 or steps[-1] < _LEAST_STEPS:
        return None
    if not np.isfinite(curve).all():
        return None
    episodes = max(1, int(run.record["evaluation_episodes"]))
    for seed, columns in enumerate(run.columns):
        error = np.sqrt(np.nan_to_num(columns["eval_std"][: len(steps)]) ** 2 / episodes)
        first, later = curve[seed, 0], curve[seed, 1:]
        least = _SURE * np.hypot(error[0], error[1:]) + _CLOSE * max(1.0, abs(first))
        if (later > first + least).any():
            return None
    if _is_solved(run, float(run.scores.mean())):
        return None
    low, high = f"{run.scores.min():.4g}", f"{run.scores.max():.4g}"
    span = f"at {low}" if low == high else f"from {low} to {high}"
    doctor = f"rlkit doctor {run.record['environment']}"
    return (
        f"{run.agent} learned nothing: after {int(steps[-1]):,} steps no seed rose above its "
        f"return before training (the returns are {span}). `{doctor}` looks for the reason"
    )


def _is_solved(run: Run, score: float) -> bool:
    """Return whether a score is that of the optimum, or the one that its authors call solved."""
    optimum = run.optimum
    if optimum is not None:
        return score >= optimum - 0.01 * max(abs(optimum), _CLOSE)
    spec = gym.registry.get(str(run.record["environment"]))
    threshold = None if spec is None else spec.reward_threshold
    return threshold is not None and score >= threshold
