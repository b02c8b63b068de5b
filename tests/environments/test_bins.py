"""Box observations divided into bins."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

import rlkit
from rlkit.environments.bins import Binning, Bins, make_binning
from rlkit.environments.resolve import find_environment
from rlkit.environments.views.view import View
from rlkit.environments.views.viewed_env import ViewedBatchEnv, copies_in
from rlkit.errors import UsageError
from rlkit.runs import checkpoints
from rlkit.runs.record import write_record
from rlkit.seeding import SeedStreams
from rlkit.training.run import Run, load
from rlkit.training.specification import RunSpec

UNIT = spaces.Box(0.0, 1.0, (2,), np.float32)
CART_POLE = spaces.Box(
    np.array([-4.8, -np.inf, -0.4, -np.inf], np.float32),
    np.array([4.8, np.inf, 0.4, np.inf], np.float32),
)
LIMITS: dict[str, Any] = {"bin_low": (-2.4, -2, -0.2, -2), "bin_high": (2.4, 2, 0.2, 2)}


# --- the index ----------------------------------------------------------------------------------


@given(
    st.lists(st.floats(-10, 10, width=32), min_size=3, max_size=3),
    st.lists(st.integers(1, 7), min_size=3, max_size=3),
)
def test_the_index_is_made_of_the_digits_that_numpy_finds(
    values: list[float], counts: list[int]
) -> None:
    low, high = (-1.0, 0.0, 2.0), (1.0, 8.0, 6.0)
    space = spaces.Box(-np.inf, np.inf, (3,), np.float64)
    bins = Bins(space, Binning(tuple(counts), low, high), "mine")
    digits = [
        int(np.clip(np.digitize(x, np.linspace(a, b, n + 1)) - 1, 0, n - 1))
        for x, a, b, n in zip(values, low, high, counts, strict=True)
    ]
    near = [
        abs(x - edge) < 1e-9
        for x, a, b, n in zip(values, low, high, counts, strict=True)
        for edge in np.linspace(a, b, n + 1)
    ]
    if not any(near):  # an edge may be rounded to either side
        assert bins(np.array(values)) == np.ravel_multi_index(digits, counts)
    assert bins.space.n == np.prod(counts)


def test_values_outside_fall_into_the_outermost_bins() -> None:
    bins = Bins(spaces.Box(-np.inf, np.inf, (1,)), Binning((4,), (0.0,), (1.0,)), "mine")
    values = [-1e38, -0.1, 0.0, 0.26, 0.99, 1.0, 7.0, 3e38]
    assert bins(np.array(values, np.float32)[:, None]).tolist() == [0, 0, 0, 1, 3, 3, 3, 3]


def test_any_leading_axes_and_shapes_of_observations_are_kept() -> None:
    space = spaces.Box(0, 255, (2, 2), np.uint8)
    bins = Bins(space, Binning((2,)), "mine")
    obs = np.array([[[0, 200], [0, 0]], [[255, 255], [255, 255]]], np.uint8)
    assert bins(obs).tolist() == [4, 15]
    assert bins(obs[None]).shape == (1, 2)
    assert bins(obs[0]) == 4
    copy = pickle.loads(pickle.dumps(bins))
    assert copy(obs).tolist() == [4, 15]


# --- what a user asks for -----------------------------------------------------------------------


def test_one_number_is_for_all_dimensions_and_the_limits_are_those_of_the_space() -> None:
    bins = Bins(UNIT, Binning((10,)), "mine")
    assert bins.space.n == 100
    assert bins(np.array([0.95, 0.15], np.float32)) == 91


def test_options_in_all_their_forms_are_the_same() -> None:
    binning = Binning((3,), (0.0,), (1.0,))
    assert make_binning(3, 0, 1.0) == binning
    assert make_binning(np.int64(3), np.zeros(1), [1]) == binning
    assert make_binning((), (), None) is None
    assert make_binning(None, None, None) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (((0,), (), ()), r"bins \(--bins\): expected whole numbers >= 1, got \[0\]"),
        ((2.5, (), ()), r"bins \(--bins\): expected one number or .*whole numbers.*got 2.5"),
        (("ten", (), ()), r"got 'ten'"),
        ((3, float("nan"), ()), r"bin_low \(--bin-low\): expected finite numbers"),
        ((3, [0, float("inf")], ()), r"expected finite numbers"),
        (((), 1.0, ()), r"bin_low \(--bin-low\): it has no meaning without bins"),
        ((None, None, [2.0]), r"bin_high \(--bin-high\): it has no meaning without bins"),
    ],
)
def test_unusable_options_are_rejected_by_name(options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Bins(UNIT, make_binning(*options) or Binning((1,)), "mine")


@pytest.mark.parametrize(
    ("space", "binning", "message"),
    [
        (
            CART_POLE,
            Binning((10,)),
            r"no bound below in dimensions 1, 3; give limits with --bin-low",
        ),
        (CART_POLE, Binning((10,), (-1.0,)), r"no bound above in dimensions 1, 3"),
        (spaces.Box(-3.4e38, 3.4e38, (1,)), Binning((2,)), "no bound below in dimension 0;"),
        (UNIT, Binning((2, 3, 4)), "expected one number or 2, .* of mine, got 3"),
        (UNIT, Binning((2,), (0.0, 0.0, 0.0)), r"bin_low \(--bin-low\): expected one number or 2"),
        (
            UNIT,
            Binning((2,), (0.0, 1.0), (1.0, 1.0)),
            "limits of dimension 1 must rise, got 1 to 1",
        ),
        (UNIT, Binning((10_000,)), "make 100,000,000 states, more than 50,000,000"),
        (spaces.Discrete(3), Binning((2,)), "mine has the observation space Discrete"),
    ],
)
def test_binnings_that_do_not_fit_are_rejected(space: Any, binning: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Bins(space, binning, "mine")


# --- grids --------------------------------------------------------------------------------------


def binned(name: str = "CartPole-v1") -> Any:
    return find_environment(name).seen_as(
        View(binning=make_binning((3, 2, 4, 5), *LIMITS.values()))
    )


@pytest.mark.parametrize("kind", ["native", "gymnasium"])
def test_a_grid_shows_the_bins_of_what_the_environments_show(kind: str) -> None:
    environment, streams = binned(), (SeedStreams(0, 0), SeedStreams(0, 1))
    grid = environment.grid(streams, 3, kind=kind)
    raw = environment.seen_as(View()).grid(streams, 3, kind=kind)
    assert grid.observation_space == spaces.Discrete(3 * 2 * 4 * 5)
    assert isinstance(grid, ViewedBatchEnv)
    assert (copies_in(grid) is None) == (kind == "native")
    bins, rng = environment.bins, np.random.default_rng(0)
    np.testing.assert_array_equal(grid.reset(), bins(raw.reset()))
    for _ in range(60):
        actions = rng.integers(2, size=(2, 3))
        step, expected = grid.step(actions), raw.step(actions)
        np.testing.assert_array_equal(step.next_obs, bins(expected[3]))
        np.testing.assert_array_equal(step.following_obs, bins(expected[4]))
        np.testing.assert_array_equal(step.terminated, expected[1])
        if kind == "gymnasium":
            np.testing.assert_array_equal(grid.obs, step.following_obs)
    grid.close()
    raw.close()


def test_what_is_known_of_an_environment_is_kept_with_other_bins() -> None:
    environment = find_environment("CartPole-v1")
    probe = environment.probe
    other = environment.seen_as(View(binning=make_binning(2, -1, 1)))
    assert other.probe is probe
    assert other.seen_as(View()).observation_space == probe.observation_space
    assert environment.seen_as(View()) is environment


# --- runs ---------------------------------------------------------------------------------------


def test_binning_is_part_of_the_identity_only_where_there_is_any(
    spec_of: Callable[..., RunSpec],
) -> None:
    with_bins, plain = spec_of("q-learning-bins"), spec_of("ppo")
    identity = with_bins.identity(with_bins.resolve())
    assert identity["binning"] == {
        "bins": [3, 2, 4, 5], "low": [-2.4, -2.0, -0.2, -2.0], "high": [2.4, 2.0, 0.2, 2.0],
    }  # fmt: skip
    assert "binning" not in plain.identity(plain.resolve())
    other = spec_of("q-learning-bins", bins=3)
    assert other.folder_name(other.resolve()) != with_bins.folder_name(with_bins.resolve())


def test_a_run_is_opened_and_acts_on_the_environments_own_observations(
    trained: Callable[..., Run],
) -> None:
    run = load(trained("q-learning-bins", seeds=2).folder)
    assert run.spec.binning == Binning((3, 2, 4, 5), *LIMITS.values())
    bins = run.environment.bins
    assert bins is not None
    table = run.q_table(1)
    assert table.shape == (120, 2)
    actor = pickle.loads(pickle.dumps(run.actor(1)))
    obs = np.random.default_rng(0).uniform(-1, 1, (40, 4)).astype(np.float32)
    np.testing.assert_array_equal(actor.predict(obs)[0], table[bins(obs)].argmax(axis=1))
    assert actor.act(obs[0]) == table[bins(obs[0])].argmax()
    assert actor.value(obs[0]) == table[bins(obs[0])].max()
    np.testing.assert_array_equal(actor.policy_table().argmax(axis=1), table.argmax(axis=1))
    played = run.evaluate(episodes=3)
    env = gym.make("CartPole-v1")
    # The same first episode as Gymnasium's own environment.
    observation, _ = env.reset(seed=SeedStreams(0, 1).episode_seed("evaluation", 0, 0))
    total, over = 0.0, False
    while not over:
        observation, reward, terminated, truncated, _ = env.step(actor.act(observation))
        total, over = total + float(reward), terminated or truncated
    alone = run._policies().evaluate([1], 1, greedy=True)["seeds"][0]["mean_return"]
    assert total == alone
    assert len(played["seeds"]) == 2


def test_native_and_gymnasium_give_the_same_table(
    small: Callable[..., Run],
) -> None:
    native = small("q-learning-bins", seeds=2)
    original = small("q-learning-bins", seeds=2, native=False)
    assert native.record["stepped_as"] != original.record["stepped_as"]
    np.testing.assert_array_equal(native.q_table(1), original.q_table(1))


@pytest.mark.parametrize("native", [True, False])
def test_a_longer_run_has_the_bytes_of_an_extended_one(
    native: bool, small: Callable[..., Run], out: Path, results: Any
) -> None:
    whole = small("q-learning-bins", seeds=2, steps=900, native=native, out=out / "whole")
    small("q-learning-bins", seeds=2, steps=400, native=native)
    extended = small("q-learning-bins", seeds=2, steps=900, native=native)
    for seed in (0, 1):
        newest = [checkpoints.newest_checkpoint(run.folder, seed)[1] for run in (whole, extended)]
        np.testing.assert_equal(*newest)


def test_the_presets_bins_give_way_to_those_of_the_user() -> None:
    from rlkit.training.specification import make_spec

    preset = make_spec("q-learning", "CartPole-v1").binning
    assert preset is not None
    assert len(preset.bins) == 4
    own = make_spec("q-learning", "CartPole-v1", bins=10)
    with pytest.raises(UsageError, match="have no bound below in dimensions 1, 3"):
        own.resolve().bins  # noqa: B018
    assert make_spec("ppo", "CartPole-v1").binning is None


def test_other_agents_can_use_bins_as_well(tmp_path: Path) -> None:
    run = rlkit.train(
        *("ppo", "CartPole-v1"), seeds=1, steps=64, envs=2, rollout_length=16, minibatch_size=16,
        bins=4, out=tmp_path, evaluation_episodes=1, **LIMITS,
    )  # fmt: skip
    probabilities = run.actor().probabilities(np.zeros(4, np.float32))
    assert probabilities.sum() == pytest.approx(1)
    assert run.actor().policy_table().shape == (4**4, 2)


def test_a_damaged_binning_in_the_record_is_one_sentence(
    trained_folder: Callable[..., Path],
) -> None:
    folder = trained_folder("q-learning-bins", seeds=1)
    record = json.loads((folder / "run.json").read_text())
    write_record(folder, record | {"binning": {"bins": "ten"}})
    with pytest.raises(rlkit.RlkitError, match=r"'binning'.*lists of numbers bins, low and high"):
        load(folder).record  # noqa: B018


class Drifting(gym.Env[Any, Any]):
    """Shows a number that no seed determines."""

    observation_space = spaces.Box(0.0, 1.0, (1,), np.float64)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return np.random.default_rng().random(1), {}

    def step(self, action: int) -> Any:
        return np.random.default_rng().random(1), 0.0, False, False, {}


def test_an_environment_that_cannot_be_replayed_continues_from_its_present_bins(
    tmp_path: Path,
) -> None:
    options: dict[str, Any] = {"seeds": 1, "bins": 5, "evaluation_episodes": 0, "out": tmp_path}
    with pytest.warns(rlkit.RlkitWarning, match="not reproducible"):
        rlkit.train("q-learning", Drifting, steps=30, evaluate_every=30, **options)
    with pytest.warns(rlkit.RlkitWarning, match="not reproducible"):
        run = rlkit.train("q-learning", Drifting, steps=60, evaluate_every=30, **options)
    assert run.q_table().shape == (5, 2)
    assert not run.record["reproducible"]


def test_limits_whose_distance_is_infinite_are_rejected() -> None:
    # All observations would fall into the first bin.
    box = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    with pytest.raises(UsageError, match="too far apart for float64"):
        Bins(box, Binning((4,), (-1.7e308,), (1.7e308,)), "it")
