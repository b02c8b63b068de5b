"""Encodes a user's texts, and rejects those that cannot be used, with their file and line."""

from __future__ import annotations

from typing import Any, NamedTuple

from rlkit.errors import UsageError
from rlkit.rlhf.data.codec import TextCodec
from rlkit.rlhf.data.text_files import Preference, Prompt, Record, TextRecords


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
                _encoded(codec, record.prompt, place, is_templated=record.is_templated)
                for record, place in places
            ],
            [
                (*_encoded(codec, response, place, prompt=False), codec.eos)
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

    def require_room(self, max_new_tokens: int, context_length: int | None) -> None:
        """Reject prompts that leave no room for a response in the context."""
        for record, ids in zip(self.texts.records, self.prompts, strict=True):
            if context_length is not None and len(ids) + max_new_tokens > context_length:
                raise UsageError(
                    f"{self.texts.place(record)}: the prompt has {len(ids)} tokens, and with "
                    f"max_new_tokens = {max_new_tokens} more it exceeds the context_length of "
                    f"{context_length}: shorten it, or raise context_length"
                )

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


def _encoded(
    codec: TextCodec, text: str, place: str, *, prompt: bool = True, is_templated: bool = False
) -> tuple[int, ...]:
    what = f"the {'prompt' if prompt else 'response'}"
    try:
        # A template writes the token that starts a sequence itself.
        ids = tuple(codec.encode(text, prompt=prompt and not is_templated))
    except UsageError as error:
        raise UsageError(f"{place}: {what}: {error}") from error
    what = f"{place}: {what} {text[:60]!r}"
    if not ids:
        raise UsageError(f"{what} has no tokens; give it some text or remove the line")
    # Some tokenizers start every sequence with the token that is EOS elsewhere.
    if codec.pad in ids or (not is_templated and codec.eos in ids[1 if prompt else 0 :]):
        raise UsageError(
            f"{what} spells a special token, which the tokenizer reads as EOS or PAD; remove "
            "it, ends and padding are added automatically"
        )
    limit = codec.vocab_size if prompt else codec.num_actions
    if max(ids) >= limit:
        raise UsageError(
            f"{what} has a token, id {max(ids)}, that no model can generate, such as an unknown "
            "word; train the tokenizer on texts that have it"
        )
    return ids
