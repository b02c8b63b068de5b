"""Resumes a seed from its last sound checkpoint, and verifies the state of its parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import RlkitError
from rlkit.runs.checkpoints import newest_checkpoint
from rlkit.runs.reports import Reports

Array = NDArray[Any]


class Stateful(Protocol):
    """A part of a run with a state: an agent, its environments, a stage, counts."""

    def state_dict(self) -> Mapping[str, Any]:
        """Return everything that changes, as arrays or lists of arrays."""

    def load_state_dict(self, state: Any) -> Any:
        """Continue from what `state_dict` returned."""


def take_up(folder: Path, seed: int, unit: str, reports: Reports) -> tuple[int, dict[str, Array]]:
    """Return where a seed continues: its steps or updates so far, and its state.

    Raises:
        RlkitError: it has checkpoints, but none that is sound.
    """
    done, state, problems = newest_checkpoint(folder, seed)
    if problems and not state:
        raise RlkitError(
            f"seed {seed} cannot be continued: {'; '.join(problems)}. Nothing was deleted: "
            "restore one of these files, or move them away to train the seed again from "
            "the start"
        )
    for problem in problems:
        reports.note(
            f"{problem}; seed {seed} continues from the checkpoint before it, at {done:,} {unit}"
        )
    return done, state


def entries(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Return the entries of one part of a state, without the prefix of their names."""
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }


def join_states(states: Sequence[Mapping[str, Array]]) -> dict[str, Any]:
    """Return the state of a batch from those of its seeds; differing shapes are listed."""
    joined: dict[str, Any] = {}
    if any(state.keys() != states[0].keys() for state in states):
        raise RlkitError("the checkpoints of the seeds do not hold the same entries")
    for name in states[0]:
        parts = [state[name] for state in states]
        same = len({part.shape for part in parts}) == 1
        joined[name] = np.stack(parts) if same else parts
    return joined


def restore(part: Stateful, state: Mapping[str, Any], what: str, *, exact: bool) -> None:
    """Load the state of one part, and require that the part then has that state.

    Args:
        part: what is restored.
        state: its entries: arrays, or lists of arrays.
        what: the part and the checkpoint, for messages.
        exact: whether every bit must come back, or names and shapes only; an environment that is
            not determined by its seed cannot return to the very same state.

    Raises:
        RlkitError: the state does not fit the part.
    """
    failure = f"continuing {what} failed: its state"
    copies = {name: np.array(x) if isinstance(x, np.ndarray) else x for name, x in state.items()}
    try:
        part.load_state_dict(copies)
        now = part.state_dict()
    except RlkitError:
        raise
    except (ValueError, RuntimeError, KeyError, IndexError, TypeError) as error:
        raise RlkitError(f"{failure} has another form: {error!r}") from error
    if now.keys() != state.keys():
        raise RlkitError(f"{failure} has the entries {sorted(state)}, expected {sorted(now)}")
    if exact:
        differing = [name for name in sorted(now) if _bits(now[name]) != _bits(state[name])]
        if differing:
            raise RlkitError(f"{failure} differs after loading in {', '.join(differing)}")
        return
    for name, value in now.items():
        expected, got = ([np.shape(one) for one in seeds] for seeds in (value, state[name]))
        if expected != got:
            raise RlkitError(f"{failure} has {name!r} of shape {got[0]}, expected {expected[0]}")


def _bits(array: Array) -> tuple[str, tuple[int, ...], bytes]:
    return array.dtype.str, array.shape, array.tobytes()
