"""The answer key of policies that were trained near a reference, in environments with a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from rlkit.agent import Actor, ActorTraits
from rlkit.environments.environment import Environment
from rlkit.nn.reference import ReferencePolicy
from rlkit.tabular.planning.near import penalised_optimum, penalised_return
from rlkit.training.specification import RunSpec


def has_answer_key(spec: RunSpec, environment: Environment) -> bool:
    """Return whether the penalised optimum of what a run was trained on is known.

    That of a reward of the user's own is not: the model has the environment's. Neither are masks of
    actions in the model.
    """
    mdp, states = environment.mdp, environment.observation_space
    return (
        isinstance(spec.reference, ReferencePolicy)
        and spec.reward is None
        and not spec.action_masks
        and mdp is not None
        and isinstance(states, spaces.Discrete)
        and isinstance(environment.action_space, spaces.Discrete)
        and (mdp.time_limit is not None or spec.config.discount < 1.0)
    )


def penalised_rows(
    actor: Actor, spec: RunSpec, environment: Environment, coefficients: Sequence[float]
) -> list[dict[str, float]]:
    """Return each seed's penalised return, beside the best one that is possible.

    Args:
        actor: the exploring policies, of which the objective of training is; a greedy policy is
            never near a reference.
        spec: what they were trained from, which `has_answer_key`.
        environment: what they were trained in.
        coefficients: the penalty of a nat, of each seed; 0 = it was only measured.
    """
    from rlkit.agents.reference.policy import probabilities_of  # imports torch

    mdp, reference = environment.mdp, spec.reference
    states, actions = environment.observation_space, environment.action_space
    probabilities = ActorTraits.of(actor).probabilities
    assert mdp is not None
    assert isinstance(reference, ReferencePolicy)
    assert isinstance(states, spaces.Discrete)
    assert isinstance(actions, spaces.Discrete)
    assert probabilities is not None
    near = probabilities_of(reference, states, actions)
    policies = probabilities(np.tile(np.arange(mdp.num_states), (len(coefficients), 1)))
    optima: dict[float, float] = {}
    rows = []
    for policy, coef in zip(policies, coefficients, strict=True):
        if coef == 0.0:
            rows.append({"kl_coef": 0.0})
            continue
        options: dict[str, Any] = {
            "kl_coef": coef,
            "discount": spec.config.discount,
            "limit": mdp.time_limit,
        }
        if coef not in optima:
            optima[coef] = penalised_optimum(mdp, near, **options)
        known = penalised_return(mdp, policy, near, **options, optimum=optima[coef])
        rows.append(
            {
                "kl_coef": coef,
                "kl": known.kl,
                "penalised_return": known.penalised_return,
                "penalised_optimum": known.penalised_optimum,
                "gap": known.gap,
            }
        )
    return rows
