"""Whether a model fits into memory, estimated before its arrays are allocated."""

from __future__ import annotations

from rlkit.files import available_bytes as available_bytes  # for those who estimate

# Of the model and a solver together, measured on lakes of 1000 x 1000 cells.
_BYTES_PER_ENTRY = 45
_BYTES_PER_ROW = 40
_MOST_ENTRIES = 2**31 - 1


def require_memory(what: str, num_entries: int, num_rows: int) -> None:
    """Raise ValueError where a model cannot be built and solved in the memory that is available.

    Args:
        what: the model, for the message.
        num_entries: successors of all states and actions.
        num_rows: pairs of state and action.
    """
    needed = _BYTES_PER_ENTRY * num_entries + _BYTES_PER_ROW * num_rows
    available = available_bytes()
    if num_entries > _MOST_ENTRIES:
        raise ValueError(
            f"{what}: its model would have about {num_entries:,} transitions, and at most "
            f"{_MOST_ENTRIES:,} are supported"
        )
    if available is not None and needed > available:
        raise ValueError(
            f"{what}: its model has about {num_entries:,} transitions and would need about "
            f"{needed / 1e9:,.2g} GB of memory, and {available / 1e9:,.2g} GB are available"
        )
