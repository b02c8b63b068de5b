"""The tokenizers of runs in the format of transformers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from rlkit.rlhf.data.codec import TaskCodec, TextCodec
from rlkit.rlhf.data.tokenizer import Tokenizer
from rlkit.rlhf.models.huggingface.folder import (
    TOKENIZER_FILES,
    HuggingFaceCodec,
    import_optional,
    read_config,
    read_tokenizer,
    silenced_transformers,
)

_FILES = (
    *TOKENIZER_FILES,
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt"),
    *("chat_template.jinja", "chat_template.json"),
)
# As `str.split` does, which knows more spaces than the library's own rule.
_SPACES = r"[\s\x1c-\x1f]+"


def write_tokenizer(
    codec: TextCodec, folder: Path, source: Path | None, *, needs_pad: bool
) -> None:
    """Write the tokenizer of a run into a folder.

    Args:
        codec: of the run.
        folder: the folder.
        source: the folder of the pretrained model, whose files are copied; None = there is none.
        needs_pad: whether padding must differ from the end of the sequence, as a classifier needs.
    """
    if source is None:
        with silenced_transformers():
            own_tokenizer(codec).save_pretrained(folder)
        return
    auto = import_optional("transformers").AutoTokenizer
    with silenced_transformers():
        original = auto.from_pretrained(source, local_files_only=True, trust_remote_code=False)
    if needs_pad and original.pad_token_id != codec.pad:
        tokenizer, _ = read_tokenizer(source, read_config(source))
        with silenced_transformers():
            tokenizer.save_pretrained(folder)
        return
    for name in _FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def own_tokenizer(codec: TextCodec) -> Any:
    """Return a tokenizer that was trained here, or the words of a task, as one of transformers.

    It gives the same ids; text that spells a special token stays text.
    """
    assert not isinstance(codec, HuggingFaceCodec)
    assert isinstance(codec, Tokenizer | TaskCodec)
    library = import_optional("tokenizers")
    names = list(codec.names)
    kind = codec.kind if isinstance(codec, Tokenizer) else "word"
    unknown = codec.unk if isinstance(codec, Tokenizer) else None
    ids = {name: i for i, name in enumerate(names)}
    if isinstance(codec, Tokenizer) and kind == "bpe":
        tokens = {token: i for i, token in enumerate(codec.tokens)}
        backend = library.Tokenizer(library.models.BPE(vocab=tokens, merges=list(codec.merges)))
        backend.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = library.decoders.ByteLevel()
    else:
        options = {} if unknown is None else {"unk_token": names[unknown]}
        backend = library.Tokenizer(library.models.WordLevel(ids, **options))
        pattern, behaviour = (r"[\s\S]", "isolated") if kind == "char" else (_SPACES, "removed")
        backend.pre_tokenizer = library.pre_tokenizers.Split(library.Regex(pattern), behaviour)
        if kind == "char":
            backend.decoder = library.decoders.Fuse()
    special = {"eos_token": names[codec.eos], "pad_token": names[codec.pad]}
    if unknown is not None:
        special["unk_token"] = names[unknown]
    backend.add_special_tokens(list(special.values()))
    fast = import_optional("transformers").PreTrainedTokenizerFast
    with silenced_transformers():
        return fast(
            tokenizer_object=backend,
            **special,
            padding_side="left",
            split_special_tokens=True,
            clean_up_tokenization_spaces=False,
            model_input_names=["input_ids", "attention_mask"],
        )
