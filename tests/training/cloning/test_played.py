"""Demonstrations that a run plays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.environments.resolve import find_environment
from rlkit.errors import UsageError
from rlkit.evaluation import Episodes
from rlkit.nn.demonstrations import Demonstrations
from rlkit.training.cloning.played import Recording, played_demonstrations
from rlkit.training.run import Run
from rlkit.training.specification import make_spec


def played(folder: Path, env: str = "FrozenLake-v1", **options: Any) -> tuple[Demonstrations, str]:
    spec = make_spec("behaviour-cloning", env, demonstrations=folder, options=options)
    return played_demonstrations(str(folder), spec, find_environment(env))


def test_the_episodes_are_those_of_the_policy_and_its_exact_return_is_stated(
    trained_folder: Callable[..., Path],
) -> None:
    folder = trained_folder("value-iteration", seeds=1)
    given, sentence = played(folder, episodes=30)
    assert given.num_episodes == 30
    policy = Run(folder).batch_actor([0])
    np.testing.assert_array_equal(policy.act(given.observations[None])[0], given.actions)
    firsts = np.flatnonzero(np.diff(given.episodes, prepend=-1))
    assert (given.observations[firsts] == 0).all()  # every episode starts at the start
    # Neighbouring cells follow one another.
    inside = np.diff(given.episodes) == 0
    steps = np.abs(np.diff(given.observations))[inside]
    assert set(steps.tolist()) <= {0, 1, 4}
    exact = Run(folder).evaluate(episodes=1)["seeds"][0]["exact_return"]
    assert given.expert_return == pytest.approx(exact)
    assert f"its exact return is {exact:.6f}" in sentence
    assert played(folder, episodes=30)[0].identity == given.identity
    assert played(folder, episodes=31)[0].identity != given.identity


def test_no_evaluation_plays_a_demonstrated_episode(
    trained_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = trained_folder("ppo", seeds=1)
    given, _ = played(folder, "CartPole-v1", episodes=20)
    firsts = given.observations[np.flatnonzero(np.diff(given.episodes, prepend=-1))]
    run = Run(folder)
    seen = Recording(run.batch_actor([0]))
    monkeypatch.setattr(
        "rlkit.training.playing.policies.Policies.batch_actor", lambda *args, **kwargs: seen
    )
    run.evaluate(episodes=20)
    starts = seen._parts[0][0][0]
    assert starts.shape == firsts.shape
    assert not {row.tobytes() for row in starts} & {row.tobytes() for row in firsts}


def test_the_exploring_policy_plays_where_that_is_chosen_and_real_actions_are_clipped(
    trained_folder: Callable[..., Path],
) -> None:
    folder = trained_folder("ppo-normalised", seeds=1)
    options = {"episodes": 2, "env": "Pendulum-v1"}
    greedy, sentence = played(folder, **options)
    exploring, other = played(folder, **options, expert_greedy=False)
    assert ("greedy" in sentence, "exploring" in other) == (True, True)
    assert (greedy.actions != exploring.actions).any()
    assert np.abs(exploring.actions).max() <= 2.0
    assert exploring.actions.dtype == np.float32
    assert exploring.actions.shape == (400, 1)


def test_episodes_of_several_parts_are_told_apart() -> None:
    class Counting:
        def act(self, obs: np.ndarray) -> np.ndarray:
            return obs + 1

    recording = Recording(Counting())
    for part, start in enumerate((0, 100)):
        if part:
            recording.restart(part)
        for t in range(3):
            recording.act(np.array([[start + 10 + t, start + 20 + t]]))
    observations, actions, numbers = recording.episodes(np.array([2, 3, 1]))
    assert observations.tolist() == [10, 11, 20, 21, 22, 110]
    assert (actions == observations + 1).all()
    assert numbers.tolist() == [0, 0, 1, 1, 1, 2]
    assert Episodes._fields[1] == "lengths"


@pytest.mark.parametrize(
    ("env", "options", "message"),
    [
        (
            "FrozenLake-v1",
            {"expert_seed": 3},
            r"\(--expert-seed\) = 3: .* seeds 0 to 0",
        ),
        ("CartPole-v1", {}, r"demonstrations \(--demonstrations\).*trained with the .* space"),
    ],
)
def test_a_run_that_does_not_fit_is_named(
    trained_folder: Callable[..., Path], env: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        played(trained_folder("random", seeds=1), env, **options)


def test_a_folder_that_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"demonstrations \(--demonstrations\).*give the folder"):
        played(tmp_path)
