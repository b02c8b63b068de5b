"""Encodes a user's texts, and rejects those that cannot be used, with their file and line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rlkit.errors import UsageError
from rlkit.rlhf.data.codec import TextCodec
from rlkit.rlhf.data.text_files import Preference, Prompt, Record, TextRecords
from rlkit.rlhf.data.tokenizer import Tokenizer

_SPECIAL = (
    "spells a special token, which the tokenizer reads as EOS or PAD; remove it, ends and padding "
    "are added automatically"
)
_SPECIAL_OF_CHAT = (
    "spells a special token, which only the chat template may write, or a message could end itself "
    "and speak for another; remove it"
)


class EncodedTexts(NamedTuple):
    """The ids of the records of one source."""

    texts: TextRecords[Any]
    prompts: list[tuple[int, ...]]  # one per record
    responses: list[tuple[int, ...]]  # those of each record one after another, each with its EOS

    @classmethod
    def of(cls, codec: TextCodec, texts: TextRecords[Any]) -> EncodedTexts:
        """Encode the prompts and responses of all records.

        Raises:
            UsageError: a text has no tokens, an unknown one, or one with a meaning of its own.
        """
        places = [(record, texts.place(record)) for record in texts.records]
        return cls(
            texts,
            [
                _encoded(codec, record.prompt, place, messages=record.messages)
                for record, place in places
            ],
            [
                (
                    *_encoded(codec, response, place, prompt=False, messages=record.messages),
                    codec.eos,
                )
                for record, place in places
                for response in responses_of(record)
            ],
        )

    def require_length(self, limit: int) -> None:
        """Reject responses of more than `limit` tokens."""
        lengths = iter(map(len, self.responses))
        for record in self.texts.records:
            for response in responses_of(record):
                length = next(lengths)
                if length > limit:
                    raise UsageError(
                        f"{self.texts.place(record)}: the response {response[:60]!r} has {length} "
                        f"tokens, EOS included, expected at most max_new_tokens = {limit}: shorten "
                        "it or raise max_new_tokens"
                    )

    def longest(self) -> tuple[int, str]:
        """Return the number of tokens of the longest response, and its place; 0 without any."""
        records = [record for record in self.texts.records for _ in responses_of(record)]
        lengths = [len(ids) for ids in self.responses]
        if not lengths:
            return 0, ""
        i = max(range(len(lengths)), key=lengths.__getitem__)
        return lengths[i], self.texts.place(records[i])

    def require_room(
        self, max_new_tokens: int, context_length: int | None, longest: str = ""
    ) -> None:
        """Reject prompts that leave no room for a response in the context.

        Args:
            max_new_tokens: the longest response.
            context_length: what prompt and response must fit into; None = there is no limit.
            longest: the place of the response that is so long; "" = the user chose the limit.
        """
        for record, ids in zip(self.texts.records, self.prompts, strict=True):
            if context_length is not None and len(ids) + max_new_tokens > context_length:
                response, remedy = "", "shorten it, give a smaller max_new_tokens"
                if longest:
                    response = f" for the longest response ({longest})"
                    remedy = "shorten or remove the longer of the two"
                raise UsageError(
                    f"{self.texts.place(record)}: the prompt has {len(ids)} tokens, and with "
                    f"max_new_tokens = {max_new_tokens} more{response} it exceeds the "
                    f"context_length of {context_length}: {remedy}, or raise context_length, as "
                    "far as a pretrained model allows"
                )

    def glued(self, codec: TextCodec) -> str | None:
        """Return the end of a prompt with the response that its last word runs into, if one does.

        Most must do so, for then it is no peculiarity of one text.
        """
        joined = []
        for record, ids, answer in zip(
            self.texts.records, self.prompts, self.responses, strict=False
        ):
            response = next(iter(responses_of(record)), "")
            if record.prompt[-1:].isalnum() and response[:1].isalnum():
                end = f"{record.prompt.split()[-1]}{response.split()[0]}"
                if end in codec.decode([*ids, *answer]):
                    joined.append(end)
        return joined[0] if 2 * len(joined) > len(self.prompts) else None

    def unkept(self, codec: TextCodec) -> str | None:
        """Return a response that a tokenizer trained here does not keep, if there is one."""
        if not isinstance(codec, Tokenizer):
            return None
        texts = (text for record in self.texts.records for text in responses_of(record))
        for text, ids in zip(texts, self.responses, strict=True):
            if codec.decode(ids[:-1]) != text:
                return text
        return None

    def require_different(self) -> None:
        """Reject pairs of two equal responses."""
        pairs = zip(self.texts.records, self.responses[0::2], self.responses[1::2], strict=True)
        for record, chosen, rejected in pairs:
            if chosen == rejected:
                raise UsageError(
                    f"{self.texts.place(record)}: chosen {record.chosen[:60]!r} and rejected "
                    f"{record.rejected[:60]!r} are the same tokens; such a pair carries no "
                    "preference, remove it"
                )


def responses_of(record: Record) -> tuple[str, ...]:
    """Return the responses in a record: two of a pair, none of a prompt."""
    if isinstance(record, Preference):
        return record.chosen, record.rejected
    return () if isinstance(record, Prompt) else (record.response,)


def encode_prompt(codec: TextCodec, text: str, messages: Sequence[str] = ()) -> tuple[int, ...]:
    """Return the ids of a prompt.

    Args:
        codec: turns the text into ids.
        text: as a chat template wrote it, if it did; its special tokens are allowed.
        messages: from which a template wrote the text; they may not spell special tokens. Without
            any, the text is a plain one, in which EOS and PAD may not be spelled.

    Raises:
        UsageError: a special token is spelled, or a token is unknown.
    """
    if not messages:
        ids = tuple(codec.encode(text, prompt=True))
        # Some tokenizers start every sequence with the token that is EOS elsewhere.
        if codec.pad in ids or codec.eos in ids[1:]:
            raise UsageError(f"{text[:60]!r} {_SPECIAL}")
        return ids
    special = {codec.eos, codec.pad, *getattr(codec, "special", ())}
    for message in messages:
        if special & set(codec.encode(message)):
            raise UsageError(f"the message {message[:60]!r} {_SPECIAL_OF_CHAT}")
    # The template writes the token that starts a sequence itself.
    ids = tuple(codec.encode(text))
    if codec.pad in ids:
        raise UsageError(
            f"the chat template writes PAD, id {codec.pad}, which only fills batches and is hidden "
            'from the model; give "pad_token" in tokenizer_config.json another token'
        )
    return ids


def _encoded(
    codec: TextCodec,
    text: str,
    place: str,
    *,
    prompt: bool = True,
    messages: tuple[str, ...] = (),
) -> tuple[int, ...]:
    what = f"the {'prompt' if prompt else 'response'}"
    try:
        ids = encode_prompt(codec, text, messages) if prompt else tuple(codec.encode(text))
    except UsageError as error:
        raise UsageError(f"{place}: {what}: {error}") from error
    what = f"{place}: {what} {text[:60]!r}"
    if not ids and not prompt and not text:
        return ids  # of a policy that ends at once; files have no empty responses
    if not ids:
        raise UsageError(f"{what} has no tokens; give it some text or remove the line")
    if not prompt and {codec.pad, codec.eos} & set(ids):
        raise UsageError(f"{what} {_SPECIAL}")
    if not prompt and messages and set(ids) & getattr(codec, "special", set()):
        raise UsageError(f"{what} {_SPECIAL_OF_CHAT}")
    limit = codec.vocab_size if prompt else codec.num_actions
    unknown = getattr(codec, "unk", None)
    if max(ids) >= limit or (not prompt and unknown in ids):
        raise UsageError(
            f"{what} has a token, id {unknown if unknown in ids else max(ids)}, that no model can "
            "generate, such as an unknown word; use a tokenizer that has it, or remove the line"
        )
    return ids
