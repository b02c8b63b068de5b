"""Errors that rlkit raises on purpose; each says what, where, expected, got and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RlkitError(Exception):
    """Something failed; the message is meant for a person. The command line exits with 1."""

    exit_code = 1


class UsageError(RlkitError, ValueError):
    """What was asked for cannot be done as asked. The command line exits with 2."""

    exit_code = 2


class AllSeedsFailed(RlkitError):
    """No seed of a run could be finished; `run` is what there is of it."""

    def __init__(self, message: str, run: object, exit_code: int) -> None:
        super().__init__(message)
        self.run = run
        self.exit_code = exit_code


class SeedError(RlkitError):
    """One seed cannot go on; the others can. `seed` is its index in the experiment."""

    def __init__(self, seed: int, message: str) -> None:
        super().__init__(seed, message)
        self.seed = seed
        self.message = message

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.message}"


class RlkitWarning(UserWarning):
    """Something worth knowing about a result; in Python every note of rlkit is one of these."""


class EnvironmentFault(SeedError):
    """An environment returned something that it must not return, such as a reward of NaN."""

    exit_code = 2


class AgentFault(SeedError):
    """An agent chose something that is no action, such as NaN or an index out of range."""

    exit_code = 2


class Diverged(SeedError):
    """The parameters of one seed became infinite or NaN."""


# What other libraries call some of our options.
_SYNONYMS = {
    "gamma": "discount",
    "lr": "learning_rate",
    "alpha": "step_size",
    "n_steps": "rollout_length",
    "n_epochs": "num_epochs",
    "batch_size": "minibatch_size",
    "clip_range": "clip_epsilon",
    "clip_coef": "clip_epsilon",
    "ent_coef": "entropy_coef",
    "clip_range_vf": "value_clip",
    "normalize_advantage": "standardise_advantages",
    "norm_adv": "standardise_advantages",
    "max_grad_norm": "max_gradient_norm",
    "n_envs": "envs",
    "num_envs": "envs",
    "total_timesteps": "steps",
}


def closest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the known name nearest to `name`, or an empty string."""
    candidates = {word: word for word in known}
    for word, ours in _SYNONYMS.items():
        for spelt in (ours, f"--{ours.replace('_', '-')}"):
            if spelt in candidates:
                prefix = "--" if spelt.startswith("--") else ""
                candidates.setdefault(f"{prefix}{word}", spelt)
    matches = difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.5)
    return f" Did you mean {candidates[matches[0]]!r}?" if matches else ""
