"""What the tests of exact sums share: distributions, and tasks with all of their responses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rlkit.rlhf.exact import enumeration
from rlkit_envs.enumerable import EnumerableTask

Floats = NDArray[np.float64]

# Four responses of one token, uniform reference, rewards 0 to 3.
UNIFORM = np.log(np.full((1, 4), 0.25))
RAMP = np.arange(4.0)[None]


class Enumerated(NamedTuple):
    """A task, all of its responses, their log-probability under its generator, and their gold."""

    task: EnumerableTask
    completions: enumeration.Completions
    log_prob: Floats  # [Q, C]
    gold: Floats  # [Q, C]


def random_policy(rng: np.random.Generator, *shape: int) -> Floats:
    """Log-probabilities over several orders of magnitude."""
    logits = 2 * rng.normal(size=shape)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def enumerated(task: EnumerableTask) -> Enumerated:
    completions = enumeration.all_completions(
        task.num_actions, task.eos, task.max_new_tokens, task.pad
    )
    count = len(completions.responses)
    prompts = np.repeat(task.prompts, count, axis=0)
    responses = np.tile(completions.responses, (task.num_prompts, 1))
    shape = (task.num_prompts, count)
    log_prob = task.generator_log_prob(prompts, responses).reshape(shape)
    return Enumerated(task, completions, log_prob, task.gold(prompts, responses).reshape(shape))


def small() -> Enumerated:
    """40 responses to each of 2 prompts."""
    return enumerated(EnumerableTask(num_content=3, num_prompts=2, max_new_tokens=3))
