"""The preferences that are known so far, and their form as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agent import State
from rlkit.agents.preferences.labellers import UNKNOWN, Labels, segment_of
from rlkit.agents.preferences.segments import Segments, joined, no_segments
from rlkit.environments.views.actions import ActionLayout
from rlkit.errors import UsageError
from rlkit.files import read_json

Array = NDArray[Any]


class Preferences(NamedTuple):
    """Labelled pairs of segments; [...] = [S, P], or [P] of one seed."""

    pairs: Segments  # [..., 2]
    preferred: Array  # [...], how far the first is preferred, in [0, 1]
    probability: Array  # [...], of the label that the first is preferred, or UNKNOWN
    round: Array  # [...], in which the labeller was asked; -1 = before the run
    held_out: Array  # [...], bool: not trained on

    def at(self, index: Any) -> Preferences:
        """Return some of them, by an index of the leading axes."""
        return Preferences(self.pairs.at(index), *(part[index] for part in self[1:]))


class Store:
    """The preferences of S seeds, as many of each.

    Args:
        num_seeds: S.
        length: L, steps of a segment.
        observation_space: of one environment.
        layout: of its actions.
    """

    def __init__(
        self,
        num_seeds: int,
        length: int,
        observation_space: spaces.Space[Any],
        layout: ActionLayout,
    ) -> None:
        self.known = Preferences(
            no_segments(observation_space, layout, length, num_seeds, 0, 2),
            np.zeros((num_seeds, 0)),
            np.zeros((num_seeds, 0)),
            np.zeros((num_seeds, 0), dtype=np.int64),
            np.zeros((num_seeds, 0), dtype=np.bool_),
        )

    def add(self, new: Preferences) -> None:
        """Add preferences [S, P]."""
        pairs = joined([self.known.pairs, new.pairs], axis=1)
        others = zip(self.known[1:], new[1:], strict=True)
        self.known = Preferences(pairs, *(np.concatenate(parts, axis=1) for parts in others))

    def state_dict(self) -> State:
        return {name: x.copy() for name, x in _arrays(self.known).items()}

    def load_state_dict(self, state: State) -> None:
        self.known = from_arrays({name: np.array(x) for name, x in state.items()})


def _arrays(preferences: Preferences) -> dict[str, Array]:
    own = preferences._asdict()
    pairs: Segments = own.pop("pairs")
    return pairs._asdict() | own


def from_arrays(arrays: Mapping[str, Array]) -> Preferences:
    """Return preferences from the arrays of `Store.state_dict`, with or without a seed axis."""
    pairs = Segments(**{name: arrays[name] for name in Segments._fields})
    return Preferences(pairs, *(arrays[name] for name in Preferences._fields[1:]))


def new_preferences(
    pairs: Segments, labels: Labels, number: int, held_out_share: float
) -> Preferences:
    """Return the preferences [P] of one round, the last of which are held out."""
    count = len(labels.preferred)
    num_held_out = min(round(held_out_share * count), count - 1)
    return Preferences(
        pairs,
        labels.preferred,
        labels.probability,
        np.full(count, number),
        np.arange(count) >= count - num_held_out,
    )


def stacked(seeds: list[Preferences]) -> Preferences:
    """Return the preferences [P] of each seed as [S, P]."""
    pairs = joined([own.pairs.at(np.s_[None]) for own in seeds], axis=0)
    others = (np.stack(parts) for parts in zip(*(own[1:] for own in seeds), strict=True))
    return Preferences(pairs, *others)


# --- JSON lines -----------------------------------------------------------------------------------


def to_lines(preferences: Preferences) -> str:
    """Return preferences [P] as JSON lines, one each.

    A line holds `preferred` (1 = the first segment is better, 0 = the second, 0.5 = equal),
    `probability` (of a label 1, or null), `round`, `held_out`, and `segments`: `obs`, `actions`,
    `rewards` of each step and whether the episode terminated within the segment, `terminated`.
    """
    return "".join(json.dumps(line) + "\n" for line in _lines(preferences))


def _lines(preferences: Preferences) -> Iterator[dict[str, Any]]:
    for p in range(len(preferences.preferred)):
        own = preferences.at(p)
        probability = float(own.probability)
        yield {
            "preferred": float(own.preferred),
            "probability": None if probability == UNKNOWN else probability,
            "round": int(own.round),
            "held_out": bool(own.held_out),
            "segments": [
                {name: _plain(value) for name, value in segment_of(own.pairs, i)._asdict().items()}
                for i in (0, 1)
            ],
        }


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else bool(value)


def read_lines(
    file: Path, length: int, observation_space: spaces.Space[Any], layout: ActionLayout
) -> Preferences:
    """Return the preferences [P] of a file in the form of `to_lines`.

    `probability`, `round`, `held_out`, and `rewards` and `terminated` of segments may be missing.
    Segments may have fewer than `length` steps; of a pair the shorter is one that terminated.

    Args:
        file: to read.
        length: L, the steps of the longest segment.
        observation_space: of one environment.
        layout: of its actions.

    Raises:
        UsageError: a line is not a preference over such segments; the message names it.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"option preferences (--preferences): cannot read {file}: {error}"
        ) from error
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise UsageError(f"option preferences (--preferences): {file} is empty")
    segments = no_segments(observation_space, layout, length, len(numbered), 2)
    rows = []
    for p, (number, line) in enumerate(numbered):
        try:
            rows.append(_read(line, segments.at(p)))
            if isinstance(observation_space, spaces.Discrete):
                _require_indices("obs", segments.obs[p], int(observation_space.n))
            for column, size in enumerate(layout.sizes.tolist()):
                if size:
                    choices = segments.actions[p].reshape(-1, len(layout.sizes))[:, column]
                    _require_indices("actions", choices, size)
        except (ValueError, TypeError, KeyError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else error
            raise UsageError(f"{file}, line {number}: {reason}") from error
        segments.lengths[p] = rows[-1][4]
    preferred, probability, rounds, held_out, _ = zip(*rows, strict=True)
    return Preferences(
        segments,
        np.array(preferred),
        np.array(probability),
        np.array(rounds),
        np.array(held_out, dtype=np.bool_),
    )


def _read(line: str, pair: Segments) -> tuple[float, float, int, bool, list[int]]:
    """Read a line; its steps are written into `pair`, [2, L]."""
    content = read_json(line, what="entry")
    if not isinstance(content, dict) or not isinstance(content.get("segments"), list):
        raise ValueError('expected an object with "preferred" and two "segments"')
    preferred = _share(content["preferred"], "preferred")
    given = content.get("probability")
    probability = UNKNOWN if given is None else _share(given, "probability")
    if len(content["segments"]) != 2:
        raise ValueError(f"expected two segments, got {len(content['segments'])}")
    lengths = [_read_segment(one, pair.at(i)) for i, one in enumerate(content["segments"])]
    shorter = content["segments"][int(np.argmin(lengths))]
    if lengths[0] != lengths[1] and not shorter.get("terminated", True):
        raise ValueError(
            f"segments of {lengths[0]} and {lengths[1]} steps are compared, and the shorter did "
            "not terminate: its missing steps would count as worth nothing; give both equally many"
        )
    held_out = content.get("held_out", False)
    if not isinstance(held_out, bool):
        raise ValueError(f'"held_out": expected true or false, got {held_out!r:.80}')
    return preferred, probability, -1, held_out, lengths


def _share(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f'"{name}": expected a number from 0 to 1, got {value!r:.80}')
    return float(value)


def _read_segment(content: Any, own: Segments) -> int:
    """Write the steps of a segment into `own`, [L]; return their number."""
    if not isinstance(content, dict):
        raise ValueError(f"expected a segment to be an object, got {content!r:.80}")
    if not isinstance(content["obs"], list):
        raise ValueError(f'"obs" of a segment: expected a list, got {content["obs"]!r:.80}')
    length, steps = len(own.rewards), len(content["obs"])
    if not 1 <= steps <= length:
        raise ValueError(
            f"a segment has {steps} steps, expected 1 to {length}; choose another segment_length "
            "(--segment-length)"
        )
    if not isinstance(terminated := content.get("terminated", False), bool):
        raise ValueError(f'"terminated": expected true or false, got {terminated!r:.80}')
    rewards = content.get("rewards", [0.0] * steps)
    parts = (("obs", own.obs), ("actions", own.actions), ("rewards", own.rewards))
    for name, part in parts:
        values = np.array(rewards if name == "rewards" else content[name])
        if values.shape != (steps, *part.shape[1:]) or values.dtype.kind not in "biuf":
            raise ValueError(
                f'"{name}" of a segment: expected numbers of shape {(steps, *part.shape[1:])}, got '
                f"{values.shape}; are the observations those of this environment?"
            )
        if not np.isfinite(values).all():
            raise ValueError(f'"{name}" of a segment: expected finite numbers')
        with np.errstate(over="ignore", invalid="ignore"):
            part[:steps] = values
        if part.dtype.kind in "iu" and (part[:steps] != values).any():
            raise ValueError(f'"{name}" of a segment: expected whole numbers of {part.dtype}')
        if not np.isfinite(part[:steps]).all():
            raise ValueError(f'"{name}" of a segment: expected numbers that {part.dtype} can hold')
    return steps


def _require_indices(name: str, values: Array, size: int) -> None:
    if values.min() < 0 or values.max() >= size:
        raise ValueError(
            f'"{name}" of a segment: expected numbers from 0 to {size - 1}, got {values.min()} to '
            f"{values.max()}"
        )
