"""Which spaces are supported, and that the advice for the others works when it is followed."""

from __future__ import annotations

import re
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from rlkit.agent import Task
from rlkit.agents.ppo import PPO, PPOConfig
from rlkit.agents.tabular.q_learning import QLearning, QLearningConfig
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.environments.spaces import (
    action_advice,
    observation_advice,
    require_supported,
    spaces_of,
)
from rlkit.environments.views.observations import seen_by_agents
from rlkit.errors import EnvironmentFault, UsageError
from rlkit.loop import interact
from rlkit.seeding import SeedStreams

STREAMS = (SeedStreams(0, 0), SeedStreams(0, 1))


class Sampled(gymnasium.Env[Any, Any]):
    """Observes samples of one space, and notes the actions that are not in the other."""

    def __init__(self, observation_space: Any, action_space: Any) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.actions: list[Any] = []

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        self.observation_space.seed(seed)
        self.t = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        self.actions.append(action)
        self.t += 1
        return self.observation_space.sample(), 0.0, self.t == 5, False, {}


def followed(advice: str, env: Any) -> Any:
    """What the expression in an advice makes of an environment, as a user would type it."""
    expression = advice[: advice.rindex(" gives one")]
    return eval(expression, {"gymnasium": gymnasium, "np": np, "env": env})


def train(make: Any, *, tabular: bool) -> None:
    """Train both agents, or only the one with a network, for some steps."""
    agents: Any = [(PPO, PPOConfig(rollout_length=4, hidden_sizes=(4,)))]
    if tabular:
        agents.append((QLearning, QLearningConfig()))
    for agent, config in agents:
        env = GymBatchEnv(make, STREAMS, 2)
        task = Task(env.observation_space, env.action_space, STREAMS, 2, 100)
        for _ in interact(agent(task, config), env, 12):
            pass
        env.close()


D = spaces.Discrete
ENUMERABLE = {
    "blackjack": spaces.Tuple((D(32), D(11), D(2))),
    "starts": spaces.Tuple((D(3, start=-1), D(2, start=5))),
    "one": spaces.Tuple((D(3, start=2),)),
    "small types": spaces.Tuple((D(3, dtype=np.uint8), D(2, start=1, dtype=np.int8))),
    "nested": spaces.Tuple((spaces.Tuple((D(2), D(3, start=1))), D(2))),
    "tuple of multi": spaces.Tuple((spaces.MultiDiscrete([2, 3], start=[1, 0]), D(2))),
    "multi": spaces.MultiDiscrete([2, 3, 4]),
    "multi with start": spaces.MultiDiscrete([2, 3], start=[-1, 7]),
    "multi of bytes": spaces.MultiDiscrete([2, 3], dtype=np.uint8),
    "unsigned": spaces.MultiDiscrete([2, 3], dtype=np.uint64),
    "unsigned multi with start": spaces.MultiDiscrete([2, 3], start=[4, 0], dtype=np.uint64),
    "unsigned in two axes": spaces.MultiDiscrete([[2, 3]], start=[[4, 0]], dtype=np.uint64),
    "unsigned with start": spaces.Tuple((D(3, start=1, dtype=np.uint64), D(2, dtype=np.uint64))),
    "multi in two axes": spaces.MultiDiscrete(np.array([[2, 3], [4, 1]])),
    "in two axes with start": spaces.MultiDiscrete([[2, 3], [4, 1]], start=[[1, 0], [0, -2]]),
    "single multi": spaces.MultiDiscrete([4]),
    "binary": spaces.MultiBinary(3),
    "long binary": spaces.MultiBinary(12),
    "binary in two axes": spaces.MultiBinary([2, 2]),
    "dict": spaces.Dict(a=D(2), b=D(3, start=-1), c=spaces.MultiBinary(2)),
    "one in a dict": spaces.Dict({"it's": D(4, start=1)}),
}


def number_of(space: Any) -> int:
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    if isinstance(space, spaces.MultiBinary):
        return int(2 ** np.prod(space.shape))
    if isinstance(space, spaces.MultiDiscrete):
        return int(space.nvec.prod())
    parts = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
    return int(np.prod([number_of(part) for part in parts]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ENUMERABLE)
def test_observations_of_discrete_parts_are_trained_on_as_one_number(name: str) -> None:
    space = ENUMERABLE[name]
    assert seen_by_agents(space) == D(number_of(space))
    env = GymBatchEnv(lambda: Sampled(space, D(2)), STREAMS, 3)
    assert env.observation_space == D(number_of(space))
    seen: set[int] = set(env.reset().ravel().tolist())
    for _ in range(100):
        step = env.step(np.zeros((2, 3), dtype=np.int64))
        seen |= set(step.next_obs.ravel().tolist())
    assert seen <= set(range(number_of(space)))
    assert len(seen) > 0.9 * min(number_of(space), 70)
    train(lambda: Sampled(space, D(2)), tabular=True)


BOX = spaces.Box(-1, 1, (2, 3), np.float32)
FLATTENED = {
    "dict": spaces.Dict(image=spaces.Box(0, 255, (2, 2), np.uint8), speed=BOX),
    "mixed dict": spaces.Dict(place=D(4, start=1), speed=BOX),
    "mixed tuple": spaces.Tuple((D(4), BOX, spaces.MultiBinary(3))),
    "many digits": spaces.MultiBinary(60),
    "many combinations": spaces.MultiDiscrete([1000, 1000]),
    "many in a dict": spaces.Dict(a=D(1000), b=spaces.Tuple((D(1000), D(2)))),
}
WRAPPED = {"text": spaces.Text(5), "one of": spaces.OneOf((D(2), BOX))}


@pytest.mark.parametrize("name", FLATTENED)
def test_other_observations_of_fixed_size_are_trained_on_as_one_vector(name: str) -> None:
    train(lambda: Sampled(FLATTENED[name], D(2)), tabular=False)


@pytest.mark.parametrize("name", WRAPPED)
def test_those_that_only_gymnasium_flattens_need_its_wrapper(name: str) -> None:
    space = WRAPPED[name]
    with pytest.raises(UsageError, match=r"gymnasium.wrappers.FlattenObservation\(env\)"):
        require_supported("Mine", space, D(2))
    advice = observation_advice(space)
    assert advice.startswith("gymnasium.wrappers.FlattenObservation(env)")
    make = lambda: followed(advice, Sampled(space, D(2)))  # noqa: E731
    assert isinstance(make().observation_space, spaces.Box)
    train(make, tabular=False)


class Strange(spaces.Space[Any]):
    """A space of the user's own."""


VARYING = {
    "sequence": spaces.Sequence(D(3)),
    "sequence in a dict": spaces.Dict(a=BOX, b=spaces.Sequence(BOX)),
    "graph": spaces.Graph(BOX, None),
    "strange": Strange(),
    "strange in a tuple": spaces.Tuple((D(2), Strange())),
    "no parts": spaces.Tuple(()),
    "no entries": spaces.Dict(),
    "no numbers": spaces.Box(-1.0, 1.0, (2, 0)),
    "a billion": spaces.MultiDiscrete([10**9, 2]),
    "a billion bits": spaces.MultiBinary(10**9),
}


@pytest.mark.parametrize("name", VARYING)
def test_other_observations_need_a_wrapper_of_ones_own(name: str) -> None:
    assert re.search(r"ObservationWrapper of your own.*Box", observation_advice(VARYING[name]))
    assert "FlattenObservation" not in observation_advice(VARYING[name])


@pytest.mark.parametrize("name", [name for name in VARYING if "billion" not in name])
def test_flattening_those_would_not_help(name: str) -> None:
    # Where Gymnasium flattens it to another unsupported space, or cannot, it must not be advised.
    space = VARYING[name]
    try:
        flat: Any = spaces.flatten_space(space)
    except (NotImplementedError, ValueError):
        return
    assert not isinstance(flat, spaces.Box) or flat.shape == (0,) or not space.is_np_flattenable


def test_a_wrapper_that_is_there_is_not_advised_again() -> None:
    env = gymnasium.wrappers.FlattenObservation(Sampled(VARYING["sequence"], D(2)))
    with pytest.raises(UsageError) as caught:
        require_supported("Mine", env.observation_space, env.action_space)
    assert "FlattenObservation" not in str(caught.value)
    assert "ObservationWrapper of your own" in str(caught.value)


UNSUPPORTED_ACTIONS = {**VARYING, **WRAPPED}
ONE_ACTION = {
    "sequence": (1, 2),
    "sequence in a dict": {"a": np.zeros((2, 3), np.float32), "b": ()},
    "text": "left",
    "one of": (0, 1),
    "a billion": np.array([5, 1]),
}


@pytest.mark.trap("F44")
@pytest.mark.parametrize("name", UNSUPPORTED_ACTIONS)
def test_other_actions_need_a_transformation_of_ones_own(name: str) -> None:
    space = UNSUPPORTED_ACTIONS[name]
    with pytest.raises(UsageError) as caught:
        require_supported("Mine", D(2), space)
    assert action_advice(space) in str(caught.value)
    assert f"an action of this {type(space).__name__}" in str(caught.value)


@pytest.mark.parametrize("name", ONE_ACTION)
def test_the_transformation_that_is_advised_can_be_trained_on(name: str) -> None:
    space, action = UNSUPPORTED_ACTIONS[name], ONE_ACTION[name]
    expression = action_advice(space).partition(",")[0] + ", func, space)"
    names = {"gymnasium": gymnasium, "func": lambda a: action, "space": D(2)}
    train(lambda: eval(expression, {**names, "env": Sampled(D(3), space)}), tabular=True)


@pytest.mark.parametrize("name", [*ENUMERABLE, *FLATTENED])
def test_actions_of_several_parts_reach_the_environment_in_its_own_space(name: str) -> None:
    train(lambda: Sampled(D(3), {**ENUMERABLE, **FLATTENED}[name]), tabular=False)


def test_blackjack_is_trained_on_as_it_is() -> None:
    def make() -> Any:
        return gymnasium.make("Blackjack-v1", disable_env_checker=True)

    env = GymBatchEnv(make, STREAMS, 1)
    assert env.observation_space == D(32 * 11 * 2)
    (player, dealer, ace), _ = make().reset(seed=STREAMS[0].episode_seed("env", 0, 0))
    assert env.reset()[0, 0] == (player * 11 + dealer) * 2 + ace
    train(make, tabular=True)


def test_an_observation_outside_its_parts_is_the_fault_of_the_environment() -> None:
    class Beyond(Sampled):
        def reset(self, **_: Any) -> Any:
            return (2, 5), {}

    env = GymBatchEnv(lambda: Beyond(ENUMERABLE["starts"], D(2)), STREAMS, 1)
    with pytest.raises(EnvironmentFault, match=r"observation \(2, 5\) is not in Tuple"):
        env.reset()


# --- spaces that are missing ----------------------------------------------------------------------


class OnlyInReset(Sampled):
    def __init__(self, missing: str) -> None:
        super().__init__(D(2), D(2))
        delattr(self, f"{missing}_space")


class Raising(Sampled):
    def __init__(self) -> None:
        self.action_space = D(2)

    @property
    def observation_space(self) -> Any:
        raise NotImplementedError("later")


@pytest.mark.parametrize("role", ["observation", "action"])
@pytest.mark.parametrize(
    "wrapper", [lambda env: env, lambda env: gymnasium.wrappers.TimeLimit(env, 5)]
)
def test_a_missing_space_is_to_be_set_in_the_constructor(role: str, wrapper: Any) -> None:
    with pytest.raises(UsageError) as caught:
        GymBatchEnv(lambda: wrapper(OnlyInReset(role)), STREAMS, 1)
    assert f"OnlyInReset has no {role}_space" in str(caught.value)
    assert f"set self.{role}_space" in str(caught.value)
    assert "in the constructor" in str(caught.value)


@pytest.mark.parametrize("role", ["observation", "action"])
@pytest.mark.parametrize("value", [None, 4, (2,), spaces.Discrete, "Discrete(2)", np.zeros(2)])
def test_objects_that_are_not_spaces_are_rejected(role: str, value: Any) -> None:
    env = Sampled(D(2), D(2))
    setattr(env, f"{role}_space", value)
    with pytest.raises(UsageError) as caught:
        spaces_of(env, "Mine")
    assert f"Mine has the {role}_space {value!r}, which is not a gymnasium space" in str(
        caught.value
    )
    assert "in the constructor" in str(caught.value)


def test_a_space_that_cannot_be_read_is_rejected_with_the_reason() -> None:
    with pytest.raises(UsageError, match=r"observation_space raised NotImplementedError.*later"):
        spaces_of(Raising(), "Mine")


def test_observations_without_numbers_are_rejected() -> None:
    with pytest.raises(UsageError, match="this has 0 numbers, expected at least 1"):
        require_supported("Mine", VARYING["no numbers"], D(2))
