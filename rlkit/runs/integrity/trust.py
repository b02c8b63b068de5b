"""Tells runs that were trained on this machine from runs that somebody else made.

A record names code: a file, a module, an id that a module registers. To open a run is to trust that
code only if the record has a code (`origin`) that needs the key of this machine, which lies in the
user's settings and never in the folder of a run.
"""

from __future__ import annotations

import contextlib
import contextvars
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator, Mapping
from json import dumps
from pathlib import Path
from typing import Any

from rlkit.errors import RlkitError, UsageError
from rlkit.runs.integrity.seals import finite

ORIGIN = "origin"
# The entries of a record that decide which code is run, and with what.
_NAMING = (
    *("kind", "agent", "agent_source", "environment", "environment_source", "env_args"),
    *("stepped_as", "config", "stage", "content", "sources", "experiment_seed"),
)
_NAMING_LATER = ("reward", "agent_reference")  # which count where a record has them
_KEY_BYTES = 32


def key_path() -> Path:
    """Return the path of this machine's key."""
    settings = os.environ.get("XDG_CONFIG_HOME") or os.path.join("~", ".config")
    return Path(settings).expanduser() / "rlkit" / "machine.key"


def _read_key() -> bytes | None:
    try:
        key = key_path().read_bytes()
    except (OSError, RuntimeError):  # there is no home
        return None
    return key if len(key) == _KEY_BYTES else None


def _machine_key() -> bytes:
    """Return this machine's key, which is made when it is first needed.

    Raises:
        RlkitError: it cannot be written.
    """
    key = _read_key()
    if key is not None:
        return key
    try:
        path = key_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_KEY_BYTES))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another process was first
                os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RlkitError(
            f"this machine's key could not be written to {key_path()}: {reason}"
        ) from error
    key = _read_key()
    if key is None:
        raise RlkitError(f"{key_path()} is not a key of {_KEY_BYTES} bytes; remove it")
    return key


def _origin(key: bytes, record: Mapping[str, Any]) -> str:
    naming = {name: record.get(name) for name in _NAMING}
    naming |= {name: record[name] for name in _NAMING_LATER if name in record}
    text = dumps(finite(naming), sort_keys=True, default=repr)
    return hmac.new(key, f"rlkit run 1\n{text}".encode(), hashlib.sha256).hexdigest()


def sign(record: dict[str, Any]) -> str | None:
    """Note in a record that its run is trained on this machine.

    Returns:
        why that is not possible, as one sentence; None if it was done.
    """
    record.pop(ORIGIN, None)
    try:
        record[ORIGIN] = _origin(_machine_key(), record)
    except RlkitError as error:
        return (
            f"{error}. The run is trained all the same, but a later command cannot know that it "
            "was trained here, and asks for --trust before it runs the code that the run names"
        )
    return None


def is_from_here(record: Mapping[str, Any]) -> bool:
    """Return whether a run was trained on this machine, and names the same code since."""
    key, origin = _read_key(), record.get(ORIGIN)
    if key is None or not isinstance(origin, str):
        return False
    return hmac.compare_digest(origin.encode(), _origin(key, record).encode())


_trusted = contextvars.ContextVar("trusted", default=False)


@contextlib.contextmanager
def trusting(trust: bool) -> Iterator[None]:
    """Within the block, run the code that runs name, whoever made them, if the user says so."""
    token = _trusted.set(trust or _trusted.get())
    try:
        yield
    finally:
        _trusted.reset(token)


def require_trusted(what: str) -> None:
    """Require that the user trusts code that nothing identifies; see `trusting`.

    Args:
        what: the code and why it would be run, a sentence without its full stop.

    Raises:
        UsageError: the user did not say so.
    """
    if not _trusted.get():
        raise UsageError(f"{what}. If you trust it, add --trust (in Python trust=True)")


def require_from_here(folder: Path, record: Mapping[str, Any], what: str) -> None:
    """Require that a run was trained on this machine before code that it names is run.

    Args:
        folder: of the run.
        record: its run.json.
        what: the code, for the message.

    Raises:
        UsageError: it was not, or nothing shows that it was.
    """
    if _trusted.get() or is_from_here(record):
        return
    why = (
        f"{key_path()} is missing or cannot be read"
        if _read_key() is None
        else "it was made by an older rlkit or copied from elsewhere"
        if ORIGIN not in record
        else "it was trained on another machine, or its record was changed"
    )
    raise UsageError(
        f"the run {folder} names {what}, which would be run now, and nothing shows that the run "
        f"was trained on this machine from that code ({why}). Look at the code first; if you trust "
        "it, add --trust (in Python trust=True)"
    )
