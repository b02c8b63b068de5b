"""A language so small that every text can be listed, with a gold reward.

A prompt is one token that names a topic. A response is up to T content tokens, by default five
(A to E) and six places, and ends with EOS or is truncated. There are 19,531 responses to each of
4 prompts: expectations over a policy are sums, and the best policy is known.

Demonstrations come from a Markov process whose probabilities are in closed form, so the process
itself can be the reference policy. Its constants are chosen so that texts are varied (7.6 nats),
and the gold reward has a mean of about 0.6 and a standard deviation of about 1.

The gold reward, where n_X counts the tokens X, and A and E are the first and last content token:

    1.0 [topic in y] + 0.6 min(n_A, 2) - 0.9 max(n_A - 2, 0) - 0.8 n_E
        - 0.5 (adjacent repeats) + 0.5 [y ends with EOS]

It is concave in n_A, which punishes extrapolation: a few A are better than none, many are worse.
"""

from __future__ import annotations

import functools
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from .tokens import Ids, Vocabulary, before_end

Floats = NDArray[np.float64]

EOS_HAZARD = (0.0, 0.08, 0.18, 0.28, 0.38, 0.5)  # P(EOS | t tokens before it); the last is kept
FIRST_WEIGHT = 0.55  # of A among the content tokens, before topic and repetition
LAST_WEIGHT = 0.8  # of E
TOPIC_WEIGHT = 1.25  # factor of the topic's token
REPEAT_WEIGHT = 0.6  # factor of the previous token
# Equal gold rewards must be equal as floats, too: ties matter to best-of-n.
GOLD_DECIMALS = 9


class EnumerableTask:
    """The language, its demonstrations and its gold reward.

    Ids: the actions (content tokens from 0, then EOS), PAD, the prompts.

    Args:
        num_content: content tokens, 2 to 26.
        num_prompts: prompts, each naming one of the first content tokens as its topic.
        max_new_tokens: T, EOS included.

    Raises:
        ValueError: a number is out of range.
    """

    name = "enumerable"
    prompt_length = 1

    def __init__(
        self, *, num_content: int = 5, num_prompts: int = 4, max_new_tokens: int = 6
    ) -> None:
        if not 2 <= num_content <= 26:
            raise ValueError(f"{self.name}: expected num_content from 2 to 26, got {num_content}")
        if not 1 <= num_prompts <= num_content:
            raise ValueError(
                f"{self.name}: expected num_prompts from 1 to num_content = {num_content}, "
                f"got {num_prompts}"
            )
        if max_new_tokens < 1:
            raise ValueError(f"{self.name}: expected max_new_tokens >= 1, got {max_new_tokens}")
        self.num_content, self.num_prompts = num_content, num_prompts
        self.max_new_tokens = max_new_tokens
        self.num_actions = num_content + 1
        self.eos = num_content
        self.pad = num_content + 1
        self.vocab_size = self.pad + 1 + num_prompts
        letters = [chr(ord("A") + i) for i in range(num_content)]
        topics = [f"<about-{letter}>" for letter in letters[:num_prompts]]
        self._vocabulary = Vocabulary([*letters, "<eos>", "<pad>", *topics], pad=self.pad)
        self.token_names = self._vocabulary.names
        self.text = self._vocabulary.text
        self.parse = self._vocabulary.parse
        self._probability = self._token_probabilities()
        with np.errstate(divide="ignore"):  # EOS is impossible in the first place
            self._log_probability = np.log(self._probability)

    @property
    def prompts(self) -> Ids:
        """Return all prompts, [num_prompts, 1]."""
        return np.arange(self.pad + 1, self.vocab_size, dtype=np.int64)[:, None]

    def prompt_index(self, prompts: Ids) -> Ids:
        """Return the row of `prompts` that each of these [n, 1] is, [n]."""
        index: Ids = prompts[:, 0] - (self.pad + 1)
        if ((index < 0) | (index >= self.num_prompts)).any():
            raise ValueError(
                f"{self.name}: expected prompts from {self.pad + 1} to {self.vocab_size - 1}, "
                f"got some from {prompts.min()} to {prompts.max()}"
            )
        return index

    def __repr__(self) -> str:
        return (
            f"EnumerableTask(num_content={self.num_content}, num_prompts={self.num_prompts}, "
            f"max_new_tokens={self.max_new_tokens})"
        )

    def sample_prompts(self, rng: np.random.Generator, n: int) -> Ids:
        """Draw n prompts uniformly, [n, 1]."""
        return self.prompts[rng.integers(self.num_prompts, size=n)]

    def _token_probabilities(self) -> Floats:
        """Return P(next token | topic, position, previous): [num_prompts, T, previous, action].

        The entry num_content of `previous` stands for the beginning.
        """
        content, prompts = self.num_content, self.num_prompts
        weight = np.ones((prompts, content + 1, content))
        weight[..., 0] *= FIRST_WEIGHT
        weight[..., -1] *= LAST_WEIGHT
        weight[np.arange(prompts), :, np.arange(prompts)] *= TOPIC_WEIGHT
        weight[:, np.arange(content), np.arange(content)] *= REPEAT_WEIGHT
        weight /= weight.sum(-1, keepdims=True)
        steps = np.minimum(np.arange(self.max_new_tokens), len(EOS_HAZARD) - 1)
        hazard = np.array(EOS_HAZARD)[steps][None, :, None, None]
        eos = np.broadcast_to(hazard, (prompts, self.max_new_tokens, content + 1, 1))
        return np.concatenate([weight[:, None] * (1 - hazard), eos], axis=-1)

    def demonstrate(self, rng: np.random.Generator, prompts: Ids) -> Ids:
        """Draw a response of the generator to each prompt: [n, 1] to [n, T]."""
        topic, n = self.prompt_index(prompts), len(prompts)
        responses = np.full((n, self.max_new_tokens), self.pad, dtype=np.int64)
        previous = np.full(n, self.num_content)
        live = np.ones(n, dtype=bool)
        cumulative = self._probability.cumsum(-1)
        cumulative[..., -1] = 1.0
        for t in range(self.max_new_tokens):
            token = (rng.random((n, 1)) >= cumulative[topic, t, previous]).sum(-1)
            responses[live, t] = token[live]
            live &= token != self.eos
            previous = np.where(live, token, previous)
        return responses

    def demonstrations(self, rng: np.random.Generator, n: int) -> tuple[Ids, Ids]:
        """Draw n prompts [n, 1], and a response of the generator to each, [n, T]."""
        prompts = self.sample_prompts(rng, n)
        return prompts, self.demonstrate(rng, prompts)

    def generator_log_prob(self, prompts: Ids, responses: Ids) -> Floats:
        """Return the log-probability [n] of responses [n, T] as demonstrations, in nats.

        Tokens after EOS are ignored. The empty response has -inf: demonstrations are never empty.
        """
        topic, written = self.prompt_index(prompts), self._written(responses)
        total = np.zeros(len(responses))
        previous = np.full(len(responses), self.num_content)
        for t in range(self.max_new_tokens):
            token = np.where(written[:, t], responses[:, t], 0)
            total += np.where(written[:, t], self._log_probability[topic, t, previous, token], 0.0)
            previous = np.where(written[:, t] & (token != self.eos), token, previous)
        return total

    def gold(self, prompts: Ids, responses: Ids) -> Floats:
        """Return the gold reward [n] of responses [n, T]; tokens after EOS are ignored."""
        topic, written = self.prompt_index(prompts)[:, None], self._written(responses)
        content = written & (responses != self.eos)
        num_first = (content & (responses == 0)).sum(1)
        num_last = (content & (responses == self.num_content - 1)).sum(1)
        repeats = (content[:, 1:] & (responses[:, 1:] == responses[:, :-1])).sum(1)
        reward: Floats = (
            1.0 * (content & (responses == topic)).any(1)
            + 0.6 * np.minimum(num_first, 2)
            - 0.9 * np.maximum(num_first - 2, 0)
            - 0.8 * num_last
            - 0.5 * repeats
            + 0.5 * (written & (responses == self.eos)).any(1)
        )
        return reward.round(GOLD_DECIMALS)

    def _written(self, responses: Ids) -> NDArray[np.bool_]:
        return before_end(responses, self.eos, self.num_actions, self.max_new_tokens, self.name)


Table = dict[int, dict[int, list[tuple[float, int, float, bool]]]]


class EnumerableEnv(gymnasium.Env[np.int64, np.int64]):
    """Writing one response, token by token, as a tabular environment.

    The observation enumerates prompts and prefixes: prompt p with the prefix c_1 ... c_l of content
    tokens is state p S + (K^l - 1)/(K - 1) + the number with digits c_1 ... c_l to base K, where S
    prefixes are shorter than T. Finished responses stay in the last state. Both EOS and the last
    place terminate: the limit is part of the task. The gold reward is given at the end.

    `P[state][action]` is the table of transitions, `initial_state_distrib` the
    distribution of the prompts.

    Args:
        num_content, num_prompts, max_new_tokens: as in `EnumerableTask`.
    """

    metadata = {"render_modes": ["ansi"]}  # noqa: RUF012 (Gymnasium's own form)

    def __init__(
        self,
        *,
        num_content: int = 5,
        num_prompts: int = 4,
        max_new_tokens: int = 6,
        render_mode: str | None = None,
    ) -> None:
        self.task = EnumerableTask(
            num_content=num_content, num_prompts=num_prompts, max_new_tokens=max_new_tokens
        )
        self.render_mode = render_mode
        self.P = _transitions(num_content, num_prompts, max_new_tokens)
        self.observation_space = spaces.Discrete(len(self.P))
        self.action_space = spaces.Discrete(self.task.num_actions)
        prefixes = (len(self.P) - 1) // num_prompts
        self.initial_state_distrib = np.zeros(len(self.P))
        self.initial_state_distrib[np.arange(num_prompts) * prefixes] = 1 / num_prompts
        self._prefixes = prefixes

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.int64, dict[str, Any]]:
        super().reset(seed=seed)
        topic = int(self.np_random.integers(self.task.num_prompts))
        self._text = [int(self.task.prompts[topic, 0])]
        self._state = topic * self._prefixes
        return np.int64(self._state), {}

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        if not self.action_space.contains(action):
            raise ValueError(
                f"EnumerableEnv: expected an action from 0 to {self.task.num_actions - 1}, "
                f"got {action}"
            )
        _, self._state, reward, terminated = self.P[self._state][int(action)][0]
        self._text.append(int(action))
        return np.int64(self._state), reward, terminated, False, {}

    def render(self) -> str | None:
        return self.task.text(self._text) if self.render_mode == "ansi" else None


@functools.cache
def _transitions(num_content: int, num_prompts: int, max_new_tokens: int) -> Table:
    """Return the table of an `EnumerableEnv`, which all copies share and must not change."""
    task = EnumerableTask(
        num_content=num_content, num_prompts=num_prompts, max_new_tokens=max_new_tokens
    )
    sizes = [num_content**level for level in range(max_new_tokens)]
    first = np.concatenate([[0], np.cumsum(sizes)])
    per_prompt = int(first[-1])
    over = num_prompts * per_prompt
    table: Table = {}
    for topic in range(num_prompts):
        for level, size in enumerate(sizes):
            # All prefixes of this length, each with every action after it.
            digits = np.arange(size)[:, None] // num_content ** np.arange(level)[::-1] % num_content
            responses = np.full((size, task.num_actions, max_new_tokens), task.pad)
            responses[:, :, :level] = digits[:, None]
            responses[:, :, level] = np.arange(task.num_actions)
            is_last = level == max_new_tokens - 1
            gold = np.zeros((size, task.num_actions))
            over_now = slice(None) if is_last else slice(task.eos, None)
            ended = responses[:, over_now].reshape(-1, max_new_tokens)
            prompts = np.repeat(task.prompts[topic : topic + 1], len(ended), axis=0)
            gold[:, over_now] = task.gold(prompts, ended).reshape(size, -1)
            for prefix, rewards in enumerate(gold.tolist()):
                state = topic * per_prompt + int(first[level]) + prefix
                child = topic * per_prompt + int(first[level + 1]) + prefix * num_content
                table[state] = {
                    action: [
                        (1.0, over, reward, True)
                        if is_last or action == task.eos
                        else (1.0, child + action, reward, False)
                    ]
                    for action, reward in enumerate(rewards)
                }
    table[over] = {action: [(1.0, over, 0.0, True)] for action in range(task.num_actions)}
    return table
