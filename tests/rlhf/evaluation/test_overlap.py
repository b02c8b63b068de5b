"""BLEU and ROUGE by hand: that the two libraries get the right tokens, options and order."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest
import sacrebleu

from rlkit.rlhf.evaluation.overlap import corpus_bleu, metrics_installed, rouge

# The same float64 quantity computed in another order of operations.
ROUNDING = 1e-12

CAT, CAT_REFERENCE = "the cat sat on the mat", "the cat is on the mat"


def bleu(hypothesis: Any, reference: Any) -> float:
    return corpus_bleu([hypothesis], [reference])


# --- BLEU -----------------------------------------------------------------------------------------


@pytest.mark.claim(50)
def test_bleu_of_one_text_is_the_formula() -> None:
    # Matches 5, 3, 1, 0 of 6, 5, 4, 3 n-grams; the order without a match counts as 1/2 of one.
    by_hand = 100 * (5 / 6 * 3 / 5 * 1 / 4 * 0.5 / 3) ** 0.25
    assert bleu(CAT, CAT_REFERENCE) == pytest.approx(by_hand, rel=ROUNDING)
    assert by_hand == pytest.approx(37.9918, abs=5e-5)  # four decimals are known


@pytest.mark.claim(50)
def test_bleu_of_a_corpus_counts_over_all_texts_before_it_divides() -> None:
    hypotheses, references = [CAT, "a b c d e"], [CAT_REFERENCE, "a b c d f"]
    # Matches 9, 6, 3, 1 of 11, 9, 7, 5 n-grams, and no brevity penalty.
    exact = 100 * (9 / 11 * 6 / 9 * 3 / 7 * 1 / 5) ** 0.25
    assert corpus_bleu(hypotheses, references) == pytest.approx(exact, rel=ROUNDING)
    assert exact == pytest.approx(46.5, abs=5e-5)
    mean = sum(map(bleu, hypotheses, references)) / 2
    assert abs(mean - exact) > 1


@pytest.mark.claim(50)
def test_a_short_text_pays_the_brevity_penalty_and_a_long_one_does_not() -> None:
    assert bleu("a b c d", "a b c d e f") == pytest.approx(100 * math.exp(-0.5))
    assert bleu("a b c d e f", "a b c d") == pytest.approx(
        100 * (4 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** 0.25
    )


def test_a_repeated_word_matches_only_as_often_as_the_reference_has_it() -> None:
    # One match of four words; orders 2, 3 and 4 count 1/2, 1/4 and 1/8 of 3, 2 and 1 n-grams.
    expected = 100 * (1 / 4 * 0.5 / 3 * 0.25 / 2 * 0.125 / 1) ** 0.25
    assert bleu("the the the the", "the cat sat down") == pytest.approx(expected)


@pytest.mark.claim(50)
def test_sacrebleus_tokenizer_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    right = sacrebleu.corpus_bleu

    def spy(*arguments: Any, **options: Any) -> Any:
        calls.append(options)
        return right(*arguments, **options)

    monkeypatch.setattr(sacrebleu, "corpus_bleu", spy)
    # Its usual tokenizer would separate the punctuation, of which the hypothesis has none.
    by_hand = 100 * (3 / 5 * 1 / 4 * 0.5 / 3 * 0.25 / 2) ** 0.25
    assert bleu("well now let us go", "well, now let us, go") == pytest.approx(by_hand)
    assert calls == [{"smooth_method": "exp", "tokenize": "none"}]
    assert sacrebleu.sentence_bleu("well now let us go", ["well, now let us, go"]).score != by_hand


def test_ids_and_words_are_compared_as_tokens() -> None:
    assert bleu([1, 2, 3, 4], [1, 2, 3, 5]) == bleu("1 2 3 4", "1 2 3 5") > 0
    assert bleu(["a", "b", "c", "d"], "a b c d") == pytest.approx(100)
    assert bleu([12, 3, 4, 5], [1, 23, 4, 5]) == bleu("x y c d", "a b c d")
    # White space in a word splits nothing.
    assert bleu(["a b", "c", "d", "e"], ["a", "b c", "d", "e"]) == bleu("x y d e", "a b d e")
    assert rouge([["a b", "c"]], [["a", "b c"]])["rouge_1"] == 0.0
    assert rouge([[1, 2, 3]], [[1, 2, 4]])["rouge_2"] == 0.5


def test_a_text_without_tokens_overlaps_with_nothing() -> None:
    assert bleu("", "a b c d") == 0.0
    assert rouge([""], ["a b"]) == {"rouge_1": 0.0, "rouge_2": 0.0, "rouge_l": 0.0}


def test_bleu_of_texts_too_short_for_four_words_is_unknown_and_not_0() -> None:
    assert math.isnan(corpus_bleu(["a b c", "d"], ["a b c", "d"]))
    assert math.isnan(corpus_bleu(["a b c d", "d"], ["a b c", "d"]))
    assert corpus_bleu(["a b c", "d e f g"], ["a b c", "d e f g"]) == pytest.approx(100)


# --- ROUGE ----------------------------------------------------------------------------------------


@pytest.mark.claim(50)
def test_rouge_has_the_known_values() -> None:
    cat = rouge([CAT], [CAT_REFERENCE])
    assert list(cat) == ["rouge_1", "rouge_2", "rouge_l"]
    assert list(cat.values()) == pytest.approx([5 / 6, 3 / 5, 5 / 6])
    letters = rouge(["a c e"], ["a b c d e"])
    assert letters == pytest.approx({"rouge_1": 0.75, "rouge_2": 0.0, "rouge_l": 0.75})


@pytest.mark.claim(50)
def test_rouge_is_the_harmonic_mean_of_precision_and_recall() -> None:
    # P = 1, R = 1/2 of words; P = 1, R = 1/3 of pairs.
    found = rouge(["a b"], ["a b c d"])
    assert found == pytest.approx({"rouge_1": 2 / 3, "rouge_2": 1 / 2, "rouge_l": 2 / 3})
    # P = 1/6, R = 1/2: a repeated word matches as often as the reference has it.
    assert rouge(["the the the the the the"], ["the cat"])["rouge_1"] == pytest.approx(1 / 4)
    # The longest common subsequence keeps the order.
    assert rouge(["d c b a"], ["a b c d"])["rouge_l"] == pytest.approx(1 / 4)


@pytest.mark.claim(50)
def test_rouge_does_not_stem_or_lower_case() -> None:
    assert rouge(["Running"], ["running"])["rouge_1"] == 0.0
    assert rouge(["running"], ["runs"])["rouge_1"] == 0.0


def test_rouge_of_many_texts_is_the_mean_over_pairs() -> None:
    found = rouge([CAT, "a c e"], [CAT_REFERENCE, "a b c d e"])
    expected = [(5 / 6 + 0.75) / 2, (3 / 5) / 2, (5 / 6 + 0.75) / 2]
    assert list(found.values()) == pytest.approx(expected, rel=ROUNDING)


# --- both -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [corpus_bleu, rouge])
def test_texts_without_partner_are_rejected(function: Any) -> None:
    for arguments in (([], []), (["a"], []), (["a", "b"], ["a"])):
        with pytest.raises(ValueError, match="expected one reference for each hypothesis"):
            function(*arguments)
    for arguments in (("a b", ["a b"]), (["a b"], "a b")):  # the characters are no texts
        with pytest.raises(ValueError, match="expected a list of texts, got the text 'a b'"):
            function(*arguments)


@pytest.mark.parametrize("name", ["sacrebleu", "rouge_score"])
def test_a_missing_package_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert metrics_installed()
    monkeypatch.setitem(sys.modules, name, None)
    assert not metrics_installed()


@pytest.mark.long
def test_the_packages_are_imported_only_when_used() -> None:
    code = (
        "import sys, rlkit.rlhf.evaluation.evaluate\n"
        "from rlkit.rlhf.evaluation.overlap import metrics_installed\n"
        "assert metrics_installed()\n"
        "assert not {'sacrebleu', 'rouge_score', 'nltk'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
