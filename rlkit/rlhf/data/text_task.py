"""A user's own texts as a task, made from JSON Lines files.

There is no gold reward; a score comes from a reward model or from a function of the texts
(`rlkit.rlhf.data.scores`). Texts that do not fit are rejected here, before training, with their
file and line.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.errors import UsageError
from rlkit.options import require_count
from rlkit.rlhf.data.codec import TextCodec, check_codec
from rlkit.rlhf.data.preferences import Labels, Preferences
from rlkit.rlhf.data.rows import Template, plain_template
from rlkit.rlhf.data.sequences import from_arrays
from rlkit.rlhf.data.text_encoding import EncodedTexts, encode_prompt, responses_of
from rlkit.rlhf.data.text_files import (
    Demonstration,
    LabelRecord,
    Preference,
    Prompt,
    Source,
    TextRecords,
    read_texts,
)
from rlkit.rlhf.data.tokenizer import Tokenizer, TokenizerKind

Ids = NDArray[np.int64]


class TextTask:
    """Prompts, demonstrations and preferences of a user, encoded and checked.

    Prompts are padded on the left to the longest, `prompt_length`; responses end with EOS and are
    padded on the right to `max_new_tokens`. PAD has no other use, so the mask of either is
    `ids != task.pad`.

    Args:
        codec: turns the texts into ids.
        prompts: to respond to in training; None = the distinct prompts of the other texts.
        demonstrations: to imitate.
        preferences: pairs, or single responses with labels, to learn a reward model from.
        max_new_tokens: longest response, EOS included; None = that of the texts.
        context_length: most tokens of prompt and response together; None = no limit.
        name: for titles and folders.

    Raises:
        UsageError: there are no texts, one cannot be encoded or is too long (the message has its
            file and line), or the codec's ids are not laid out as `check_codec` requires.
    """

    def __init__(
        self,
        codec: TextCodec,
        *,
        prompts: TextRecords[Prompt] | None = None,
        demonstrations: TextRecords[Demonstration] | None = None,
        preferences: TextRecords[Preference | LabelRecord] | None = None,
        max_new_tokens: int | None = None,
        context_length: int | None = None,
        name: str = "text",
    ) -> None:
        check_codec(codec)
        _require_positive(max_new_tokens=max_new_tokens, context_length=context_length)
        sources: list[TextRecords[Any]] = [
            texts for texts in (prompts, demonstrations, preferences) if texts is not None
        ]
        if not sources:
            raise UsageError("a text task needs a file of prompts, demonstrations or preferences")
        self.codec, self.name = codec, name
        self.vocab_size, self.num_actions = codec.vocab_size, codec.num_actions
        self.eos, self.pad = codec.eos, codec.pad

        self._file_digests = [
            None if texts is None else texts.digest
            for texts in (prompts, demonstrations, preferences)
        ]
        encoded = {id(texts): EncodedTexts.of(codec, texts) for texts in sources}
        self.max_new_tokens, longest = _longest(encoded.values(), max_new_tokens)
        self.context_length = context_length
        for each in encoded.values():
            each.require_length(self.max_new_tokens)
        for each in encoded.values():
            each.require_room(self.max_new_tokens, context_length, longest)
        self.prompt_length = max(len(ids) for each in encoded.values() for ids in each.prompts)

        if prompts is not None:
            own_prompts = encoded[id(prompts)].prompts
        else:
            own_prompts = list(
                dict.fromkeys(ids for each in encoded.values() for ids in each.prompts)
            )
        self._prompts = self._padded_prompts(own_prompts)
        asking = sources if prompts is None else [prompts]
        self.columns, self.ambiguous = _columns_of(encoded[id(texts)] for texts in asking)
        # What a user says in the first chat of these; None where the prompts are no chats.
        self.first_message: str | None = next(iter(asking[0].records[0].messages[-1:]), None)
        self.renamed = frozenset[str]().union(*(texts.renamed for texts in sources))
        # Whether some files hold chats and others texts, to which no chat template is applied.
        self.mixes_chats = len({bool(texts.records[0].messages) for texts in sources}) > 1
        self._demonstrations, self._preferences = None, None
        self.glued: str | None = None  # two words that demonstrations write as one
        self.unkept: str | None = None  # a demonstrated response that the policy cannot write
        if demonstrations is not None:
            pairs = encoded[id(demonstrations)]
            self.glued, self.unkept = pairs.glued(codec), pairs.unkept(codec)
            self._demonstrations = (
                self._padded_prompts(pairs.prompts),
                self._padded_responses(pairs.responses),
            )
        if preferences is not None:
            self._preferences = self._as_preferences(encoded[id(preferences)])

    def __repr__(self) -> str:
        kind = getattr(self.codec, "kind", type(self.codec).__name__)
        return (
            f"TextTask({self.name!r}: {len(self._prompts):,} prompts, {kind} tokenizer of "
            f"{self.vocab_size:,} tokens, responses of at most {self.max_new_tokens:,})"
        )

    @classmethod
    def from_files(
        cls,
        *,
        prompts: Source | None = None,
        demonstrations: Source | None = None,
        preferences: Source | None = None,
        tokenizer: TokenizerKind | TextCodec = "char",
        vocab_size: int | None = None,
        allow_unknown: bool = False,
        max_new_tokens: int | None = None,
        context_length: int | None = None,
        name: str | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> TextTask:
        """Read texts and train a tokenizer on all of them.

        Args:
            prompts: a file, or dictionaries with the same fields as its lines; likewise the next.
            demonstrations: prompts with responses.
            preferences: pairs of responses, or single ones with labels.
            tokenizer: "char", "word" or "bpe", or one that exists already.
            vocab_size: of a "bpe" tokenizer, see `Tokenizer.train`.
            allow_unknown: see `Tokenizer.train`.
            max_new_tokens: longest response, EOS included; None = that of the texts.
            context_length: most tokens of prompt and response together; None = no limit.
            name: for titles and folders; None = the name of the first file.
            fields: see `read_texts`.

        Raises:
            UsageError: as `read_texts`, `Tokenizer.train` and `TextTask` do.
        """
        reading: Any = {"fields": fields}
        if not isinstance(tokenizer, str):
            reading["template"] = chat_template(tokenizer)
        prompt_records: TextRecords[Prompt] | None = None
        if prompts is not None:
            prompt_records = read_texts(prompts, Prompt, name="prompts", **reading)
        demonstration_records: TextRecords[Demonstration] | None = None
        if demonstrations is not None:
            demonstration_records = read_texts(
                demonstrations, Demonstration, name="demonstrations", **reading
            )
        preference_records: TextRecords[Preference | LabelRecord] | None = None
        if preferences is not None:
            preference_records = read_texts(
                preferences, Preference, LabelRecord, name="preferences", **reading
            )
        if isinstance(tokenizer, str):
            sources = (prompt_records, demonstration_records, preference_records)
            records = [record for texts in sources if texts for record in texts.records]
            codec: TextCodec = Tokenizer.train(
                (text for record in records for text in (record.prompt, *responses_of(record))),
                tokenizer,
                vocab_size=vocab_size,
                allow_unknown=allow_unknown,
            )
        elif vocab_size is not None or allow_unknown:
            raise UsageError(
                "vocab_size and allow_unknown belong to a tokenizer that is yet to be trained; "
                "the one given is fixed"
            )
        else:
            codec = tokenizer
        files = [s for s in (prompts, demonstrations, preferences) if isinstance(s, str | Path)]
        return cls(
            codec,
            prompts=prompt_records,
            demonstrations=demonstration_records,
            preferences=preference_records,
            max_new_tokens=max_new_tokens,
            context_length=context_length,
            name=name or (Path(files[0]).stem if files else "text"),
        )

    @functools.cached_property
    def token_names(self) -> tuple[str, ...]:
        """The name of each id, [vocab_size]; its text where the codec has no names."""
        names = getattr(self.codec, "names", None)
        return tuple(names or (self.codec.decode([i]) for i in range(self.vocab_size)))

    @property
    def num_prompts(self) -> int:
        """The number of prompts that `sample_prompts` draws from."""
        return len(self._prompts)

    @functools.cached_property
    def digest(self) -> str:
        """sha256 of all that training sees: the files, their ids, and the limits."""
        arrays: list[Any] = [self._prompts, *(self._demonstrations or ())]
        if isinstance(self._preferences, Preferences):
            arrays += [self._preferences.chosen.tokens, self._preferences.rejected.tokens]
        elif self._preferences is not None:
            arrays += [self._preferences.sequences.tokens]
        limits = (self.prompt_length, self.max_new_tokens, self.context_length)
        layout = (self.vocab_size, self.num_actions, self.eos, self.pad)
        known = hashlib.sha256(json.dumps([limits, layout, self._file_digests]).encode())
        for array in map(np.asarray, arrays):
            known.update(f"{array.dtype}{array.shape}".encode())
            known.update(np.ascontiguousarray(array).tobytes())
        return known.hexdigest()

    def sample_prompts(self, rng: np.random.Generator, n: int) -> Ids:
        """Draw n prompts, each as often as any other or once more, int64 [n, prompt_length]."""
        return self._prompts[_draw(rng, n, len(self._prompts))]

    def demonstrations(
        self, rng: np.random.Generator | None = None, n: int | None = None
    ) -> tuple[Ids, Ids]:
        """Return prompts [n, prompt_length] and responses [n, max_new_tokens] to imitate.

        With `rng` and `n` they are drawn like prompts; otherwise all are returned, in the file's
        order.

        Raises:
            UsageError: the task has no demonstrations.
        """
        if self._demonstrations is None:
            raise UsageError(_nothing(self.name, "demonstrations"))
        prompts, responses = self._demonstrations
        if rng is None or n is None:
            return prompts, responses
        rows = _draw(rng, n, len(prompts))
        return prompts[rows], responses[rows]

    def preferences(self) -> Preferences | Labels:
        """Return all preferences or labels in the file's order; a UsageError if there are none."""
        if self._preferences is None:
            raise UsageError(_nothing(self.name, "preferences"))
        return self._preferences

    def text(self, ids: Sequence[int] | Ids) -> str:
        """Return the text of ids, without EOS and PAD."""
        return self.codec.decode([int(i) for i in ids])

    @property
    def is_chat(self) -> bool:
        """Whether the prompts are chats, which a template wrote."""
        return self.first_message is not None

    def chat_prompt(self, message: str) -> list[int]:
        """Return the ids of the prompt that the chat template makes of a user's message.

        Raises:
            UsageError: there is no template, or the message spells a special token.
        """
        text = chat_template(self.codec)([{"role": "user", "content": message}])
        return list(encode_prompt(self.codec, text, [message]))

    def parse(self, text: str) -> list[int]:
        """Return the ids of a text, without EOS; a UsageError names a token that is unknown."""
        return self.codec.encode(text)

    def _padded_prompts(self, prompts: Sequence[Sequence[int]]) -> Ids:
        padded = np.full((len(prompts), self.prompt_length), self.pad, dtype=np.int64)
        for row, ids in zip(padded, prompts, strict=True):
            row[self.prompt_length - len(ids) :] = ids
        return padded

    def _padded_responses(self, responses: Sequence[Sequence[int]]) -> Ids:
        padded = np.full((len(responses), self.max_new_tokens), self.pad, dtype=np.int64)
        for row, ids in zip(padded, responses, strict=True):
            row[: len(ids)] = ids
        return padded

    def _as_preferences(self, encoded: EncodedTexts) -> Preferences | Labels:
        records = encoded.texts.records
        left = self._padded_prompts(encoded.prompts)
        right = self._padded_responses(encoded.responses)
        if isinstance(records[0], LabelRecord):
            sequences = from_arrays(left, right, pad=self.pad)
            return Labels(
                sequences, torch.tensor([record.label for record in records]), may_repeat=True
            )
        encoded.require_different()
        return Preferences(
            from_arrays(left, right[0::2], pad=self.pad),
            from_arrays(left, right[1::2], pad=self.pad),
            torch.tensor([record.margin for record in records]),
            may_repeat=True,
        )


def _nothing(name: str, what: str) -> str:
    return f"the task {name!r} has no {what}; give a file of them, {what}=FILE (--{what} FILE)"


def chat_template(codec: TextCodec) -> Template:
    """Return the chat template of a tokenizer, or lines "role: content" if it has none."""
    template: Template = getattr(codec, "apply_template", plain_template)
    return template


def _columns_of(
    asking: Iterable[EncodedTexts],
) -> tuple[dict[tuple[int, ...], Mapping[str, Any]], dict[str, str]]:
    """Return the further columns of each prompt, and those that have several values for one.

    Where a prompt occurs again with another value, the first one counts. The second result has each
    such column with the first such prompt.
    """
    columns: dict[tuple[int, ...], dict[str, Any]] = {}
    ambiguous: dict[str, str] = {}
    for each in asking:
        for ids, record in zip(each.prompts, each.texts.records, strict=True):
            known = columns.setdefault(ids, {})
            for name, value in record.columns.items():
                if known.setdefault(name, value) != value:
                    ambiguous.setdefault(name, record.prompt)
    return dict(columns), ambiguous


def _longest(sources: Iterable[EncodedTexts], given: int | None) -> tuple[int, str]:
    """Return the most tokens of a response, and the place of the one that has them; "" if given.

    Raises:
        UsageError: neither is there a response, nor a number given.
    """
    if given is not None:
        return given, ""
    length, place = max(each.longest() for each in sources)
    if not length:
        raise UsageError(
            "a text task of prompts alone needs max_new_tokens, the longest response to sample"
        )
    return length, place


def _require_positive(**options: int | None) -> None:
    for name, value in options.items():
        if value is not None:
            require_count(name, value, at_least=1)


def _draw(rng: np.random.Generator, n: int, total: int) -> NDArray[np.int64]:
    """Draw n rows of `total`: whole passes in random order, and part of one without repeats."""
    passes: Iterable[NDArray[np.int64]] = [rng.permutation(total) for _ in range(n // total)]
    return np.concatenate([*passes, rng.choice(total, n % total, replace=False)])
