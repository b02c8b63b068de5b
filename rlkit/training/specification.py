"""The specification of a run: everything that its results depend on, and its name."""

from __future__ import annotations

import functools
import hashlib
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Protocol

import gymnasium as gym

from rlkit.agent import Agent, AgentTraits, Task
from rlkit.agents import AGENTS, find_agent
from rlkit.configuration import known_options, make_config, require_config
from rlkit.environments.bins import Binning, make_binning
from rlkit.environments.environment import Environment
from rlkit.environments.resolve import EnvLike, find_environment, locate
from rlkit.environments.stepping.pool import Pool
from rlkit.environments.stepping.watchdog import ENV_TIMEOUT
from rlkit.environments.views.view import View
from rlkit.errors import RlkitError, UsageError
from rlkit.fingerprint import Fingerprint, fingerprint, identify
from rlkit.nn.demonstrations import Demonstrations
from rlkit.nn.reference import INITS, ReferencePolicy
from rlkit.options import require_count, require_seconds, require_typed, without_axes
from rlkit.rewards import OwnReward, RewardFunction, load_reward
from rlkit.runs.identity import content_name, plain_data
from rlkit.seeding import SeedStreams
from rlkit.tabular.mdp import TabularMDP
from rlkit.training.own_agents import (
    ByReference,
    find_own_agent,
    in_file,
    names_own_agent,
    reference_of,
    require_methods,
)
from rlkit.training.presets import DEFAULT_EVALUATION_EPISODES, preset
from rlkit.training.watching.rules import StopRules
from rlkit.user_code import is_patched

# The arguments of `train` other than options of an agent.
ARGUMENTS = (
    *("seeds", "steps", "seed", "envs", "out", "workers", "env_args", "evaluate_every"),
    *("evaluation_episodes", "native", "compiled", "allow_drift", "config", "reports"),
    *("bins", "bin_low", "bin_high", "rescale_actions", "action_masks"),
    *("env_workers", "env_timeout", "reward", "reference", "reference_seed", "name"),
    *("until_return", "patience", "keep_best", "callbacks", "init_seed", "demonstrations"),
    *("tensorboard", "tensorboard_seeds", "track"),
)


class HasSpaces(Protocol):
    """An environment, a grid of environments or the details of one."""

    @property
    def observation_space(self) -> gym.Space[Any]: ...

    @property
    def action_space(self) -> gym.Space[Any]: ...


def whole_steps(num_env_steps: int, num_envs: int) -> int:
    """Return environment steps of a seed, rounded up to whole steps of its environments."""
    return -(-num_env_steps // num_envs) * num_envs


def on_grid(steps: Any, num_envs: int, evaluate_every: int) -> Any:
    """Return whether the last step of N environments reached a multiple of `evaluate_every`."""
    return steps // evaluate_every > (steps - num_envs) // evaluate_every


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One agent, with its options, on one environment.

    The number of seeds is not part of it: a seed's results do not depend on the others, so a run
    can be given more seeds later. Neither is `num_env_steps`, unless a schedule spans the run.
    """

    agent: str | Callable[..., Agent]  # a name in `AGENTS`, or a class of the Agent contract
    environment: EnvLike
    env_args: Mapping[str, Any]
    config: Any  # the agent's frozen dataclass, or None where the class has no Config
    num_env_steps: int  # of each seed
    num_envs: int  # of each seed
    experiment_seed: int
    evaluate_every: int  # environment steps of one seed
    evaluation_episodes: int  # of one seed; 0 = no evaluation
    native: bool  # a batched twin or a sampled model where there is one
    compiled: bool = True  # the compiled loop where there is one; the results are the same
    binning: Binning | None = None  # of Box observations
    env_workers: int = 0  # processes that step the copies; 0 = this one; the results are the same
    env_timeout: float = ENV_TIMEOUT  # seconds that a call of the environment may take
    rescale_actions: bool = False  # bounded actions of a Box are in [-1, 1]
    action_masks: bool = False  # those that the environment offers
    reward: str | RewardFunction | None = None  # of the user's own; None = the environment's
    # the policy to stay near; the folder of a run, or "uniform", until the environment is known
    reference: ReferencePolicy | str | None = None
    reference_seed: int = 0  # of that run
    stop: StopRules | None = None  # before all steps are done
    keep_best: bool = False  # the state of each seed at its best evaluation
    # the policy to start from; likewise the folder of a run
    init: ReferencePolicy | str | None = None
    init_seed: int = 0  # of that run
    # what to imitate; a run, a file or a dataset until the environment is known
    demonstrations: Demonstrations | str | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # The class comes first: unpickling it runs its file, which also has the class of `config`.
        rest = {name: value for name, value in vars(self).items() if name != "agent"}
        reference = self.agent_reference
        return _as_before, (ByReference(reference) if in_file(reference) else self.agent, rest)

    @property
    def agent_reference(self) -> str:
        """The name by which another process finds the user's agent; "" if there is none."""
        return "" if isinstance(self.agent, str) else reference_of(self.agent)

    @property
    def agent_class(self) -> Callable[..., Agent]:
        return find_agent(self.agent) if isinstance(self.agent, str) else self.agent

    @property
    def agent_name(self) -> str:
        return self.agent if isinstance(self.agent, str) else self.agent.__name__

    def resolve(self) -> Environment:
        """Find the environment; done once per process."""
        return find_environment(self.environment, self.env_args).seen_as(self.view)

    @property
    def view(self) -> View:
        """How the agent sees the environment."""
        return View(
            binning=self.binning,
            numbered_actions=self.traits.needs_discrete_actions,
            rescaled_actions=self.rescale_actions,
            action_masks=self.action_masks,
        )

    def resolve_safely(self) -> Environment:
        """Find the environment as `resolve` does, but build and play copies in a worker first.

        Then whatever ends or blocks a process does not do so here.
        """
        if not self.env_workers:
            return self.resolve()
        located = locate(self.environment, self.env_args).seen_as(self.view)
        stays = self.native and located.has_twin
        checked = located if stays else Pool(located, 1, self.env_timeout).checked()
        checked.probe  # noqa: B018  raises if it cannot be trained on
        checked.settle()
        return checked

    def task(
        self, spaces: HasSpaces, streams: Sequence[SeedStreams], mdp: TabularMDP | None
    ) -> Task:
        """Return what an agent of this run is built for."""
        return Task(
            spaces.observation_space,
            spaces.action_space,
            tuple(streams),
            self.num_envs,
            self.num_env_steps,
            mdp,
            evaluated=self.evaluation_episodes > 0,
            action_masks=self.action_masks,
            reference=self.reference if isinstance(self.reference, ReferencePolicy) else None,
            init=self.init if isinstance(self.init, ReferencePolicy) else None,
            demonstrations=self.demonstrations
            if isinstance(self.demonstrations, Demonstrations)
            else None,
        )

    def whole_steps(self, num_env_steps: int) -> int:
        """Return environment steps, rounded up to whole steps of the N environments."""
        return whole_steps(num_env_steps, self.num_envs)

    @property
    def traits(self) -> AgentTraits:
        """The optional members of the agent's class."""
        return AgentTraits.of(self.agent_class)

    def build_agent(self, task: Task) -> Agent:
        """Construct the agent for a task.

        Raises:
            UsageError: a function of the user's own made something else.
        """
        agent_class = self.agent_class
        agent = agent_class(task) if self.config is None else agent_class(task, self.config)
        require_methods(agent, f"the agent {self.agent_name}")
        return agent

    @property
    def spans_run(self) -> bool:
        """Whether the results depend on the total number of steps from the start."""
        return bool(self.traits.depends_on_total_steps(self.config))

    @functools.cached_property
    def agent_source(self) -> Fingerprint | None:
        """The fingerprint of a user's agent; None for the agents of rlkit."""
        return None if isinstance(self.agent, str) else identify(self.agent)

    @functools.cached_property
    def own_reward(self) -> OwnReward | None:
        """The reward that the agent learns from in place of the environment's.

        Raises:
            UsageError: there is no such function.
        """
        return None if self.reward is None else load_reward(self.reward)

    def stepped_as(self, environment: Environment) -> str:
        """Return how its environments are stepped: "native", "tabular" or "gymnasium".

        Only the environment itself offers action masks; twins and tables do not.
        """
        return environment.kind if self.native and not self.action_masks else "gymnasium"

    def identity(self, environment: Environment) -> dict[str, Any]:
        """Return everything that the results depend on, as plain data."""
        content: dict[str, Any] = {
            "agent": self.agent_name,
            "agent_source": "" if self.agent_source is None else self.agent_source.digest,
            "agent_patched": "" if self.agent_source is not None else _patched(self.agent_class),
            "environment": environment.reference,
            "environment_source": environment.source.digest,
            "environment_details": {
                **environment.probe.details,
                "table": None if environment.mdp is None else _table_digest(environment.mdp),
            },
            "env_args": plain_data(self.env_args, mark_tuples=True),
            "stepped_as": self.stepped_as(environment),
            "config": plain_data(self.config, other=_by_meaning),
            "num_envs": self.num_envs,
            "experiment_seed": self.experiment_seed,
            "evaluate_every": self.evaluate_every,
            "evaluation_episodes": self.evaluation_episodes,
        }
        if self.agent_source is not None:  # its options may be objects of any class
            meaning = fingerprint(self.config)
            content["config_meaning"] = "" if meaning.unidentified else meaning.digest
        if self.binning is not None:
            content["binning"] = plain_data(self.binning)
        for name in ("rescale_actions", "action_masks", "keep_best"):
            if getattr(self, name):
                content[name] = True
        if self.stop is not None:
            content["stop"] = self.stop.identity
        if self.own_reward is not None:
            source = self.own_reward.source
            content["reward"] = {
                "name": self.own_reward.reference,
                "source": "" if source.unidentified else source.digest,
            }
        for name in ("reference", "init", "demonstrations"):
            origin = getattr(self, name)
            if isinstance(origin, ReferencePolicy | Demonstrations):
                content[name] = origin.identity
        if self.spans_run:
            content["num_env_steps"] = self.num_env_steps
        return content

    def unidentified(self, environment: Environment) -> tuple[str, ...]:
        """Return descriptions of inputs that cannot be distinguished from similar ones."""
        parts = [
            *(environment.source, environment.probe.made_of),
            *(self.agent_source, fingerprint(self.config)),
            None if self.own_reward is None else self.own_reward.source,
        ]
        known = [part for part in parts if part is not None]
        return tuple(dict.fromkeys(text for part in known for text in part.unidentified))

    def folder_name(self, environment: Environment) -> str:
        """Return agent, environment and ten digits of the sha256 of the identity.

        Where something cannot be identified, the digits are random, so that no other run is
        mistaken for this one.
        """
        name = f"{self.agent_name}-{environment.name}"
        if self.unidentified(environment):
            return content_name(name, {"unique": uuid.uuid4().hex})
        return content_name(name, self.identity(environment))

    def old_folder_name(self, environment: Environment) -> str | None:
        """Return the name that this run would have in format 1; None if it would be ambiguous."""
        origins = (self.reference, self.init, self.demonstrations)
        new = (self.agent_source, self.reward, *origins, self.stop, self.keep_best or None)
        if environment.content is None or any(part is not None for part in new):
            return None
        identity = {**self.identity(environment), "environment_source": environment.content}
        del identity["environment_details"], identity["agent_patched"]
        return content_name(f"{self.agent_name}-{environment.name}", identity)


def _as_before(agent: Any, rest: Mapping[str, Any]) -> RunSpec:
    """Return a specification that was pickled, or copied."""
    spec = object.__new__(RunSpec)
    named = isinstance(agent, ByReference)
    vars(spec).update(rest, agent=find_own_agent(agent.reference) if named else agent)
    return spec


def _by_meaning(value: Any) -> dict[str, str]:
    """Return what stands in run.json for a function, an array or any other object."""
    return {"sha256": fingerprint(value).digest}


def _patched(agent_class: Any) -> str:
    """Return the fingerprint of an agent of rlkit if the user replaced methods, else ""."""
    return fingerprint(agent_class).digest if is_patched(agent_class) else ""


def _table_digest(mdp: TabularMDP) -> str:
    hasher = hashlib.sha256()
    for array in mdp.padded():
        hasher.update(array.tobytes())
    hasher.update(mdp.initial_distribution.tobytes())
    return hasher.hexdigest()


def make_spec(
    agent: str | Callable[..., Agent],
    environment: EnvLike,
    *,
    steps: int | None = None,
    seed: int = 0,
    envs: int | None = None,
    env_args: Mapping[str, Any] | None = None,
    evaluate_every: int | None = None,
    evaluation_episodes: int = DEFAULT_EVALUATION_EPISODES,
    native: bool = True,
    compiled: bool = True,
    bins: Any = None,
    bin_low: Any = None,
    bin_high: Any = None,
    env_workers: int = 0,
    env_timeout: float = ENV_TIMEOUT,
    rescale_actions: bool = False,
    action_masks: bool = False,
    reward: str | RewardFunction | None = None,
    reference: Any = None,
    reference_seed: int = 0,
    stop: StopRules | None = None,
    keep_best: bool = False,
    init_seed: int = 0,
    demonstrations: Any = None,
    config: Any = None,
    options: Mapping[str, Any] | None = None,
) -> RunSpec:
    """Return a specification, with omitted settings from the preset, then from the defaults.

    Args:
        bins: of Box observations, see `make_binning`; given, none of the preset's binning counts.
        bin_low: their lower limits.
        bin_high: their upper limits.
        env_workers: processes that step the copies of an environment.
        env_timeout: seconds that a call of an environment may take.
        reward: of the user's own, see `rlkit.rewards`.
        reference: the policy to stay near: a run or its folder, or "uniform".
        reference_seed: the seed of that run whose policy it is.
        stop: rules that end the run before its steps are done.
        keep_best: also keep the state of each seed at its best evaluation.
        init_seed: the seed of the run that the agent's option `init` names.
        demonstrations: what to imitate, see `rlkit.training.cloning.demonstrations`.
        config: the agent's whole configuration, or a mapping of options; `options` must then
            be empty.
        options: fields of the agent's configuration that differ from the preset.

    Raises:
        UsageError: a name, number or option that cannot be used.
    """
    agent = named_agent(agent)
    agent_class = find_agent(agent) if isinstance(agent, str) else require_agent(agent)
    name = agent if isinstance(agent, str) else agent.__name__
    near, traits = reference is not None, AgentTraits.of(agent_class)
    settings = _settings(agent_class, name, environment, near=near)
    config, init = _config_and_start(agent_class, name, environment, config, options, near=near)
    steps = settings["steps"] if steps is None else steps
    every = settings["evaluate_every"] if evaluate_every is None else evaluate_every
    envs = settings.get("num_envs", traits.default_num_envs) if envs is None else envs
    preset_bins = (settings.get(name) for name in ("bins", "bin_low", "bin_high"))
    return RunSpec(
        agent=agent,
        environment=environment,
        env_args=require_env_args(env_args),
        config=traits.identified(config),
        num_env_steps=require_count("steps", steps, at_least=1),
        num_envs=require_count("envs", envs, at_least=1),
        experiment_seed=require_count("seed", seed, at_least=0),
        evaluate_every=require_count("evaluate_every", every, at_least=1),
        evaluation_episodes=require_count("evaluation_episodes", evaluation_episodes, at_least=0),
        binning=make_binning(bins, bin_low, bin_high) or make_binning(*preset_bins),
        env_workers=require_count("env_workers", env_workers, at_least=0),
        env_timeout=require_seconds("env_timeout", env_timeout),
        **_switches(native, compiled, rescale_actions, action_masks),
        reward=reward,
        init=init,
        **_origins(reference, reference_seed, init_seed, demonstrations),
        stop=stop,
        keep_best=_require_best(keep_best, evaluation_episodes),
    )


def _require_best(keep_best: Any, evaluation_episodes: int) -> bool:
    if require_typed("keep_best", keep_best, bool) and not evaluation_episodes:
        raise UsageError(
            "option keep_best (--keep-best): without evaluations there is no best one; omit "
            "evaluation_episodes=0 (--evaluation-episodes 0)"
        )
    return bool(keep_best)


def _switches(*values: Any) -> dict[str, Any]:
    """Return the fields of a specification that are on or off, from their values in this order."""
    names = ("native", "compiled", "rescale_actions", "action_masks")
    return {
        name: require_typed(name, value, bool) for name, value in zip(names, values, strict=True)
    }


def _origins(reference: Any, reference_seed: int, init_seed: int, given: Any) -> dict[str, Any]:
    """Return the fields of a specification that name other runs and demonstrations."""
    if not isinstance(given, Demonstrations):
        given = _place("demonstrations", given, "a run, a file, minari:NAME or Demonstrations")
    return {
        "reference": _place("reference", reference, "a run or its folder, or 'uniform'"),
        "reference_seed": require_count("reference_seed", reference_seed, at_least=0),
        "init_seed": require_count("init_seed", init_seed, at_least=0),
        "demonstrations": given,
    }


def _place(option: str, given: Any, expected: str) -> str | None:
    """Return the folder of a run that was given for an option, or what else names it."""
    folder = getattr(given, "folder", given)
    if folder is None:
        return None
    if not isinstance(folder, str | Path):
        raise UsageError(f"option {option} (--{option}): expected {expected}, got {given!r:.80}")
    return str(folder)


def _config_and_start(
    agent_class: Any,
    name: str,
    environment: EnvLike,
    config: Any,
    given: Mapping[str, Any] | None,
    *,
    near: bool,
) -> tuple[Any, str | None]:
    """Return the agent's configuration, and the run whose policy its option `init` names, if any.

    The configuration then has the default `init`, and the run's identity that policy by its
    content, not by its place.
    """
    options, starts = dict(given or {}), AgentTraits.of(agent_class).takes_init
    if starts and "init" in options:
        expected = "orthogonal, xavier, or a run or its folder"
        options["init"] = _place("init", options["init"], expected)
    config = choose_config(agent_class, name, environment, config, options, near=near)
    if not starts or config.init in INITS:
        return config, None
    (default,) = (field.default for field in fields(config) if field.name == "init")
    return replace(config, init=default), config.init


def named_agent(agent: Any) -> Any:
    """Return the class of an agent that is named by file or module; anything else unchanged."""
    return find_own_agent(agent) if isinstance(agent, str) and names_own_agent(agent) else agent


def find_agent_class(agent: str) -> Callable[..., Agent]:
    """Return the class of an agent of rlkit, or of the user's own by file or module."""
    return find_own_agent(agent) if names_own_agent(agent) else find_agent(agent)


def require_agent(agent: Any) -> Callable[..., Agent]:
    """Require a class that may be an agent, or a function that makes one and has a name."""
    if callable(agent) and isinstance(getattr(agent, "__name__", None), str):
        require_methods(agent, f"the agent {agent.__name__}")
        agent_class: Callable[..., Agent] = agent
        return agent_class
    raise UsageError(
        f"expected an agent's name or a class that follows the Agent contract, got {agent!r:.80}; "
        "the options of your own class belong in its Config"
    )


def _settings(agent_class: Any, name: str, environment: EnvLike, *, near: bool) -> dict[str, Any]:
    """Return the preset of an agent of rlkit on an environment; a user's class has none."""
    own = name not in AGENTS or find_agent(name) is not agent_class
    place = environment if isinstance(environment, str) else ""
    return preset("" if own else name, place, near=near)


def choose_config(
    agent_class: Any,
    name: str,
    environment: EnvLike,
    config: Any,
    options: Mapping[str, Any],
    *,
    near: bool = False,
) -> Any:
    """Return the agent's configuration from an instance, a mapping or individual options."""
    if config is None:
        return default_config(agent_class, name, environment, options, near=near)
    if options:
        raise UsageError(f"give {name} either a config or individual options, not both")
    if isinstance(config, Mapping):
        return default_config(agent_class, name, environment, config, near=near)
    config_class = AgentTraits.of(agent_class).Config
    if config_class is None:
        raise UsageError(f"agent {name} has no Config, so it takes no config, got {config!r}")
    return require_config(f"agent {name}", config_class, config)


def default_config(
    agent_class: Any,
    name: str,
    environment: EnvLike,
    options: Mapping[str, Any],
    *,
    near: bool = False,
) -> Any:
    """Return the agent's configuration: defaults, overridden by the preset and the options.

    Args:
        agent_class: of the agent.
        name: of the agent.
        environment: what it is trained in.
        options: those that are given.
        near: whether it is kept near a reference, for which there are presets of their own.
    """
    config_class = AgentTraits.of(agent_class).Config
    if config_class is None:
        if options:
            raise UsageError(f"agent {name} has no options, got {', '.join(map(str, options))}")
        return None
    known = known_options(f"agent {name}", config_class, options, ARGUMENTS)
    settings = _settings(agent_class, name, environment, near=near)
    from_preset = {key: value for key, value in settings.items() if key in known}
    return make_config(f"agent {name}", config_class, {**from_preset, **options})


def require_env_args(env_args: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the arguments of an environment as plain data, which can be stored with the run."""
    try:
        if not isinstance(env_args or {}, Mapping):
            raise TypeError(f"expected a mapping, got a {type(env_args).__name__}")
        plain: dict[str, Any] = _plain(dict(env_args or {}))
        json.dumps(plain, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"env_args {env_args!r}: {error}; give plain numbers, strings and lists, and mappings "
            "of strings to them, so that they can be stored with the run"
        ) from error
    return plain


def _plain(content: Any) -> Any:
    """Return plain data with Python's numbers in place of NumPy's."""
    if isinstance(content, Mapping):
        for key in content:
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} would be stored as a string")
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return type(content)(map(_plain, content)) if type(content) in (list, tuple) else content
    return without_axes(content)


def stored_config(record: Mapping[str, Any], path: Path) -> Any:
    """Return the configuration of the agent of rlkit that a record names.

    Raises:
        RlkitError: the file, and the unknown agent or option.
    """
    name, content = f"agent {record['agent']}", record["config"] or {}
    try:
        config_class = find_agent(record["agent"]).Config
        known_options(name, config_class, content)
        return make_config(name, config_class, content)
    except UsageError as error:
        raise RlkitError(f"{path}, 'config': {error}") from error
