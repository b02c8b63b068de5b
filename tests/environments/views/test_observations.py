"""What agents see of observations: Gymnasium's flattening, part by part."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from rlkit.agents.networks import Features
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.environments.views.observations import FlatBox, ObservationEncoder
from rlkit.errors import EnvironmentFault
from rlkit.seeding import SeedStreams
from rlkit.training.playing.deployed import as_batch
from tests.faulty_envs import ResetsTo

D, B = spaces.Discrete, spaces.Box
MIXED = spaces.Dict(
    image=B(0, 255, (2, 2), np.uint8),
    place=D(4, start=-1),
    rest=spaces.Tuple(
        (
            spaces.MultiDiscrete([[2, 3], [4, 1]], start=[[1, 0], [0, -2]]),
            spaces.MultiBinary([2, 2]),
            B(-np.inf, np.inf, (3,), np.float64),
        )
    ),
)


def spaces_with_a_box() -> Any:
    """Nested Tuples and Dicts of small leaves, one of them a Box."""
    leaf = st.one_of(
        st.builds(lambda n, k: D(n, start=k), st.integers(1, 4), st.integers(-3, 3)),
        st.builds(
            lambda n, k: spaces.MultiDiscrete(n, start=[k] * len(n)),
            st.lists(st.integers(1, 4), min_size=1, max_size=3),
            st.integers(-2, 2),
        ),
        st.builds(spaces.MultiBinary, st.integers(1, 4)),
        st.sampled_from([B(-1, 1, (2, 1)), B(0, 255, (2,), np.uint8), B(-np.inf, np.inf, ())]),
    )
    nested = st.recursive(
        leaf,
        lambda child: st.one_of(
            st.lists(child, min_size=1, max_size=3).map(spaces.Tuple),
            st.lists(child, min_size=1, max_size=3).map(
                lambda parts: spaces.Dict(OrderedDict(zip("cab", parts, strict=False)))
            ),
        ),
        max_leaves=5,
    )
    return nested.map(lambda space: spaces.Tuple((space, B(-1, 1, (1,)))))


@settings(max_examples=60, deadline=None)
@given(spaces_with_a_box(), st.integers(0, 2**31 - 1))
def test_mixed_observations_are_what_gymnasium_flattens_them_to(space: Any, seed: int) -> None:
    encode = ObservationEncoder(space)
    assert encode.space == spaces.flatten_space(space)
    space.seed(seed)
    samples = [space.sample() for _ in range(3)]
    for obs in samples:
        vector = encode(obs)
        assert vector.dtype == encode.space.dtype
        assert np.array_equal(vector, spaces.flatten(space, obs))
        one, single = as_batch(obs, space)
        assert single
        assert np.array_equal(one[0, 0], vector)
    batch, single = as_batch(samples, space)
    assert not single
    assert np.array_equal(batch[0], [spaces.flatten(space, obs) for obs in samples])
    # Vector environments return one array for each part.
    stacked = stack(space, samples)
    assert np.array_equal(as_batch(stacked, space)[0], batch)


def stack(space: Any, values: list[Any]) -> Any:
    if isinstance(space, spaces.Tuple):
        return tuple(stack(s, [v[i] for v in values]) for i, s in enumerate(space.spaces))
    if isinstance(space, spaces.Dict):
        return {key: stack(s, [v[key] for v in values]) for key, s in space.spaces.items()}
    return np.stack([np.asarray(value) for value in values])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_observation_of_a_box_is_a_copy_of_its_type(dtype: Any) -> None:
    own = np.array([0.5, -0.5], dtype=dtype)
    seen = ObservationEncoder(B(-1, 1, (2,), np.float32))(own)
    own[:] = 0.0
    assert seen.dtype == np.float32
    assert seen.tolist() == [0.5, -0.5]


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1), (1, 2)])
def test_an_observation_of_another_shape_is_rejected(shape: tuple[int, ...]) -> None:
    encode = ObservationEncoder(B(-1, 1, (2,), np.float32))
    with pytest.raises(ValueError, match=r"has shape .* expected shape \(2,\)"):
        encode(np.zeros(shape, np.float32))


def test_only_the_numbers_of_a_box_are_normalised() -> None:
    encode = ObservationEncoder(MIXED)
    assert isinstance(encode.space, FlatBox)
    features = Features(encode.space, 1, normalise=True)
    obs = np.stack([encode(MIXED.sample()) for _ in range(50)])[None]
    features.update(obs)
    seen = features(obs).numpy()[0]
    numbers = encode.space.is_number
    assert numbers.sum() == 4 + 3
    assert np.array_equal(seen[:, ~numbers], obs[0][:, ~numbers].astype(np.float32))
    assert np.abs(seen[:, numbers].mean(axis=0)).max() < 0.2
    assert np.array_equal(features.copy()(obs).numpy()[0], seen)


def changed(**parts: Any) -> Any:
    MIXED.seed(0)
    return {**MIXED.sample(), **parts}


def rest(**parts: Any) -> Any:
    value = dict(enumerate(MIXED["rest"].sample()))
    return changed(rest=tuple({**value, **{int(k[1]): v for k, v in parts.items()}}.values()))


@pytest.mark.parametrize(
    ("obs", "part"),
    [
        (changed(place=3), r"observation['place'] 3 is not in Discrete(4, start=-1)"),
        (changed(place=0.5), r"observation['place'] 0.5 is not in"),
        (changed(image=np.zeros(4)), r"observation['image'] has shape (4,) and type float64"),
        (changed(image=np.full((2, 2), 256)), "['image'] has a value that uint8 cannot hold"),
        (changed(other=1), "has ['image', 'place', 'rest', 'other'], expected a dict with the"),
        ({"image": np.zeros((2, 2))}, "['image'], expected a dict with the keys ['image', 'place'"),
        (3, "has int, expected a dict"),
        (changed(rest=(1, 2)), "observation['rest'] is a tuple of 2 parts, expected a tuple of 3"),
        (changed(rest=None), "observation['rest'] is a NoneType, expected a tuple of 3"),
        (rest(_0=[[0, 0], [0, 0]]), "['rest'][0] [[0 0]\n [0 0]] is not in MultiDiscrete"),
        (rest(_1=[[2, 0], [0, 0]]), "is not in MultiBinary"),
        (rest(_1=[2, 0]), "['rest'][1] has shape (2,)"),
        (rest(_2=[0, np.nan, 0]), "['rest'][2] is nan, entry [1]; it must be finite"),
        (rest(_2=[[0], [1, 2]]), "['rest'][2] is not an array"),
    ],
    ids=lambda one: one[:40] if isinstance(one, str) else "",
)
def test_what_is_not_in_the_space_is_a_fault_that_names_the_part(obs: Any, part: str) -> None:
    class Mine(ResetsTo):
        def __init__(self) -> None:
            super().__init__(obs)
            self.observation_space = MIXED

    env = GymBatchEnv(Mine, [SeedStreams(0, 0)], 1)
    with pytest.raises(EnvironmentFault) as caught:
        env.reset()
    assert part in str(caught.value)
    assert "episode 0, step 0" in str(caught.value)


def test_flattened_observations_can_be_divided_into_bins_and_resumed() -> None:
    # An entry of a Box that is observed outside its bounds stays as it is.
    space = spaces.Tuple((D(2), B(-1, 1, (1,))))
    assert ObservationEncoder(space)((1, [3.0])).tolist() == [0.0, 1.0, 3.0]
