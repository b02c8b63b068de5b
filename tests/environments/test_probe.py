"""What is rejected before an environment is trained on."""

from __future__ import annotations

import time
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces, wrappers

import rlkit
from rlkit.environments import probe
from rlkit.environments.copies import close_env
from rlkit.environments.resolve import find_environment
from rlkit.environments.stepping.watchdog import watched
from rlkit.errors import UsageError
from tests.faulty_envs import Counter, Noisy, Recorder


def rejection(env: Any) -> str:
    with pytest.raises(UsageError) as caught:
        find_environment(env)
    return str(caught.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda env: lambda: env,
        lambda env: lambda: wrappers.TimeLimit(env, 50),
        lambda env: lambda: wrappers.TimeLimit(wrappers.TransformReward(env, float), 50),
    ],
)
def test_copies_that_are_one_object_are_rejected(make: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="returned the same environment"):
        rlkit.train("random", make(Noisy()), seeds=2, steps=20, out=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        (wrappers.NormalizeReward, "NormalizeReward"),
        (wrappers.NormalizeObservation, "NormalizeObservation"),
        (lambda env: wrappers.TimeLimit(wrappers.NormalizeReward(env), 5), "NormalizeReward"),
        (type("Mine", (wrappers.NormalizeReward,), {}), "Mine"),
    ],
)
def test_statistics_in_wrappers_are_rejected_with_what_to_do(
    wrap: Any, name: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"{name} keeps running statistics.*scale_rewards=True"):
        rlkit.train("ppo", lambda: wrap(Noisy()), seeds=1, steps=20, out=tmp_path)
    with pytest.raises(UsageError, match="keeps running statistics"):
        find_environment(lambda: wrap(Noisy()))


PAIR = spaces.Tuple((spaces.Discrete(2), spaces.Text(3)))


def test_frozen_statistics_are_no_fault(tmp_path: Path) -> None:
    def make() -> gym.Env[Any, Any]:
        env = wrappers.NormalizeObservation(Noisy())
        env.update_running_mean = False
        return env

    run = rlkit.train("random", make, seeds=1, steps=20, evaluation_episodes=2, out=tmp_path)
    assert run.record["reproducible"]


def test_an_unsupported_space_is_rejected_by_name() -> None:
    gym.register("Unsupported-v0", entry_point=lambda: Counter(action_space=PAIR))
    try:
        message = rejection("Unsupported-v0")
    finally:
        del gym.registry["Unsupported-v0"]
    assert "Unsupported-v0 has the action space Tuple" in message


def test_an_unsupported_space_of_a_class_is_rejected_and_its_probe_closed() -> None:
    made = Recorder(lambda: Counter(action_space=spaces.Text(3)))
    assert "Text" in rejection(made)
    assert [single.num_closed for single in made.made] == [1]


@pytest.mark.trap("F49")
def test_spaces_that_appear_only_in_a_reset_are_rejected_before_one() -> None:
    class Late(gym.Env[Any, Any]):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            self.observation_space = spaces.Discrete(2)
            self.action_space = spaces.Discrete(2)
            return 0, {}

    with pytest.raises(UsageError, match="Late has no observation_space before its first reset"):
        find_environment(Late)


class Hangs(Counter):
    """Hangs in the call that it is told."""

    def __init__(self, call: str) -> None:
        super().__init__()
        self.call = call

    def reset(self, **options: Any) -> Any:
        if self.call == "reset":
            time.sleep(1000.0)
        return super().reset(**options)

    def close(self) -> None:
        if self.call == "close":
            time.sleep(1000.0)


def test_a_first_reset_that_does_not_return_is_rejected() -> None:
    text = r"reset\(seed=0\) did not return within 0.2 s \(--env-timeout\)"
    with watched(0.2), pytest.raises(UsageError, match=text):
        find_environment(Hangs, {"call": "reset"})


def test_a_close_that_does_not_return_is_waited_for_once_and_reported_once() -> None:
    class Stays(Hangs):
        pass

    began = time.monotonic()
    with watched(0.2), warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        assert find_environment(Stays, {"call": "close"}).probe.time_limit is None
        for _ in range(30):
            close_env(Stays("close"), "environment Stays")
    assert time.monotonic() - began < 2.0  # and not 31 times 0.2 s
    texts = [str(note.message) for note in noted]
    assert texts == ["closing environment Stays did not end, so its other copies are not closed"]


def raises(env: Any) -> Any:
    raise KeyError("unread")


@pytest.mark.trap("F49")
@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("action_masks", property(raises)),
        ("get_state", property(raises)),
        ("spec", property(raises)),
        ("__getattr__", lambda env, name: raises(env)),
    ],
)
def test_an_attribute_that_raises_is_named_in_an_error(
    name: str, member: Any, tmp_path: Path
) -> None:
    odd = type("Odd", (Counter,), {name: member})
    with pytest.raises(UsageError, match=r"Odd.*raised KeyError\('unread'\)"):
        rlkit.train("ppo", odd, seeds=1, steps=64, out=tmp_path)


def test_a_registration_without_an_id_is_none(tmp_path: Path) -> None:
    odd = type("Odd", (Counter,), {"spec": "odd"})
    run = rlkit.train("random", odd, seeds=1, steps=64, out=tmp_path)
    assert not run.failures
    assert "odd-" in run.folder.name.lower()


def test_spaces_are_told_apart_without_their_digests() -> None:
    def box(number: int) -> spaces.Box:
        high = np.ones(2000)
        high[number] = 2.0  # its text abbreviates the bounds
        return spaces.Box(np.zeros(2000), high, dtype=np.float64)

    one, other = probe.told_apart(*(probe._describe_space(box(number)) for number in (777, 778)))
    assert one == str(box(777)) == str(box(778))
    assert other == f"{one} with other bounds"
    assert probe.told_apart("Discrete(4)", "Discrete(5)") == ("Discrete(4)", "Discrete(5)")
