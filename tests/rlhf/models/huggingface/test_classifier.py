"""Foreign sequence classifiers; the oracle is transformers on one unpadded row."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlkit.errors import UsageError
from rlkit.rlhf.models.huggingface.classifier import TextClassifier, is_classifier_folder
from rlkit.rlhf.models.huggingface.folder import silenced_transformers

transformers = pytest.importorskip("transformers")

from tests.rlhf.models.huggingface.small_models import EOS, save_tokenizer  # noqa: E402

CHAT = "{% for m in messages %}{{ m['role'][0] + ' ' + m['content'] + ' ' }}{% endfor %}"
TEXTS = [("a b", "c d e f"), ("a", "c"), ("b b b b", "f"), ("a", "c d"), ("a b", "c d e f")]


def save_classifier(
    folder: Path, kind: str = "GPT2", *, template: str | None = None, labels: int = 1
) -> Path:
    """A random classifier of words; "u" and "a" open the turns of a chat."""
    words = ("a", "b", "c", "d", "e", "f")
    if template is not None:
        words = ("a", "b", "c", "d", "u", "f")
    with silenced_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rows = save_tokenizer(folder, words=words, pad=None)
        common = {"vocab_size": rows, "num_labels": labels, "initializer_range": 0.5}
        if kind == "GPT2":
            sizes = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16}
            config = transformers.GPT2Config(**sizes, **common, eos_token_id=EOS)
            transformers.GPT2ForSequenceClassification(config).save_pretrained(folder)
        else:
            sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
            config = transformers.BertConfig(**sizes, **common, intermediate_size=16)
            transformers.BertForSequenceClassification(config).save_pretrained(folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        tokenizer.chat_template = template
        if kind == "Bert":
            tokenizer.sep_token = "[EOS]"
        tokenizer.save_pretrained(folder)
    return folder


def oracle(folder: Path, ids: list[int], **inputs: Any) -> float:
    auto = transformers.AutoModelForSequenceClassification
    with silenced_transformers(), torch.no_grad():
        model = auto.from_pretrained(folder).eval()
        return float(model(input_ids=torch.tensor([ids]), **inputs).logits[0, 0])


def scores(folder: Path, texts: list[tuple[str, str]], **options: Any) -> np.ndarray[Any, Any]:
    prompts, responses = zip(*texts, strict=True)
    return TextClassifier(folder, **options)(prompts, responses)


def test_a_score_is_that_of_the_row_alone_whatever_is_scored_beside_it(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "model")
    together = scores(folder, TEXTS)
    ids = [["abcdef".index(w) for w in f"{p} {r}".split()] + [EOS] for p, r in TEXTS]
    # float32 sums in another order.
    np.testing.assert_allclose(together, [oracle(folder, row) for row in ids], atol=1e-5)
    assert together[0] == pytest.approx(together[4], abs=1e-6)
    assert np.ptp(together) > 0.1
    for options in ({"batch_size": 1}, {"batch_size": 2}):
        np.testing.assert_allclose(scores(folder, TEXTS, **options), together, atol=1e-6)
    for text, score in zip(TEXTS, together, strict=True):
        assert scores(folder, [text])[0] == pytest.approx(score, abs=1e-6)


def test_a_chat_template_writes_prompt_and_response(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "model", template=CHAT)
    words = {word: i for i, word in enumerate(("a", "b", "c", "d", "u", "f"))}

    def ids(text: str) -> list[int]:
        return [words[word] for word in text.split()]

    model = TextClassifier(folder)
    assert model(["b c"], ["d"])[0] == pytest.approx(oracle(folder, ids("u b c a d")), abs=1e-5)
    chat = [{"role": "u", "content": "b"}, {"role": "a", "content": "c"}]
    chat += [{"role": "user", "content": "f"}]
    expected = oracle(folder, ids("u b a c u f a d"))
    assert model(["not read"], ["d"], [chat])[0] == pytest.approx(expected, abs=1e-5)


def test_a_token_between_parts_makes_a_pair(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "model", "Bert")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pair = {name: torch.tensor([ids]) for name, ids in tokenizer("a b", "c").items()}
    ids = pair.pop("input_ids")[0].tolist()
    expected = oracle(folder, ids, **pair)
    assert scores(folder, [("a b", "c")])[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", ["Bert", "GPT2"])
def test_without_a_template_a_chat_is_read_as_its_contents(kind: str, tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "model", kind)
    model, marked = TextClassifier(folder), ["<|user|> a b <|assistant|>"]
    for chat, text in (
        ([{"role": "user", "content": "a b"}], "a b"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "f b"}], "a\nf b"),
    ):
        assert model(marked, ["c"], [chat])[0] == model([text], ["c"])[0]


def test_other_folders_are_rejected_with_the_reason(folders: Any, tmp_path: Path) -> None:
    several = save_classifier(tmp_path / "several", labels=3)
    for folder, message in (
        (several, "has 3 labels .*LABEL_0, LABEL_1, LABEL_2.*, expected one"),
        (folders["gpt2"], "is not a sequence classifier: its architectures are GPT2LMHeadModel"),
        (tmp_path / "gone", "no such folder; expected .* holds a sequence classifier"),
    ):
        with pytest.raises(UsageError, match=message):
            TextClassifier(folder)
    untrained = tmp_path / "untrained"
    shutil.copytree(folders["gpt2"], untrained)
    config = (untrained / "config.json").read_text()
    (untrained / "config.json").write_text(
        config.replace("GPT2LMHeadModel", "GPT2ForSequenceClassification").replace(
            '"vocab_size"', '"id2label": {"0": "x"}, "label2id": {"x": 0}, "vocab_size"'
        )
    )
    with pytest.raises(UsageError, match=r"the weights lack score\.weight, which would be random"):
        TextClassifier(untrained)


def test_chats_that_do_not_fit_are_rejected(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "model", template=CHAT)
    with pytest.raises(UsageError, match="have 19 tokens for this classifier, which reads at most"):
        scores(folder, [("b", "c"), ("b " * 16, "c")])


def test_a_response_that_fills_the_context_is_read_without_its_end(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "model")
    expected = oracle(folder, [0] + [2] * 15)
    for num_words in (15, 16, 30):
        (score,) = scores(folder, [("a", "c " * num_words)])
        assert score == pytest.approx(expected, abs=1e-5)


def test_folders_of_runs_are_no_classifiers(folders: Any, tmp_path: Path) -> None:
    assert is_classifier_folder(folders["gpt2"])
    assert not is_classifier_folder(tmp_path)
    shutil.copytree(folders["gpt2"], tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text("{}")
    assert not is_classifier_folder(tmp_path / "run")


def test_a_classifier_whose_weights_are_no_numbers_is_rejected(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch")
    file = save_classifier(tmp_path) / "model.safetensors"
    weights = safetensors.load_file(file)
    weights["score.weight"][0, 0] = float("inf")
    safetensors.save_file(weights, file, {"format": "pt"})
    with pytest.raises(UsageError, match=r"the weights score\.weight hold NaN or infinity"):
        TextClassifier(tmp_path)
