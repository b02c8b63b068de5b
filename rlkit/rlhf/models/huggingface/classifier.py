"""Sequence classifiers of Hugging Face with one label, as scores of prompts and responses.

What the classifier reads, by the first rule that fits:

    exported by rlkit      prompt (chats by the template, which opens the answer), response, EOS
    a chat template        the whole chat, with the response as the assistant's message
    a token between parts  the pair of prompt and response, as BERT reads two sentences
    otherwise              prompt, response, EOS

In the first and the last case a response that does not fit is read as far as it fits. Without a
template a chat is read as the contents of its messages, a line each: the tokens by which another
model's template marks them would be words to it.

Texts of equal lengths are scored together, so there is no padding on which a score could depend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rlkit.errors import UsageError
from rlkit.rlhf.models.huggingface.folder import (
    import_optional,
    load_or_explain,
    require_files,
    silenced_transformers,
)
from rlkit.rlhf.models.huggingface.weights import require_finite

SCORE_OFFSET = "rlkit_score_offset"  # entry of config.json: score = logit + offset
Messages = Sequence[Mapping[str, str]]


class TextClassifier:
    """A sequence classifier from a local folder; call it as a score function of texts.

    Args:
        path: a folder as `save_pretrained` writes it, with a tokenizer.
        batch_size: texts of equal lengths per forward pass.

    Raises:
        UsageError: the folder holds no sequence classifier, or one with several labels.
    """

    def __init__(self, path: str | Path, *, batch_size: int = 32) -> None:
        self.folder = require_files(Path(path), "a sequence classifier")
        self._batch_size = batch_size
        transformers = import_optional("transformers")
        options = {"local_files_only": True, "trust_remote_code": False}

        def load(auto: Any, **more: Any) -> Any:
            what = "weights" if more else "configuration and tokenizer"
            return load_or_explain(
                what, self.folder, lambda: auto.from_pretrained(self.folder, **options, **more)
            )

        config = load(transformers.AutoConfig)
        _require_one_label(self.folder, config)
        self._tokenizer = load(transformers.AutoTokenizer)
        auto = transformers.AutoModelForSequenceClassification
        self._model, info = load(
            auto, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
        if info["missing_keys"] or info["mismatched_keys"]:
            lacking = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
            raise UsageError(
                f"{self.folder}: the weights lack {lacking[0]}, which would be random; expected "
                "those of a trained sequence classifier"
            )
        require_finite(self.folder, self._model)
        self._model.eval().requires_grad_(False)
        text_config = self._model.config.get_text_config()
        if text_config.pad_token_id is None:
            # An id that no row has: without one, transformers scores one row at a time only.
            text_config.pad_token_id = -1
        self._longest = getattr(config.get_text_config(), "max_position_embeddings", None)
        self._is_ours = hasattr(config, SCORE_OFFSET)
        self._offset = float(getattr(config, SCORE_OFFSET, 0.0))

    def __call__(
        self,
        prompts: Sequence[str],
        responses: Sequence[str],
        messages: Sequence[Messages | None] | None = None,
    ) -> NDArray[np.float64]:
        """Return the scores of responses, [n].

        Args:
            prompts: [n].
            responses: [n].
            messages: the chat that each prompt was written from, if it was; [n].

        Raises:
            UsageError: a text is longer than the classifier reads.
        """
        chats = [None] * len(prompts) if messages is None else messages
        rows = [self._encode(*row) for row in zip(prompts, responses, chats, strict=True)]
        by_length: dict[int, list[int]] = {}
        for i, row in enumerate(rows):
            by_length.setdefault(len(row["input_ids"]), []).append(i)
        scores = np.zeros(len(rows))
        for length, indices in by_length.items():
            self._require_room(length, prompts[indices[0]], responses[indices[0]])
            for start in range(0, len(indices), self._batch_size):
                part = indices[start : start + self._batch_size]
                scores[part] = self._logits([rows[i] for i in part])
        return scores + self._offset

    def _logits(self, rows: Sequence[Mapping[str, list[int]]]) -> NDArray[np.float64]:
        inputs = {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}
        with silenced_transformers(), torch.no_grad():
            logits: NDArray[np.float64] = self._model(**inputs).logits[:, 0].double().numpy()
        return logits

    def _encode(self, prompt: str, response: str, messages: Messages | None) -> dict[str, Any]:
        """Return ids and attention mask of one prompt with its response."""
        tokenizer = self._tokenizer
        with silenced_transformers():
            if tokenizer.chat_template and not self._is_ours:
                chat = messages or [{"role": "user", "content": prompt}]
                ids = self._template([*chat, {"role": "assistant", "content": response}])
            elif tokenizer.sep_token_id is not None and not self._is_ours:
                return dict(tokenizer(_plain(prompt, messages), response))
            else:
                if tokenizer.chat_template and messages:
                    ids = self._template(messages, add_generation_prompt=True)
                else:
                    ids = self._started(_plain(prompt, messages))
                self._require_room(len(ids) + 1, prompt, response)
                ids += tokenizer(response, add_special_tokens=False).input_ids
                ids += [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
                # As in training, a response that fills the context has no end. It may fill it in
                # the classifier's tokens alone, as text that is no valid UTF-8 does.
                ids = ids[: self._longest]
        return {"input_ids": ids, "attention_mask": [1] * len(ids)}

    def _template(self, chat: Messages, **options: Any) -> list[int]:
        def apply() -> Any:
            # As text, and then as ids, because the template itself writes the special tokens.
            return self._tokenizer.apply_chat_template(
                [dict(message) for message in chat], tokenize=False, **options
            )

        text = load_or_explain("chat as its template demands", self.folder, apply)
        return list(self._tokenizer(text, add_special_tokens=False).input_ids)

    def _started(self, prompt: str) -> list[int]:
        """Return the ids of a prompt, with the token that starts a sequence if there is one."""
        ids = list(self._tokenizer(prompt).input_ids)
        return ids[:-1] if ids[1:] and ids[-1] == self._tokenizer.eos_token_id else ids

    def _require_room(self, length: int, prompt: str, response: str) -> None:
        if self._longest is not None and length > self._longest:
            raise UsageError(
                f"{self.folder}: prompt and response have {length} tokens for this classifier, "
                f"which reads at most {self._longest}: shorten prompts or max_new_tokens, or use "
                f"another; the prompt begins {prompt[:40]!r}, the response {response[:40]!r}"
            )


def _plain(prompt: str, messages: Messages | None) -> str:
    """Return a prompt as text without a template."""
    return "\n".join(message["content"] for message in messages) if messages else prompt


def is_classifier_folder(path: str | Path) -> bool:
    """Return whether a folder is one of a Hugging Face model, and not of a run."""
    folder = Path(path)
    return (folder / "config.json").is_file() and not (folder / "run.json").exists()


def _require_one_label(folder: Path, config: Any) -> None:
    kinds = list(config.architectures or [])
    if not any(kind.endswith("ForSequenceClassification") for kind in kinds):
        raise UsageError(
            f"{folder} is not a sequence classifier: its architectures are "
            f"{', '.join(kinds) or 'none'}; expected one such as LlamaForSequenceClassification"
        )
    if config.num_labels != 1:
        labels = ", ".join(map(str, dict(config.id2label).values()))
        raise UsageError(
            f"{folder}: the classifier has {config.num_labels} labels ({labels[:80]}), expected "
            "one, which is the score; write a score function that says what they are worth "
            "(--score file.py:name)"
        )
