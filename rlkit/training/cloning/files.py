"""Demonstrations in files: csv, JSON lines and arrays of NumPy."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rlkit.errors import UsageError
from rlkit.files import read_ordinary
from rlkit.nn.reference import from_npz
from rlkit.training.cloning.converting import Rows

Array = NDArray[Any]

_NAMES = ("observation", "action")


def read_rows(path: Path) -> Rows:
    """Return the decisions of a file.

    Raises:
        UsageError: it cannot be read; the message names the line and the column.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(
            f"demonstrations {path}: expected a file whose name ends in {', '.join(READERS)}"
        )
    try:
        data = read_ordinary(path)
    except OSError as error:
        raise UsageError(f"demonstrations {path}: cannot be read: {error.strerror}") from error
    return reader(path, data)


def _text(path: Path, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"demonstrations {path}: it is no text in UTF-8 ({error})") from error


def _read_csv(path: Path, data: bytes) -> Rows:
    reader = csv.reader(io.StringIO(_text(path, data), newline=""), skipinitialspace=True)
    header = [name.strip() for name in next(reader, [])]
    if repeated := [name for name, count in Counter(header).items() if name and count > 1]:
        raise UsageError(
            f"demonstrations {path}, line 1: there are two columns {repeated[0]}; name each once"
        )
    places = {name: _columns(path, header, name) for name in _NAMES}
    single = {name: header.index(name) for name in ("episode", "reward") if name in header}
    used = [*places["observation"], *places["action"], *single.values()]
    lines: list[int] = []
    numbers: list[list[float]] = []
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise UsageError(
                f"demonstrations {path}, line {reader.line_num}: expected {len(header)} columns "
                f"as in the header, got {len(cells)}"
            )
        where = f"demonstrations {path}, line {reader.line_num}, column"
        numbers.append([_number(cells[i], f"{where} {header[i]}") for i in used])
        lines.append(reader.line_num)
    _require_some(path, numbers)
    table = np.array(numbers)
    ends = np.cumsum([len(places[name]) for name in _NAMES])
    observations, actions, rest = np.split(table, ends, axis=1)
    extra = dict(zip(single, rest.T, strict=True))

    def place(row: int, name: str, column: int) -> str:
        own = header[places[name][column]]
        return f"demonstrations {path}, line {lines[row]}, column {own}"

    return _rows(observations, actions, extra, place, str(path))


def _columns(path: Path, header: Sequence[str], name: str) -> list[int]:
    """Return the columns name, or name_0, name_1, ... in their order."""
    if name in header:
        return [header.index(name)]
    numbered = {
        int(m[1]): i for i, h in enumerate(header) if (m := re.fullmatch(f"{name}_(\\d+)", h))
    }
    missing = [k for k in range(len(numbered)) if k not in numbered]
    if not numbered or missing:
        lacking = f"{name}_{missing[0]}" if missing else f"{name} (or {name}_0, {name}_1, ...)"
        raise UsageError(
            f"demonstrations {path}, line 1: no column {lacking}; it has "
            f"{', '.join(header) or 'none'}"
        )
    return [numbered[k] for k in range(len(numbered))]


def _number(text: Any, where: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        raise UsageError(f"{where}: expected a number, got {text!r:.80}") from None


def _read_lines(path: Path, data: bytes) -> Rows:
    numbers: dict[str, list[Any]] = {name: [] for name in (*_NAMES, "episode", "reward")}
    lines: list[int] = []
    for line, text in enumerate(_text(path, data).splitlines(), start=1):
        if not text.strip():
            continue
        where = f"demonstrations {path}, line {line}"
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{where}: it is no JSON ({error})") from error
        if not isinstance(content, dict) or not content.keys() >= set(_NAMES):
            raise UsageError(
                f"{where}: expected an object with the keys observation and action, got {text:.80}"
            )
        for name in _NAMES:
            own = np.ravel(_array(content[name], f"{where}, {name}"))
            known = numbers[name]
            if known and len(known[0]) != len(own):
                raise UsageError(
                    f"{where}, {name}: got {len(own)} numbers, expected {len(known[0])} as in line "
                    f"{lines[0]}"
                )
            known.append(own)
        for name in ("episode", "reward"):
            if name in content:
                numbers[name].append(_number(content[name], f"{where}, {name}"))
        lines.append(line)
    _require_some(path, lines)
    extra = {}
    for name in ("episode", "reward"):
        if numbers[name]:
            if len(numbers[name]) != len(lines):
                raise UsageError(f"demonstrations {path}: some lines have {name} and others not")
            extra[name] = np.array(numbers[name])

    def place(row: int, name: str, column: int) -> str:
        return f"demonstrations {path}, line {lines[row]}, {name}[{column}]"

    observations, actions = (np.array(numbers[name], dtype=np.float64) for name in _NAMES)
    return _rows(observations, actions, extra, place, str(path))


def _array(value: Any, where: str) -> Array:
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "biuf":
        raise UsageError(f"{where}: expected a number or a list of numbers, got {value!r:.80}")
    return array.astype(np.float64)


def _read_arrays(path: Path, data: bytes) -> Rows:
    try:
        held = from_npz(data, "arrays")
    except ValueError as error:
        raise UsageError(f"demonstrations {path}: {error}") from error
    missing = [name for name in ("observations", "actions") if name not in held]
    if missing:
        raise UsageError(
            f"demonstrations {path}: it has no array {missing[0]}; it has "
            f"{', '.join(held) or 'none'}"
        )
    names = {"episodes": "episode", "rewards": "reward"}
    wanted = {
        n: _array(held[n], f"demonstrations {path}, array {n}")
        for n in ("observations", "actions", *names)
        if n in held
    }
    lengths = {name: len(array) if array.ndim else 0 for name, array in wanted.items()}
    if len(set(lengths.values())) != 1:
        listed = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise UsageError(f"demonstrations {path}: its arrays have different lengths: {listed}")
    _require_some(path, wanted["actions"])
    flat = [wanted[name].reshape(len(wanted[name]), -1) for name in ("observations", "actions")]
    extra = {ours: wanted[theirs].ravel() for theirs, ours in names.items() if theirs in wanted}

    def place(row: int, name: str, column: int) -> str:
        return f"demonstrations {path}, {name}s[{row}], number {column}"

    return _rows(flat[0], flat[1], extra, place, str(path))


def _require_some(path: Path, rows: Any) -> None:
    if not len(rows):
        raise UsageError(f"demonstrations {path}: there is no row; expected at least one")


def _rows(
    observations: Array,
    actions: Array,
    extra: dict[str, Array],
    place: Callable[[int, str, int], str],
    path: str,
) -> Rows:
    """Return rows, with episodes numbered from 0 in the order of the file."""
    episode = extra.get("episode", np.zeros(len(actions)))
    if not np.isfinite(episode).all():
        raise UsageError(f"demonstrations {path}: the numbers of episodes must be finite")
    rewards = extra.get("reward")
    if rewards is not None and not np.isfinite(rewards).all():
        raise UsageError(f"demonstrations {path}: rewards must be finite")
    _, numbers = np.unique(episode, return_inverse=True)
    source = f"demonstrations {path}"
    return Rows(observations, actions, numbers.astype(np.int64), rewards, place, source)


READERS: dict[str, Callable[[Path, bytes], Rows]] = {
    ".csv": _read_csv,
    ".jsonl": _read_lines,
    ".npz": _read_arrays,
}
