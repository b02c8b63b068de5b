"""The file acts as the actor does, on spaces of every kind, or is not written."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import rlkit
from rlkit.errors import RlkitError, UsageError
from rlkit.training.exporting import onnx_policy
from rlkit.training.run import Run

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")


class Parts(gym.Env[Any, Any]):
    """Ten steps of whatever the spaces hold."""

    def __init__(self, observation: spaces.Space[Any], action: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observation, action

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        self._steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self._steps += 1
        return self.observation_space.sample(), 1.0, self._steps == 10, False, {}


class Nested(Parts):
    def __init__(self) -> None:
        super().__init__(
            spaces.Dict(
                {
                    "where": spaces.Tuple(
                        [spaces.Discrete(3, start=-1), spaces.Box(-1, 1, (2, 2))]
                    ),
                    "on": spaces.MultiBinary(2),
                    "which": spaces.MultiDiscrete([2, 3], start=[1, -1]),
                    "far": spaces.Box(-np.inf, np.inf, (), np.float64),
                }
            ),
            spaces.Dict(
                {
                    "gear": spaces.Discrete(3, start=2),
                    "push": spaces.Box(
                        np.array([-2.0, 0.0]), np.array([6.0, 1.0]), (2,), np.float64
                    ),
                    "lights": spaces.MultiBinary(2),
                }
            ),
        )


class Counted(Parts):
    def __init__(self) -> None:
        super().__init__(
            spaces.Tuple([spaces.Discrete(3, start=5), spaces.MultiDiscrete([2, 2])]),
            spaces.MultiDiscrete([[2, 3]], start=[[4, -1]]),
        )


class Pixels(Parts):
    def __init__(self) -> None:
        super().__init__(spaces.Box(0, 255, (3, 3), np.uint8), spaces.Box(-3, 9, (2,), np.int32))


_PPO = {"steps": 64, "rollout_length": 16, "envs": 2, "hidden_sizes": (5,), "evaluate_every": 64}
_PPO |= {"evaluation_episodes": 1, "learning_rate": 0.1}
CASES: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "nested": ("ppo", Nested, {"normalise_observations": True, "rescale_actions": True}),
    "nested, as it is": ("ppo", Nested, {"activation": "relu"}),
    "counted, ppo": ("ppo", Counted, {}),
    "counted, q-learning": ("q-learning", Counted, {}),
    "pixels": ("ppo", Pixels, {"rescale_actions": True, "learning_rate": 0.01}),
}


@pytest.fixture(scope="module")
def run_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    out, known = tmp_path_factory.mktemp("onnx"), dict[str, Run]()

    def run_of(case: str) -> Run:
        if case not in known:
            agent, env, options = CASES[case]
            budget = _PPO if agent == "ppo" else {"steps": 64, "evaluation_episodes": 1}
            known[case] = rlkit.train(agent, env, seeds=2, out=out, **{**budget, **options})
        return known[case]

    return run_of


def exported(run: Run | Path, place: Path, **options: Any) -> tuple[Any, list[str]]:
    notes: list[str] = []
    assert rlkit.export(run, onnx=place, note=notes.append, **options) == [place]
    return ort.InferenceSession(place.read_bytes(), providers=["CPUExecutionProvider"]), notes


def actions_of(session: Any, observations: list[Any]) -> dict[str, Any]:
    """Return the outputs for observations, whose parts are found by the names of the inputs."""
    feed = {}
    for one in session.get_inputs():
        kind = {"float": "f4", "double": "f8", "int64": "i8", "int8": "i1", "uint8": "u1"}
        values = [eval(one.name, {"observation": obs}) for obs in observations]
        feed[one.name] = np.array(values, dtype=kind[one.type[7:-1]])
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


@pytest.mark.parametrize("case", list(CASES))
def test_the_file_acts_as_the_actor_does(
    case: str, run_of: Callable[[str], Run], tmp_path: Path
) -> None:
    run = run_of(case)
    session, notes = exported(run, tmp_path / "policy.onnx", seed=1)
    env = CASES[case][1]()
    env.observation_space.seed(3)
    observations = [env.observation_space.sample() for _ in range(50)]
    given = actions_of(session, observations)
    actor = run.actor(1)
    expected = [actor.act(obs) for obs in observations]
    for name, values in given.items():
        wanted = np.array([eval(name, {"action": action}) for action in expected])
        assert values.shape == wanted.shape
        np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-5)
    first = [values[0] for values in given.values()]
    one = actions_of(session, observations[:1])
    for values, again in zip(first, one.values(), strict=True):
        np.testing.assert_allclose(values, again[0], rtol=0, atol=1e-5)
    assert len({str(action) for action in expected}) > 1, "a constant policy shows nothing"
    assert "on 1,000 observations" in notes[0]


@pytest.mark.parametrize(
    "name",
    ["ppo-normalised", "reinforce", "q-learning", "q-learning-bins", "value-iteration"],
)
def test_policies_of_gymnasiums_environments_are_written(
    name: str, trained_folder: Callable[..., Path], tmp_path: Path
) -> None:
    folder = trained_folder(name)
    exported(folder, tmp_path / "policy.onnx")
    about = {e.key: e.value for e in onnx.load(tmp_path / "policy.onnx").metadata_props}
    run = rlkit.load(folder)
    assert about["identity"] == run.record["identity"]
    assert (about["agent"], about["seed"]) == (run.agent, "0")
    assert about["environment"] == run.record["environment"]


def test_the_same_policy_has_the_same_bytes(
    trained_folder: Callable[..., Path], tmp_path: Path
) -> None:
    for name in ("a.onnx", "b.onnx"):
        exported(trained_folder("q-learning"), tmp_path / name)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_a_wrong_graph_is_not_kept(
    trained_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlkit.training.exporting import onnx_graph

    def unnormalised(graph: Any, x: str, space: Any, arrays: Any, activation: str) -> str:
        kept = {name: array for name, array in arrays.items() if name != "moments"}
        return true(graph, x, space, kept, activation)

    true = onnx_graph.network
    monkeypatch.setattr(onnx_graph, "network", unnormalised)
    with pytest.raises(RlkitError, match=r"acts differently .* no file was written"):
        rlkit.export(trained_folder("ppo-normalised"), onnx=tmp_path / "policy.onnx")
    monkeypatch.setattr(
        onnx_policy, "_table", lambda run, actor, number, view: np.full((number, 1), 3.0)
    )
    with pytest.raises(RlkitError, match=r"on \d+ of 1,000 observations"):
        rlkit.export(trained_folder("q-learning"), onnx=tmp_path / "policy.onnx")
    assert not list(tmp_path.glob("*.onnx"))


def test_an_observation_outside_of_the_space_is_an_error_and_not_another_state(
    run_of: Callable[[str], Run], tmp_path: Path
) -> None:
    session, _ = exported(run_of("counted, q-learning"), tmp_path / "policy.onnx")
    session.run(None, {"observation[0]": [7], "observation[1]": [[1, 1]]})
    for first, rest in ((8, [0, 0]), (4, [1, 1]), (5, [0, 2]), (7, [-1, 1])):
        with pytest.raises(Exception, match="indices element out of data bounds"):
            session.run(None, {"observation[0]": [first], "observation[1]": [rest]})


@pytest.mark.long
def test_policies_without_a_graph_are_rejected_by_name(
    trained_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "policy.onnx"
    with pytest.raises(UsageError, match="the policy of random draws its actions at random"):
        rlkit.export(trained_folder("random"), onnx=place)
    with pytest.raises(UsageError, match=r"lspi on the observations Box\(.*has no graph"):
        rlkit.export(trained_folder("lspi"), onnx=place)
    with pytest.raises(UsageError, match="not 99"):
        rlkit.export(trained_folder("q-learning"), onnx=place, seed=99)
    masked = trained_folder("q-learning", action_masks=True, environment="Taxi-v4", compiled=False)
    with pytest.raises(UsageError, match="action masks"):
        rlkit.export(masked, onnx=place)
    true = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("onnxruntime"):
            raise ModuleNotFoundError("No module named 'onnxruntime'", name="onnxruntime")
        return true(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r'pip install "rlkit\[onnx\]"'):
        rlkit.export(trained_folder("q-learning"), onnx=place)
    assert not place.exists()
