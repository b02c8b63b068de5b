"""Rows of public files: other names, chats, further columns."""

from __future__ import annotations

from typing import Any

import pytest

from rlkit.errors import UsageError
from rlkit.rlhf.data.rows import our_row, plain_template
from rlkit.rlhf.data.text_files import (
    Demonstration,
    LabelRecord,
    Preference,
    Prompt,
    read_texts,
)

ASK = {"role": "user", "content": "hi"}
KIND, RUDE = ({"role": "assistant", "content": text} for text in ("hello", "no"))
CHAT = "user: hi\nassistant: "


@pytest.mark.parametrize(
    ("row", "fields", "expected"),
    [
        ({"prompt": "a", "completion": "b"}, {}, {"prompt": "a", "response": "b"}),
        ({"question": "a", "answer": "b"}, {"prompt": "question", "response": "answer"},
         {"prompt": "a", "response": "b"}),
        ({"prompt": "a", "response": "b", "long": "c"}, {"response": "long"},
         {"prompt": "a", "response": "c"}),
        ({"prompt": "a", "chosen": "b", "rejected": "c"},
         {"chosen": "rejected", "rejected": "chosen"},
         {"prompt": "a", "chosen": "c", "rejected": "b"}),
        ({"messages": [ASK, KIND]}, {}, {"prompt": CHAT, "response": "hello"}),
        ({"messages": [ASK]}, {}, {"prompt": CHAT}),
        ({"prompt": [ASK], "completion": [KIND]}, {}, {"prompt": CHAT, "response": "hello"}),
        ({"prompt": [ASK], "chosen": [KIND], "rejected": [RUDE]}, {},
         {"prompt": CHAT, "chosen": "hello", "rejected": "no"}),
        ({"prompt": "hi", "chosen": [ASK, KIND], "rejected": [ASK, RUDE]}, {},
         {"prompt": CHAT, "chosen": "hello", "rejected": "no"}),
        ({"chosen": [ASK, KIND], "rejected": [ASK, RUDE]}, {},
         {"prompt": CHAT, "chosen": "hello", "rejected": "no"}),
    ],
)  # fmt: skip
def test_rows_of_others_become_ours(
    row: dict[str, Any], fields: dict[str, str], expected: dict[str, str]
) -> None:
    ours, messages = our_row(row, fields, plain_template, "f:1")
    # The chat stays as a column of its own.
    assert ours == expected | ({"messages": [ASK]} if messages else {})
    assert messages == ((ASK["content"],) if expected["prompt"] == CHAT else ())


@pytest.mark.parametrize(
    "row",
    [
        {"messages": "hi"},
        {"messages": []},
        {"messages": [{"role": "user"}]},
        {"messages": [KIND]},
        {"prompt": "a", "chosen": [ASK], "rejected": [RUDE]},
    ],
)
def test_what_is_no_chat_is_reported_with_its_place(row: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="f:1: "):
        our_row(row, {}, plain_template, "f:1")


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"prompt": "a", "response": "b", "id": 3, "source": "web"}, Demonstration),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "score_chosen": 1}, Preference),
        ({"prompt": "a", "response": "b", "label": 1, "annotator": "x"}, LabelRecord),
        ({"prompt": "a", "topic": "sky"}, Prompt),
    ],
)
def test_further_columns_are_kept_aside(row: dict[str, Any], kind: type[Any]) -> None:
    (record,) = read_texts([row], kind).records
    assert isinstance(record, kind)
    known = ("prompt", "response", "chosen", "rejected", "label")
    assert record.columns == {name: x for name, x in row.items() if name not in known}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "a", "respones": "b"}, "unknown field 'respones'.* Did you mean 'response'"),
        ({"prompt": "a", "response": "b", "lable": 1}, "unknown field 'lable'"),
        ({"prompt": "a", "answer": "b"}, "got a prompt with the other fields 'answer' .name those"),
    ],
)
def test_fields_that_were_meant_otherwise_are_not_taken_for_columns(
    row: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_texts([row], Demonstration)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"chosen": [ASK, KIND], "rejected": [{**ASK, "content": "ho"}, RUDE]},
            "different messages",
        ),
        (
            {"prompt": "ho", "chosen": [ASK, KIND], "rejected": [ASK, RUDE]},
            "expected 'ho'.* got 'hi'",
        ),
        ({"chosen": [ASK], "rejected": [ASK, RUDE]}, "role 'user'; expected 'assistant'"),
    ],
)
def test_chats_that_answer_something_else_are_rejected(row: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"f:1: .*{message}"):
        our_row(row, {}, plain_template, "f:1")
