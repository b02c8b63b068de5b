"""A user's own texts as a task: what the built-in tasks offer, made from JSON-lines files.

There is no gold reward; a score comes from a reward model or from a function of the texts
(`rlkit.rlhf.data.scores`). Everything that does not fit is refused here, before training, with the
file and the line.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.errors import UsageError
from rlkit.options import require_count
from rlkit.rlhf.data.preferences import Labels, Preferences
from rlkit.rlhf.data.sequences import from_arrays
from rlkit.rlhf.data.text_files import (
    Demonstration,
    Labelled,
    Preference,
    Prompt,
    Record,
    Source,
    Texts,
    read_texts,
)
from rlkit.rlhf.data.tokenizer import TextCodec, Tokenizer, TokenizerKind, check_codec

Ids = NDArray[np.int64]


class TextTask:
    """Prompts, demonstrations and preferences of a user, encoded and checked.

    Prompts are padded on the left to the longest, `prompt_length`; responses end with EOS and are
    padded on the right to `max_new_tokens`. PAD never stands for anything else, so the mask of
    either is `ids != task.pad`.

    Args:
        codec: turns the texts into ids.
        prompts: to respond to in training; the distinct prompts of the other texts if left out.
        demonstrations: to imitate, if any.
        preferences: pairs, or single responses with labels, to learn a reward model from, if any.
        max_new_tokens: longest response, EOS included; that of the texts if left out.
        context_length: most tokens of prompt and response together; no limit if left out.
        name: for titles and folders.

    Raises:
        UsageError: there are no texts, one cannot be encoded or is too long (its file and line are
            named), or the codec's ids are not laid out as `check_codec` demands.
    """

    def __init__(
        self,
        codec: TextCodec,
        *,
        prompts: Texts[Prompt] | None = None,
        demonstrations: Texts[Demonstration] | None = None,
        preferences: Texts[Preference | Labelled] | None = None,
        max_new_tokens: int | None = None,
        context_length: int | None = None,
        name: str = "text",
    ) -> None:
        check_codec(codec)
        _require_positive(max_new_tokens=max_new_tokens, context_length=context_length)
        sources: list[Texts[Any]] = [
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
        encoded = {id(texts): _encode_prompts(codec, texts) for texts in sources}
        answers = {id(texts): _encode_responses(codec, texts) for texts in sources}
        widths = [len(ids) for group in answers.values() for ids in group]
        if not widths and max_new_tokens is None:
            raise UsageError(
                "a text task of prompts alone needs max_new_tokens, the longest response to sample"
            )
        self.max_new_tokens = max(widths) if max_new_tokens is None else max_new_tokens
        for texts in sources:
            _require_short(texts, answers[id(texts)], self.max_new_tokens)
        self.context_length = context_length
        for texts in sources:
            _require_room(texts, encoded[id(texts)], self.max_new_tokens, context_length)
        self.prompt_length = max(len(ids) for group in encoded.values() for ids in group)

        if prompts is not None:
            chosen = encoded[id(prompts)]
        else:
            chosen = list(dict.fromkeys(ids for texts in sources for ids in encoded[id(texts)]))
        self._prompts = self._padded_prompts(chosen)
        self._demonstrations = None
        if demonstrations is not None:
            self._demonstrations = (
                self._padded_prompts(encoded[id(demonstrations)]),
                self._padded_responses(answers[id(demonstrations)]),
            )
        self._preferences: Preferences | Labels | None = None
        if preferences is not None:
            _require_different(preferences, answers[id(preferences)])
            self._preferences = self._judged(
                preferences, encoded[id(preferences)], answers[id(preferences)]
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
    ) -> TextTask:
        """Read texts and train a tokenizer on all of them.

        Args:
            prompts: a file, or dictionaries with the same fields as its lines; likewise the next.
            demonstrations: prompts with responses.
            preferences: pairs of responses, or single ones with labels.
            tokenizer: "char", "word" or "bpe", or one that is already there.
            vocab_size: of a "bpe" tokenizer, see `Tokenizer.train`.
            allow_unknown: see `Tokenizer.train`.
            max_new_tokens: longest response, EOS included; that of the texts if left out.
            context_length: most tokens of prompt and response together; no limit if left out.
            name: for titles and folders; the first file's if left out.

        Raises:
            UsageError: as `read_texts`, `Tokenizer.train` and `TextTask` do.
        """
        asked = None if prompts is None else read_texts(prompts, Prompt, name="prompts")
        shown: Texts[Demonstration] | None = None
        if demonstrations is not None:
            shown = read_texts(demonstrations, Demonstration, name="demonstrations")
        judged: Texts[Preference | Labelled] | None = None
        if preferences is not None:
            judged = read_texts(preferences, Preference, Labelled, name="preferences")
        if isinstance(tokenizer, str):
            records = [r for texts in (asked, shown, judged) if texts for r in texts.records]
            codec: TextCodec = Tokenizer.train(
                (text for record in records for text in (record.prompt, *_responses(record))),
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
            prompts=asked,
            demonstrations=shown,
            preferences=judged,
            max_new_tokens=max_new_tokens,
            context_length=context_length,
            name=name or (Path(files[0]).stem if files else "text"),
        )

    @functools.cached_property
    def token_names(self) -> tuple[str, ...]:
        """What each id is called, vocab_size of them; its text where the codec has no names."""
        names = getattr(self.codec, "names", None)
        return tuple(names or (self.codec.decode([i]) for i in range(self.vocab_size)))

    @property
    def num_prompts(self) -> int:
        """How many prompts `sample_prompts` draws from."""
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
        """Prompts [n, prompt_length] and responses [n, max_new_tokens] to imitate.

        With `rng` and `n` they are drawn like prompts; with neither it is all, in the file's order.

        Raises:
            UsageError: the task has no demonstrations.
        """
        if self._demonstrations is None:
            raise UsageError(f"task {self.name!r} has no demonstrations; give it a file of them")
        prompts, responses = self._demonstrations
        if rng is None or n is None:
            return prompts, responses
        rows = _draw(rng, n, len(prompts))
        return prompts[rows], responses[rows]

    def preferences(self) -> Preferences | Labels:
        """What a reward model learns from, in the file's order. UsageError: there is nothing."""
        if self._preferences is None:
            raise UsageError(f"task {self.name!r} has no preferences; give it a file of them")
        return self._preferences

    def text(self, ids: Sequence[int] | Ids) -> str:
        """The text of ids; EOS and PAD are left out."""
        return self.codec.decode([int(i) for i in ids])

    def parse(self, text: str) -> list[int]:
        """The ids of a text, without EOS. UsageError: a token is not in the vocabulary."""
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

    def _judged(
        self,
        texts: Texts[Preference | Labelled],
        prompts: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
    ) -> Preferences | Labels:
        left, right = self._padded_prompts(prompts), self._padded_responses(answers)
        if isinstance(texts.records[0], Labelled):
            labels = [record.label for record in texts.records if isinstance(record, Labelled)]
            sequences = from_arrays(left, right, pad=self.pad)
            return Labels(sequences, torch.tensor(labels), may_repeat=True)
        margins = [record.margin for record in texts.records if isinstance(record, Preference)]
        return Preferences(
            from_arrays(left, right[0::2], pad=self.pad),
            from_arrays(left, right[1::2], pad=self.pad),
            torch.tensor(margins),
            may_repeat=True,
        )


def _responses(record: Record) -> tuple[str, ...]:
    if isinstance(record, Preference):
        return record.chosen, record.rejected
    return () if isinstance(record, Prompt) else (record.response,)


def _encode_prompts(codec: TextCodec, texts: Texts[Any]) -> list[tuple[int, ...]]:
    return [_encoded(codec, record.prompt, texts.place(record)) for record in texts.records]


def _encode_responses(codec: TextCodec, texts: Texts[Any]) -> list[tuple[int, ...]]:
    """Each record's responses one after the other, each with its EOS."""
    return [
        (*_encoded(codec, response, texts.place(record), prompt=False), codec.eos)
        for record in texts.records
        for response in _responses(record)
    ]


def _encoded(codec: TextCodec, text: str, place: str, *, prompt: bool = True) -> tuple[int, ...]:
    what = f"the {'prompt' if prompt else 'response'}"
    try:
        ids = tuple(codec.encode(text, prompt=prompt))
    except UsageError as error:
        raise UsageError(f"{place}: {what}: {error}") from error
    what = f"{place}: {what} {text[:60]!r}"
    if not ids:
        raise UsageError(f"{what} has no tokens; give it a text or remove the line")
    # At the front of a prompt EOS may be what the tokenizer starts every sequence with.
    if codec.pad in ids or codec.eos in ids[1 if prompt else 0 :]:
        raise UsageError(
            f"{what} spells a special token, which the tokenizer reads as EOS or PAD; leave it "
            "out, ends and padding are added where they belong"
        )
    limit = codec.vocab_size if prompt else codec.num_actions
    if max(ids) >= limit:
        raise UsageError(
            f"{what} has a token, id {max(ids)}, that no model can generate, such as an unknown "
            "word; train the tokenizer on texts that have it"
        )
    return ids


def _require_different(texts: Texts[Any], answers: Sequence[Sequence[int]]) -> None:
    if not isinstance(texts.records[0], Preference):
        return
    for record, chosen, rejected in zip(texts.records, answers[0::2], answers[1::2], strict=True):
        if chosen == rejected:
            raise UsageError(
                f"{texts.place(record)}: chosen {record.chosen[:60]!r} and rejected "
                f"{record.rejected[:60]!r} are the same tokens; such a pair says nothing, remove it"
            )


def _require_short(texts: Texts[Any], answers: Sequence[Sequence[int]], limit: int) -> None:
    lengths = iter(map(len, answers))
    for record in texts.records:
        for response in _responses(record):
            length = next(lengths)
            if length > limit:
                raise UsageError(
                    f"{texts.place(record)}: the response {response[:60]!r} has {length} tokens, "
                    f"EOS included, expected at most max_new_tokens = {limit}: shorten it or "
                    "raise max_new_tokens"
                )


def _require_room(
    texts: Texts[Any], prompts: Sequence[Sequence[int]], new: int, context: int | None
) -> None:
    for record, ids in zip(texts.records, prompts, strict=True):
        if context is not None and len(ids) + new > context:
            raise UsageError(
                f"{texts.place(record)}: the prompt has {len(ids)} tokens, and with "
                f"max_new_tokens = {new} more it exceeds the context_length of {context}: shorten "
                "it, or raise context_length"
            )


def _require_positive(**options: int | None) -> None:
    for name, value in options.items():
        if value is not None:
            require_count(name, value, at_least=1)


def _draw(rng: np.random.Generator, n: int, total: int) -> NDArray[np.int64]:
    """n rows of `total`: whole passes in random order, and a part of one without repeats."""
    passes: Iterable[NDArray[np.int64]] = [rng.permutation(total) for _ in range(n // total)]
    return np.concatenate([*passes, rng.choice(total, n % total, replace=False)])
