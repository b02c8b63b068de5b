"""What a run is: everything that its results depend on, and the name that follows from it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import platform
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from rlkit.agents import find_agent
from rlkit.environments import Environment, EnvLike, find_environment
from rlkit.errors import UsageError, closest
from rlkit.fingerprint import Fingerprint, fingerprint
from rlkit.presets import preset

DEFAULT_EVALUATION_EPISODES = 20


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One agent, with its options, on one environment.

    The number of seeds is not part of it: a seed's results do not depend on the others, so a run
    can be given more seeds later. Neither is `num_env_steps`, unless a schedule spans the run.
    """

    agent: str | type[Any]  # a name in `AGENTS`, or a class that keeps the Agent contract
    environment: EnvLike
    env_args: Mapping[str, Any]
    config: Any  # the agent's frozen dataclass, or None where the class has no Config
    num_env_steps: int  # of each seed
    num_envs: int  # of each seed
    experiment_seed: int
    evaluate_every: int  # environment steps of one seed
    evaluation_episodes: int  # of one seed; 0 = no evaluation
    native: bool  # a batched twin or a sampled model where there is one

    @property
    def agent_class(self) -> Any:
        return find_agent(self.agent) if isinstance(self.agent, str) else self.agent

    @property
    def agent_name(self) -> str:
        return self.agent if isinstance(self.agent, str) else self.agent.__name__

    def resolve(self) -> Environment:
        """Find the environment; done once for each process."""
        return find_environment(self.environment, self.env_args)

    def build_agent(self, task: Any) -> Any:
        """Construct the agent for a task."""
        agent_class = self.agent_class
        return agent_class(task) if self.config is None else agent_class(task, self.config)

    @property
    def spans_run(self) -> bool:
        """Whether the results depend on the number of steps from the start."""
        depends = getattr(self.agent_class, "depends_on_total_steps", None)
        return bool(depends(self.config)) if depends is not None else False

    @functools.cached_property
    def agent_source(self) -> Fingerprint | None:
        """What an agent of the user's own is made of; None for those of rlkit."""
        return None if isinstance(self.agent, str) else fingerprint(self.agent)

    def stepped_as(self, environment: Environment) -> str:
        """How its environments are stepped: "native", "tabular" or "gymnasium"."""
        return environment.kind if self.native else "gymnasium"

    def identity(self, environment: Environment) -> dict[str, Any]:
        """Return everything that the results depend on, as plain data."""
        config = None if self.config is None else dataclasses.asdict(self.config)
        content: dict[str, Any] = {
            "agent": self.agent_name,
            "agent_source": "" if self.agent_source is None else self.agent_source.digest,
            "environment": environment.reference,
            "environment_source": environment.source.digest,
            "environment_details": {
                **environment.probe.details,
                "table": None if environment.mdp is None else environment.mdp.digest,
            },
            "env_args": dict(self.env_args),
            "stepped_as": self.stepped_as(environment),
            "config": _plain(config),
            "num_envs": self.num_envs,
            "experiment_seed": self.experiment_seed,
            "evaluate_every": self.evaluate_every,
            "evaluation_episodes": self.evaluation_episodes,
        }
        if self.spans_run:
            content["num_env_steps"] = self.num_env_steps
        return content

    def unidentified(self, environment: Environment) -> tuple[str, ...]:
        """Return what the results depend on and nobody can tell from the like of it."""
        parts = [environment.source, self.agent_source, fingerprint(self.config)]
        return tuple(text for part in parts if part is not None for text in part.unidentified)

    def folder_name(self, environment: Environment) -> str:
        """Return agent, environment and ten digits of the sha256 of the identity.

        Where something cannot be identified, the digits are drawn at random: no other run may be
        taken for this one.
        """
        name = f"{self.agent_name}-{environment.name}"
        if self.unidentified(environment):
            return content_name(name, {"unique": uuid.uuid4().hex})
        return content_name(name, self.identity(environment))

    def old_folder_name(self, environment: Environment) -> str | None:
        """Return the name that this run would have in format 1; None where that told too little."""
        if environment.content is None or self.agent_source is not None:
            return None
        identity = {**self.identity(environment), "environment_source": environment.content}
        del identity["environment_details"]
        return content_name(f"{self.agent_name}-{environment.name}", identity)


def _plain(value: Any) -> Any:
    """Options as plain data: what is none (a function, an array) by its meaning."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return {"sha256": fingerprint(value).digest}


def make_spec(
    agent: str | type[Any],
    environment: EnvLike,
    *,
    steps: int | None = None,
    seed: int = 0,
    envs: int | None = None,
    env_args: Mapping[str, Any] | None = None,
    evaluate_every: int | None = None,
    evaluation_episodes: int = DEFAULT_EVALUATION_EPISODES,
    native: bool = True,
    config: Any = None,
    options: Mapping[str, Any] | None = None,
) -> RunSpec:
    """Fill in what was left out from the preset for the pair, then from the defaults.

    Args:
        config: the agent's whole configuration; then `options` must be empty.
        options: fields of the agent's configuration that differ from the preset.

    Raises:
        UsageError: a name, number or option that cannot be used.
    """
    options = dict(options or {})
    agent_class = find_agent(agent) if isinstance(agent, str) else agent
    name = agent if isinstance(agent, str) else agent.__name__
    settings = preset(name, environment if isinstance(environment, str) else "")
    if config is None:
        config = default_config(agent_class, name, environment, options)
    elif options:
        raise UsageError(f"give {name} either a config or single options, not both")
    chosen = {
        "steps": settings["steps"] if steps is None else steps,
        "envs": settings.get("num_envs", getattr(agent_class, "default_num_envs", 1))
        if envs is None
        else envs,
        "evaluate_every": settings["evaluate_every"] if evaluate_every is None else evaluate_every,
    }
    for option, value in {
        **chosen,
        "seed": seed,
        "evaluation_episodes": evaluation_episodes,
    }.items():
        least = 0 if option in ("seed", "evaluation_episodes") else 1
        require_count(option, value, at_least=least)
    try:
        json.dumps(dict(env_args or {}), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"env_args {dict(env_args or {})!r}: {error}; give plain numbers, strings and lists, "
            "so that they can be stored with the run"
        ) from error
    return RunSpec(
        agent=agent,
        environment=environment,
        env_args=dict(env_args or {}),
        config=config,
        num_env_steps=chosen["steps"],
        num_envs=chosen["envs"],
        experiment_seed=seed,
        evaluate_every=chosen["evaluate_every"],
        evaluation_episodes=evaluation_episodes,
        native=native,
    )


def default_config(
    agent_class: Any, name: str, environment: EnvLike, options: Mapping[str, Any]
) -> Any:
    """The agent's configuration: its defaults, under the preset, under the given options."""
    config_class = getattr(agent_class, "Config", None)
    if config_class is None:
        if options:
            raise UsageError(f"agent {name} has no options, got {', '.join(options)}")
        return None
    known = known_options(f"agent {name}", config_class, options)
    settings = preset(name, environment if isinstance(environment, str) else "")
    from_preset = {key: value for key, value in settings.items() if key in known}
    return config_class(**{**from_preset, **options})


def known_options(owner: str, config_class: Any, options: Iterable[str]) -> list[str]:
    """The names of a configuration's options; refuses any other among `options`."""
    known = [field.name for field in dataclasses.fields(config_class)]
    for option in options:
        if option not in known:
            raise UsageError(
                f"{owner} has no option {option!r}.{closest(option, known)} "
                f"It has {', '.join(known) or 'none'}."
            )
    return known


def require_count(name: str, value: Any, *, at_least: int) -> None:
    """Require a whole number that is not below `at_least` and fits a signed 64-bit integer."""
    if isinstance(value, bool) or not isinstance(value, int) or not at_least <= value < 2**63:
        raise UsageError(
            f"option {name} (--{name.replace('_', '-')}): expected a whole number >= {at_least}, "
            f"got {value!r}"
        )


def content_name(what: str, identity: Mapping[str, Any]) -> str:
    """The name of a run's folder: what it is, and ten digits of the sha256 of its identity."""
    text = json.dumps(identity, sort_keys=True, default=repr)
    digest = hashlib.sha256(text.encode()).hexdigest()[:10]
    stem = re.sub(r"[^A-Za-z0-9._-]+", "_", what)[:80]
    return f"{stem}-{digest}"


def versions() -> dict[str, str]:
    """The versions that the bytes of a result may depend on."""
    packages = ("rlkit", "gymnasium", "numpy", "torch")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
