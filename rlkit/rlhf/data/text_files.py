"""Reads a user's own texts: JSON Lines files of prompts, demonstrations, preferences and labels.

One JSON object per line, one kind of object per file:

    {"prompt": "..."}                                            prompts
    {"prompt": "...", "response": "..."}                         demonstrations
    {"prompt": "...", "chosen": "...", "rejected": "..."}        preferences, "margin" optional
    {"prompt": "...", "response": "...", "label": 1}             labelled: true, false or [0, 1]

Fields may have other names (`fields`), chats are taken as well (see `rows`), and other columns are
kept for score functions. Files are checked completely here, before anything is trained on them.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from rlkit.errors import UsageError
from rlkit.files import read_json
from rlkit.rlhf.data.rows import Template, our_row, plain_template
from rlkit.spelling import closest


@dataclass(frozen=True)
class Row:
    """The parts of every record."""

    line: int  # in its file, from 1
    prompt: str
    # columns of the file that are none of its fields, for score functions
    columns: Mapping[str, Any] = field(default_factory=dict, kw_only=True, compare=False)
    # the messages from which a chat template wrote the prompt, which may spell special tokens
    messages: tuple[str, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class Prompt(Row):
    """A prompt to respond to."""


@dataclass(frozen=True)
class Demonstration(Row):
    """A prompt and a response worth imitating."""

    response: str


@dataclass(frozen=True)
class Preference(Row):
    """A prompt and two responses, of which somebody chose one."""

    chosen: str
    rejected: str
    margin: float = 0.0  # least difference of the two scores, >= 0


@dataclass(frozen=True)
class LabelRecord(Row):
    """A prompt and a response with the probability that it is good."""

    response: str
    label: float  # in [0, 1]


Record = Prompt | Demonstration | Preference | LabelRecord
Source = str | Path | Sequence[Mapping[str, object]]
R = TypeVar("R", bound=Record)

# The fields of each kind of line: required ones, and optional ones.
_FIELDS: dict[type[Any], tuple[tuple[str, ...], tuple[str, ...]]] = {
    Prompt: (("prompt",), ()),
    Demonstration: (("prompt", "response"), ()),
    Preference: (("prompt", "chosen", "rejected"), ("margin",)),
    LabelRecord: (("prompt", "response", "label"), ()),
}
_LARGEST_MARGIN = 1e6  # differences of scores are of order 1
_KNOWN = ("prompt", "response", "chosen", "rejected", "margin", "label")
_NAMES: dict[type[Any], str] = {
    Prompt: "a prompt",
    Demonstration: "a demonstration",
    Preference: "a preference",
    LabelRecord: "a labelled response",
}


@dataclass(frozen=True)
class TextRecords(Generic[R]):
    """The records of one source, all of one kind, in their order."""

    source: str  # the file's name; for records given in Python, the name of the argument
    records: tuple[R, ...]
    digest: str  # sha256 of the content, in hexadecimal
    renamed: frozenset[str] = frozenset()  # our fields that had another name

    def place(self, record: Record) -> str:
        """Return where a record stands, such as "demos.jsonl:12"."""
        return f"{self.source}:{record.line}"


def read_texts(
    source: Source,
    *kinds: type[R],
    name: str = "records",
    fields: Mapping[str, str] | None = None,
    template: Template = plain_template,
    empty_responses: bool = False,
) -> TextRecords[R]:
    """Read a JSON Lines file, or check records that are given in Python.

    Args:
        source: the file, or dictionaries with the same fields as its lines.
        kinds: the kinds of record to accept, such as `Preference, LabelRecord`.
        name: what messages call records that do not come from a file.
        fields: the source's name of each field that has another there: {"response": "answer"}.
        template: turns the messages of a chat into a prompt.
        empty_responses: whether a response may be empty, as one of a policy that ends at once.

    Raises:
        UsageError: the file cannot be read or is empty, a line is invalid (the message has its
            number), or the file holds two kinds of record or a kind that is not accepted.
    """
    if isinstance(source, str | Path):
        where, content = str(source), _read(Path(source))
        rows: Iterable[object] = _parsed(where, content)
    elif isinstance(source, Mapping):
        raise UsageError(
            f"{name}: expected a file or a list with a dictionary per row, got one dictionary; "
            "put it into a list"
        )
    else:
        where, rows = name, source
        # Sorted, so that the order in which a dictionary was filled does not matter.
        content = json.dumps(list(source), sort_keys=True, default=repr).encode()
    records: list[R] = []
    renamed: set[str] = set()
    for line, row in enumerate(rows, start=1):
        place = f"{where}:{line}"
        if isinstance(row, Mapping):
            renamed |= {name for name, other in (fields or {}).items() if other in row}
        record = _record(row, line, place, kinds, fields or {}, template, empty_responses)
        if records and bool(record.messages) != bool(records[0].messages):
            one, other = ("chat", "text") if records[0].messages else ("text", "chat")
            raise UsageError(
                f"{place}: the prompt is a {other}, expected a {one} as in line 1; one file holds "
                "one kind of line"
            )
        if records and type(record) is not type(records[0]):
            raise UsageError(
                f"{place}: expected {_expected((type(records[0]),))}, as in line 1, got "
                f"{_NAMES[type(record)]}{_others(record)}; one file holds one kind of line"
            )
        if not isinstance(record, kinds):
            raise UsageError(
                f"{place}: expected {_expected(kinds)}, got {_NAMES[type(record)]}{_others(record)}"
            )
        records.append(record)
    if not records:
        raise UsageError(f"{where}: expected at least one line of {_expected(kinds)}, got none")
    digest = hashlib.sha256(content).hexdigest()
    return TextRecords(where, tuple(records), digest, frozenset(renamed))


def _others(record: Record) -> str:
    """Return what to say of fields that may have been meant for ours."""
    if record.messages and isinstance(record, Prompt):
        return (
            f": its chat ends with a message of the role {record.columns['messages'][-1]['role']!r}"
            ", and only a last one of 'assistant' is a response"
        )
    others = [name for name in record.columns if name != "messages"]
    if not others:
        return ""
    return (
        f" with the other fields {_listed(others)} (name those that are meant, as in "
        "--response-field)"
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error


def _parsed(where: str, content: bytes) -> Iterable[object]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if content.startswith(b"\x1f\x8b"):
            raise UsageError(
                f"{where}: expected text, the file is compressed by gzip; unpack it first"
            ) from None
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{where}:{line}: expected UTF-8, got the byte 0x{content[error.start]:02x}; "
            "save the file as UTF-8"
        ) from None
    if not text:
        return
    if text.lstrip().startswith("["):
        raise UsageError(
            f"{where}:1: expected one JSON object per line, got one JSON list; convert it, as by "
            f"`jq -c '.[]' {where} > rows.jsonl`"
        )
    # Not splitlines(), which also splits at separators that JSON allows inside strings.
    for number, row in enumerate(text.removesuffix("\n").split("\n"), start=1):
        if not row.strip():
            raise UsageError(f"{where}:{number}: the line is empty; remove it")
        try:
            yield read_json(row, what="field")
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f"{where}:{number}: expected one JSON object on one line, got "
                f"{_shortened(row)}: {error}"
                + (_FROM_TABLE if number == 1 and "," in row and "{" not in row else "")
            ) from error


_FROM_TABLE = (
    ". If the file is a table, convert it, as by pandas.read_csv(FILE).to_json(NEW, "
    "orient='records', lines=True), or give its rows in Python"
)


def _record(
    row: object,
    line: int,
    place: str,
    kinds: tuple[type[R], ...],
    fields: Mapping[str, str],
    template: Template,
    empty_responses: bool,
) -> Record:
    if not isinstance(row, Mapping):
        raise UsageError(
            f"{place}: expected an object such as {{{_example(kinds[0])}}}, got {_shortened(row)}"
        )
    row, messages = our_row(row, fields, template, place)
    kind = _kind(row, place, kinds, fields)
    texts = [name for name in _FIELDS[kind][0] if name != "label"]
    for name in texts:
        if not (empty_responses and name == "response" and row[name] == ""):
            _check_text(row[name], name, place)
    if kind is Preference and row["chosen"] == row["rejected"]:
        raise UsageError(
            f"{place}: chosen and rejected are the same text, {_shortened(row['chosen'])}; "
            "such a pair carries no preference, remove it"
        )
    values = {name: row[name] for name in texts}
    if kind is LabelRecord:
        values["label"] = _number(row["label"], "label", place, high=1.0, booleans=True)
    if "margin" in row:
        values["margin"] = _number(row["margin"], "margin", place, high=_LARGEST_MARGIN)
    columns = {str(name): value for name, value in row.items() if name not in _KNOWN}
    record: Record = kind(line, **values, columns=columns, messages=messages)
    return record


def _kind(
    row: Mapping[str, object], place: str, kinds: tuple[type[R], ...], fields: Mapping[str, str]
) -> type[Any]:
    known = {name for name in row if name in _KNOWN}
    absent = [name for name in _KNOWN if name not in row]
    misspelt = [
        name
        for name in row
        if name not in known and difflib.get_close_matches(str(name).lower(), absent, 1, 0.7)
    ]
    for kind, (required, optional) in _FIELDS.items():
        if not misspelt and set(required) <= known <= {*required, *optional}:
            return kind
    # The kind that was probably meant is the nearest one once misspelt names are corrected; of
    # equally near ones, an accepted one, then the one with more of the fields.
    corrected = {_corrected(str(name)) for name in row}
    kind = (
        kinds[0]
        if corrected.isdisjoint(_KNOWN)
        else min(
            _FIELDS,
            key=lambda kind: (
                len((corrected - {"margin"}) ^ set(_FIELDS[kind][0])),
                kind not in kinds,
                -len(_FIELDS[kind][0]),
            ),
        )
    )
    required, optional = _FIELDS[kind]
    for name in row:
        if name not in (*required, *optional):
            raise UsageError(
                f"{place}: unknown field {name!r} in {_NAMES[kind]}, which has "
                f"{_listed((*required, *optional))}.{closest(str(name), (*required, *optional))}"
                + _renaming([each for each in required if each not in row], list(row), fields)
            )
    missing = next(name for name in required if name not in row)
    raise UsageError(f"{place}: missing field {missing!r}; {_NAMES[kind]} is {_example(kind)}")


def _renaming(missing: Sequence[str], names: Sequence[object], fields: Mapping[str, str]) -> str:
    """Return how to say that fields have other names."""
    if not missing:
        return ""
    if wrong := [name for name in missing if name in fields]:
        return f" There is no field {fields[wrong[0]]!r}, which was given for {wrong[0]!r}"
    options = " ".join(f"--{name}-field NAME" for name in missing)
    example = ", ".join(f"{name!r}: NAME" for name in missing)
    return (
        f" If {_listed(missing)} {'has' if len(missing) == 1 else 'have'} another name among "
        f"{_listed(list(map(str, names)))}, give it to sft: {options}, in Python "
        f"fields={{{example}}}"
    )


def _corrected(name: str) -> str:
    return next(iter(difflib.get_close_matches(name.lower(), _KNOWN, n=1, cutoff=0.5)), name)


def _check_text(value: object, name: str, place: str) -> None:
    if not isinstance(value, str):
        raise UsageError(f"{place}: field {name!r}: expected a string, got {_shortened(value)}")
    if not value:
        raise UsageError(f"{place}: field {name!r} is empty; give it some text or remove the line")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{place}: field {name!r} is not valid Unicode, it has half of a surrogate pair: "
            f"{_shortened(value)}"
        ) from None


def _number(value: object, name: str, place: str, *, high: float, booleans: bool = False) -> float:
    if isinstance(value, bool) and not booleans:
        number = math.nan
    elif isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    else:
        number = math.nan
    if not (0 <= number <= high and math.isfinite(number)):
        what = f"a number in [0, {high:g}]" if high > 1 else "true, false or a number in [0, 1]"
        raise UsageError(f"{place}: field {name!r}: expected {what}, got {_shortened(value)}")
    return number


def _shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _example(kind: type[Any]) -> str:
    return ", ".join(f'"{name}": ...' for name in _FIELDS[kind][0])


def _expected(kinds: tuple[type[R], ...]) -> str:
    return " or ".join(f"{_NAMES[kind]} {{{_example(kind)}}}" for kind in kinds)
