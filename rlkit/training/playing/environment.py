"""The environment of a stored run, compared with the one that it was trained on.

A record is data. Code that it names is run only if the run was trained on this machine from the
same source, or the user says that it is to be trusted.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import gymnasium as gym

from rlkit.agent import AgentTraits
from rlkit.agents import AGENTS, find_agent
from rlkit.environments.bins import Binning
from rlkit.environments.environment import Environment
from rlkit.environments.probe import told_apart
from rlkit.environments.resolve import OFFERED, EnvLike, find_environment
from rlkit.environments.views.view import View
from rlkit.errors import UsageError
from rlkit.fingerprint.packages import file_of
from rlkit.runs.identity import unmarked
from rlkit.runs.integrity.trust import require_from_here
from rlkit.runs.progress import warn
from rlkit.user_code import Origin, content_digest, origin_of_code


def changed_sources(record: Mapping[str, Any]) -> list[str]:
    """Return the source files of a run that still exist but now have other content."""
    return [
        path
        for path, digest in record.get("sources", {}).items()
        if content_digest(path) not in (None, digest)
    ]


def code_named_by(reference: str) -> str | None:
    """Return which code opening an environment by its name would run, for messages.

    None for the environments of Gymnasium and rlkit, and for ids that are registered in this
    process by code that was imported already. Nothing is imported.
    """
    head, _, _ = reference.rpartition(":")
    if head.endswith(".py"):
        return f"the file {Path(head).absolute()}"
    if head:
        return None if _is_ours(head) else f"the module {head!r}"
    if reference in gym.registry:
        entry_point = gym.registry[reference].entry_point
        module = entry_point.partition(":")[0] if isinstance(entry_point, str) else ""
        known = not module or _is_ours(module) or module in sys.modules
        return None if known else f"the module {module!r}, where {reference!r} is registered"
    for point in entry_points(group=OFFERED, name=reference):
        if not _is_ours(point.module):
            return f"the module {point.module!r}, which an installed package offers"
    return None


def _is_ours(module: str) -> bool:
    return module.split(".")[0] in ("gymnasium", "rlkit_envs")


def require_own_source(folder: Path, record: Mapping[str, Any], reference: str) -> None:
    """Require that the code which a record names is the code that this machine trained the run on.

    Nothing of it is run or imported.

    Args:
        folder: of the run.
        record: its run.json.
        reference: of the environment or of the user's agent.

    Raises:
        UsageError: it is not, or nothing shows that it is; the message names what would be run.
    """
    what = code_named_by(reference)
    if what is None:
        return
    require_from_here(folder, record, what)
    sources: Mapping[str, str] = record.get("sources", {})
    file = _file_of(reference.rpartition(":")[0])
    now = None if file is None else content_digest(file)
    changed = changed_sources(record)
    if file is not None and now is not None and now not in sources.values():
        trained = [path for path in sources if Path(path).name == Path(file).name]
        was = f"the sha256 {sources[trained[0]][:16]}" if trained else "another file"
        place = f" of {trained[0]}" if trained and trained[0] != file else ""
        changed = [f"{file}: expected {was}{place}, got {now[:16]}"]
    if changed:
        raise UsageError(
            f"{what} is not the code that the run {folder} was trained from; changed since: "
            f"{', '.join(changed)}. Nothing was run. Restore the source, or call from the folder "
            "of training; to play the present code, add --trust (in Python trust=True)"
        )


def found_again(record: Mapping[str, Any], reference: str) -> str:
    """Return a name of code by which it is found from the present folder too, if it is anywhere.

    Args:
        record: the run.json of its run.
        reference: of the environment or of the user's agent.
    """
    head, _, name = reference.rpartition(":")
    if not head.endswith(".py") or Path(head).exists():
        return reference
    began = folder_of_training(record, reference)
    return reference if began is None else f"{began / head}:{name}"


def require_file(folder: Path, reference: str, give: str) -> None:
    """Require that the file of a run's code is where `found_again` looked for it last.

    Args:
        folder: of the run.
        reference: of the environment or of the user's agent.
        give: how to give it otherwise, for the message.
    """
    head = reference.rpartition(":")[0]
    if head.endswith(".py") and not Path(head).exists():
        raise UsageError(
            f"the run {folder} needs {reference}, and there is no such file: bring it back, or "
            f"{give}"
        )


def folder_of_training(record: Mapping[str, Any], reference: str) -> Path | None:
    """Return the folder from which a run named a file of code; None if the record does not say."""
    head = Path(os.path.normpath(reference.rpartition(":")[0]))
    if head.suffix != ".py" or head.is_absolute():
        return None
    sources: Mapping[str, str] = record.get("sources", {})
    length = len(head.parts)
    return next(
        (
            Path(path).parents[length - 1]
            for path in sources
            if Path(path).parts[-length:] == head.parts
        ),
        None,
    )


def _file_of(module: str) -> str | None:
    """Return the user's file that a name leads to; None for a package or where there is none."""
    if module.endswith(".py"):
        return str(Path(module).absolute())
    here = Path.cwd().joinpath(*module.split("."))
    candidates = [file_of(module), str(here.with_suffix(".py")), str(here / "__init__.py")]
    file = next((path for path in candidates if path is not None and Path(path).is_file()), None)
    return file if file is not None and origin_of_code(file) is Origin.USER else None


def stored_environment(
    folder: Path,
    record: Mapping[str, Any],
    env: EnvLike | None,
    *,
    source_known: bool,
    trust: bool = False,
    numbered_actions: bool | None = None,
) -> Environment:
    """Return the environment that a run was trained on.

    Args:
        folder: of the run.
        record: its run.json.
        env: what names the environment, where run.json does not.
        source_known: whether the user has already been warned that a source file changed.
        trust: whether to run the code that the record names, whoever made the run.
        numbered_actions: whether combinations of discrete actions are numbered for the agent, if
            that is known; None = only for an agent of rlkit that needs it.

    Raises:
        UsageError: it cannot be built, has other spaces than the one of training, or is code that
            the run was not trained from on this machine.

    Warns:
        RlkitWarning: it differs from the environment of training.
    """
    reference = record["environment"]
    verified = env is None and not trust and code_named_by(reference) is not None
    if env is None:
        _reject_unnamed(folder, reference)
        reference = found_again(record, reference)
        if not trust:
            reject_code_inside(folder, reference, "environment", "env=MyEnv")
            require_own_source(folder, record, reference)
        require_file(folder, reference, "give the environment, as in rlkit.load(path, env=MyEnv)")
        _require_environment(folder, reference)
    named = find_environment(env or reference, unmarked(record["env_args"]))
    environment = named.seen_as(stored_view(record, numbered_actions))
    trained, now = record.get("environment_details"), environment.probe.details
    if trained is None:  # a run of format 1: nothing to compare with
        return environment
    for space in ("observation_space", "action_space"):
        if trained[space] != now[space]:
            before, after = told_apart(trained[space], now[space])
            raise UsageError(
                f"the run {folder} was trained with the {space.replace('_', ' ')} "
                f"{before}, but {environment.reference} now has {after}"
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
        text = (
            f"{given} is not the one that the run {folder.name} was trained on; changed "
            f"since: {', '.join(differing)}"
        )
        if verified:
            raise UsageError(f"{text}. To play the present one, add --trust (in Python trust=True)")
        warn(f"{text}. The present one is played")
    return environment


def stored_binning(record: Mapping[str, Any]) -> Binning | None:
    """Return the binning of a run's observations, or None."""
    stored = record.get("binning")
    return None if stored is None else Binning(**{name: tuple(stored[name]) for name in stored})


def stored_view(record: Mapping[str, Any], numbered_actions: bool | None) -> View:
    """Return how the agent of a run saw its environment."""
    if numbered_actions is None:
        by_rlkit = not record["agent_source"] and record["agent"] in AGENTS
        numbered_actions = (
            by_rlkit and AgentTraits.of(find_agent(record["agent"])).needs_discrete_actions
        )
    return View(
        binning=stored_binning(record),
        numbered_actions=numbered_actions,
        rescaled_actions=record.get("rescale_actions", False),
        action_masks=record.get("action_masks", False),
    )


def reject_code_inside(folder: Path, reference: str, what: str, instead: str) -> None:
    """Reject to run code that lies in the folder of a run just because the run names it."""
    head = reference.rpartition(":")[0]
    if head.endswith(".py") and Path(head).resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"the run {folder} names the file {head} inside of its own folder as its {what}, "
            f"which is not run: give the {what}, as in rlkit.load(path, {instead}), or, if you "
            "trust it, add --trust (in Python trust=True)"
        )


def _reject_unnamed(folder: Path, reference: str) -> None:
    if reference.rpartition(":")[0] == "__main__" or "<" in reference:
        raise _cannot_be_opened(folder, reference)


def _require_environment(folder: Path, reference: str) -> None:
    head, _, tail = reference.rpartition(":")
    if not _names_environment(head, tail):
        raise _cannot_be_opened(folder, reference)


def _cannot_be_opened(folder: Path, reference: str) -> UsageError:
    return UsageError(
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
