"""What a run starts from and imitates, found when its environment is known."""

from __future__ import annotations

import dataclasses

from rlkit.agent import AgentTraits
from rlkit.agents import AGENTS, find_agent
from rlkit.environments.environment import Environment
from rlkit.errors import UsageError
from rlkit.training.specification import RunSpec


def with_start_and_demonstrations(
    spec: RunSpec, environment: Environment
) -> tuple[RunSpec, list[str]]:
    """Return a specification with its initial policy and demonstrations, and remarks on both.

    Raises:
        UsageError: one of them cannot be used, or is missing where the agent needs it.
    """
    started, remarks = _with_start(spec, environment)
    imitating, more = _with_demonstrations(started, environment)
    return imitating, [*remarks, *more]


def _with_start(spec: RunSpec, environment: Environment) -> tuple[RunSpec, list[str]]:
    if not isinstance(spec.init, str):
        if spec.init is None and spec.init_seed:
            raise UsageError(
                f"option init_seed (--init-seed) = {spec.init_seed}: it has no meaning without a "
                "run to start from, as --init runs/behaviour-cloning-..."
            )
        return spec, []
    from rlkit.training.playing.reference_run import policy_of_run  # imports torch

    place, seed = spec.init, spec.init_seed
    policy = policy_of_run(place, seed, environment, spec.agent_name, "init")
    remark = f"every seed starts from the policy of seed {seed} of {place}"
    return dataclasses.replace(spec, init=policy), [remark]


def _with_demonstrations(spec: RunSpec, environment: Environment) -> tuple[RunSpec, list[str]]:
    takes = spec.traits.takes_demonstrations
    if spec.demonstrations is None:
        if takes:
            raise UsageError(
                f"{spec.agent_name} imitates demonstrations, and there are none; give a run, a "
                "file or minari:NAME as --demonstrations (demonstrations=), or use "
                "`rlkit clone DATA ENV`"
            )
        return spec, []
    if not takes:
        able = [name for name in AGENTS if AgentTraits.of(find_agent(name)).takes_demonstrations]
        raise UsageError(
            f"option demonstrations (--demonstrations): {spec.agent_name} takes none; of the "
            f"agents of rlkit {', '.join(able)} does. To train from a clone, give its run as --init"
        )
    from rlkit.training.cloning.demonstrations import load_demonstrations, require_fit

    if not isinstance(spec.demonstrations, str):
        require_fit(spec.demonstrations, environment)
        return spec, []
    demonstrations, remark = load_demonstrations(spec.demonstrations, spec, environment)
    return dataclasses.replace(spec, demonstrations=demonstrations), [remark]
