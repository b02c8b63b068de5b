"""Tokenizers that are trained on a user's texts: characters, words, or pairs of bytes.

Their ids, in order:

    0 .. n-1     the tokens of the text
    n            EOS, the end of a response;  num_actions = n + 1
    n+1          UNK, only where unknown tokens are allowed: read but never generated
    last         PAD;                         vocab_size

No text is turned into EOS or PAD, whatever it spells. Encoding a decoded text may give other ids
(see `Tokenizer`), so the samples of a policy are kept as ids, and only score functions see text.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from rlkit.errors import UsageError
from rlkit.options import require_count
from rlkit.spelling import closest

TokenizerKind = Literal["char", "word", "bpe"]

_NUM_BYTES = 256


@dataclass(frozen=True)
class Tokenizer:
    """A tokenizer trained on a user's texts; make it with `Tokenizer.train`.

    Args:
        kind: "char": a token is a character (code point), and ids decode to the very text.
            "word": tokens are separated by white space; decoding joins them with one space.
            "bpe": byte-level pair encoding; every text has ids, and usually several sequences of
            ids have the same text.
        tokens: the tokens of the text in the order of their ids.
        merges: which tokens "bpe" joins, in order.
        unknown: whether unknown tokens become UNK; otherwise they are rejected.
    """

    kind: TokenizerKind
    tokens: tuple[str, ...] = field(repr=False)
    merges: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    unknown: bool = False

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        kind: TokenizerKind,
        *,
        vocab_size: int | None = None,
        allow_unknown: bool = False,
    ) -> Tokenizer:
        """Return a tokenizer for some texts; their order does not matter.

        Args:
            texts: all texts that will be used, prompts and responses.
            kind: "char", "word" or "bpe".
            vocab_size: the most ids of "bpe", at least 258 (256 bytes, EOS and PAD); None = 512.
                There are fewer if no pair of tokens is left that occurs twice.
            allow_unknown: read tokens that are not in these texts as UNK; not for "bpe".

        Raises:
            UsageError: there is no text, an option does not belong to the kind, or the package
                `tokenizers`, which "bpe" needs, is missing.
        """
        if kind not in get_args(TokenizerKind):
            raise UsageError(
                f"tokenizer: expected one of 'char', 'word', 'bpe', got {kind!r}."
                + closest(str(kind), get_args(TokenizerKind))
            )
        if kind == "bpe":
            return cls._train_bpe(list(texts), vocab_size, allow_unknown)
        if vocab_size is not None:
            raise UsageError(
                f"tokenizer {kind!r}: vocab_size is an option of 'bpe' only, got {vocab_size}; a "
                f"{kind} tokenizer has all {kind}s of the texts"
            )
        tokens = sorted({token for text in texts for token in _split(kind, text)})
        if not tokens:
            raise UsageError(f"tokenizer {kind!r}: the texts to train it on are empty")
        return cls(kind, tuple(tokens), unknown=allow_unknown)

    @classmethod
    def _train_bpe(cls, texts: list[str], vocab_size: int | None, allow_unknown: bool) -> Tokenizer:
        if allow_unknown:
            raise UsageError("tokenizer 'bpe' has ids for every text: omit allow_unknown")
        size = 512 if vocab_size is None else vocab_size
        size = require_count("vocab_size", size, at_least=_NUM_BYTES + 2)  # EOS and PAD
        if not any(texts):
            raise UsageError("tokenizer 'bpe': the texts to train it on are empty")
        library = _library()
        backend = _byte_level(library.models.BPE())
        trainer = library.trainers.BpeTrainer(
            vocab_size=size - 2,
            min_frequency=2,  # a pair that occurs once does not generalise
            special_tokens=[],  # added by us, so that no text spells them
            initial_alphabet=library.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator([_valid(text) for text in texts], trainer)
        ids = backend.get_vocab()
        merges = json.loads(backend.to_str())["model"]["merges"]
        return cls("bpe", tuple(sorted(ids, key=ids.__getitem__)), tuple(map(tuple, merges)))

    @property
    def eos(self) -> int:
        """The id that ends a response."""
        return len(self.tokens)

    @property
    def num_actions(self) -> int:
        """Ids below this one can be generated."""
        return self.eos + 1

    @property
    def unk(self) -> int | None:
        """The id of unknown tokens, where they are allowed."""
        return self.num_actions if self.unknown else None

    @property
    def pad(self) -> int:
        """The id that fills batches."""
        return self.num_actions + self.unknown

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return self.pad + 1

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The name of each id; special ones get more brackets where a token spells them."""
        special = ["<eos>", *["<unk>"] * self.unknown, "<pad>"]
        for i, name in enumerate(special):
            while name in self._ids:
                name = f"<{name}>"
            special[i] = name
        return (*self.tokens, *special)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens)}

    @functools.cached_property
    def _backend(self) -> Any:
        return _byte_level(_library().models.BPE(vocab=self._ids, merges=list(self.merges)))

    def encode(self, text: str, *, prompt: bool = False) -> list[int]:
        """Return the ids of a text, without EOS; prompts are encoded like responses.

        Raises:
            UsageError: a token is unknown, and unknown ones are not allowed.
        """
        if self.kind == "bpe":
            ids: list[int] = self._backend.encode(_valid(text)).ids
            return ids
        ids_or_none = [self._ids.get(token, self.unk) for token in _split(self.kind, text)]
        if None in ids_or_none:
            token = _split(self.kind, text)[ids_or_none.index(None)]
            what = "character" if self.kind == "char" else "word"
            raise UsageError(
                f"the {what} {token!r} is not in the tokenizer's vocabulary of "
                f"{len(self.tokens)} {what}s.{closest(token, self.tokens)} Remove it, train "
                "the tokenizer on texts that have it, or use a bpe tokenizer, which reads any text"
            )
        return [i for i in ids_or_none if i is not None]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without EOS and PAD; UNK appears as its name.

        Bytes of "bpe" that are not valid UTF-8 appear as U+FFFD.

        Raises:
            ValueError: an id is not one of this tokenizer.
        """
        wrong = [i for i in ids if not 0 <= i < self.vocab_size]
        if wrong:
            raise ValueError(f"decode: expected ids in [0, {self.vocab_size}), got {wrong[0]}")
        kept = [i for i in ids if i not in (self.eos, self.pad)]
        if self.kind == "bpe":
            text: str = self._backend.decode(kept, skip_special_tokens=False)
            return text
        return ("" if self.kind == "char" else " ").join(self.names[i] for i in kept)

    def to_dict(self) -> dict[str, Any]:
        """Return everything that defines the tokenizer, in types of JSON."""
        return {
            "kind": self.kind,
            "tokens": list(self.tokens),
            "merges": [list(pair) for pair in self.merges],
            "unknown": self.unknown,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Tokenizer:
        """Return the tokenizer that `to_dict` was called on.

        Raises:
            UsageError: `stored` is not a result of `to_dict`.
        """
        try:
            kind, tokens, unknown = stored["kind"], tuple(stored["tokens"]), stored["unknown"]
            merges = tuple((left, right) for left, right in stored["merges"])
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"this is not a stored tokenizer: {error!r}") from error
        pieces = [*tokens, *(token for pair in merges for token in pair)]
        if (
            kind not in get_args(TokenizerKind)
            or not isinstance(unknown, bool)
            or not all(isinstance(token, str) for token in pieces)
            or len(set(tokens)) != len(tokens)
            or bool(merges and kind != "bpe")
            or not {left + right for left, right in merges}.union(pieces) <= set(tokens)
        ):
            raise UsageError(
                f"this is not a stored tokenizer: kind {kind!r}, {len(tokens)} tokens, "
                f"{len(merges)} merges, unknown {unknown!r}; the kind is unknown, or tokens "
                "are repeated or missing"
            )
        return cls(kind, tokens, merges, unknown)

    def to_json(self) -> bytes:
        """Return `to_dict` as JSON, the same bytes for equal tokenizers."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, stored: bytes) -> Tokenizer:
        """Return the tokenizer that `to_json` was called on; a UsageError if there is none."""
        try:
            content: dict[str, Any] = json.loads(stored)
        except ValueError as error:
            raise UsageError(f"this is not a stored tokenizer: {error}") from error
        return cls.from_dict(content)

    @functools.cached_property
    def digest(self) -> str:
        """sha256 of `to_json`."""
        return hashlib.sha256(self.to_json()).hexdigest()


def _split(kind: TokenizerKind, text: str) -> list[str]:
    return list(text) if kind == "char" else text.split()


def _valid(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"tokenizer 'bpe': the text {text[:60]!r} is not valid Unicode: it has half of "
            "a surrogate pair"
        ) from error
    return text


def _library() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise UsageError(
            "the tokenizer 'bpe' needs the package tokenizers, which is not installed: "
            'pip install "rlkit[hf]"'
        ) from error
    return tokenizers


def _byte_level(model: Any) -> Any:
    library = _library()
    backend = library.Tokenizer(model)
    backend.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = library.decoders.ByteLevel()
    return backend
