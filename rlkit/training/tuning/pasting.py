"""A setting as text to paste: an entry of the presets, and a command."""

from __future__ import annotations

import dataclasses
import json
import shlex
from typing import Any

from rlkit.agents import AGENTS
from rlkit.training.presets import DEFAULTS, preset
from rlkit.training.specification import RunSpec, default_config

_BINS = (("bins", "bins"), ("bin_low", "low"), ("bin_high", "high"))


def preset_entry(spec: RunSpec) -> tuple[str, dict[str, Any]]:
    """Return the key and the settings of a preset with which `rlkit train` trains like this."""
    settings: dict[str, Any] = {"steps": spec.num_env_steps}
    if spec.evaluate_every != DEFAULTS["evaluate_every"]:
        settings["evaluate_every"] = spec.evaluate_every
    if spec.num_envs != spec.traits.default_num_envs:
        settings["num_envs"] = spec.num_envs
    settings |= _binning(spec)
    if spec.config is not None:
        settings |= _different(spec.config, type(spec.config)())
    return f"({spec.agent_name!r}, {_place(spec)!r})".replace("'", '"'), settings


def preset_text(spec: RunSpec) -> str:
    """Return an entry of `PRESETS`, formatted as that table is."""
    key, settings = preset_entry(spec)
    lines = [f'    "{name}": {_literal(value)},' for name, value in settings.items()]
    return "\n".join([f"{key}: {{", *lines, "},"])


def command_text(spec: RunSpec) -> str:
    """Return the command that trains like this, with the options that it needs alone."""
    agent = spec.agent if isinstance(spec.agent, str) else spec.agent_reference or spec.agent_name
    place = _place(spec)
    words = ["rlkit", "train", agent, place]
    known = preset(agent if agent in AGENTS else "", place)
    for name, value in spec.env_args.items():
        words += ["--env-arg", f"{name}={json.dumps(value)}"]
    arguments: dict[str, Any] = {
        "steps": (spec.num_env_steps, known["steps"]),
        "evaluate_every": (spec.evaluate_every, known["evaluate_every"]),
        "envs": (spec.num_envs, known.get("num_envs", spec.traits.default_num_envs)),
        "rescale_actions": (spec.rescale_actions, False),
        "action_masks": (spec.action_masks, False),
        "native": (spec.native, True),
        "reward": (spec.reward, None),
    }
    options = {name: now for name, (now, usual) in arguments.items() if now != usual}
    binning = _binning(spec)
    if binning != {name: tuple(known[name]) for name, _ in _BINS if name in known}:
        options |= binning
    if spec.config is not None:
        usual = default_config(spec.agent_class, spec.agent_name, spec.environment, {})
        options |= _different(spec.config, usual)
    for name, value in options.items():
        words += _flag(name, value)
    return " ".join(shlex.quote(word) for word in words)


def _place(spec: RunSpec) -> str:
    place = spec.environment
    return place if isinstance(place, str) else str(getattr(place, "__name__", place))


def _binning(spec: RunSpec) -> dict[str, Any]:
    if spec.binning is None:
        return {}
    values = {name: getattr(spec.binning, attribute) for name, attribute in _BINS}
    return {name: value for name, value in values.items() if value}


def _different(config: Any, other: Any) -> dict[str, Any]:
    """Return the options of a configuration that differ from another's."""
    names = [field.name for field in dataclasses.fields(config) if field.init]
    return {
        name: getattr(config, name)
        for name in names
        if getattr(config, name) != getattr(other, name)
    }


def _flag(name: str, value: Any) -> list[str]:
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag] if value else [f"--no-{flag[2:]}"]
    if isinstance(value, tuple | list):
        return [flag, *map(str, value)]
    return [flag, str(value)]


def _literal(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:_}" if abs(value) >= 10_000 else str(value)
    return repr(value).replace("'", '"')
