"""Names of tokens, and the environment that appends tokens to texts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from envs.enumerable import EnumerableTask
from envs.tokens import Vocabulary, before_end
from rlkit.rlhf.data.token_env import TokenEnv

Ids = NDArray[np.int64]

WORDS = Vocabulary(["yes", "no", "<eos>", "<pad>"], pad=3)
# Content 0 and 1, EOS 2, PAD 3, prompts 4 and 5; three places.
TASK = EnumerableTask(num_content=2, num_prompts=2, max_new_tokens=3)
A, B, EOS, PAD = range(4)


def test_text_leaves_out_padding() -> None:
    assert WORDS.text([3, 0, 1, 2, 3, 3]) == "yes no <eos>"


@given(st.lists(st.integers(0, 2)))
def test_parsing_a_text_gives_its_ids(ids: list[int]) -> None:
    assert WORDS.parse(WORDS.text(ids)).tolist() == ids


def test_an_unknown_word_is_named() -> None:
    with pytest.raises(ValueError, match="'maybe' is not one of the 4 tokens"):
        WORDS.parse("yes maybe no")


@pytest.mark.parametrize("name", ["", "two words", " yes", "no"])
def test_a_name_that_text_could_not_carry_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="must be one word and occur once"):
        Vocabulary(["no", name], pad=0)


@pytest.mark.parametrize("pad", [-1, 2])
def test_a_pad_outside_the_vocabulary_is_refused(pad: int) -> None:
    with pytest.raises(ValueError, match=f"pad is {pad}, expected 0 to 1"):
        Vocabulary(["a", "b"], pad=pad)


def test_a_response_ends_with_its_first_eos() -> None:
    responses = np.array([[0, 2, 2, -7], [2, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 2]])
    mask = before_end(responses, eos=2, num_actions=3, width=4, task="t")
    np.testing.assert_array_equal(mask, [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]])


def test_padding_in_the_middle_of_a_response_is_refused() -> None:
    with pytest.raises(ValueError, match="t: response 1 has token 3 in place 2, before any EOS"):
        before_end(np.array([[0, 0, 2], [0, 0, 3]]), eos=2, num_actions=3, width=3, task="t")
    with pytest.raises(ValueError, match=r"expected responses of shape \[n, 4\], got \[1, 3\]"):
        before_end(np.array([[0, 0, 2]]), eos=2, num_actions=3, width=4, task="t")


# The environment.


def act(*tokens: int) -> Ids:
    return np.array([tokens])


def test_an_episode_shows_the_prompt_and_the_tokens_chosen() -> None:
    env = TokenEnv(TASK, 3)
    obs = env.reset(np.array([[4], [5], [4]]))
    np.testing.assert_array_equal(
        obs, [[[4, PAD, PAD, PAD], [5, PAD, PAD, PAD], [4, PAD, PAD, PAD]]]
    )
    assert obs.dtype == np.int64
    assert env.observation_space.shape == obs.shape[2:]

    reward, terminated, truncated, next_obs, obs = env.step(act(A, EOS, B))
    np.testing.assert_array_equal(obs[0], [[4, A, PAD, PAD], [5, EOS, PAD, PAD], [4, B, PAD, PAD]])
    np.testing.assert_array_equal(next_obs, obs)
    np.testing.assert_array_equal(terminated, [[False, True, False]])
    np.testing.assert_array_equal(truncated, [[False, False, False]])
    np.testing.assert_array_equal(env.ended, [[False, True, False]])
    np.testing.assert_array_equal(reward, [[0, 0, 0]])


def test_a_sequence_that_has_ended_stays_as_it_is() -> None:
    env = TokenEnv(TASK, 2)
    env.reset(np.array([[4], [5]]))
    env.step(act(EOS, A))
    for token in (B, PAD, -5):  # what is chosen for it does not matter
        _, terminated, truncated, _, obs = env.step(act(token, B))
        assert obs[0, 0].tolist() == [4, EOS, PAD, PAD]
        assert not terminated[0, 0]
        assert not truncated[0, 0]
        assert env.ended[0, 0]
    assert obs[0, 1].tolist() == [5, A, B, B]


def test_the_length_limit_truncates_and_eos_in_the_last_place_terminates() -> None:
    env = TokenEnv(TASK, 2)
    env.reset(np.array([[4], [5]]))
    env.step(act(A, A))
    env.step(act(A, A))
    _, terminated, truncated, _, obs = env.step(act(A, EOS))
    np.testing.assert_array_equal(terminated, [[False, True]])
    np.testing.assert_array_equal(truncated, [[True, False]])
    assert env.ended.all()
    # No EOS is forced upon the sequence that was cut.
    assert obs[0].tolist() == [[4, A, A, A], [5, A, A, EOS]]
    again = env.step(act(A, A))
    assert not (again[1] | again[2]).any()


def test_the_score_is_given_once_in_the_step_that_ends() -> None:
    env = TokenEnv(TASK, 3, score=TASK.gold)
    prompts = np.array([[4], [5], [4]])
    env.reset(prompts)
    rewards = [env.step(act(*tokens))[0] for tokens in ((A, EOS, B), (EOS, A, B), (B, B, A))]
    gold = TASK.gold(prompts, np.array([[A, EOS, PAD], [EOS, PAD, PAD], [B, B, A]]))
    np.testing.assert_array_equal(
        np.concatenate(rewards), [[0, gold[1], 0], [gold[0], 0, 0], [0, 0, gold[2]]]
    )


def test_observations_are_one_buffer() -> None:
    env = TokenEnv(TASK, 2)
    first = env.reset(np.array([[4], [5]]))
    *_, next_obs, obs = env.step(act(A, B))
    assert np.shares_memory(first, obs)
    assert np.shares_memory(first, next_obs)
    assert np.shares_memory(first, env.responses)
    assert first[0, :, 1].tolist() == [A, B]


def test_prompts_come_from_the_generator_that_was_given() -> None:
    env = TokenEnv(TASK, 50, np.random.default_rng(3))
    rng = np.random.default_rng(3)
    for _ in range(2):
        env.reset()
        np.testing.assert_array_equal(env.prompts, TASK.sample_prompts(rng, 50))
        np.testing.assert_array_equal(env.responses, np.full((50, 3), PAD))


@pytest.mark.parametrize("token", [-1, PAD, 4])
def test_what_is_no_action_cannot_be_chosen(token: int) -> None:
    env = TokenEnv(TASK, 2)
    env.reset(np.array([[4], [5]]))
    with pytest.raises(ValueError, match="expected tokens from 0 to 2"):
        env.step(act(A, token))


@pytest.mark.parametrize("actions", [np.zeros(2, int), np.zeros((1, 3), int), np.zeros((1, 2))])
def test_actions_of_another_form_are_refused(actions: NDArray[np.generic]) -> None:
    env = TokenEnv(TASK, 2)
    env.reset(np.array([[4], [5]]))
    with pytest.raises(ValueError, match=r"expected integers of shape \(1, 2\)"):
        env.step(actions)  # type: ignore[arg-type]


def test_prompts_of_another_form_are_refused() -> None:
    with pytest.raises(ValueError, match=r"expected prompts of shape \(2, 1\)"):
        TokenEnv(TASK, 2).reset(np.array([4, 5]))
    with pytest.raises(ValueError, match="give prompts, there is no generator"):
        TokenEnv(TASK, 2).reset()
    with pytest.raises(ValueError, match="expected num_envs to be at least 1, got 0"):
        TokenEnv(TASK, 0)


def test_a_rollout_goes_on_from_its_saved_state() -> None:
    env = TokenEnv(TASK, 3)
    env.reset(np.array([[4], [5], [4]]))
    env.step(act(A, EOS, B))
    saved = env.state_dict()
    expected = [np.copy(x) for x in env.step(act(B, A, EOS))]
    other = TokenEnv(TASK, 3)
    other.load_state_dict(saved)
    for a, b in zip(other.step(act(B, A, EOS)), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(other.ended, env.ended)


# Planted faults.


def test_a_step_that_overwrites_ended_sequences_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    step = TokenEnv.step

    def forgetful(self: TokenEnv, actions: Ids) -> object:
        result = step(self, actions)
        self.responses[:, self.position - 1] = actions[0]
        return result

    monkeypatch.setattr(TokenEnv, "step", forgetful)
    with pytest.raises(AssertionError):
        test_a_sequence_that_has_ended_stays_as_it_is()


def test_a_limit_that_terminates_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    step = TokenEnv.step

    def merged(self: TokenEnv, actions: Ids) -> object:
        reward, terminated, truncated, next_obs, obs = step(self, actions)
        return reward, terminated | truncated, truncated & False, next_obs, obs

    monkeypatch.setattr(TokenEnv, "step", merged)
    with pytest.raises(AssertionError):
        test_the_length_limit_truncates_and_eos_in_the_last_place_terminates()
