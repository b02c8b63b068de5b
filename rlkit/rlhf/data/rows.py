"""Rows of public files as rows of ours: other names of fields, and chats as prompts and responses.

{"completion": ...}                             the response
{"messages": [{"role", "content"}, ...]}        the last message is the response
{"chosen": [messages], "rejected": [messages]}  the same of each; the prompt is what they share
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rlkit.errors import UsageError

# Messages -> the text that the model continues with its answer.
Template = Callable[[Sequence[Mapping[str, str]]], str]
ALIASES = {"response": "completion"}


def plain_template(messages: Sequence[Mapping[str, str]]) -> str:
    """Return messages as lines "role: content", for tokenizers without a chat template."""
    lines = [f"{message['role']}: {message['content']}\n" for message in messages]
    return "".join([*lines, "assistant: "])


def our_row(
    row: Mapping[str, Any], fields: Mapping[str, str], template: Template, place: str
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a row with our names of fields, and the messages that its prompt was written from.

    There are none where the prompt is a text and no template wrote it.

    Args:
        row: as it stands in the file.
        fields: the file's name of each of our fields that has another there.
        template: turns messages into a prompt.
        place: for messages to the user.

    Raises:
        UsageError: a chat is not a list of messages, or lacks a prompt or an answer.
    """
    renamed = {
        name: other
        for name, other in {**ALIASES, **fields}.items()
        if other in row and (name not in row or name in fields)
    }
    # All at once: two names may be exchanged.
    ours = {name: value for name, value in row.items() if name not in renamed.values()}
    ours |= {name: row[other] for name, other in renamed.items()}
    if "messages" in ours:
        prompt, answer = _split(ours.pop("messages"), "messages", place)
        ours["prompt"] = prompt
        if answer is not None:
            ours["response"] = answer
    asked: list[Mapping[str, str]] = []
    for name in ("response", "chosen", "rejected"):
        if _is_chat(ours.get(name)):
            before, answer = _split(ours[name], name, place)
            if answer is None:
                raise UsageError(f"{place}: {name!r} {_no_answer(ours[name])}")
            ours[name] = answer
            if asked and before and before != asked:
                raise UsageError(
                    f"{place}: 'chosen' and 'rejected' answer different messages, expected the "
                    "same before the last"
                )
            asked = before or asked
    if asked:
        ours["prompt"] = _asked(ours.get("prompt"), asked, place)
    if not _is_chat(ours.get("prompt")):
        return ours, ()
    if not ours["prompt"]:
        raise UsageError(f"{place}: there is no message before the answer, so there is no prompt")
    # Kept as a column, for scores that read chats by a template of their own.
    ours["messages"] = messages = _checked(ours["prompt"], "prompt", place)
    ours["prompt"] = template(messages)
    return ours, tuple(message["content"] for message in messages)


def _asked(prompt: Any, messages: list[Mapping[str, str]], place: str) -> Any:
    """Return the messages before an answer, which the prompt may repeat."""
    if prompt is None or prompt in (messages, messages[-1]["content"]):
        return messages
    raise UsageError(
        f"{place}: the messages before the answer are not those of 'prompt': expected "
        f"{prompt!r:.60} as the last of them, got {messages[-1]['content']!r:.60}"
    )


def _no_answer(messages: Sequence[Mapping[str, str]]) -> str:
    role = messages[-1]["role"]
    return (
        f"ends with a message of the role {role!r}; expected 'assistant', whose last message is "
        "the response"
    )


def _split(messages: Any, name: str, place: str) -> tuple[list[Mapping[str, str]], str | None]:
    """Return the messages before the answer, and the answer if the last is an assistant's."""
    checked = _checked(messages, name, place)
    if checked[-1]["role"] == "assistant":
        return checked[:-1], checked[-1]["content"]
    return checked, None


def _checked(messages: Any, name: str, place: str) -> list[Mapping[str, str]]:
    def fits(message: Any) -> bool:
        return all(isinstance(message.get(key), str) for key in ("role", "content"))

    checked: list[Mapping[str, str]] = messages
    if not _is_chat(messages) or not messages or not all(map(fits, messages)):
        raise UsageError(
            f'{place}: field {name!r}: expected a list of messages, {{"role": "user", "content": '
            f'"..."}}, got {messages!r:.60}'
        )
    return checked


def _is_chat(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(message, Mapping) for message in value)
