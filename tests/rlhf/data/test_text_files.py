"""What a JSON Lines file may hold, and that everything else is refused with its line."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.errors import UsageError
from rlkit.rlhf.data.text_files import Demonstration, LabelRecord, Preference, Prompt, read_texts

ALL = (Prompt, Demonstration, Preference, LabelRecord)

PROMPT = '{"prompt": "hi"}'
DEMONSTRATION = '{"prompt": "hi", "response": "ho"}'
PREFERENCE = '{"prompt": "hi", "chosen": "ho", "rejected": "he"}'
LABELLED = '{"prompt": "hi", "response": "ho", "label": 1}'


def write(path: Path, *lines: str) -> Path:
    path.write_bytes("".join(line + "\n" for line in lines).encode())
    return path


@pytest.mark.parametrize(
    ("line", "record"),
    [
        (PROMPT, Prompt(1, "hi")),
        (DEMONSTRATION, Demonstration(1, "hi", "ho")),
        (PREFERENCE, Preference(1, "hi", "ho", "he", 0.0)),
        (PREFERENCE[:-1] + ', "margin": 2}', Preference(1, "hi", "ho", "he", 2.0)),
        (LABELLED, LabelRecord(1, "hi", "ho", 1.0)),
        (LABELLED.replace("1", "true"), LabelRecord(1, "hi", "ho", 1.0)),
        (LABELLED.replace("1", "false"), LabelRecord(1, "hi", "ho", 0.0)),
        (LABELLED.replace("1", "0.25"), LabelRecord(1, "hi", "ho", 0.25)),
    ],
)
def test_each_kind_of_line_is_read(tmp_path: Path, line: str, record: object) -> None:
    texts = read_texts(write(tmp_path / "a.jsonl", line), *ALL)
    assert texts.records == (record,)
    assert texts.place(texts.records[0]) == f"{tmp_path / 'a.jsonl'}:1"


def test_the_last_line_needs_no_newline_and_windows_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + f"{PROMPT}\r\n{PROMPT}".encode())
    assert read_texts(path, Prompt).records == (Prompt(1, "hi"), Prompt(2, "hi"))


def test_separators_that_json_allows_in_strings_do_not_end_a_line(tmp_path: Path) -> None:
    text = "a\u2028b\u2029c\x85d"
    path = write(tmp_path / "a.jsonl", json.dumps({"prompt": text}, ensure_ascii=False), PROMPT)
    assert [r.prompt for r in read_texts(path, Prompt).records] == [text, "hi"]


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=5))
def test_any_text_comes_back_from_a_file_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    path = tmp_path_factory.mktemp("data") / "a.jsonl"
    write(path, *(json.dumps({"prompt": text}) for text in texts))
    assert [record.prompt for record in read_texts(path, Prompt).records] == texts


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", PROMPT)
    assert read_texts(path, Prompt).digest == hashlib.sha256(path.read_bytes()).hexdigest()
    other = write(tmp_path / "b.jsonl", PROMPT.replace(" ", ""))
    assert read_texts(other, Prompt).digest != read_texts(path, Prompt).digest


def test_records_given_in_python_are_checked_like_lines() -> None:
    rows = [{"prompt": "hi", "response": "ho"}, {"response": "ho", "prompt": "he"}]
    texts = read_texts(rows, Demonstration, name="demonstrations")
    assert [record.prompt for record in texts.records] == ["hi", "he"]
    assert texts.digest == read_texts([dict(reversed(r.items())) for r in rows], *ALL).digest
    with pytest.raises(UsageError, match=r"demonstrations:2: field 'response' is empty"):
        read_texts([rows[0], {"prompt": "a", "response": ""}], *ALL, name="demonstrations")


REFUSED = [
    ("", "expected at least one line"),
    ("\n", ":1: the line is empty"),
    (f"{PROMPT}\n\n{PROMPT}\n", ":2: the line is empty"),
    (f"{PROMPT}\n\n", ":2: the line is empty"),
    (f"{PROMPT}\n{PROMPT[:-1]}\n", ":2: expected one JSON object on one line"),
    (PROMPT + PROMPT, ":1: expected one JSON object on one line"),
    ("prompt,response\na,b\n", r":1: .* If the file is a table, convert it, as by pandas\."),
    ("[" * 100_000, ":1: expected one JSON object per line, got one JSON list"),
    ('{"a":' * 100_000, ":1: expected one JSON object on one line"),
    ("[]", ":1: expected one JSON object per line, got one JSON list"),
    ("[" + DEMONSTRATION + "]", r"one JSON list; convert it, as by `jq -c '.\[\]' .*bad.jsonl >"),
    (
        '{"question": "a", "answer": "b"}',
        ":1: unknown field 'question' in .* have another name among 'question', 'answer', give it",
    ),
    (
        DEMONSTRATION
        + '\n{"messages": [{"role": "user", "content": "a"}, '
        + '{"role": "assistant", "content": "b"}]}',
        ":2: the prompt is a chat, expected a text as in line 1",
    ),
    ('"hi"', ":1: expected an object"),
    ("{}", ":1: missing field 'prompt'"),
    ('{"prompt": "hi", "prompt": "ho"}', ":1: .*'prompt' occurs twice"),
    ('{"promt": "hi"}', ":1: unknown field 'promt'.*Did you mean 'prompt'"),
    ('{"Prompt": "hi"}', ":1: unknown field 'Prompt'.*Did you mean 'prompt'"),
    (PREFERENCE.replace("chosen", "choosen"), ":1: unknown field 'choosen'.*mean 'chosen'"),
    (DEMONSTRATION.replace("response", "respones"), ":1: .*'respones'.*mean 'response'"),
    (LABELLED.replace("label", "labels"), ":1: unknown field 'labels'.*mean 'label'"),
    (PREFERENCE[:-1] + ', "margins": 2}', ":1: unknown field 'margins'.*mean 'margin'"),
    (DEMONSTRATION[:-1] + ', "labels": 2}', ":1: unknown field 'labels'"),
    ('{"prompt": "hi", "chosen": "ho"}', ":1: missing field 'rejected'; a preference is"),
    ('{"prompt": "hi", "label": 0}', ":1: missing field 'response'; a labelled"),
    ('{"response": "ho"}', ":1: missing field 'prompt'; a demonstration is"),
    ('{"prompt": 3}', ":1: field 'prompt': expected a string, got 3"),
    (DEMONSTRATION.replace('"ho"', "null"), ":1: field 'response': expected a string, got None"),
    (DEMONSTRATION.replace('"ho"', '["ho"]'), ":1: field 'response': expected a string"),
    (DEMONSTRATION.replace("ho", ""), ":1: field 'response' is empty"),
    (PREFERENCE.replace("he", ""), ":1: field 'rejected' is empty"),
    (PROMPT.replace("hi", ""), ":1: field 'prompt' is empty"),
    (
        PROMPT.replace("hi", "\\ud83d"),
        ":1: field 'prompt' is not valid Unicode, it has half of a",
    ),
    (PREFERENCE.replace("he", "ho"), ":1: chosen and rejected are the same text, 'ho'"),
    (PREFERENCE[:-1] + ', "margin": -1}', ":1: field 'margin': expected a number"),
    (PREFERENCE[:-1] + ', "margin": 1e38}', ":1: field 'margin': expected a number"),
    (PREFERENCE[:-1] + ', "margin": NaN}', ":1: field 'margin': expected a number"),
    (PREFERENCE[:-1] + ', "margin": 1e999}', ":1: field 'margin': expected a number"),
    (PREFERENCE[:-1] + f', "margin": 1{"0" * 400}}}', ":1: field 'margin': expected a number"),
    (PREFERENCE[:-1] + ', "margin": true}', ":1: field 'margin': expected a number"),
    (LABELLED.replace("1", "2"), r":1: field 'label': expected true, false or .*\[0, 1\], got 2"),
    (LABELLED.replace("1", "-0.1"), ":1: field 'label': expected"),
    (LABELLED.replace("1", "NaN"), ":1: field 'label': expected"),
    (LABELLED.replace("1", '"1"'), ":1: field 'label': expected .* got '1'"),
    (f"{DEMONSTRATION}\n{PROMPT}\n", ":2: expected a demonstration .*, as in line 1, got a prompt"),
    (f"{PREFERENCE}\n{LABELLED}\n", ":2: expected a preference .*, as in line 1, got a labelled"),
]


@pytest.mark.parametrize(("content", "message"), REFUSED)
def test_invalid_lines_are_rejected_by_number(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content, newline="")
    with pytest.raises(UsageError, match=f"bad.jsonl.*{message}"):
        read_texts(path, *ALL)


def test_a_kind_that_was_not_requested_is_rejected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", DEMONSTRATION)
    with pytest.raises(UsageError, match=r"a.jsonl:1: expected a preference .* or a labelled"):
        read_texts(path, Preference, LabelRecord)


def test_a_message_speaks_of_the_kind_that_was_requested() -> None:
    row = {"prompt": "hi", "label": 1}  # a prompt with too much, or a label with too little
    with pytest.raises(UsageError, match="unknown field 'label' in a prompt"):
        read_texts([row], Prompt)
    with pytest.raises(UsageError, match="missing field 'response'; a labelled response"):
        read_texts([row], LabelRecord)


def test_other_encodings_are_rejected_with_the_line_of_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(PROMPT.encode() + b"\n" + '{"prompt": "hé"}'.encode("latin-1"))
    with pytest.raises(UsageError, match=r"a.jsonl:2: expected UTF-8, got the byte 0xe9"):
        read_texts(path, Prompt)


def test_a_missing_file_and_a_folder_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file .*nothing\.jsonl"):
        read_texts(tmp_path / "nothing.jsonl", Prompt)
    with pytest.raises(UsageError, match="cannot be read"):
        read_texts(tmp_path, Prompt)


def test_a_chat_without_an_answer_is_no_demonstration() -> None:
    rows = [{"messages": [{"role": "user", "content": "a"}, {"role": "bot", "content": "b"}]}]
    with pytest.raises(UsageError, match=r"expected a demonstration .* ends with .* role 'bot'"):
        read_texts(rows, Demonstration)
    with pytest.raises(UsageError, match=r"no field 'questoin', which was given for 'prompt'"):
        read_texts(
            [{"question": "a", "response": "b"}], Demonstration, fields={"prompt": "questoin"}
        )
    with pytest.raises(UsageError, match=r"--prompt-field NAME --response-field NAME, in Python"):
        read_texts([{"question": "a", "answer": "b"}], Demonstration)


def test_a_compressed_file_is_named_as_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(PROMPT.encode()))
    with pytest.raises(UsageError, match="compressed by gzip; unpack it"):
        read_texts(path, Prompt)
