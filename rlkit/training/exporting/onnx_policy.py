"""The greedy policy of a seed as an ONNX file, checked against its actor."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
import json
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from rlkit.agent import Actor
from rlkit.determinism import own_settings
from rlkit.environments.copies import problem_of_closing
from rlkit.environments.stepping.watchdog import ENV_TIMEOUT, watched
from rlkit.environments.views.action_view import ActionView
from rlkit.environments.views.actions import ActionLayout
from rlkit.environments.views.leaves import AnySpace, bounds_of, build, leaves
from rlkit.environments.views.observations import ObservationEncoder
from rlkit.errors import RlkitError, UsageError, missing_extra
from rlkit.processes.calls import RESET, STEP, Abandoned, describe_abandoned, noted
from rlkit.training.run import Run

if TYPE_CHECKING:
    from rlkit.training.exporting.onnx_graph import Graph

Array = NDArray[Any]

NUM_CHECKED = 1_000
MOST_STATES = 1_000_000  # of a table in a file
TOLERANCE = 1e-5  # of real actions, relative above 1; the last digits of float32 sums
_FAR = 1e6  # no number of a drawn observation is larger


@runtime_checkable
class _Network(Protocol):
    """An actor whose policy is one network, as `NetworkActor` and those that wrap it."""

    def arrays(self) -> tuple[dict[str, Array], str]: ...
    def outputs(self, obs: Array) -> Any: ...


class Checked(NamedTuple):
    """How far a file's actions are from those of its actor."""

    difference: float  # the largest of real numbers, relative above 1
    num_ties: int  # observations whose best actions are equally good within rounding

    def __str__(self) -> str:
        ties = f", {self.num_ties} of them ties within rounding" if self.num_ties else ""
        return f"largest difference {self.difference:.1e} on {NUM_CHECKED:,} observations{ties}"


def onnx_policy(run: Run, seed: int) -> tuple[bytes, Checked]:
    """Return the ONNX file of a seed's greedy policy, and how it compares with its actor.

    Raises:
        UsageError: onnx or onnxruntime is missing, or the policy is of a kind that has no graph.
        RlkitError: the file acts differently from its actor.
    """
    try:
        import onnxruntime

        from rlkit.training.exporting.onnx_graph import Graph
    except ImportError as error:
        raise missing_extra("export: --onnx", "onnx", error) from error
    if run.record.get("action_masks"):
        raise UsageError(
            f"export: --onnx: the run {run.folder} was trained with action masks, so its policy is "
            "not a function of the observation alone"
        )
    with own_settings():
        actor = run.batch_actor([seed])
        content = _write(Graph(), run, seed, actor)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return content, _check(session, run, seed, actor)


def _write(graph: Graph, run: Run, seed: int, actor: Actor) -> bytes:
    from rlkit.training.exporting import onnx_graph

    environment, view = run.environment, run.environment.action_view
    seen, own = environment.observation_space, environment.probe.observation_space
    actions = environment.probe.action_space
    if isinstance(seen, spaces.Discrete):
        if seen.n > MOST_STATES:
            raise UsageError(
                f"export: --onnx: the policy of {run.agent} is a table of {int(seen.n):,} states, "
                f"and at most {MOST_STATES:,} are written"
            )
        index = onnx_graph.index_of(graph, own, environment.bins)
        row = graph.op("Gather", _table(run, actor, int(seen.n), view), index)
    elif isinstance(actor, _Network) and not view.is_numbered:
        arrays, activation = actor.arrays()
        x = onnx_graph.vector_of(graph, own)
        outputs = onnx_graph.network(graph, x, seen, arrays, activation)
        row = onnx_graph.likeliest(graph, outputs, ActionLayout(view.space))
        row = onnx_graph.unscaled(graph, row, view)
    else:
        raise UsageError(
            f"export: --onnx: {run.agent} on the observations {own} has no graph; policies on "
            "discrete or binned observations have one, and the networks of ppo, reinforce and "
            "preference-ppo"
        )
    onnx_graph.give_actions(graph, row, actions)
    return graph.model(_about(run, seed))


def _table(run: Run, actor: Actor, num_states: int, view: ActionView) -> Array:
    """Return the action in each state as a row of the environment's layout, [states, columns]."""
    states = np.arange(num_states)[None]
    chosen = [np.asarray(actor.act(states)) for _ in range(3)]
    if any(not np.array_equal(chosen[0], again) for again in chosen[1:]):
        raise UsageError(
            f"export: --onnx: the policy of {run.agent} draws its actions at random, and a graph "
            "holds one action per observation"
        )
    rows: Array = view.to_layout(chosen[0])[0].reshape(num_states, -1).astype(np.float64)
    return rows


def _about(run: Run, seed: int) -> dict[str, str]:
    """Return the metadata of the file: what the policy is, and the run that it is from."""
    environment = run.environment
    return {
        "agent": run.agent,
        "environment": str(run.record["environment"]),
        "env_args": json.dumps(run.record["env_args"]),
        "observation_space": str(environment.probe.observation_space),
        "action_space": str(environment.probe.action_space),
        "policy": "greedy",
        "config": json.dumps(run.record["config"]),
        "seed": str(seed),
        "num_env_steps": str(run.num_env_steps),
        "rlkit": run.record["versions"].get("rlkit", ""),
        "identity": run.record.get("identity", ""),
    }


def _observations(run: Run, seed: int) -> list[Any]:
    """Return observations to compare on: half from episodes, half drawn from the space."""
    rng, space = np.random.default_rng(seed), run.environment.probe.observation_space
    observations: list[Any] = []
    if not run.environment.is_batched:
        with contextlib.closing(_played(run, seed, rng)) as played:
            observations += itertools.islice(played, NUM_CHECKED // 2)
    while len(observations) < NUM_CHECKED:
        observations.append(build(space, functools.partial(_drawn, rng)))
    return observations


def _played(run: Run, seed: int, rng: np.random.Generator) -> Generator[Any]:
    """Yield the observations of episodes in which every second action is the policy's."""
    actor, env = run.actor(seed), run.environment.make()
    env.action_space.seed(seed)
    try:
        with watched(ENV_TIMEOUT):
            while True:
                with noted(RESET):
                    obs, _ = env.reset(seed=int(rng.integers(2**31)))
                ended = False
                while not ended:
                    yield copy.deepcopy(obs)
                    action = actor.act(obs) if rng.random() < 0.5 else env.action_space.sample()
                    with noted(STEP):
                        obs, _, terminated, truncated, _ = env.step(action)
                    ended = bool(terminated or truncated)
    except Abandoned as error:
        text = describe_abandoned(error, "reset or step")
        raise RlkitError(f"export: --onnx: playing {run.environment.reference}: {text}") from error
    finally:
        problem_of_closing(env)


def _drawn(rng: np.random.Generator, space: AnySpace) -> Any:
    """Return a value of a leaf; numbers of a Box are within reach of its finite bounds."""
    if isinstance(space, spaces.Discrete):
        return int(space.start) + int(rng.integers(space.n))
    shape = space.shape or ()
    if isinstance(space, spaces.MultiDiscrete):
        return (space.start + (rng.random(shape) * space.nvec).astype(np.int64)).astype(space.dtype)
    if isinstance(space, spaces.MultiBinary):
        return rng.integers(2, size=shape).astype(space.dtype)
    assert isinstance(space, spaces.Box)
    low, high = (np.clip(side, -_FAR, _FAR).reshape(shape) for side in bounds_of(space))
    wide = rng.normal(scale=10.0, size=shape)
    numbers = np.where(high - low < _FAR, low + rng.random(shape) * (high - low), wide)
    return np.clip(numbers, low, high).astype(space.dtype)


def _check(session: Any, run: Run, seed: int, actor: Actor) -> Checked:
    """Compare a file with the actor, one observation at a time there and all at once here.

    Raises:
        RlkitError: they differ by more than rounding.
    """
    environment = run.environment
    space, actions = environment.probe.observation_space, environment.probe.action_space
    observations, policy = _observations(run, seed), run.actor(seed)
    chosen = [policy.act(obs) for obs in observations]
    feed = {
        f"observation{leaf.name}": np.stack([leaf.value_in(obs) for obs in observations]).astype(
            leaf.dtype
        )
        for leaf in leaves(space)
    }
    given = session.run([f"action{leaf.name}" for leaf in leaves(actions)], feed)
    difference, other = 0.0, np.zeros(len(observations), dtype=np.bool_)
    for leaf, values in zip(leaves(actions), given, strict=True):
        expected = np.stack([np.asarray(leaf.value_in(action)) for action in chosen])
        if isinstance(leaf.space, spaces.Box):
            difference = max(difference, _difference(values, expected))
        else:
            other |= (values != expected).reshape(len(observations), -1).any(axis=1)
    wrong = [k for k in np.flatnonzero(other).tolist() if not _is_tie(actor, run, observations[k])]
    if wrong or difference > TOLERANCE:
        raise RlkitError(
            f"export: --onnx: the graph of {run.agent} acts differently from its actor on "
            f"{len(wrong)} of {NUM_CHECKED:,} observations, real actions by up to {difference:.2g} "
            f"(relative above 1; at most {TOLERANCE:g} is rounding), so no file was written"
        )
    return Checked(difference, int(other.sum()))


def _difference(values: Array, expected: Array) -> float:
    """Return the largest difference, relative above 1; infinite where only one is a number."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(values.astype(np.float64) - expected) / np.maximum(1.0, np.abs(expected))
    apart = np.where(values == expected, 0.0, np.where(np.isnan(apart), np.inf, apart))
    return float(apart.max(initial=0.0))


def _is_tie(actor: Actor, run: Run, obs: Any) -> bool:
    """Return whether the best two outputs of a choice are equal within rounding."""
    if not isinstance(actor, _Network) or isinstance(
        run.environment.observation_space, spaces.Discrete
    ):
        return False
    encoded = ObservationEncoder(run.environment.probe.observation_space)(obs)
    with own_settings():
        outputs = np.asarray(actor.outputs(encoded[None, None]))[0, 0]
    first = 0
    for number, size in ActionLayout(run.environment.action_view.space).blocks:
        own = outputs[first : first + number * max(1, size)]
        first += len(own)
        if size > 1:
            best = np.sort(own.reshape(number, size), axis=1)[:, -2:]
            if (best[:, 1] - best[:, 0] <= TOLERANCE * np.maximum(1.0, abs(best[:, 1]))).any():
                return True
    return False
