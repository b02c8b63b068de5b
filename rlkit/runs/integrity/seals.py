"""JSON files that end with the sha256 of their own bytes, so that a changed byte is noticed."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from json import dumps, loads
from pathlib import Path
from typing import Any

import numpy as np

from rlkit.errors import RlkitError
from rlkit.files import read_ordinary, write_atomically

SEAL = "sha256"  # the last key of a sealed file
_END = re.compile(rb',\n  "sha256": "([0-9a-f]{64})"\n\}\n\Z')


def finite(content: Any) -> Any:
    """Return plain data with None in place of NaN and infinity, which JSON does not have."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(value) for value in content]
    if isinstance(content, np.generic):
        content = content.item()
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def seal(content: Mapping[str, Any]) -> bytes:
    """Return non-empty plain data as JSON with the sha256 of the text before it was added."""
    plain = {key: value for key, value in content.items() if key != SEAL}
    text = dumps(finite(plain), indent=2, allow_nan=False).encode() + b"\n"
    digest = hashlib.sha256(text).hexdigest()
    return text[:-3] + f',\n  "{SEAL}": "{digest}"\n}}\n'.encode()


def write_sealed(path: Path, content: Mapping[str, Any], *, sync_name: bool = True) -> None:
    """Write plain data as a sealed file; without `sync_name` its folder is not synced."""
    write_atomically(path, seal(content), sync_name=sync_name)


def seal_problem(data: bytes) -> str | None:
    """Return what is wrong with the seal of a file, as the end of a sentence; None if it is sound.

    Args:
        data: the bytes of a file that was written by `write_sealed`.
    """
    match = _END.search(data)
    if match is None:
        return "it does not end with its sha256"
    digest = hashlib.sha256(data[: match.start()] + b"\n}\n").hexdigest()
    if digest != match[1].decode():
        return f"its sha256 is {digest[:16]}..., expected {match[1].decode()[:16]}..."
    return None


def read_sealed(path: Path) -> dict[str, Any]:
    """Return the content of a sealed file, without its sha256.

    Raises:
        FileNotFoundError: there is none.
        RlkitError: it cannot be read or is damaged.
    """
    try:
        data = read_ordinary(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RlkitError(f"reading {path} failed: {error.strerror}") from error
    problem = seal_problem(data)
    if problem is not None:
        raise RlkitError(f"{path} is damaged: {problem}")
    try:
        content = loads(data)
    except (ValueError, RecursionError) as error:
        raise RlkitError(f"reading {path} failed: {error}") from error
    if not isinstance(content, dict):
        raise RlkitError(f"{path} is damaged: it holds no object")
    content.pop(SEAL, None)
    return content
