"""The compiled loop gives the bytes of the ordinary one, wherever it is used, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from rlkit.agent import Task
from rlkit.agents import AGENTS, find_agent
from rlkit.agents.compiled import Kernels, compiled_loop
from rlkit.agents.tabular.learning import updates
from rlkit.agents.tabular.learning.learner import TableLearner
from rlkit.agents.tabular.q_learning import QLearning, QLearningConfig
from rlkit.environments.table import TabularBatchEnv
from rlkit.environments.table_kernels import Outcome
from rlkit.loop import interact
from rlkit.maths.compiled import part
from rlkit.runs.execution import Interrupted
from rlkit.runs.reports import Reports
from rlkit.seeding import NoiseBlocks, SeedStreams
from rlkit.tabular.mdp import TabularMDP
from rlkit.training.run import Run
from rlkit.training.tracker import Tracker
from rlkit.training.train import train

SMALL: dict[str, Any] = {"seeds": 3, "steps": 2400, "evaluate_every": 700, "epsilon_steps": 1500}

# Every agent with kernels, with its delays and traces, in two ways.
LEARNERS: list[tuple[str, dict[str, Any]]] = [
    ("q-learning", {}),
    ("q-learning", {"trace_decay": 0.8, "exploration": "boltzmann", "temperature_steps": 900}),
    ("sarsa", {}),
    ("sarsa", {"trace_decay": 0.8, "traces": "accumulating", "step_size": 0.2}),
    ("expected-sarsa", {}),
    ("expected-sarsa", {"trace_decay": 0.8, "exploration": "boltzmann", "step_size": 0.2}),
    ("double-q-learning", {}),
    ("n-step-sarsa", {}),
    ("n-step-sarsa", {"return_steps": 1, "exploration": "boltzmann"}),
    ("monte-carlo", {}),
    ("monte-carlo", {"visit": "every", "step_size": 0.1, "step_size_end": 0.01}),
    ("dyna-q", {}),
    ("dyna-q", {"model_memory": 4, "exploration": "boltzmann"}),
]
# Compiling all of them takes half a minute, and again for several environments.
QUICK = LEARNERS[:3]


def _cases(others: pytest.MarkDecorator) -> pytest.MarkDecorator:
    """Return all learners in one and in three environments; the others are marked."""
    cases = []
    for learner in LEARNERS:
        for num_envs, quick in ((1, QUICK), (3, QUICK[:2])):
            marks = [] if learner in quick else [others if num_envs == 1 else pytest.mark.torture]
            cases.append(pytest.param(*learner, num_envs, marks=marks, id=f"{learner}-{num_envs}"))
    return pytest.mark.parametrize(("agent", "options", "num_envs"), cases)


each_learner = _cases(pytest.mark.slow)
each_quick_learner = _cases(pytest.mark.torture)


@pytest.fixture
def trained(out: Path) -> Callable[..., Run]:
    def trained(
        name: str, environment: str = "FrozenLake-v1", agent: str = "q-learning", **changes: Any
    ) -> Run:
        return train(agent, environment, out=out / name, **(SMALL | changes))

    return trained


@pytest.mark.filterwarnings("ignore::rlkit.errors.RlkitWarning")
@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ("FrozenLake-v1", {}),
        ("FrozenLake-v1", {"envs": 7, "step_size": 0.1}),
        ("Taxi-v4", {"env_args": {"is_rainy": True}, "initial_value": 1.0}),
        ("CliffWalking-v1", {"envs": 2, "discount": 1.0, "step_size_power": 1.0}),
    ],
)
def test_runs_have_the_bytes_of_the_ordinary_loop(
    environment: str, options: dict[str, Any], trained: Callable[..., Run], results: Any
) -> None:
    runs = [trained(str(c), environment, compiled=c, **options) for c in (True, False)]
    assert results(runs[0].folder) == results(runs[1].folder)
    assert runs[0].folder.name == runs[1].folder.name


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::rlkit.errors.RlkitWarning")
@each_learner
def test_runs_of_every_learner_have_the_bytes_of_the_ordinary_loop(
    agent: str, options: dict[str, Any], num_envs: int, trained: Callable[..., Run], results: Any
) -> None:
    runs = [
        trained(str(c), agent=agent, envs=num_envs, compiled=c, **options) for c in (True, False)
    ]
    assert results(runs[0].folder) == results(runs[1].folder)


@each_quick_learner
def test_every_learner_resumes_in_the_middle_of_an_episode_in_the_other_loop(
    agent: str,
    options: dict[str, Any],
    num_envs: int,
    trained: Callable[..., Run],
    results: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {**options, "agent": agent, "envs": num_envs, "seeds": 2}
    whole = trained("whole", **options)
    monkeypatch.setattr("rlkit.training.seed_trainer._COMPILED_STEPS", 131)
    answers = iter([False] * 4)
    with pytest.raises(Interrupted):
        trained("parts", reports=Reports(stop=lambda: next(answers, True)), **options)
    done = trained("parts", compiled=False, **options)
    assert results(done.folder) == results(whole.folder)


@pytest.mark.parametrize("first", [True, False])
def test_either_loop_continues_what_the_other_began(
    first: bool, trained: Callable[..., Run], results: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained("whole", compiled=False)
    monkeypatch.setattr("rlkit.training.seed_trainer._COMPILED_STEPS", 250)
    answers = iter([False] * 4)
    with pytest.raises(Interrupted):
        trained("parts", compiled=first, reports=Reports(stop=lambda: next(answers, True)))
    done = trained("parts", compiled=not first)
    assert results(done.folder) == results(whole.folder)


def test_every_learner_of_action_values_is_here() -> None:
    known = {name for name in AGENTS if issubclass(find_agent(name), TableLearner)}
    assert {name for name, _ in LEARNERS} == known


def test_threads_change_nothing(
    trained: Callable[..., Run], results: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = []
    for number in (1, 3):
        monkeypatch.setattr("rlkit.maths.compiled.num_threads", lambda number=number: number)
        runs.append(results(trained(str(number)).folder))
    assert runs[0] == runs[1]


def walk() -> TabularMDP:
    rng = np.random.default_rng(0)
    shape = (5, 3, 4)
    return TabularMDP.from_padded(
        probability=rng.dirichlet(np.ones(4), size=shape[:2]),
        next_state=rng.integers(5, size=shape),
        reward=rng.normal(size=shape),
        terminated=rng.random(shape) < 0.1,
        initial_distribution=np.array([0.5, 0.0, 0.3, 0.2, 0.0]),
        time_limit=9,
    )


DEFAULT = QLearningConfig()


class Parts(NamedTuple):
    agent: Any
    env: TabularBatchEnv
    tracker: Tracker


def parts(agent_class: Any = QLearning, num_envs: int = 2, config: Any = DEFAULT) -> Parts:
    streams = tuple(SeedStreams(3, s) for s in range(2))
    env = TabularBatchEnv(walk(), streams, num_envs)
    env.reset()
    task = Task(env.observation_space, env.action_space, streams, num_envs, 5000, walk())
    agent = agent_class(task) if config is None else agent_class(task, config)
    return Parts(agent, env, Tracker(2, num_envs, agent_class.metrics))


def learner_parts(agent: str, options: dict[str, Any], num_envs: int = 2) -> Parts:
    kind = find_agent(agent)
    return parts(kind, num_envs, kind.Config(**options))


def loop_of(made: Parts) -> Any:
    return compiled_loop(made.agent, made.env, made.tracker.totals, made.tracker.count)


def state_of(made: Parts) -> dict[str, Any]:
    return {
        f"{name} {key}": [np.asarray(one).tolist() for one in value]
        for name, part in made._asdict().items()
        for key, value in part.state_dict().items()
    }


@pytest.mark.parametrize("pieces", [[1000], [255, 1, 256, 1, 487], [1, 999], [512, 488]])
@each_quick_learner
def test_any_pieces_end_in_the_state_of_the_ordinary_loop(
    agent: str, options: dict[str, Any], pieces: list[int], num_envs: int
) -> None:
    fast, slow = (learner_parts(agent, options, num_envs) for _ in range(2))
    loop = loop_of(fast)
    for number in pieces:
        obs = loop.run(number)
    for transition, metrics in interact(slow.agent, slow.env, 1000, obs=slow.env.obs):
        slow.tracker.observe(transition, metrics)
    assert obs.tolist() == transition.following_obs.tolist()
    assert state_of(fast) == state_of(slow)
    # And both go on alike in the ordinary loop.
    for made in (fast, slow):
        for transition, metrics in interact(made.agent, made.env, 300, obs=made.env.obs):
            made.tracker.observe(transition, metrics)
    assert state_of(fast) == state_of(slow)


class Other(QLearning):
    """Learns something else than its kernels."""

    def learn(self, transition: Any) -> Any:
        return {}


def test_kernels_stand_only_for_the_methods_of_their_own_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert loop_of(parts()) is not None
    assert loop_of(parts(Other)) is None
    replaced = parts()
    replaced.agent.learn = lambda transition: {}
    assert loop_of(replaced) is None
    monkeypatch.setattr(QLearning, "learn", Other.learn)
    assert loop_of(parts()) is None


def test_more_environments_than_numpy_adds_one_by_one_take_the_ordinary_loop() -> None:
    assert loop_of(parts(num_envs=7)) is not None
    assert loop_of(parts(num_envs=8)) is None
    returns = np.random.default_rng(0).normal(size=(1000, 7))
    one_by_one = np.zeros(1000)
    for n in range(7):
        one_by_one += returns[:, n]
    assert returns.sum(axis=1).tobytes() == one_by_one.tobytes()


class CountState(NamedTuple):
    counts: Any


@part
def count_act(state: CountState, obs: Any, noise: Any, actions: Any) -> None:
    for n in range(obs.shape[0]):
        actions[n] = int(noise[0, n] * state.counts.shape[1])


@part
def count_learn(state: CountState, obs: Any, actions: Any, outcome: Outcome, metrics: Any) -> None:
    for n in range(obs.shape[0]):
        state.counts[obs[n], actions[n]] += 1
    metrics[0] = np.nan


class Counts:
    """An agent of a user's own: acts at random and counts its visits."""

    Config = None
    metrics = ("nothing",)
    default_num_envs = 1
    kernels = Kernels(count_act, count_learn)

    def __init__(self, task: Task) -> None:
        self._counts = np.zeros((len(task.streams), 5, 3), dtype=np.int64)
        self.noise = NoiseBlocks(
            [stream.generator("action") for stream in task.streams],
            lambda rng, length: rng.random((length, 1, task.num_envs)),
            block_length=100,
        )

    def act(self, obs: Any) -> Any:
        return (self.noise.next()[:, 0] * 3).astype(np.int64)

    def learn(self, transition: Any) -> Any:
        for n in range(transition.obs.shape[1]):
            rows = np.arange(len(self._counts))
            self._counts[rows, transition.obs[:, n], transition.action[:, n]] += 1
        return {"nothing": np.full(len(self._counts), np.nan)}

    def kernel_state(self, s: int, num_steps: int) -> CountState:
        return CountState(self._counts[s])

    def state_dict(self) -> dict[str, Any]:
        return {"counts": self._counts.copy(), "noise": self.noise.state()}


def test_an_agent_of_ones_own_with_kernels_is_compiled_too() -> None:
    fast, slow = parts(Counts, config=None), parts(Counts, config=None)
    loop_of(fast).run(777)
    for transition, metrics in interact(slow.agent, slow.env, 777, obs=slow.env.obs):
        slow.tracker.observe(transition, metrics)
    assert state_of(fast) == state_of(slow)
    assert fast.agent._counts.sum() == 2 * 2 * 777
    assert not fast.tracker.learned.any()


def test_both_loops_agree_on_visits_beyond_the_table_of_step_sizes(
    trained: Callable[..., Run], results: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "MOST_STEP_SIZES", 1500)  # reached within the run
    whole = trained("whole", compiled=False)
    assert results(trained("both").folder) == results(whole.folder)
