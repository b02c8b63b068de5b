"""The agent of a stored run: an agent of rlkit, or the user's own, found again by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rlkit.agent import Agent, AgentTraits
from rlkit.errors import RlkitError, UsageError
from rlkit.fingerprint import identify
from rlkit.runs.progress import warn
from rlkit.training.own_agents import find_own_agent, names_own_agent
from rlkit.training.playing.environment import (
    found_again,
    reject_code_inside,
    require_file,
    require_own_source,
)
from rlkit.training.specification import default_config, require_agent, stored_config

AgentLike = str | Callable[..., Agent]


def stored_agent(
    folder: Path, record: Mapping[str, Any], agent: AgentLike | None, *, trust: bool
) -> AgentLike:
    """Return the agent that a run was trained by: a name of rlkit's, or the user's class.

    Args:
        folder: of the run.
        record: its run.json.
        agent: the user's class, or its file or module and name, where run.json does not name it.
        trust: whether to run the code that the record names, whoever made the run.

    Raises:
        UsageError: it is the user's own and cannot be found, or is not the code that the run was
            trained from on this machine.

    Warns:
        RlkitWarning: the agent given differs from the one of training.
    """
    if not record["agent_source"]:
        if agent is not None:
            raise UsageError(
                f"the run {folder} was trained by {record['agent']}, an agent of rlkit: omit agent "
                "(--agent), which is for runs of your own agents"
            )
        return str(record["agent"])
    if agent is None:
        return _named(folder, record, trust=trust)
    given = find_own_agent(agent) if isinstance(agent, str) else require_agent(agent)
    if identify(given).digest != record["agent_source"]:
        warn(
            f"the agent given is not the one that the run {folder.name} was trained by: its code "
            "is another. The one given is used"
        )
    return given


def _named(folder: Path, record: Mapping[str, Any], *, trust: bool) -> Callable[..., Agent]:
    """Return the class that a record names, if it is the code of training."""
    reference = record.get("agent_reference", "")
    name = record["agent"]
    give = "give it, as in rlkit.load(path, agent=MyAgent) or --agent path/to/file.py:MyAgent"
    if not names_own_agent(reference):
        raise UsageError(
            f"the run {folder} was trained by the class {name}, which is not an agent of rlkit and "
            f"cannot be found by its name: {give}"
        )
    reference = found_again(record, reference)
    if not trust:
        reject_code_inside(folder, reference, "agent", "agent=MyAgent")
        require_own_source(folder, record, reference)
    require_file(folder, reference, give)
    agent = find_own_agent(reference)
    if identify(agent).digest != record["agent_source"]:
        text = f"the code of {reference} is not the one that the run {folder} was trained from"
        if not trust:
            raise UsageError(f"{text}. To use the present one, add --trust (in Python trust=True)")
        warn(f"{text}. The present one is used")
    return agent


def stored_agent_config(agent: AgentLike, record: Mapping[str, Any], path: Path) -> Any:
    """Return the configuration of a run's agent from its record.

    Raises:
        RlkitError: the file, and the unknown agent or option.
        UsageError: an option was an object, of which the record has only the digest.
    """
    if isinstance(agent, str):
        return stored_config(record, path)
    content = record["config"]
    if content is None or AgentTraits.of(agent).Config is None:
        return None
    objects = [
        name for name, value in content.items() if isinstance(value, dict) and "sha256" in value
    ]
    if objects:
        raise UsageError(
            f"{path}: the option {objects[0]} of {record['agent']} was an object, which is not "
            "stored: use the run that train returned"
        )
    try:
        return default_config(agent, str(record["agent"]), "", content)
    except UsageError as error:
        raise RlkitError(f"{path}, 'config': {error}") from error
