"""A user's texts become a task: ids, padding, limits, and what is refused with its line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlkit.errors import UsageError
from rlkit.rlhf.data.codec import TextCodec
from rlkit.rlhf.data.preferences import Labels, Preferences
from rlkit.rlhf.data.sequences import from_arrays
from rlkit.rlhf.data.text_encoding import EncodedTexts
from rlkit.rlhf.data.text_files import Prompt, TextRecords, read_texts
from rlkit.rlhf.data.text_task import TextTask
from rlkit.rlhf.data.tokenizer import Tokenizer

DEMONSTRATIONS = [
    {"prompt": "ab", "response": "cd"},
    {"prompt": "a", "response": "dcba"},
    {"prompt": "abc", "response": "d"},
]
PREFERENCES = [
    {"prompt": "ab", "chosen": "cd", "rejected": "c"},
    {"prompt": "b", "chosen": "d", "rejected": "dd", "margin": 0.5},
]
LABELLED = [
    {"prompt": "ab", "response": "cd", "label": True},
    {"prompt": "b", "response": "d", "label": 0.25},
]
PROMPTS = [{"prompt": "ab"}, {"prompt": "dddd"}]


class ReadsSpecialTokens:
    """A codec that turns "." into EOS and "_" into PAD, as many a tokenizer does by default."""

    vocab_size, num_actions, eos, pad = 6, 6, 4, 5  # its PAD has a logit

    def encode(self, text: str, *, prompt: bool = False) -> list[int]:
        return [*([self.eos] if prompt else []), *("abcd._".index(letter) for letter in text)]

    def decode(self, ids: Any) -> str:
        return "".join("abcd"[i] for i in ids if i < 4)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def texts_of(task: TextTask, ids: Any) -> list[str]:
    return [task.text(row) for row in ids]


# --- what is in the arrays ------------------------------------------------------------------------


def test_prompts_are_padded_on_the_left_and_responses_on_the_right_after_eos() -> None:
    task = TextTask.from_files(demonstrations=DEMONSTRATIONS)
    a, b, c, d = range(4)
    assert (task.eos, task.pad, task.num_actions, task.vocab_size) == (4, 5, 5, 6)
    eos, pad = task.eos, task.pad
    assert (task.prompt_length, task.max_new_tokens) == (3, 5)
    prompts, responses = task.demonstrations()
    assert prompts.tolist() == [[pad, a, b], [pad, pad, a], [a, b, c]]
    assert responses.tolist() == [
        [c, d, eos, pad, pad],
        [d, c, b, a, eos],
        [d, eos, pad, pad, pad],
    ]
    batch = from_arrays(prompts, responses, pad=pad)
    assert batch.prompt_mask.sum(1).tolist() == [2, 1, 3]
    assert batch.lengths.tolist() == [3, 5, 2]  # EOS is a token of the response


def test_the_task_has_the_attributes_of_a_built_in_one() -> None:
    task = TextTask.from_files(prompts=PROMPTS, demonstrations=DEMONSTRATIONS)
    assert task.name == "text"
    assert len(task.token_names) == task.vocab_size
    assert task.num_prompts == 2
    prompts = task.sample_prompts(np.random.default_rng(0), 5)
    assert prompts.shape == (5, task.prompt_length)
    assert prompts.dtype == np.int64
    assert task.parse("abd") == [0, 1, 3]
    assert task.text([task.pad, 0, 1, 3, task.eos, task.pad]) == "abd"


def test_texts_come_back_from_every_kind_of_file(tmp_path: Path) -> None:
    for kind in ("char", "word", "bpe"):
        task = TextTask.from_files(
            prompts=write(tmp_path / "prompts.jsonl", PROMPTS),
            demonstrations=write(tmp_path / "demos.jsonl", DEMONSTRATIONS),
            preferences=str(write(tmp_path / "pairs.jsonl", PREFERENCES)),
            tokenizer=kind,  # type: ignore[arg-type]
        )
        assert task.name == "prompts"
        prompts, responses = task.demonstrations()
        assert texts_of(task, prompts) == [row["prompt"] for row in DEMONSTRATIONS]
        assert texts_of(task, responses) == [row["response"] for row in DEMONSTRATIONS]
        pairs = task.preferences()
        assert isinstance(pairs, Preferences)
        for name in ("chosen", "rejected"):
            sequences = getattr(pairs, name)
            assert texts_of(task, sequences.prompts) == [row["prompt"] for row in PREFERENCES]
            assert texts_of(task, sequences.responses) == [row[name] for row in PREFERENCES]
            last = sequences.lengths - 1
            assert (sequences.responses[torch.arange(2), last] == task.eos).all()
        assert pairs.margin.tolist() == [0.0, 0.5]


def test_labels_of_single_responses_are_preferences_of_the_other_kind() -> None:
    labels = TextTask.from_files(preferences=LABELLED).preferences()
    assert isinstance(labels, Labels)
    assert labels.label.tolist() == [1.0, 0.25]
    assert labels.label.dtype == torch.float32
    assert labels.sequences.lengths.tolist() == [3, 2]


def test_without_a_file_of_prompts_the_distinct_ones_of_the_others_are_used() -> None:
    task = TextTask.from_files(demonstrations=DEMONSTRATIONS, preferences=PREFERENCES)
    drawn = task.sample_prompts(np.random.default_rng(0), task.num_prompts)
    assert sorted(texts_of(task, drawn)) == ["a", "ab", "abc", "b"]


def test_prompts_are_drawn_equally_often_and_from_the_given_generator() -> None:
    task = TextTask.from_files(demonstrations=DEMONSTRATIONS)
    for n in (*range(1, 30), 300):
        drawn = texts_of(task, task.sample_prompts(np.random.default_rng(n), n))
        counts = Counter(drawn)
        assert len(drawn) == n
        assert {counts[row["prompt"]] for row in DEMONSTRATIONS} <= {n // 3, -(-n // 3)}
        again = task.sample_prompts(np.random.default_rng(n), n)
        assert texts_of(task, again) == drawn
    assert len({task.sample_prompts(np.random.default_rng(s), 3).tobytes() for s in range(9)}) > 1


def test_drawn_demonstrations_keep_prompt_and_response_together() -> None:
    task = TextTask.from_files(demonstrations=DEMONSTRATIONS)
    prompts, responses = task.demonstrations(np.random.default_rng(0), 10)
    pairs = set(zip(texts_of(task, prompts), texts_of(task, responses), strict=True))
    assert pairs == {(row["prompt"], row["response"]) for row in DEMONSTRATIONS}


def test_samples_keep_their_ids_though_their_text_has_others() -> None:
    rows = [{"prompt": "the", "response": "the hat"}, {"prompt": "a", "response": "the cat"}]
    task = TextTask.from_files(demonstrations=rows, tokenizer="bpe", max_new_tokens=8)
    sampled = [*(task.token_names.index(letter) for letter in "the"), task.eos]
    batch = from_arrays(np.array([task.parse("a")]), np.array([sampled]), pad=task.pad)
    assert task.text(batch.responses[0]) == "the"
    assert [*task.parse("the"), task.eos] != sampled
    assert batch.responses[0].tolist() == sampled
    assert batch.lengths.tolist() == [4]


# --- identity -------------------------------------------------------------------------------------


def test_the_digest_depends_on_texts_and_limits_and_not_on_the_files_place(
    tmp_path: Path,
) -> None:
    (tmp_path / "other").mkdir()

    def digest(folder: Path, rows: list[dict[str, Any]], **options: Any) -> str:
        path = write(folder / "demos.jsonl", rows)
        return TextTask.from_files(demonstrations=path, **options).digest

    base = digest(tmp_path, DEMONSTRATIONS)
    assert digest(tmp_path / "other", DEMONSTRATIONS) == base
    others = {
        digest(tmp_path, DEMONSTRATIONS[::-1]),
        digest(tmp_path, DEMONSTRATIONS[:2]),
        digest(tmp_path, DEMONSTRATIONS, max_new_tokens=7),
        digest(tmp_path, DEMONSTRATIONS, context_length=20),
        digest(tmp_path, DEMONSTRATIONS, tokenizer="bpe"),
        digest(tmp_path, DEMONSTRATIONS, allow_unknown=True),
        TextTask.from_files(preferences=PREFERENCES).digest,
        TextTask.from_files(preferences=[PREFERENCES[0] | {"margin": 1}, PREFERENCES[1]]).digest,
        TextTask.from_files(preferences=LABELLED).digest,
        TextTask.from_files(preferences=[LABELLED[0] | {"label": 0}, LABELLED[1]]).digest,
    }
    assert len(others | {base}) == 11


# --- what is refused ------------------------------------------------------------------------------


def test_a_tokenizer_that_pads_with_eos_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReadsSpecialTokens, "pad", ReadsSpecialTokens.eos)
    with pytest.raises(UsageError, match="both PAD and EOS"):
        TextTask.from_files(demonstrations=DEMONSTRATIONS, tokenizer=ReadsSpecialTokens())


def test_missing_entries_are_named() -> None:
    with pytest.raises(UsageError, match="needs a file of prompts, demonstrations or preferences"):
        TextTask.from_files(tokenizer=Tokenizer.train(["a"], "char"))
    with pytest.raises(UsageError, match="needs max_new_tokens"):
        TextTask.from_files(prompts=PROMPTS)
    task = TextTask.from_files(prompts=PROMPTS, max_new_tokens=3)
    with pytest.raises(UsageError, match="has no demonstrations"):
        task.demonstrations()
    with pytest.raises(UsageError, match="has no preferences"):
        task.preferences()


@pytest.mark.parametrize("option", ["max_new_tokens", "context_length"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_limits_are_whole_numbers_above_zero(option: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"option {option} .*: expected a whole number >= 1"):
        TextTask.from_files(demonstrations=DEMONSTRATIONS, **{option: value})


def test_options_of_training_do_not_go_with_a_tokenizer_that_is_there() -> None:
    known = Tokenizer.train(["abcd"], "char")
    for options in ({"vocab_size": 300}, {"allow_unknown": True}):
        with pytest.raises(UsageError, match="yet to be trained"):
            TextTask.from_files(demonstrations=DEMONSTRATIONS, tokenizer=known, **options)


def test_a_task_is_also_made_from_texts_that_were_read_before() -> None:
    prompts = read_texts(PROMPTS, Prompt)
    task = TextTask(Tokenizer.train(["abd"], "char"), prompts=prompts, max_new_tokens=2)
    assert task.num_prompts == 2


# --- the tests would see these bugs ---------------------------------------------------------------


@pytest.mark.claim(38)
def test_responses_without_eos_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = EncodedTexts.of

    def without_eos(codec: TextCodec, texts: TextRecords[Any]) -> EncodedTexts:
        encoded = right(codec, texts)
        return encoded._replace(responses=[ids[:-1] for ids in encoded.responses])

    monkeypatch.setattr(EncodedTexts, "of", without_eos)
    with pytest.raises(AssertionError):
        test_prompts_are_padded_on_the_left_and_responses_on_the_right_after_eos()


def test_prompts_padded_on_the_right_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def on_the_right(self: TextTask, prompts: Any) -> Any:
        rows = [[*ids, *[self.pad] * (self.prompt_length - len(ids))] for ids in prompts]
        return np.array(rows, dtype=np.int64)

    monkeypatch.setattr(TextTask, "_padded_prompts", on_the_right)
    with pytest.raises(AssertionError):
        test_prompts_are_padded_on_the_left_and_responses_on_the_right_after_eos()


def test_a_task_is_shown_in_one_line() -> None:
    task = TextTask.from_files(demonstrations=[{"prompt": "ab", "response": "b"}] * 3, name="mine")
    assert repr(task) == (
        "TextTask('mine': 1 prompts, char tokenizer of 4 tokens, responses of at most 2)"
    )


def test_chats_beside_texts_are_noticed() -> None:
    chat = [{"role": "user", "content": "hi"}]
    chats = [{"prompt": chat, "response": "a"}]
    pair = {"chosen": "a", "rejected": "b"}
    for prompt, mixed in (("hi", True), (chat, False)):
        task = TextTask.from_files(demonstrations=chats, preferences=[{"prompt": prompt, **pair}])
        assert task.mixes_chats == mixed
