"""Reads a folder with a Hugging Face model: its configuration, its tokenizer, its special ids.

Nothing is downloaded, and nothing in the folder is executed: weights are read as safetensors only.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from rlkit.errors import UsageError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
NEW_PAD = "[PAD]"
T = TypeVar("T")


@dataclass(frozen=True)
class HFVocabulary:
    """The ids of a model's tokens that matter to generation."""

    size: int  # ids that can be read: rows of the embedding
    num_actions: int  # ids 0..num_actions-1 have logits
    eos: int  # ends a response
    pad: int  # fills sequences; never generated, even where it is below num_actions
    digest: str  # of all tokens with their ids

    def limited(self, num_actions: int) -> HFVocabulary:
        """Return the same ids, of which only those below `num_actions` are generated."""
        if not self.eos < num_actions <= self.num_actions:
            raise UsageError(
                f"num_actions: expected {self.eos + 1} (so that the end of a response, id "
                f"{self.eos}, is among them) to {self.num_actions}, got {num_actions}"
            )
        return replace(self, num_actions=num_actions)


class HuggingFaceCodec:
    """Converts text to ids and back, by the tokenizer in a model's folder.

    Train on ids as they were sampled, because encode(decode(ids)) may be other ids.
    """

    def __init__(self, path: str | Path) -> None:
        """
        Args:
            path: the folder of the model.

        Raises:
            UsageError: it lacks a tokenizer.
        """
        self._path = model_folder(path)
        self._tokenizer, self.vocabulary = read_tokenizer(self._path, read_config(self._path))
        self.vocab_size, self.num_actions = self.vocabulary.size, self.vocabulary.num_actions
        self.eos, self.pad = self.vocabulary.eos, self.vocabulary.pad
        # Tokens with a meaning of their own, which a user's message may not spell.
        added = self._tokenizer.added_tokens_decoder.items()
        special = {int(i) for i, token in added if token.special}
        self.unk: int | None = self._tokenizer.unk_token_id  # of what it cannot read
        self.special = frozenset(special - {self.unk})

    def encode(self, text: str, *, prompt: bool = False) -> list[int]:
        """Return the ids of a text, without an end-of-sequence token.

        Args:
            text: the text.
            prompt: whether to add the token that starts a sequence, if there is one (Llama's BOS).
        """
        start: list[int] = []
        if prompt:
            with silenced_transformers():
                empty = [int(i) for i in self._tokenizer("").input_ids]
            # Some tokenizers also add an end, which would stand in the middle here.
            start = empty[: empty.index(self.eos)] if self.eos in empty[1:] else empty
        with silenced_transformers():
            ids = self._tokenizer(text, add_special_tokens=False).input_ids
        return [*start, *(int(i) for i in ids)]

    def apply_template(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Return the messages of a chat as the prompt of the assistant's answer.

        Raises:
            UsageError: the tokenizer has no chat template, or it rejects the messages.
        """
        if not self._tokenizer.chat_template:
            raise UsageError(
                f"{self._path}: the tokenizer has no chat template, so messages cannot be read; "
                "give texts, or the folder of a chat model"
            )

        def apply() -> str:
            text: str = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
            )
            return text

        return load_or_explain("chat as its template demands", self._path, apply)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, without special tokens such as the end of the sequence.

        Raises:
            UsageError: an id is outside the vocabulary.
        """
        listed = [int(i) for i in ids]
        wrong = [i for i in listed if not 0 <= i < self.vocab_size]
        if wrong:
            raise UsageError(
                f"cannot decode the id {wrong[0]}: {self._path} has the ids "
                f"0..{self.vocab_size - 1}"
            )
        with silenced_transformers():
            text: str = self._tokenizer.decode(
                [i for i in listed if i != self.pad],
                skip_special_tokens=True,
                clean_up_tokenization_spaces=False,
            )
        return text


def import_optional(name: str) -> Any:
    """Import a package of the extra `hf`, which a plain installation lacks."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(
            f"Hugging Face models need the package {name!r}, which cannot be imported ({error}); "
            'install it with: pip install "rlkit[hf]"'
        ) from error


@contextlib.contextmanager
def silenced_transformers() -> Iterator[None]:
    """Let transformers neither print nor warn; restore torch's generator afterwards."""
    logging = import_optional("transformers").utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            if bars:
                logging.enable_progress_bar()


def load_or_explain(what: str, path: Path, load: Callable[[], T]) -> T:
    """Return load(), and report any failure as one of the files in the folder."""
    try:
        with silenced_transformers():
            return load()
    except UsageError:
        raise
    except Exception as error:  # damaged files fail in as many ways as there are readers
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(f"{path}: cannot load the {what}: {lines[0]}") from error


def model_folder(path: str | Path) -> Path:
    """Return the folder of a causal language model after checking that no file is missing."""
    return require_files(Path(path), "a Hugging Face model")


def require_files(folder: Path, kind: str) -> Path:
    """Return a folder after checking that it has configuration, weights and tokenizer."""
    if not folder.is_dir():
        raise UsageError(
            f"{folder}: there is no such folder; expected the path of a folder that holds {kind} "
            "(names on the Hub are not downloaded)"
        )
    what = "a folder as `save_pretrained` writes it"
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder} has no config.json; expected {what}")
    if not any(folder.glob("*.safetensors")):
        old = any(folder.glob("pytorch_model*.bin"))
        raise UsageError(
            f"{folder} has no weights in safetensors format (*.safetensors); expected {what}"
            + (". Its pytorch_model.bin is not read: save the model again" if old else "")
        )
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise UsageError(
            f"{folder} has no tokenizer (none of {', '.join(TOKENIZER_FILES)}); save it beside the "
            "model: tokenizer.save_pretrained(folder)"
        )
    return folder


def read_config(path: Path) -> Any:
    """Return the configuration of a causal language model.

    Raises:
        UsageError: config.json cannot be read, or the model is of another kind.
    """
    auto = import_optional("transformers").AutoConfig
    options = {"local_files_only": True, "trust_remote_code": False}
    config = load_or_explain("configuration", path, lambda: auto.from_pretrained(path, **options))
    module = import_optional("transformers.models.auto.modeling_auto")
    known = {
        name
        for names in module.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
        for name in ((names,) if isinstance(names, str) else names)
    }
    kinds = list(config.architectures or [])
    if config.is_encoder_decoder or not known.intersection(kinds):
        names = ", ".join(kinds) or "none"
        raise UsageError(
            f"{path} is not a causal language model: its architectures are {names}; expected one "
            "such as GPT2LMHeadModel or LlamaForCausalLM"
        )
    return config


def longest_context(path: Path, config: Any) -> int:
    """Return the largest number of tokens that a model reads, from its configuration of text.

    Raises:
        UsageError: it names none, as those without positions, Bloom and Mamba, do not.
    """
    length = getattr(config, "max_position_embeddings", None)
    if length is None:
        raise UsageError(
            f"{path}: models of the type {config.model_type!r} name no max_position_embeddings and "
            "are not supported; expected one with positions, such as GPT-2, Llama or Qwen"
        )
    return int(length)


def read_tokenizer(path: Path, config: Any) -> tuple[Any, HFVocabulary]:
    """Return the tokenizer of a folder, and its vocabulary.

    Padding is the tokenizer's own token for it unless that has another use, such as the end of a
    sequence, from which it must be told apart; otherwise a special token with "pad" in its name. If
    there is none, `[PAD]` becomes the first unused id; where the model has no row for it either,
    `HFVocabulary.size` is one more than in its configuration.

    Raises:
        UsageError: no tokenizer can be read, it has no end-of-sequence token, or has tokens that
            the model lacks.
    """
    auto = import_optional("transformers").AutoTokenizer
    options = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = load_or_explain("tokenizer", path, lambda: auto.from_pretrained(path, **options))
    tokens: dict[str, int] = tokenizer.get_vocab()
    rows = int(config.get_text_config().vocab_size)
    used = max(tokens.values()) + 1
    eos = tokenizer.eos_token_id
    if eos is None:
        raise UsageError(
            f"{path}: the tokenizer has no end-of-sequence token, so no response could end; set "
            '"eos_token" in tokenizer_config.json'
        )
    if used > rows:
        raise UsageError(
            f"{path}: the tokenizer has ids up to {used - 1}, but the model only those up to "
            f"{rows - 1}; the two do not belong together"
        )
    pad = tokenizer.pad_token_id
    if pad is None or _is_written(tokenizer, pad):
        named = [i for i, t in tokenizer.added_tokens_decoder.items() if _says_pad(t)]
        pad = min((i for i in named if not _is_written(tokenizer, i)), default=used)
        token = _new_name(tokens) if pad == used else tokenizer.convert_ids_to_tokens(pad)
        with silenced_transformers():
            tokenizer.add_special_tokens({"pad_token": token})
    digest = hashlib.sha256(json.dumps(sorted(tokens.items())).encode()).hexdigest()
    # Rows without a token (embeddings are often padded to a multiple of 64) are not actions.
    num_actions = used - 1 if pad == used - 1 else used
    size = max(rows, int(pad) + 1)
    return tokenizer, HFVocabulary(size, num_actions, int(eos), int(pad), digest)


def _new_name(tokens: Mapping[str, int]) -> str:
    """Return `[PAD]`, with more brackets where a token has that name."""
    name = NEW_PAD
    while name in tokens:
        name = f"[{name}]"
    return name


def _is_written(tokenizer: Any, token: int) -> bool:
    """Return whether an id ends or begins sequences, or is written by the chat template.

    As padding it would hide these places from the model.
    """
    with silenced_transformers():
        around = [tokenizer.eos_token_id, *tokenizer("").input_ids]
    content, template = tokenizer.convert_ids_to_tokens(token), str(tokenizer.chat_template or "")
    names = [name for name, own in tokenizer.special_tokens_map.items() if own == content]
    return token in around or any(name in template for name in (content, *names))


def _says_pad(token: Any) -> bool:
    return bool(token.special) and "pad" in str(token.content).lower()
