"""Short English texts of a template grammar, written to a request, with a gold reward.

    prompt     write 13 words about harbour , be gloomy
    response   the ship is cold and lonely . this dark wave finds the sailor . <eos>

The grammar is a finite automaton:

    text     = sentence+ <eos>
    sentence = phrase "is" ["very"] adjective ["and" adjective] "."  |  phrase verb phrase "."
    phrase   = determiner [adjective] noun

Demonstrations come from a generator that walks through the automaton, always completes its text in
time, and follows the request only weakly, which leaves much to improve. The next token depends only
on the prompt, the place and the state of the automaton, so probabilities and the entropy are sums
over states, not over texts.

The gold reward of a text with n words before <eos>, where r words were requested:

    coverage + tone + validity - 0.25 repetitions - |n - r| / 8

    coverage     1 - 2^-k, for k different nouns of the topic
    tone         1 - 2^-m - 0.25 w, for m adjectives of the tone and w of other tones
    validity     1 for a text of the grammar; otherwise half the share of tokens before the first
                 wrong one, thus 1/2 if only <eos> is missing
    repetitions  nouns, adjectives and verbs that occur earlier in the text

Coverage and tone saturate, which punishes extrapolation: the first words of a kind gain, and
repeating them costs.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from .tokens import Ids, Vocabulary, before_end

Floats = NDArray[np.float64]

NOUNS = {
    "garden": ("rose", "tree", "bee", "flower"),
    "market": ("seller", "bread", "coin", "stall"),
    "harbour": ("ship", "sailor", "wave", "anchor"),
    "school": ("teacher", "book", "pupil", "lesson"),
}
NEUTRAL_NOUNS = ("day", "place")
ADJECTIVES = {
    "cheerful": ("bright", "happy", "lovely", "warm"),
    "gloomy": ("dark", "sad", "lonely", "cold"),
    "formal": ("official", "proper", "precise", "correct"),
}
NEUTRAL_ADJECTIVES = ("old", "new", "small", "large")
VERBS = ("sees", "needs", "loves", "finds")
DETERMINERS = ("the", "this", "every")
LENGTHS = (5, 9, 13, 17, 21)  # words that may be requested
# Words of each kind, in the order of their ids.
KINDS = {
    "determiner": DETERMINERS,
    "adjective": (*itertools.chain(*ADJECTIVES.values()), *NEUTRAL_ADJECTIVES),
    "noun": (*itertools.chain(*NOUNS.values()), *NEUTRAL_NOUNS),
    "verb": VERBS,
    **{word: (word,) for word in ("is", "very", "and", ".", "<eos>")},
}
# state: {kind of the next word: (weight in the generator, next state)}
AUTOMATON: dict[str, dict[str, tuple[float, str]]] = {
    "start": {"determiner": (1, "subject")},
    "subject": {"adjective": (0.4, "subject noun"), "noun": (0.6, "predicate")},
    "subject noun": {"noun": (1, "predicate")},
    "predicate": {"is": (0.6, "quality"), "verb": (0.4, "object")},
    "quality": {"very": (0.3, "very"), "adjective": (0.7, "one quality")},
    "very": {"adjective": (1, "one quality")},
    "one quality": {"and": (0.3, "second quality"), ".": (0.7, "between")},
    "second quality": {"adjective": (1, "stop")},
    "object": {"determiner": (1, "object phrase")},
    "object phrase": {"adjective": (0.4, "object noun"), "noun": (0.6, "stop")},
    "object noun": {"noun": (1, "stop")},
    "stop": {".": (1, "between")},
    "between": {"determiner": (1, "subject"), "<eos>": (1, "over")},  # weights: see _stop
    "over": {},
}
STATES = tuple(AUTOMATON)
# How much likelier the generator takes a requested word than another of its kind.
TOPIC_WEIGHT = 2.5
TONE_WEIGHT = 2.0
STOP_SCALE = 5.0  # words: the larger, the less the generator follows the requested length
REPETITION_COST = 0.25
WRONG_TONE_COST = 0.25
LENGTH_UNIT = 8.0
GOLD_DECIMALS = 9  # so that equal rewards are equal as floats


class GrammarTask:
    """The language, its demonstrations and its gold reward.

    Ids: the actions (words and EOS), PAD, the words that occur only in prompts.

    Args:
        max_new_tokens: T, EOS included; at least 6, the shortest text.

    Raises:
        ValueError: `max_new_tokens` is too small.
    """

    name = "grammar"
    prompt_length = 8

    def __init__(self, *, max_new_tokens: int = 24) -> None:
        words = tuple(itertools.chain(*KINDS.values()))
        self.max_new_tokens = max_new_tokens
        self.num_actions = len(words)
        self.eos, self.pad = words.index("<eos>"), len(words)
        frame = ("write", "words", "about", ",", "be")
        lengths = (str(length) for length in LENGTHS)
        self._vocabulary = Vocabulary(
            (*words, "<pad>", *frame, *lengths, *NOUNS, *ADJECTIVES), pad=self.pad
        )
        self.token_names = self._vocabulary.names
        self.vocab_size = len(self.token_names)
        self.text, self.parse = self._vocabulary.text, self._vocabulary.parse
        self.prompts = np.array(
            [
                self.parse(f"write {length} words about {topic} , be {tone}")
                for topic, tone, length in itertools.product(NOUNS, ADJECTIVES, LENGTHS)
            ]
        )  # [60, 8]
        self._topic, self._tone, self._length = np.indices(
            (len(NOUNS), len(ADJECTIVES), len(LENGTHS))
        ).reshape(3, -1)
        self._topic_words = np.array([self._members(nouns) for nouns in NOUNS.values()])
        self._tone_words = np.array([self._members(words) for words in ADJECTIVES.values()])
        self._counted = self._members((*KINDS["noun"], *KINDS["adjective"], *VERBS))
        self.next_state = self._next_states()
        self._words_left = _shortest_ends(self.next_state)
        shortest = int(self._words_left[STATES.index("start")])
        if max_new_tokens < shortest:
            raise ValueError(
                f"{self.name}: expected max_new_tokens >= {shortest}, the shortest text, got "
                f"{max_new_tokens}"
            )
        self._probability = np.stack(
            [self._token_probabilities(index) for index in range(len(self.prompts))]
        )

    def _members(self, words: tuple[str, ...]) -> NDArray[np.bool_]:
        """Return which actions are among the words, bool [num_actions]."""
        return np.isin(np.arange(self.num_actions), self.parse(" ".join(words)))

    def _next_states(self) -> Ids:
        """Return the state after each token, or -1 where the grammar has none: [state, action]."""
        table = np.full((len(STATES), self.num_actions), -1)
        for state, choices in AUTOMATON.items():
            for kind, (_, following) in choices.items():
                table[STATES.index(state), self._members(KINDS[kind])] = STATES.index(following)
        return table

    # Prompts and demonstrations.

    def prompt_index(self, prompts: Ids) -> Ids:
        """Return the row of `prompts` that each of these [n, 8] is, [n].

        Raises:
            ValueError: one is not among them.
        """
        same = (prompts[:, None] == self.prompts).all(-1)
        if not same.any(1).all():
            wrong = prompts[~same.any(1)][0]
            raise ValueError(
                f"{self.name}: {wrong.tolist()} is not a prompt of this task, such as "
                f"{self.text(self.prompts[0])!r}"
            )
        index: Ids = same.argmax(1)
        return index

    def __repr__(self) -> str:
        return f"GrammarTask(max_new_tokens={self.max_new_tokens})"

    def sample_prompts(self, rng: np.random.Generator, n: int) -> Ids:
        """Draw n prompts uniformly, [n, 8]."""
        sampled: Ids = self.prompts[rng.integers(len(self.prompts), size=n)]
        return sampled

    def _token_probabilities(self, prompt: int) -> Floats:
        """Return P(next token | place, state) of the generator for a prompt: [T, state, action]."""
        preference = np.ones(self.num_actions)
        preference[self._topic_words[self._topic[prompt]]] = TOPIC_WEIGHT
        preference[self._tone_words[self._tone[prompt]]] = TONE_WEIGHT
        by_kind = np.zeros(self.next_state.shape)
        for state, choices in AUTOMATON.items():
            for kind, (weight, _) in choices.items():
                members = self._members(KINDS[kind])
                within = preference * members / preference[members].sum()
                by_kind[STATES.index(state)] += weight * within
        places = np.arange(self.max_new_tokens)
        probability = np.tile(by_kind, (len(places), 1, 1))
        stop = 1 / (1 + np.exp((LENGTHS[self._length[prompt]] - places) / STOP_SCALE))
        is_eos = np.arange(self.num_actions) == self.eos
        probability[:, STATES.index("between")] *= np.where(
            is_eos, stop[:, None], 1 - stop[:, None]
        )
        # Only tokens that leave enough places to end; a state without any is never reached.
        left = np.where(self.next_state >= 0, self._words_left[self.next_state], np.inf)
        probability[places[:, None, None] + 1 + left > self.max_new_tokens] = 0.0
        total = probability.sum(-1, keepdims=True)
        probability /= np.where(total > 0, total, 1.0)
        return probability

    def demonstrate(self, rng: np.random.Generator, prompts: Ids) -> Ids:
        """Draw a response of the generator to each prompt: [n, 8] to [n, T]."""
        index = self.prompt_index(prompts)
        responses = np.full((len(prompts), self.max_new_tokens), self.pad, dtype=np.int64)
        state = np.full(len(prompts), STATES.index("start"))
        for t in range(self.max_new_tokens):
            live = np.flatnonzero(state != STATES.index("over"))
            cumulative = self._probability[index[live], t, state[live]].cumsum(-1)
            token = (rng.random((len(live), 1)) * cumulative[:, -1:] >= cumulative).sum(-1)
            responses[live, t] = token
            state[live] = self.next_state[state[live], token]
        return responses

    def demonstrations(self, rng: np.random.Generator, n: int) -> tuple[Ids, Ids]:
        """Draw n prompts [n, 8], and a response of the generator to each, [n, T]."""
        prompts = self.sample_prompts(rng, n)
        return prompts, self.demonstrate(rng, prompts)

    def generator_log_prob(self, prompts: Ids, responses: Ids) -> Floats:
        """Return the log-probability [n] of responses as demonstrations, in nats."""
        index, written = self.prompt_index(prompts), self._written(responses)
        state = np.full(len(responses), STATES.index("start"))
        probability = np.ones((len(responses), self.max_new_tokens))
        for t in range(self.max_new_tokens):
            token = np.where(written[:, t], responses[:, t], 0)
            chosen = self._probability[index, t, state, token]
            probability[:, t] = np.where(written[:, t], chosen, 1.0)
            # After a wrong word (-1) the probability is 0 already, whatever the state.
            state = np.where(written[:, t], self.next_state[state, token], state)
        with np.errstate(divide="ignore"):
            total: Floats = np.log(probability).sum(1)
        return np.where(self.valid(responses), total, -np.inf)

    # The gold reward.

    def valid(self, responses: Ids) -> NDArray[np.bool_]:
        """Return which of the responses [n, T] are complete texts of the grammar, bool [n]."""
        complete: NDArray[np.bool_] = self._validity(self._written(responses), responses) == 1.0
        return complete

    def _validity(self, written: NDArray[np.bool_], responses: Ids) -> Floats:
        state = np.full(len(responses), STATES.index("start"))
        legal = np.zeros(len(responses))
        fine = np.ones(len(responses), dtype=bool)
        for t in range(self.max_new_tokens):
            token = np.where(written[:, t], responses[:, t], 0)
            following = self.next_state[state, token]
            fine &= ~written[:, t] | (following >= 0)
            step = written[:, t] & fine
            legal += step
            state = np.where(step, following, state)
        complete = fine & (state == STATES.index("over"))
        return np.where(complete, 1.0, 0.5 * legal / written.sum(1))

    def gold(self, prompts: Ids, responses: Ids) -> Floats:
        """Return the gold reward [n] of responses [n, T]; tokens after EOS are ignored."""
        index, written = self.prompt_index(prompts), self._written(responses)
        words = written & (responses != self.eos)
        counts = np.zeros((len(responses), self.num_actions))
        rows = np.broadcast_to(np.arange(len(responses))[:, None], words.shape)
        np.add.at(counts, (rows[words], responses[words]), 1)
        topic, tone = self._topic_words[self._topic[index]], self._tone_words[self._tone[index]]
        coverage = 1 - 0.5 ** (topic & (counts > 0)).sum(1)
        fitting = np.where(tone, counts, 0).sum(1)
        other = np.where(self._tone_words.any(0) & ~tone, counts, 0).sum(1)
        repetitions = np.where(self._counted, np.maximum(counts - 1, 0), 0).sum(1)
        away = np.abs(words.sum(1) - np.array(LENGTHS)[self._length[index]])
        reward: Floats = (
            coverage
            + (1 - 0.5**fitting - WRONG_TONE_COST * other)
            + self._validity(written, responses)
            - REPETITION_COST * repetitions
            - away / LENGTH_UNIT
        )
        return reward.round(GOLD_DECIMALS)

    def _written(self, responses: Ids) -> NDArray[np.bool_]:
        return before_end(responses, self.eos, self.num_actions, self.max_new_tokens, self.name)


def _shortest_ends(next_state: Ids) -> Floats:
    """Return the fewest tokens, EOS included, from each state to the end."""
    left = np.where(np.array(STATES) == "over", 0.0, np.inf)
    for _ in STATES:
        through = np.where(next_state >= 0, left[next_state], np.inf)
        left = np.minimum(left, 1 + through.min(1))
    return left
