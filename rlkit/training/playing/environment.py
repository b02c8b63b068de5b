"""The environment of a stored run, compared with the one that it was trained on."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym

from rlkit.environments.bins import Binning
from rlkit.environments.environment import Environment
from rlkit.environments.resolve import EnvLike, find_environment
from rlkit.errors import UsageError
from rlkit.runs.identity import unmarked
from rlkit.runs.progress import warn
from rlkit.user_code import content_digest


def changed_sources(record: Mapping[str, Any]) -> list[str]:
    """Return the source files of a run that still exist but now have other content."""
    return [
        path
        for path, digest in record.get("sources", {}).items()
        if content_digest(path) not in (None, digest)
    ]


def stored_environment(
    folder: Path, record: Mapping[str, Any], env: EnvLike | None, *, source_known: bool
) -> Environment:
    """Return the environment that a run was trained on.

    Args:
        folder: of the run.
        record: its run.json.
        env: what names the environment, where run.json does not.
        source_known: whether the user has already been warned that a source file changed.

    Raises:
        UsageError: it cannot be built, or has other spaces than the one of training.

    Warns:
        RlkitWarning: it differs from the environment of training.
    """
    reference = record["environment"]
    if env is None:
        _reject_own_code(folder, reference)
    environment = find_environment(env or reference, unmarked(record["env_args"])).with_bins(
        stored_binning(record)
    )
    trained, now = record.get("environment_details"), environment.probe.details
    if trained is None:  # a run of format 1: nothing to compare with
        return environment
    for space in ("observation_space", "action_space"):
        if trained[space] != now[space]:
            raise UsageError(
                f"the run {folder} was trained with the {space.replace('_', ' ')} "
                f"{trained[space]}, but {environment.reference} now has {now[space]}"
            )
    differing = [
        f"{name} {trained[name]} -> {now[name]}"
        for name in ("time_limit", "spec", "layers", "data_files")
        if trained.get(name) != now[name]
    ]
    comparable = not (environment.source.unidentified or source_known)
    if comparable and record["environment_source"] != environment.source.digest:
        differing.append("its source")
    if differing:
        given = "the environment given" if env is not None else environment.reference
        warn(
            f"{given} is not the one that the run {folder.name} was trained on; changed "
            f"since: {', '.join(differing)}. The present one is played"
        )
    return environment


def stored_binning(record: Mapping[str, Any]) -> Binning | None:
    """Return the binning of a run's observations, or None."""
    stored = record.get("binning")
    return None if stored is None else Binning(**{name: tuple(stored[name]) for name in stored})


def _reject_own_code(folder: Path, reference: str) -> None:
    """Do not run code that lies in the folder of a run just because the run names it."""
    head, _, tail = reference.rpartition(":")
    inside = head.endswith(".py") and Path(head).resolve().is_relative_to(folder.resolve())
    if inside or head == "__main__" or "<" in reference or not _names_environment(head, tail):
        raise UsageError(
            f"the run {folder} was trained on {reference!r}, which cannot be opened by its "
            "name: give the environment, as in rlkit.load(path, env=MyEnv)"
        )


def _names_environment(module: str, name: str) -> bool:
    """Return whether a stored name leads to an environment, not to any function of any module."""
    if not module or module.endswith(".py"):
        return True
    try:
        named = getattr(importlib.import_module(module), name, None)
    except ImportError:
        return True  # finding the environment explains what is missing
    return name in gym.registry or (isinstance(named, type) and issubclass(named, gym.Env))
