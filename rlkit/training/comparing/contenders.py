"""Contenders: agents with their options, and runs, read from words and from Python's objects."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlkit.agent import Agent, AgentTraits
from rlkit.agents import AGENTS, find_agent
from rlkit.errors import UsageError
from rlkit.options import field_types
from rlkit.runs.latest import named_folder, names_run
from rlkit.spelling import closest
from rlkit.training.comparing.sb3_models import SB3, Sb3Model, read_models
from rlkit.training.own_agents import find_own_agent, names_own_agent
from rlkit.training.run import Run
from rlkit.training.specification import ARGUMENTS, require_agent

GRAMMAR = (
    "A contender is one word, [NAME=]AGENT [--OPTION VALUE ...], [NAME=]FOLDER[,FOLDER ...] or "
    "[NAME=]sb3:[ALGORITHM:]FILE.zip[,FILE.zip ...] [--vecnormalize FILE.pkl[,FILE.pkl ...]], "
    "where AGENT is an agent of rlkit, path/to/file.py:Class or module:Class, FOLDER that of a "
    "run, one per environment, and FILE a model of Stable-Baselines3, each a seed; such as "
    '"slow=ppo --learning-rate 1e-4"'
)
# The arguments of `train` that may differ between contenders, with their types.
OWN_ARGUMENTS: dict[str, Any] = {
    "envs": int,
    "bins": tuple[int, ...],
    "bin_low": tuple[float, ...],
    "bin_high": tuple[float, ...],
    "rescale_actions": bool,
    "action_masks": bool,
    "reward": str,
}
_WORDS = {"true": True, "True": True, "false": False, "False": False, "None": None}


@dataclass(frozen=True, kw_only=True)
class Contender:
    """An agent to be trained, finished runs, one per environment, or models trained elsewhere."""

    name: str
    named: bool  # by the user, so that no other may have the name
    agent: str | Callable[..., Agent] = ""  # of a contender that is trained
    config: Any = None  # its whole configuration, or
    options: Mapping[str, Any] = field(default_factory=dict)  # those that differ from the preset
    arguments: Mapping[str, Any] = field(default_factory=dict)  # of `train`, for it alone
    runs: tuple[Run, ...] = ()
    models: tuple[Sb3Model, ...] = ()

    @property
    def is_trained(self) -> bool:
        """Whether it is an agent, which is trained where it is not yet."""
        return not (self.runs or self.models)


def read_contenders(given: Any) -> list[Contender]:
    """Return the contenders of a comparison, each with a name of its own.

    A contender is called what the user called it: what stands before "=" in a word, or else the
    word; the key of a mapping of contenders; "name" of a mapping that is one. Classes, configs and
    runs have the names of their agents, and " (2)", " (3)" where these are equal.

    Raises:
        UsageError: one cannot be read, or two were given one name.
    """
    if isinstance(given, Mapping) and "agent" not in given:
        contenders = [_read(one, str(name)) for name, one in given.items()]
    elif isinstance(given, str | Path | type | Run | Mapping) or not isinstance(given, Iterable):
        raise UsageError(f"comparing: expected a list of agents or runs, got {given!r}")
    else:
        contenders = [_read(one) for one in _without_repeats(list(given))]
    if not contenders:
        raise UsageError(f"comparing: expected a list of agents or runs, got {given!r}")
    taken: set[str] = set()
    for one in contenders:
        if one.named and one.name in taken:
            raise UsageError(
                f"two contenders are called {one.name!r}: give one of them another name, as in "
                f'"another={one.name.partition("=")[2] or one.name}"'
            )
        taken |= {one.name} if one.named else set()
    result = []
    for one in contenders:
        name = one.name
        if not one.named:
            number = 1
            while name in taken:
                number += 1
                name = f"{one.name} ({number})"
            taken.add(name)
        result.append(dataclasses.replace(one, name=name))
    return result


def _without_repeats(given: Sequence[Any]) -> list[Any]:
    """Return objects without those that were given before; equal words are an error later."""
    kept: list[Any] = []
    for one in given:
        again = any(one is other or (isinstance(one, Path) and one == other) for other in kept)
        if isinstance(one, str) or not again:
            kept.append(one)
    return kept


def _read(given: Any, name: str | None = None) -> Contender:
    if isinstance(given, str):
        return _read_word(given, name)
    if isinstance(given, Path | Run):
        run = given if isinstance(given, Run) else Run(given)
        return Contender(name=name or run.agent, named=name is not None, runs=(run,))
    if isinstance(given, list | tuple) and given:
        return _read_several(given, name)
    if isinstance(given, Mapping):
        return _read_mapping(given, name)
    if dataclasses.is_dataclass(given) and not isinstance(given, type):
        agent = _agent_of(given)
        called = name or (agent if isinstance(agent, str) else str(_name_of(agent)))
        return Contender(name=called, named=name is not None, agent=agent, config=given)
    agent = require_agent(given)
    return Contender(name=name or _name_of(agent), named=name is not None, agent=agent)


def _name_of(agent: Any) -> str:
    return str(getattr(agent, "__name__", agent))


def _read_mapping(given: Mapping[str, Any], name: str | None) -> Contender:
    """Return the contender that a mapping of "agent", "name", "config" and options describes."""
    content = dict(given)
    if "agent" not in content:
        raise UsageError(
            f"the contender {dict(given)!r}: expected the key 'agent', as in "
            "{'agent': 'ppo', 'name': 'slow', 'learning_rate': 1e-4}"
        )
    base = _read(_with_normaliser(content, content.pop("agent")), name)
    called = content.pop("name", name)
    if called is not None and (not isinstance(called, str) or not called):
        raise UsageError(f"the contender {dict(given)!r}: expected 'name' to be text")
    config = content.pop("config", base.config)
    if not base.is_trained and content:
        what = "a run" if base.runs else "a model"
        raise UsageError(
            f"the contender {dict(given)!r} is {what}, which is compared as it is: omit "
            f"{', '.join(content)}"
        )
    arguments = {key: content.pop(key) for key in OWN_ARGUMENTS if key in content}
    _require_own(base.name, content)
    return dataclasses.replace(
        base,
        name=called or base.name,
        named=called is not None or base.named,
        config=config,
        options={**base.options, **content},
        arguments={**base.arguments, **arguments},
    )


def _with_normaliser(content: dict[str, Any], agent: Any) -> Any:
    """Return the word of a model with its option "vecnormalize", which is taken from `content`."""
    if not (isinstance(agent, str) and agent.startswith(SB3) and "vecnormalize" in content):
        return agent
    given = content.pop("vecnormalize")
    files = given if isinstance(given, list | tuple) else [given]
    return f"{agent} --vecnormalize {shlex.quote(','.join(map(str, files)))}"


def _read_several(given: Sequence[Any], name: str | None) -> Contender:
    """Return the contender that is a run on each of several environments."""
    each = [_read(one) for one in given]
    runs = tuple(run for one in each for run in one.runs)
    if len(runs) != len(given):
        raise UsageError(
            f"the contender {name or given!r:.80}: expected several runs, one per environment, got "
            f"{given!r:.200}"
        )
    return Contender(name=name or runs[0].agent, named=name is not None, runs=runs)


def _read_word(word: str, name: str | None) -> Contender:
    called, rest = _split_name(word)
    parts = _split(rest, word)
    head, *flags = parts
    named = name or called or word
    if head.startswith(SB3):
        options = _read_options(flags, {"vecnormalize": str}, word)
        for other in options.keys() - {"vecnormalize"}:
            raise UsageError(
                f"the contender {word!r} is a model, which is compared as it is and has the option "
                f"--vecnormalize alone: omit --{other.replace('_', '-')}."
                f"{closest(other, ['vecnormalize'])}"
            )
        normalisers = str(options.get("vecnormalize", "")).split(",")
        models = read_models(head, [one for one in normalisers if one])
        return Contender(name=named, named=True, models=tuple(models))
    is_agent = head in AGENTS or names_own_agent(head)
    places = [place for place in head.split(",") if place]
    if names_run(head):  # a folder with a comma in its name as well
        places = [head]
    if not is_agent and (os.sep in head or all(map(names_run, places))):
        if flags:
            raise UsageError(
                f"the contender {word!r} is a run, which is compared as it is: omit {flags[0]}"
            )
        runs = tuple(Run(named_folder(place, "agent")) for place in places)
        return Contender(name=named, named=True, runs=runs)
    try:
        agent_class = find_own_agent(head) if names_own_agent(head) else find_agent(head)
    except UsageError as error:
        raise UsageError(f"{error} {GRAMMAR}") from error
    config_class: Any = AgentTraits.of(agent_class).Config
    kinds = {} if config_class is None else field_types(config_class)
    options = _read_options(flags, {**OWN_ARGUMENTS, **kinds}, word)
    arguments = {
        key: options.pop(key) for key in OWN_ARGUMENTS if key in options and key not in kinds
    }
    _require_own(named, options)
    agent = head if head in AGENTS else agent_class
    return Contender(name=named, named=True, agent=agent, options=options, arguments=arguments)


def _split_name(word: str) -> tuple[str | None, str]:
    """Return the name before the first "=", unless that is of an option or a path, and the rest."""
    before, equals, after = word.partition("=")
    if not equals or "--" in before or Path(word).is_dir():
        return None, word
    if not before.strip() or not after.strip():
        raise UsageError(f"the contender {word!r} cannot be read. {GRAMMAR}")
    return before.strip(), after


def _split(text: str, word: str) -> list[str]:
    if Path(text).is_dir():
        return [text]
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"the contender {word!r} cannot be read: {error}. {GRAMMAR}") from error
    if not parts or parts[0].startswith("-"):
        raise UsageError(f"the contender {word!r} names no agent. {GRAMMAR}")
    return parts


def _read_options(flags: Sequence[str], kinds: Mapping[str, Any], word: str) -> dict[str, Any]:
    """Return the options that words such as --hidden-sizes 64 64 --no-compiled give."""
    options: dict[str, Any] = {}
    position = 0
    while position < len(flags):
        flag, equals, text = flags[position].partition("=")
        option = flag[2:].replace("-", "_")
        position += 1
        if not flag.startswith("--") or not option:
            raise UsageError(
                f"the contender {word!r}: expected an option such as --discount 0.9, got {flag!r}. "
                f"{GRAMMAR}"
            )
        negated = option.removeprefix("no_")
        # Options of the whole comparison are read as well, to be rejected as that.
        of_all = negated in ARGUMENTS and negated not in kinds
        is_switch = of_all or bool in _parts(kinds.get(negated))
        if negated != option and option not in kinds and is_switch:
            options[negated] = False
            continue
        parts = _parts(kinds.get(option))
        several = any(typing.get_origin(part) is tuple for part in parts)
        values = [text] if equals else []
        while not equals and position < len(flags) and not flags[position].startswith("--"):
            if values and not several:
                break
            values.append(flags[position])
            position += 1
        if not (values or bool in parts or several or of_all):
            raise UsageError(f"the contender {word!r}: the option {flag} has no value. {GRAMMAR}")
        read = [value if parts == (str,) else _literal(value) for value in values]
        options[option] = tuple(read) if several and read != [None] else read[0] if read else True
    return options


def _parts(kind: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the type itself."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return typing.get_args(kind)
    return (kind,)


def _literal(text: str) -> Any:
    """Return the number, truth value or None that a word stands for, or else the word."""
    if text in _WORDS:
        return _WORDS[text]
    try:
        number = json.loads(text)
    except ValueError:
        try:
            return float(text)  # such as 1e-4, .5 and inf
        except ValueError:
            return text
    return number if isinstance(number, int | float) else text


def _require_own(name: str, options: Iterable[Any]) -> None:
    """Require that no option is an argument of the whole comparison."""
    for option in options:
        if option in ARGUMENTS and option not in OWN_ARGUMENTS and option != "config":
            raise UsageError(
                f"the contender {name!r}: {option} is the same for all contenders; give it to the "
                f"comparison, as --{str(option).replace('_', '-')} or {option}=..."
            )


def _agent_of(config: Any) -> str | Callable[..., Agent]:
    """Return the agent that a configuration belongs to: that with this Config."""
    config_class = type(config)
    classes = {
        name: getattr(sys.modules[module], attribute)
        for name, (module, attribute, _) in AGENTS.items()
        if module in sys.modules
    }
    owners: list[Any] = [name for name, agent in classes.items() if agent.Config is config_class]
    if not owners:
        place = vars(sys.modules.get(config_class.__module__, types))
        owners = [
            value
            for value in place.values()
            if isinstance(value, type) and getattr(value, "Config", None) is config_class
        ]
    if len(owners) != 1:
        of = "no agent" if not owners else ", ".join(map(_name_of, owners))
        raise UsageError(
            f"the contender {config!r:.80}: expected the Config of one agent, got that of {of}; "
            "give {'agent': ..., 'config': ...}"
        )
    owner: str | Callable[..., Agent] = owners[0]
    return owner
