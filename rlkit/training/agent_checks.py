"""Whether an agent of the user's own is determined by its random streams, as far as is tried."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rlkit.agent import Task
from rlkit.environments.checks import GlobalGenerators
from rlkit.errors import RlkitError
from rlkit.loop import interact
from rlkit.seeding import SeedStreams

if TYPE_CHECKING:
    from rlkit.environments.resolve import Environment
    from rlkit.training.specification import RunSpec

NUM_STEPS = 32


def check_agent(spec: RunSpec, environment: Environment) -> str | None:
    """Let two agents built alike take the same steps; return what is wrong in one sentence.

    Agents of rlkit are not tried: its tests hold them to this. An agent that raises is left to
    training, which says where, and so is one in an environment that cannot be repeated itself.
    """
    kind = spec.stepped_as(environment)
    if isinstance(spec.agent, str) or (kind == "gymnasium" and environment.repeatability.problem):
        return None
    generators = GlobalGenerators()
    try:
        first, again = (_actions(spec, environment, kind) for _ in range(2))
    except RlkitError:
        return None
    except Exception:  # it is the user's code; training raises the same
        return None
    moved = " and ".join(sorted(generators.moved()))
    advice = (
        "Draw from task.streams, as in task.streams[s].generator('action'); the run is not "
        "reproducible"
    )
    for step, (a, b) in enumerate(zip(first, again, strict=True), start=1):
        if a.tobytes() != b.tobytes():
            source = f" It draws from the global generator of {moved}." if moved else ""
            return (
                f"{spec.agent_name} is not determined by its random streams: with the same ones it "
                f"chose other actions at step {step} when the same steps were repeated.{source} "
                f"{advice}"
            )
    if moved and kind != "gymnasium":  # a twin or a table uses none of them
        return f"{spec.agent_name} draws from the global generator of {moved}. {advice}"
    return None


def _actions(spec: RunSpec, environment: Environment, kind: str) -> list[NDArray[Any]]:
    streams = (SeedStreams(spec.experiment_seed, 0),)
    env = environment.grid(streams, spec.num_envs, kind=kind)
    try:
        spaces = env.observation_space, env.action_space
        task = Task(*spaces, streams, spec.num_envs, spec.num_env_steps, environment.mdp)
        agent = spec.build_agent(task)
        steps = interact(agent, env, NUM_STEPS)
        return [np.array(transition.action) for transition, _ in steps]
    finally:
        with contextlib.suppress(Exception):
            env.close()
