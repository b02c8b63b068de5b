"""What an agent may return as its actions, and how a fault of it is reported."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rlkit.environments.actions import action_check
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.environments.resolve import find_environment
from rlkit.environments.table import TabularBatchEnv
from rlkit.errors import AgentFault, UsageError
from rlkit.loop import interact, play
from rlkit.seeding import SeedStreams
from rlkit.tabular.mdp import TabularMDP
from tests.faulty_envs import Counter, Recorder, Replaced, Shifted

STREAMS = tuple(SeedStreams(0, index) for index in range(2))


class MyAgent:
    """Returns the same thing as its action, always."""

    def __init__(self, action: Any) -> None:
        self.action = action

    def act(self, obs: Any) -> Any:
        return self.action

    def learn(self, transition: Any) -> Mapping[str, Any]:
        self.transition = transition
        return {}


BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
RIGHT = np.array([[0, 1, 2], [2, 1, 0]])
BOX_RIGHT = np.arange(12.0).reshape(2, 3, 2)


def grids(kind: str) -> Any:
    """A grid of 3 actions; "box" has BOX."""
    if kind == "tabular":
        table = [[[(1.0, 0, float(a), False)] for a in range(3)]]
        return TabularBatchEnv(
            TabularMDP.from_successors(table, initial_distribution=np.ones(1)), STREAMS, 3
        )
    if kind == "native":
        return find_environment("MountainCar-v0").grid(STREAMS, 3, kind="native")
    if kind == "box":
        return GymBatchEnv(lambda: Counter(5, action_space=BOX), STREAMS, 3)
    return GymBatchEnv(lambda: Shifted(4, -1) if kind == "shifted" else Counter(5), STREAMS, 3)


DISCRETE_KINDS = ["tabular", "native", "gymnasium", "shifted"]


@pytest.mark.parametrize("kind", DISCRETE_KINDS)
@pytest.mark.parametrize(
    "action",
    [
        RIGHT.tolist(),
        tuple(map(tuple, RIGHT.tolist())),
        torch.tensor(RIGHT),
        *(RIGHT.astype(dtype) for dtype in (np.int8, np.uint8, np.int32, np.uint64, ">i4")),
        np.asfortranarray(RIGHT),
    ],
    ids=lambda action: f"{type(action).__name__}-{getattr(action, 'dtype', '')}",
)
def test_integers_of_any_type_are_actions(kind: str, action: Any) -> None:
    agent, reference = MyAgent(action), MyAgent(RIGHT)
    env = grids(kind)
    for one in (agent, reference):
        list(interact(one, env, 2))  # type: ignore[arg-type]
    assert type(agent.transition.action) is np.ndarray
    for ours, theirs in zip(agent.transition, reference.transition, strict=True):
        assert (ours == theirs).all()


def with_entry(action: Any, place: tuple[int, ...], value: Any, dtype: Any = None) -> Any:
    changed = np.array(action, dtype=dtype)
    changed[place] = value
    return changed


@pytest.mark.parametrize("kind", DISCRETE_KINDS)
@pytest.mark.parametrize("value", [-1, 3, 255, -(2**63), 2**63 - 1])
def test_an_action_out_of_range_names_the_agent_the_seed_and_the_copy(
    kind: str, value: int
) -> None:
    action = with_entry(RIGHT, (1, 2), value)
    for call in (
        lambda: list(interact(MyAgent(action), grids(kind), 2, seeds=[4, 7])),  # type: ignore[arg-type]
        lambda: play(MyAgent(action), grids(kind), max_steps=3, seeds=(4, 7)),
    ):
        with pytest.raises(AgentFault) as caught:
            call()
        assert caught.value.seed == 7
        for part in ("seed 7", "MyAgent.act", str(value), "copy 2", "an integer from 0 to 2"):
            assert part in str(caught.value)


@pytest.mark.parametrize("shape", [(1, 1), (2, 32), (5, 13), (10, 64)])
@pytest.mark.parametrize("value", [-1, 4, -(2**63), 2**63 - 1])
def test_one_action_out_of_range_is_found_in_a_grid_of_any_size(
    shape: tuple[int, int], value: int
) -> None:
    check = action_check("MyAgent", spaces.Discrete(4), shape)
    actions, idle = np.full(shape, 3), np.zeros(shape, dtype=bool)
    assert check(actions, idle) is actions
    actions[-1, -1] = value
    with pytest.raises(AgentFault, match=f"the action {value} for environment copy {shape[1] - 1}"):
        check(actions, idle)


@pytest.mark.trap("T73")
def test_small_and_unsigned_types_are_checked_as_what_they_are() -> None:
    for dtype in (np.int8, np.uint8, np.uint64, ">i2"):
        check = action_check("MyAgent", spaces.Discrete(100), (2, 3))
        idle = np.zeros((2, 3), dtype=bool)
        assert (check(RIGHT.astype(dtype), idle) == RIGHT).all()
        with pytest.raises(AgentFault, match="seed 0"):
            check(with_entry(RIGHT, (0, 1), 100, dtype), idle)
        if np.dtype(dtype).kind == "i":
            with pytest.raises(AgentFault, match="action -1 "):
                check(with_entry(RIGHT, (0, 1), -1, dtype), idle)


WRONG = {
    "float": (RIGHT + 0.7, "an array of float64 and shape [2, 3]", "not rounded"),
    "integral float": (RIGHT * 1.0, "an array of float64 and shape [2, 3]", "not rounded"),
    "bool": (RIGHT > 0, "an array of bool", "astype(int)"),
    "object": (RIGHT.astype(object), "an array of object", ""),
    "text": (RIGHT.astype(str), "an array of <U21", ""),
    "scalar": (0, "the number 0", "2 seeds and 3 environments"),
    "numpy scalar": (np.int64(1), "the number 1", "2 seeds and 3 environments"),
    "nan": (float("nan"), "the number nan", ""),
    "truth": (True, "True of type bool", ""),
    "none": (None, "None", ""),
    "one seed": (RIGHT[0], "an array of int64 and shape [3]", "2 seeds and 3 environments"),
    "one more axis": (RIGHT[..., None], "an array of int64 and shape [2, 3, 1]", ""),
    "transposed": (RIGHT.T, "an array of int64 and shape [3, 2]", ""),
    "ragged": ([[0, 1], [1]], "a list of 2 with parts of different lengths", ""),
    "pair": ((RIGHT, None), "a tuple of 2 with parts of different lengths", ""),
    "floats in lists": ((RIGHT * 1.0).tolist(), "a list of float64 and shape [2, 3]", ""),
    "dict": ({"action": 1}, "{'action': 1} of type dict", ""),
    "gradient": (torch.tensor(RIGHT * 1.0, requires_grad=True), "a Tensor", "detach"),
    "empty": ([], "a list of float64 and shape [0]", ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", DISCRETE_KINDS)
@pytest.mark.parametrize("name", WRONG)
def test_values_that_are_not_arrays_of_actions_are_described(name: str, kind: str) -> None:
    action, description, hint = WRONG[name]
    for call in (
        lambda: list(interact(MyAgent(action), grids(kind), 2)),  # type: ignore[arg-type]
        lambda: play(MyAgent(action), grids(kind), max_steps=3),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        text = str(caught.value)
        assert text.startswith(f"MyAgent.act returned {description}"), text
        assert "expected integers of shape [2, 3]" in text
        assert hint in text


@pytest.mark.parametrize(
    "action",
    [
        BOX_RIGHT,
        BOX_RIGHT.astype(np.float16),
        BOX_RIGHT.astype(np.int8),
        BOX_RIGHT.tolist(),
        torch.tensor(BOX_RIGHT),
        with_entry(BOX_RIGHT, (1, 2, 0), np.inf),
        with_entry(BOX_RIGHT, (1, 2, 0), -1e300),
    ],
    ids=lambda action: f"{type(action).__name__}-{getattr(action, 'dtype', '')}",
)
def test_numbers_are_actions_of_a_box_and_clipped(action: Any) -> None:
    made = Recorder(lambda: Counter(5, action_space=BOX))
    list(interact(MyAgent(action), GymBatchEnv(made, STREAMS, 3), 2))  # type: ignore[arg-type]
    expected = np.clip(np.asarray(action, dtype=float), -1, 1).reshape(6, 2)
    assert [single.actions[0].tolist() for single in made.made] == expected.tolist()


@pytest.mark.trap("T72")
def test_nan_in_an_action_is_blamed_on_the_agent() -> None:
    action = with_entry(BOX_RIGHT, (1, 2, 1), np.nan)
    with pytest.raises(AgentFault) as caught:
        list(interact(MyAgent(action), grids("box"), 2, seeds=[0, 9]))  # type: ignore[arg-type]
    for part in ("seed 9", "MyAgent.act returned nan", "entry [1]", "copy 2", str(BOX)):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "action",
    [BOX_RIGHT[..., 0], BOX_RIGHT > 0, BOX_RIGHT * 1j, 0.5, None, BOX_RIGHT.astype(object)],
    ids=lambda action: f"{type(action).__name__}-{getattr(action, 'dtype', '')}",
)
def test_other_arrays_are_no_actions_of_a_box(action: Any) -> None:
    with pytest.raises(UsageError, match=r"^MyAgent.act returned .*numbers of shape \[2, 3, 2\]"):
        list(interact(MyAgent(action), grids("box"), 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39, -1e39, np.nan])
def test_without_bounds_an_action_must_be_finite_in_the_spaces_type(value: float) -> None:
    space = spaces.Box(np.float32([-1, -np.inf]), np.float32([1, np.inf]))
    check = action_check("MyAgent", space, (2, 3))
    idle = np.zeros((2, 3), dtype=bool)
    with pytest.raises(AgentFault, match=r"seed 1: MyAgent.act returned .*entry \[1\].*copy 0"):
        check(with_entry(BOX_RIGHT, (1, 0, 1), value), idle)
    bounded = with_entry(BOX_RIGHT, (1, 0, 0), value)
    if not np.isnan(value):
        assert check(bounded, idle) is bounded


@pytest.mark.parametrize("dtype", [np.int32, np.uint8])
def test_a_box_of_integers_takes_numbers(dtype: Any) -> None:
    space = spaces.Box(-np.inf if dtype is np.int32 else 0, 200, (2,), dtype)
    check = action_check("MyAgent", space, (2, 3))
    assert check(BOX_RIGHT, np.zeros((2, 3), dtype=bool)) is BOX_RIGHT


def test_a_fault_of_the_environment_is_not_blamed_on_the_agent() -> None:
    env = GymBatchEnv(lambda: Replaced(1, reward=float("nan")), STREAMS, 3)
    with pytest.raises(Exception, match="reward is nan"):
        list(interact(MyAgent(RIGHT), env, 2))  # type: ignore[arg-type]


def test_the_indices_of_seeds_must_be_as_many_as_the_seeds() -> None:
    with pytest.raises(UsageError, match="2 seeds"):
        list(interact(MyAgent(RIGHT), grids("tabular"), 2, seeds=[1]))  # type: ignore[arg-type]


# --- actions of several parts, and masks ----------------------------------------------------------

PARTS = spaces.Dict(a=spaces.Discrete(3), b=spaces.Tuple((BOX,)), c=spaces.MultiBinary(2))
ROW = [2.0, 0.5, -7.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({0: 3}, r"returned 3.0 in column 0, the part \['a'\], of .*copy 1, .* from 0 to 2"),
        ({0: 0.5}, r"returned 0.5 in column 0"),
        ({4: -1}, r"column 4, the part \['c'\]\[1\], .* from 0 to 1"),
        (
            {1: np.nan},
            r"returned nan in column 1, the part \['b'\]\[0\]\[0\], .* expected a number",
        ),
        ({2: np.inf}, r"returned inf in column 2"),
    ],
)
def test_a_wrong_part_of_an_action_is_named(change: dict[int, float], part: str) -> None:
    check = action_check("Mine", PARTS, (2, 2), [7, 9])
    actions = np.tile(ROW, (2, 2, 1))
    idle = np.zeros((2, 2), bool)
    assert np.array_equal(check(actions.tolist(), idle), actions)
    for column, value in change.items():
        actions[1, 1, column] = value
    with pytest.raises(AgentFault, match=part) as caught:
        check(actions, idle)
    assert caught.value.seed == 9
    idle[1, 1] = True
    assert np.isfinite(check(actions, idle)).all()


def test_discrete_parts_alone_are_integers() -> None:
    check = action_check("Mine", spaces.MultiDiscrete([3, 2]), (1, 1))
    with pytest.raises(UsageError, match="are not rounded"):
        check(np.zeros((1, 1, 2)), np.zeros((1, 1), bool))
    with pytest.raises(UsageError, match=r"expected integers of shape \[1, 1, 2\]"):
        check(np.zeros((1, 1), int), np.zeros((1, 1), bool))


def test_an_action_that_its_mask_forbids_is_a_fault_of_the_agent() -> None:
    check = action_check("Mine", spaces.Discrete(3), (2, 2), [7, 9])
    actions, idle = np.array([[0, 1], [2, 1]]), np.zeros((2, 2), bool)
    masks = np.ones((2, 2, 3), bool)
    assert check(actions, idle, masks) is actions
    masks[1, 0, 2] = False
    with pytest.raises(
        AgentFault, match="returned 2 for environment copy 0, an action that its mask"
    ):
        check(actions, idle, masks)
    idle[1, 0] = True
    assert check(actions, idle, masks) is actions
    rows = action_check("Mine", spaces.MultiDiscrete([3, 2]), (1, 1))
    allowed = np.array([[[1, 1, 1, 1, 0]]], bool)
    with pytest.raises(AgentFault, match="returned 1 in column 1"):
        rows(np.array([[[2, 1]]]), np.zeros((1, 1), bool), allowed)
