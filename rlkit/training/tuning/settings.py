"""Where a search starts, and other settings of the same agent on the same environment."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlkit.agent import AgentTraits
from rlkit.agents import find_agent
from rlkit.configuration import known_options, make_config
from rlkit.environments.resolve import EnvLike
from rlkit.errors import UsageError
from rlkit.training.specification import (
    ARGUMENTS,
    RunSpec,
    choose_config,
    make_spec,
    named_agent,
    require_agent,
)
from rlkit.training.tuning.spaces import ENVS, with_option

FEWEST_ROWS = 20  # as those of all presets


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a user gave to `tune`, before presets and defaults fill it in.

    Args:
        agent: name or class.
        environment: as in `train`.
        arguments: of `make_spec`.
        fixed: options of the agent.
        config: the configuration to start from; None = that of the preset or the defaults.
        preset: whether the preset fills in options and the number of environments.
    """

    agent: Any
    environment: EnvLike
    arguments: Mapping[str, Any]
    fixed: Mapping[str, Any]
    config: Any
    preset: bool


def start_of(settings: Settings) -> RunSpec:
    """Return the specification that the search starts from.

    Without `evaluate_every` its curve has at least `FEWEST_ROWS` rows, at which trials can be
    stopped, also where there are fewer steps than the preset has.

    Raises:
        UsageError: an argument cannot be used, or the agent has no options.
    """
    agent, arguments = named_agent(settings.agent), dict(settings.arguments)
    agent_class: Any = find_agent(agent) if isinstance(agent, str) else require_agent(agent)
    name = agent if isinstance(agent, str) else agent.__name__
    traits, owner = AgentTraits.of(agent_class), f"agent {name}"
    if traits.Config is None:
        raise UsageError(f"{owner} has no options, so there is nothing to tune")
    known_options(owner, traits.Config, settings.fixed, ARGUMENTS)
    if not known_options(owner, traits.Config, ()):
        raise UsageError(f"{owner} has no options, so there is nothing to tune")
    if settings.config is not None:
        start = choose_config(agent_class, name, settings.environment, settings.config, {})
        config = with_option(owner, start, settings.fixed)
    elif settings.preset:
        spec = make_spec(agent, settings.environment, **arguments, options=settings.fixed)
        return _with_rows(spec, arguments)
    else:
        config = make_config(owner, traits.Config, settings.fixed)
    if not settings.preset and arguments[ENVS] is None:
        arguments[ENVS] = traits.default_num_envs
    return _with_rows(make_spec(agent, settings.environment, **arguments, config=config), arguments)


def _with_rows(spec: RunSpec, arguments: Mapping[str, Any]) -> RunSpec:
    if arguments.get("evaluate_every") is not None:
        return spec
    every = min(spec.evaluate_every, max(1, spec.num_env_steps // FEWEST_ROWS))
    return dataclasses.replace(spec, evaluate_every=every)


def apply(spec: RunSpec, params: Mapping[str, Any]) -> RunSpec:
    """Return the specification with other values of some options.

    Raises:
        UsageError: the agent rejects them together.
    """
    options = {name: value for name, value in params.items() if name != ENVS}
    config = with_option(f"agent {spec.agent_name}", spec.config, options)
    return dataclasses.replace(
        spec, config=spec.traits.identified(config), num_envs=params.get(ENVS, spec.num_envs)
    )


def value_of(spec: RunSpec, option: str) -> Any:
    """Return the value of an option, or the number of environments."""
    return spec.num_envs if option == ENVS else getattr(spec.config, option)
