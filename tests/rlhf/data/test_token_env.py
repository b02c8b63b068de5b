"""The environment that appends tokens: what it shows, where episodes end, what it rejects."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rlkit.environments.batch_env import BatchEnv
from rlkit.rlhf.data.token_env import TokenEnv
from rlkit_envs.enumerable import EnumerableTask

Ids = NDArray[np.int64]

# Content 0 and 1, EOS 2, PAD 3, prompts 4 and 5; three places.
TASK = EnumerableTask(num_content=2, num_prompts=2, max_new_tokens=3)
A, B, EOS, PAD = range(4)


def started(*prompts: int) -> TokenEnv:
    env = TokenEnv(TASK, np.array(prompts)[:, None])
    env.reset()
    return env


def act(*tokens: int) -> Ids:
    return np.array([tokens])


def test_an_episode_shows_the_prompt_and_the_tokens_chosen() -> None:
    env = TokenEnv(TASK, np.array([[4], [5], [4]]))
    obs = env.reset()
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
    env = started(4, 5)
    env.step(act(EOS, A))
    for token in (B, PAD, -5):  # what is chosen for it does not matter
        _, terminated, truncated, _, obs = env.step(act(token, B))
        assert obs[0, 0].tolist() == [4, EOS, PAD, PAD]
        assert not terminated[0, 0]
        assert not truncated[0, 0]
        assert env.ended[0, 0]
    assert obs[0, 1].tolist() == [5, A, B, B]


def test_the_length_limit_truncates_and_eos_in_the_last_place_terminates() -> None:
    env = started(4, 5)
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


def test_observations_are_one_buffer() -> None:
    env = TokenEnv(TASK, np.array([[4], [5]]))
    first = env.reset()
    *_, next_obs, obs = env.step(act(A, B))
    assert np.shares_memory(first, obs)
    assert np.shares_memory(first, next_obs)
    assert np.shares_memory(first, env.tokens)
    assert first[0, :, 1].tolist() == [A, B]


def test_a_reset_returns_to_the_prompts() -> None:
    env = started(4, 5)
    env.step(act(A, EOS))
    np.testing.assert_array_equal(env.reset(), [[[4, PAD, PAD, PAD], [5, PAD, PAD, PAD]]])
    assert not env.ended.any()
    assert env.position == 0


def test_it_is_a_batch_environment_of_one_seed() -> None:
    env: BatchEnv = started(4, 5, 4)
    assert (env.num_seeds, env.num_envs) == env.ended.shape == (1, 3)
    # As the contract says, setting an entry of `ended` ends that episode where it is.
    env.ended[0, 1] = True
    *_, obs = env.step(act(A, B, B))
    assert obs[0].tolist() == [[4, A, PAD, PAD], [5, PAD, PAD, PAD], [4, B, PAD, PAD]]


@pytest.mark.parametrize("token", [-1, PAD, 4])
def test_invalid_actions_cannot_be_chosen(token: int) -> None:
    env = started(4, 5)
    with pytest.raises(ValueError, match="expected tokens from 0 to 2"):
        env.step(act(A, token))


@pytest.mark.parametrize("actions", [np.zeros(2, int), np.zeros((1, 3), int), np.zeros((1, 2))])
def test_actions_of_another_form_are_rejected(actions: NDArray[np.generic]) -> None:
    env = started(4, 5)
    with pytest.raises(ValueError, match=r"expected integers of shape \(1, 2\)"):
        env.step(actions)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(2,), (2, 2), (0, 1)])
def test_prompts_of_another_form_are_rejected(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected prompts of shape \[B, 1\] with B >= 1, got"):
        TokenEnv(TASK, np.full(shape, 4))


def test_a_rollout_continues_from_its_saved_state() -> None:
    env = started(4, 5, 4)
    env.step(act(A, EOS, B))
    saved = env.state_dict()
    expected = [np.copy(x) for x in env.step(act(B, A, EOS))]
    other = TokenEnv(TASK, np.array([[4], [5], [4]]))
    other.load_state_dict(saved)
    for a, b in zip(other.step(act(B, A, EOS)), expected, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(other.ended, env.ended)


# Planted faults.


def test_a_step_that_overwrites_ended_sequences_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    step = TokenEnv.step

    def forgetful(self: TokenEnv, actions: Ids) -> object:
        result = step(self, actions)
        self.tokens[:, TASK.prompt_length + self.position - 1] = actions[0]
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
