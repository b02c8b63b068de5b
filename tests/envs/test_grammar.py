"""The template grammar: texts, generator, entropy and gold reward."""

from __future__ import annotations

import math
import re
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from rlkit_envs import grammar
from rlkit_envs.grammar import LENGTHS, STATES, GrammarTask

Ids = NDArray[np.int64]

TASK = GrammarTask()
SHORT = GrammarTask(max_new_tokens=7)  # sentences of 5 and 6 words: few enough to list

# The grammar a second time, as a regular expression on words.
_PHRASE = "D (J )?N "
SENTENCE = f"{_PHRASE}(is (very )?J (and J )?|V {_PHRASE})\\. "


def respond(task: GrammarTask, *texts: str) -> Ids:
    responses = np.full((len(texts), task.max_new_tokens), task.pad)
    for row, text in zip(responses, texts, strict=True):
        ids = task.parse(text)
        row[: len(ids)] = ids
    return responses


def gold_of(prompt: str, text: str) -> float:
    return float(TASK.gold(TASK.parse(prompt)[None], respond(TASK, text))[0])


def is_text(task: GrammarTask, response: Ids) -> bool:
    """Whether a response is a text, by the regular expression."""
    kinds = {"determiner": "D", "adjective": "J", "noun": "N", "verb": "V"}
    names = {word: kinds.get(kind, word) for kind, words in grammar.KINDS.items() for word in words}
    words = task.text(response).split()
    if "<eos>" not in words:
        return False
    words = words[: words.index("<eos>")]
    return bool(re.fullmatch(f"({SENTENCE})+", "".join(names[word] + " " for word in words)))


def every_short_text() -> Ids:
    """All texts of at most six words and EOS, from the templates."""
    nouns, adjectives = grammar.KINDS["noun"], grammar.KINDS["adjective"]
    phrases = [f"{d} {n}" for d in grammar.DETERMINERS for n in nouns]
    longer = [f"{d} {j} {n}" for d in grammar.DETERMINERS for j in adjectives for n in nouns]
    texts = [f"{p} is {j} . <eos>" for p in phrases + longer for j in adjectives]
    texts += [f"{p} is very {j} . <eos>" for p in phrases for j in adjectives]
    texts += [f"{p} {v} {q} . <eos>" for p in phrases for v in grammar.VERBS for q in phrases]
    return respond(SHORT, *texts)


def test_the_vocabulary_has_64_tokens_and_prompts_cannot_be_generated() -> None:
    assert (TASK.vocab_size, TASK.num_actions) == (64, 46)
    assert len(TASK.token_names) == 64
    assert TASK.token_names[TASK.eos] == "<eos>"
    assert TASK.token_names[TASK.pad] == "<pad>"
    assert TASK.eos < TASK.num_actions == TASK.pad
    assert TASK.prompts.shape == (4 * 3 * 5, TASK.prompt_length)
    assert (TASK.prompts > TASK.pad).all()
    assert len(np.unique(TASK.prompts, axis=0)) == 60


def test_prompts_and_demonstrations_survive_the_round_trip_through_text() -> None:
    prompts, responses = TASK.demonstrations(np.random.default_rng(0), 50)
    for ids in (*prompts, *(row[row != TASK.pad] for row in responses)):
        np.testing.assert_array_equal(TASK.parse(TASK.text(ids)), ids)
    assert TASK.text(TASK.prompts[0]) == "write 5 words about garden , be cheerful"


# Validity.


@pytest.mark.parametrize(
    "text",
    [
        "the ship is old . <eos>",
        "every dark ship is very cold and sad . <eos>",
        "this sailor finds the new book . the day is warm . <eos>",
    ],
)
def test_texts_of_the_grammar_are_valid(text: str) -> None:
    assert TASK.valid(respond(TASK, text)).all()


@pytest.mark.parametrize(
    "text",
    [
        "<eos>",
        "the ship is old <eos>",
        "the ship sees the wave . " * 4,  # 24 words: cut before EOS
        "the ship is . <eos>",
        "ship is old . <eos>",
        "the old new ship is sad . <eos>",
        "the ship finds old . <eos>",
        "the ship is old and very sad . <eos>",
        "the ship is old . . <eos>",
    ],
)
def test_other_texts_are_not(text: str) -> None:
    assert not TASK.valid(respond(TASK, text)).any()


def test_all_demonstrations_are_valid_and_end_in_time() -> None:
    for task in (TASK, SHORT, GrammarTask(max_new_tokens=6)):
        _, responses = task.demonstrations(np.random.default_rng(1), 2000)
        assert task.valid(responses).all()
        assert (responses == task.eos).sum(1).tolist() == [1] * 2000
        assert all(is_text(task, response) for response in responses[:300])


def test_validity_agrees_with_a_regular_expression_on_damaged_texts() -> None:
    rng = np.random.default_rng(2)
    _, responses = SHORT.demonstrations(rng, 3000)
    rows, places = np.arange(3000), rng.integers(6, size=3000)
    responses[rows, places] = rng.integers(SHORT.num_actions, size=3000)
    responses = np.where(responses == SHORT.pad, 0, responses)
    expected = [is_text(SHORT, response) for response in responses]
    assert 300 < sum(expected) < 2700
    np.testing.assert_array_equal(SHORT.valid(responses), expected)


def number_of_texts(task: GrammarTask) -> int:
    """The number of ways from the start to the end that fit into the places."""
    ways, num_texts = {STATES.index("start"): 1}, 0
    for _ in range(task.max_new_tokens):
        following: Counter[int] = Counter()
        for state, count in ways.items():
            for target in task.next_state[state][task.next_state[state] >= 0].tolist():
                following[target] += count
        ways, num_texts = following, num_texts + following[STATES.index("over")]
    return num_texts


def test_the_number_of_texts_is_that_of_the_templates() -> None:
    texts = every_short_text()
    assert len(np.unique(texts, axis=0)) == len(texts) == number_of_texts(SHORT)
    assert SHORT.valid(texts).all()
    assert number_of_texts(GrammarTask(max_new_tokens=6)) == 3 * 18 * 16


# The generator.


def generator_entropy(task: GrammarTask) -> NDArray[np.float64]:
    """The entropy of the responses to each prompt, in nats: P(state) * entropy of the next token,
    summed over places and states.
    """
    reached = np.zeros((len(task.prompts), len(STATES)))
    reached[:, STATES.index("start")] = 1.0
    entropy = np.zeros(len(task.prompts))
    for place in range(task.max_new_tokens):
        p = task._probability[:, place]
        surprise = -np.log(np.where(p > 0, p, 1.0))
        entropy += (reached[..., None] * p * surprise).sum((1, 2))
        flow = reached[..., None] * p
        reached = np.stack(
            [flow[:, task.next_state == target].sum(1) for target in range(len(STATES))], axis=1
        )
    return entropy


def test_the_generator_is_a_distribution_and_its_entropy_is_the_sum_over_all_texts() -> None:
    texts, entropy = every_short_text(), generator_entropy(SHORT)
    for index in (0, 17, 59):
        prompts = np.tile(SHORT.prompts[index], (len(texts), 1))
        log_prob = SHORT.generator_log_prob(prompts, texts)
        assert np.exp(log_prob).sum() == pytest.approx(1, abs=1e-12)
        assert -(np.exp(log_prob) * log_prob).sum() == pytest.approx(entropy[index], abs=1e-10)


def test_the_generator_by_hand() -> None:
    """Six places leave only DET NOUN is ADJ . EOS; topic nouns weigh 2.5, adjectives of the tone 2.

    Nouns: 4 * 2.5 + 14 = 24; adjectives: 4 * 2 + 12 = 20.
    """
    task = GrammarTask(max_new_tokens=6)
    prompt = task.parse("write 5 words about harbour , be gloomy")
    texts = ("the ship is cold . <eos>", "this bee is cold . <eos>", "the ship is old . <eos>")
    log_prob = task.generator_log_prob(np.tile(prompt, (3, 1)), respond(task, *texts))
    expected = np.array([2.5 * 2, 1 * 2, 2.5 * 1]) / (3 * 24 * 20)
    np.testing.assert_allclose(np.exp(log_prob), expected, rtol=1e-12)


def test_texts_that_the_generator_never_writes_have_probability_zero() -> None:
    cut = "the ship sees the wave . " * 4
    texts = ("the ship is . <eos>", "the ship is old <eos>", "<eos>", cut)
    log_prob = TASK.generator_log_prob(TASK.prompts[:4], respond(TASK, *texts))
    assert log_prob.tolist() == [-math.inf] * 4


def test_the_entropy_is_that_of_a_sample() -> None:
    prompts, responses = TASK.demonstrations(np.random.default_rng(3), 20_000)
    surprise = -TASK.generator_log_prob(prompts, responses)
    surplus = surprise - generator_entropy(TASK)[TASK.prompt_index(prompts)]
    assert abs(surplus.mean()) < 4 * surplus.std() / math.sqrt(len(surplus))


def chi_square(task: GrammarTask) -> float:
    """The p-value of the kinds of first sentence, and of its noun and adjective."""
    rng, n = np.random.default_rng(4), 20_000
    prompt = task.parse("write 5 words about harbour , be gloomy")
    prompts = np.tile(prompt, (n, 1))
    responses = task.demonstrate(rng, prompts)
    texts = np.unique(responses, axis=0)
    law = np.exp(task.generator_log_prob(prompts[: len(texts)], texts))
    codes = {row.tobytes(): i for i, row in enumerate(texts)}
    counts = np.bincount([codes[row.tobytes()] for row in responses], minlength=len(texts))
    often = law * n >= 5
    observed = [*counts[often], counts[~often].sum()]
    expected = [*(law[often] * n), n - law[often].sum() * n]
    return float(stats.chisquare(observed, expected).pvalue)


def test_demonstrations_follow_the_probabilities_of_the_generator() -> None:
    assert chi_square(GrammarTask(max_new_tokens=6)) > 1e-3


def test_a_sampler_that_ignores_the_topic_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    task = GrammarTask(max_new_tokens=6)
    scored = task._probability.copy()
    monkeypatch.setattr(grammar, "TOPIC_WEIGHT", 2.0)
    sampler = GrammarTask(max_new_tokens=6).demonstrate
    assert not np.array_equal(GrammarTask(max_new_tokens=6)._probability, scored)
    monkeypatch.setattr(task, "demonstrate", sampler)
    assert chi_square(task) < 1e-3


# The gold reward.

HARBOUR = "write 9 words about harbour , be gloomy"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # coverage + tone + validity - repetitions - length
        ("the day is old . <eos>", 0 + 0 + 1 - 0 - 4 / 8),
        ("the ship is old . <eos>", 1 / 2 + 0 + 1 - 0 - 4 / 8),
        ("the ship is sad . <eos>", 1 / 2 + 1 / 2 + 1 - 0 - 4 / 8),
        ("the ship is warm . <eos>", 1 / 2 - 1 / 4 + 1 - 0 - 4 / 8),
        ("the cold ship is very dark and sad . <eos>", 1 / 2 + 7 / 8 + 1 - 0 - 0),
        ("the cold ship is very cold and cold . <eos>", 1 / 2 + 7 / 8 + 1 - 2 / 4 - 0),
        ("the ship finds the ship . <eos>", 1 / 2 + 0 + 1 - 1 / 4 - 3 / 8),
        ("the ship sees the ship . the ship sees the ship . <eos>", 1 / 2 + 1 - 4 / 4 - 3 / 8),
        # Wrong at the fourth of six tokens, and at the first of one.
        ("the ship is . ship <eos>", 1 / 2 + 0 + 0.5 * 3 / 6 - 1 / 4 - 4 / 8),
        # What would be right after the wrong word does not count.
        ("the ship is . old . <eos>", 1 / 2 + 0 + 0.5 * 3 / 7 - 0 - 3 / 8),
        ("<eos>", 0 + 0 + 0 - 0 - 9 / 8),
    ],
)
def test_gold_by_hand(text: str, expected: float) -> None:
    assert gold_of(HARBOUR, text) == pytest.approx(expected, abs=1e-9)


def test_a_text_that_lacks_only_eos_loses_half_of_its_validity() -> None:
    """24 words: four sentences of six, which are cut before EOS."""
    text = "the ship sees the wave . " * 4
    expected = 3 / 4 + 0 + 1 / 2 - 3 * 3 / 4 - 15 / 8
    assert gold_of(HARBOUR, text) == pytest.approx(expected, abs=1e-9)


def test_topic_and_tone_saturate() -> None:
    words = grammar.ADJECTIVES["gloomy"]
    one, two, three = (
        gold_of(HARBOUR, f"the day is {' and '.join(words[:k])} . <eos>") for k in (1, 2, 3)
    )
    # Each step also comes two words nearer to the request; the third sentence is not grammatical.
    assert two - one == pytest.approx(1 / 4 + 2 / 8)
    assert three - two < 1 / 8 + 2 / 8


def test_gold_ignores_what_follows_eos() -> None:
    prompts, responses = TASK.demonstrations(np.random.default_rng(5), 500)
    garbage = np.where(responses == TASK.pad, TASK.parse("ship")[0], responses)
    np.testing.assert_array_equal(TASK.gold(prompts, garbage), TASK.gold(prompts, responses))
    np.testing.assert_array_equal(TASK.valid(garbage), TASK.valid(responses))
    np.testing.assert_array_equal(
        TASK.generator_log_prob(prompts, garbage), TASK.generator_log_prob(prompts, responses)
    )


def test_demonstrations_leave_much_to_improve() -> None:
    rng = np.random.default_rng(6)
    prompts = np.repeat(TASK.sample_prompts(rng, 200), 64, axis=0)
    gold = TASK.gold(prompts, TASK.demonstrate(rng, prompts)).reshape(200, 64)
    # The best of 64 is at most log 64 - 63/64 = 3.2 nats away.
    assert gold.max(1).mean() - gold.mean() > 1.5 * gold.std()
    assert 0.5 < gold.std() < 1.0


def test_a_longer_request_makes_longer_demonstrations() -> None:
    prompts, responses = TASK.demonstrations(np.random.default_rng(7), 5000)
    words = (responses != TASK.pad).sum(1) - 1
    requested = np.array([int(TASK.text(prompt).split()[1]) for prompt in prompts])
    means = [words[requested == length].mean() for length in LENGTHS]
    assert (np.diff(means) > 1).all()


# Wrong use.


def test_invalid_prompts_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"is not a prompt of this task, such as 'write 5 words"):
        TASK.gold(np.zeros((1, 8), dtype=int), respond(TASK, "<eos>"))


def test_too_few_places_for_a_sentence_are_rejected() -> None:
    with pytest.raises(ValueError, match="expected max_new_tokens >= 6, the shortest text, got 5"):
        GrammarTask(max_new_tokens=5)


def test_responses_of_another_width_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"expected responses of shape \[n, 24\], got \[1, 7\]"):
        TASK.valid(respond(SHORT, "<eos>"))
