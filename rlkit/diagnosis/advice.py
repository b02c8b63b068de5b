"""The agent, the settings and the budget to start with, as a command."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from gymnasium import spaces

from rlkit.diagnosis.parts.practice import num_cores
from rlkit.environments.environment import Environment
from rlkit.environments.views.actions import ActionLayout
from rlkit.environments.views.leaves import bounds_of, leaves
from rlkit.training.presets import DEFAULTS, PRESETS

MOST_STATES, MOST_ACTIONS = 10_000, 10_000  # of a table that is worth beginning with
_LARGE_RETURN = 100.0
_NOT_YET = 10  # times the steps of the probe, where nothing was learned in them


@dataclass(frozen=True)
class Plan:
    """How to train: an agent, arguments of `rlkit.train` and options of the agent."""

    agent: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    has_preset: bool = False

    def as_command(self, environment: str, env_args: Mapping[str, Any], steps: int | None) -> str:
        """Return the command line that trains like this."""
        words = ["rlkit", "train", self.agent, shlex.quote(environment)]
        for name, value in env_args.items():
            words += ["--env-arg", shlex.quote(f"{name}={json.dumps(value)}")]
        if steps is not None:
            words += ["--steps", str(steps)]
        for name, value in {**self.arguments, **self.options}.items():
            words.append(f"--{name.replace('_', '-')}")
            words += [] if value is True else [str(value)]
        return " ".join(words)

    def as_call(self, environment: str, env_args: Mapping[str, Any], steps: int | None) -> str:
        """Return the call in Python that trains like this.

        Args:
            environment: the name of the object there.
            env_args: its arguments.
            steps: of each seed; None = by default.
        """
        given: dict[str, Any] = {"env_args": dict(env_args)} if env_args else {}
        given |= {} if steps is None else {"steps": steps}
        given |= {**self.arguments, **self.options}
        words = [f'"{self.agent}"', environment, *(f"{name}={given[name]!r}" for name in given)]
        return f"rlkit.train({', '.join(words)})"


def choose_plan(environment: Environment, codes: Collection[str], facts: Mapping[str, Any]) -> Plan:
    """Return the agent and the settings for an environment.

    Args:
        environment: can be played.
        codes: of the findings.
        facts: of the examination.
    """
    states, actions = environment.own_observation_space, environment.probe.action_space
    layout = ActionLayout(actions)
    num_states = int(states.n) if isinstance(states, spaces.Discrete) else MOST_STATES + 1
    num_actions = 1
    for size in layout.sizes.tolist():
        num_actions *= size or MOST_ACTIONS + 1
    table = num_states <= MOST_STATES and num_actions <= MOST_ACTIONS
    agent = "q-learning" if table else "ppo"
    arguments: dict[str, Any] = {}
    options: dict[str, Any] = {}
    has_masks = facts.get("offers_masks") and "mask-invalid" not in codes and layout.is_discrete
    # Twins and tables, which have no masks, are stepped so much faster that masks do not pay.
    if has_masks and environment.kind == "gymnasium":
        arguments["action_masks"] = True
    has_preset = (agent, environment.reference) in PRESETS and not environment.args
    if agent == "ppo" and not has_preset:
        if "observation-badly-scaled" in codes and not isinstance(states, spaces.Discrete):
            options["normalise_observations"] = True
        large = abs(facts.get("random_return", 0.0)) > _LARGE_RETURN
        if large or {"reward-large", "reward-tiny"} & set(codes):
            options["scale_rewards"] = True
        if "action-range" in codes and _has_bounds(actions):
            arguments["rescale_actions"] = True
    if "slow-steps" in codes and "cannot-be-sent" not in codes:
        arguments["env_workers"] = num_cores()
    return Plan(agent, arguments, options, has_preset)


def _has_bounds(space: spaces.Space[Any]) -> bool:
    boxes = [leaf.space for leaf in leaves(space) if isinstance(leaf.space, spaces.Box)]
    return any(abs(bound).max() < float("inf") for box in boxes for bound in bounds_of(box))


def choose_steps(plan: Plan, steps: int, learned: bool | None) -> int | None:
    """Return the steps per seed to begin with; None = those of the preset or the default.

    Args:
        plan: how to train.
        steps: of each seed in the probe; 0 = there was none.
        learned: whether it learned; None = unknown.
    """
    if plan.has_preset:
        return None
    wanted = steps * (_NOT_YET if learned is False else 1)
    default = int(DEFAULTS["steps"])
    return None if wanted <= default else -(-wanted // default) * default
