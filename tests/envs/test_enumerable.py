"""The language that can be listed: its generator, its gold reward and its Gymnasium form."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray
from scipy import stats

from rlkit.environments.resolve import find_environment
from rlkit.rlhf.exact import enumeration
from rlkit.tabular.reading.model import mdp_from_env
from rlkit_envs import enumerable
from rlkit_envs.enumerable import EnumerableEnv, EnumerableTask

Ids = NDArray[np.int64]
TINY = {"num_content": 2, "num_prompts": 2, "max_new_tokens": 3}


def every_text(task: EnumerableTask) -> list[tuple[int, ...]]:
    """All responses, padded with PAD."""
    texts = []
    for length in range(task.max_new_tokens + 1):
        for content in itertools.product(range(task.num_content), repeat=length):
            ended = (*content, task.eos) if length < task.max_new_tokens else content
            texts.append((ended + (task.pad,) * task.max_new_tokens)[: task.max_new_tokens])
    return texts


def gold_of(task: EnumerableTask, prompt: str, response: str) -> float:
    ids = np.full((1, task.max_new_tokens), task.pad)
    tokens = task.parse(response)
    ids[0, : len(tokens)] = tokens
    return float(task.gold(task.parse(prompt)[None], ids)[0])


def test_ids_are_content_then_eos_then_pad_then_prompts() -> None:
    task = EnumerableTask()
    assert task.token_names == (
        *("A", "B", "C", "D", "E", "<eos>", "<pad>"),
        *("<about-A>", "<about-B>", "<about-C>", "<about-D>"),
    )
    assert (task.num_actions, task.eos, task.pad, task.vocab_size) == (6, 5, 6, 11)
    assert (task.prompt_length, task.max_new_tokens) == (1, 6)
    assert task.prompts.tolist() == [[7], [8], [9], [10]]


# The gold reward, by hand.


@pytest.mark.parametrize(
    ("prompt", "response", "expected"),
    [
        ("<about-B>", "<eos>", 0.5),
        ("<about-B>", "C <eos>", 0.5),
        ("<about-B>", "B <eos>", 1.5),
        ("<about-B>", "B C B D B <eos>", 1.5),  # the topic counts once
        ("<about-B>", "B B <eos>", 1.0),  # one adjacent repeat
        ("<about-B>", "C C C <eos>", -0.5),  # two
        ("<about-B>", "A <eos>", 1.1),
        ("<about-B>", "A C A <eos>", 1.7),
        ("<about-B>", "A C A C A <eos>", 0.8),  # 1.2 - 0.9 + 0.5
        ("<about-A>", "A <eos>", 2.1),  # topic and A
        ("<about-B>", "E C E <eos>", -1.1),
        ("<about-B>", "A B A <eos>", 2.7),  # the best there is
        ("<about-B>", "A B A C D C", 2.2),  # cut
        ("<about-D>", "A A A A A A", -4.9),  # 1.2 - 3.6 - 2.5
    ],
)
def test_gold_by_hand(prompt: str, response: str, expected: float) -> None:
    assert gold_of(EnumerableTask(), prompt, response) == pytest.approx(expected, abs=1e-12)


def test_gold_and_probability_ignore_what_follows_eos() -> None:
    task = EnumerableTask()
    clean = np.array([[0, 5, 6, 6, 6, 6], [2, 3, 5, 6, 6, 6]])
    dirty = np.array([[0, 5, 0, 4, 5, 99], [2, 3, 5, 5, -1, 0]])
    prompts = task.prompts[:2]
    np.testing.assert_array_equal(task.gold(prompts, clean), task.gold(prompts, dirty))
    np.testing.assert_array_equal(
        task.generator_log_prob(prompts, clean), task.generator_log_prob(prompts, dirty)
    )


def test_gold_is_the_sum_of_its_terms_on_every_response() -> None:
    task = EnumerableTask(num_content=3, num_prompts=3, max_new_tokens=5)
    texts = every_text(task)
    for topic, prompt in enumerate(task.prompts):
        gold = task.gold(np.tile(prompt, (len(texts), 1)), np.array(texts))
        for text, value in zip(texts, gold, strict=True):
            ended = task.eos in text
            content = text[: text.index(task.eos)] if ended else text
            a, e = content.count(0), content.count(2)
            repeats = sum(x == y for x, y in itertools.pairwise(content))
            expected = (topic in content) + (0.0, 0.6, 1.2, 0.3, -0.6, -1.5)[a] + 0.5 * ended
            assert value == pytest.approx(expected - 0.8 * e - 0.5 * repeats, abs=1e-12)


def test_gold_values_that_are_equal_on_paper_are_equal_as_floats() -> None:
    task, completions = EnumerableTask(), enumeration.all_completions(6, 5, 6, 6)
    prompts = np.tile(task.prompts[:1], (len(completions.responses), 1))
    values = np.unique(task.gold(prompts, completions.responses))
    # All coefficients are multiples of 0.1.
    assert np.diff(values).min() > 0.09


# The generator.


def test_the_generator_is_a_distribution() -> None:
    for task in (EnumerableTask(), EnumerableTask(**TINY)):
        texts = np.array(every_text(task))
        for prompt in task.prompts:
            prompts = np.tile(prompt, (len(texts), 1))
            total = np.exp(task.generator_log_prob(prompts, texts)).sum()
            assert total == pytest.approx(1, abs=1e-12)


def test_the_generator_by_hand() -> None:
    """P(B C EOS | about B): weights A .55, B 1.25, C 1, D 1, E .8; a repeat counts .6."""
    task = EnumerableTask()
    ids = np.array([[1, 2, 5, 6, 6, 6], [1, 1, 5, 6, 6, 6], [5, 6, 6, 6, 6, 6]])
    prompts = np.tile(task.prompts[1:2], (3, 1))
    after_b = 0.55 + 0.75 + 1 + 1 + 0.8
    start = 1.25 / 4.6
    expected = [start * 0.92 * 1 / after_b * 0.18, start * 0.92 * 0.75 / after_b * 0.18, 0]
    np.testing.assert_allclose(np.exp(task.generator_log_prob(prompts, ids)), expected, rtol=1e-12)


def chi_square(task: EnumerableTask, n: int = 40_000) -> float:
    """The p-value of demonstrations under the closed form of the generator."""
    prompts, responses = task.demonstrations(np.random.default_rng(0), n)
    texts = np.array(every_text(task))
    codes = (task.vocab_size ** np.arange(task.max_new_tokens)).astype(np.int64)
    observed, expected = [], []
    for prompt in task.prompts:
        law = np.exp(task.generator_log_prob(np.tile(prompt, (len(texts), 1)), texts))
        keys, counts = np.unique(responses[prompts[:, 0] == prompt[0]] @ codes, return_counts=True)
        seen = dict(zip(keys.tolist(), counts.tolist(), strict=True))
        observed += [seen.pop(int(key), 0) for key in texts @ codes]
        expected += (law * n / task.num_prompts).tolist()
        assert not seen  # nothing but responses, padded with PAD
    cells = np.array(expected) > 0
    assert not np.array(observed)[~cells].any()
    expected_cells = np.array(expected)[cells] * n / np.array(expected)[cells].sum()
    return float(stats.chisquare(np.array(observed)[cells], expected_cells).pvalue)


def test_demonstrations_follow_the_closed_form() -> None:
    assert chi_square(EnumerableTask(num_content=3, num_prompts=2, max_new_tokens=4)) > 1e-3


def test_another_repetition_discount_in_the_sampler_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = EnumerableTask(num_content=3, num_prompts=2, max_new_tokens=4)
    monkeypatch.setattr(enumerable, "REPEAT_WEIGHT", 0.7)
    monkeypatch.setattr(
        task,
        "_probability",
        EnumerableTask(**{**TINY, "num_content": 3, "max_new_tokens": 4})._probability,
    )
    assert chi_square(task) < 1e-3


def test_the_facts_of_the_language_are_those_of_its_documentation() -> None:
    task, completions = EnumerableTask(), enumeration.all_completions(6, 5, 6, 6)
    count = len(completions.responses)
    prompts = np.repeat(task.prompts, count, axis=0)
    responses = np.tile(completions.responses, (4, 1))
    log_prob = task.generator_log_prob(prompts, responses).reshape(4, count)
    gold = task.gold(prompts, responses).reshape(4, count)
    assert log_prob[:, 0].tolist() == [-math.inf] * 4  # the empty response
    p = np.exp(log_prob)
    assert -(p * np.where(p > 0, log_prob, 0)).sum(1).mean() == pytest.approx(7.606, abs=1e-3)
    # Ended: 1 - .92 * .82 * .72 * .62 * .5.
    assert (p * completions.ended).sum(1) == pytest.approx(0.831618, abs=1e-6)
    assert (p * completions.lengths).sum(1) == pytest.approx(4.554332, abs=1e-6)
    mean = (p * gold).sum(1).mean()
    assert mean == pytest.approx(0.605, abs=1e-3)
    assert math.sqrt((p * (gold - mean) ** 2).sum(1).mean()) == pytest.approx(1.014, abs=1e-3)
    assert gold.max(1).tolist() == [2.7] * 4


# Wrong use.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_content": 1}, "num_content from 2 to 26, got 1"),
        ({"num_content": 3, "num_prompts": 4}, "num_prompts from 1 to num_content = 3, got 4"),
        ({"max_new_tokens": 0}, "max_new_tokens >= 1, got 0"),
    ],
)
def test_a_language_of_impossible_size_is_rejected(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EnumerableTask(**options)


def test_invalid_prompts_are_rejected() -> None:
    task = EnumerableTask()
    with pytest.raises(ValueError, match="expected prompts from 7 to 10"):
        task.gold(np.array([[0]]), np.full((1, 6), 5))


# As a Gymnasium environment.


@pytest.mark.slow
def test_the_environment_keeps_gymnasiums_contract() -> None:
    check_env(EnumerableEnv(**TINY), skip_render_check=True)
    check_env(EnumerableEnv(), skip_render_check=True)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, TINY])
def test_the_published_table_is_what_the_environment_does(options: dict[str, int]) -> None:
    mdp = mdp_from_env(functools.partial(EnumerableEnv, **options))
    assert mdp.num_states == EnumerableEnv(**options).observation_space.n


def test_the_return_of_an_episode_is_the_gold_of_the_text() -> None:
    env, task = EnumerableEnv(render_mode="ansi"), EnumerableTask()
    rng = np.random.default_rng(0)
    for seed in range(200):
        state, _ = env.reset(seed=seed)
        assert env.initial_state_distrib[state] == 0.25
        total, over, tokens = 0.0, False, []
        while not over:
            tokens.append(int(rng.integers(6)))
            state, reward, over, truncated, _ = env.step(np.int64(tokens[-1]))
            assert not truncated
            total += reward
        words = env.render().split()
        assert words[1:] == task.text(tokens).split()
        assert total == gold_of(task, words[0], " ".join(words[1:]))
        assert state == 4 * 3906


def test_states_are_distinguished_by_everything_written() -> None:
    env = EnumerableEnv(num_content=3, num_prompts=2, max_new_tokens=4)
    states = set()
    for topic in range(2):
        for length in range(4):
            for tokens in itertools.product(range(3), repeat=length):
                env.reset(seed=0)
                state = topic * (1 + 3 + 9 + 27)
                env._state = state
                for token in tokens:
                    state, *_ = env.step(np.int64(token))
                states.add(int(state))
    assert states == set(range(2 * 40))


def test_an_action_that_does_not_exist_is_rejected() -> None:
    env = EnumerableEnv()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="expected an action from 0 to 5, got 6"):
        env.step(np.int64(6))


@pytest.mark.slow
def test_it_can_be_named_like_any_environment() -> None:
    environment = find_environment("rlkit_envs.enumerable:EnumerableEnv", TINY)
    assert environment.kind == "tabular"
