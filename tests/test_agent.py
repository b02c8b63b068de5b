"""What the loop, evaluation and resuming ask of every agent, and the members it may have."""

from __future__ import annotations

import copy
import functools
import pickle
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

from rlkit.agent import ActorTraits, AgentTraits, Task
from rlkit.agents import AGENTS, find_agent
from rlkit.agents.tabular.tables import TableActor
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.errors import UsageError
from rlkit.loop import interact
from rlkit.runs.restore import join_states
from rlkit.seeding import SeedStreams
from rlkit.tabular.mdp import TabularMDP
from rlkit_envs.bandit import BernoulliBandit
from rlkit_envs.masked_corridor import MaskedCorridor
from tests.demonstrations import demonstrations
from tests.faulty_envs import Drifting, Shifted

NUM_ENVS = 2
TORTURE = pytest.mark.torture


class Ending(Drifting):
    """Terminates now and then; with a time limit around it, episodes end in both ways."""

    def __init__(self, above: float, **options: Any) -> None:
        super().__init__(10**9, **options)
        self.above = above

    def step(self, action: Any) -> Any:
        obs, reward, _, truncated, info = super().step(action)
        return obs, reward, bool(self.x > self.above), truncated, info


class Mixed(Ending):
    """Observes and takes a discrete part and a number."""

    def __init__(self, above: float) -> None:
        number = spaces.Box(-1.0, 1.0, (), np.float32)
        super().__init__(above, action_space=spaces.Tuple((spaces.Discrete(3), number)))
        self.observation_space = spaces.Dict(t=spaces.Discrete(6), x=number)

    def observe(self) -> Any:
        return {"t": self.t, "x": np.float32(self.x)}


BOX = spaces.Box(-1.0, 1.0, (2,), np.float32)
ENVS: dict[str, Callable[[], Any]] = {
    "box-discrete": lambda: TimeLimit(Ending(0.97), 5),
    "box-box": lambda: TimeLimit(Ending(0.3, action_space=BOX), 5),
    "mixed": lambda: TimeLimit(Mixed(0.9), 5),
    "masked": lambda: MaskedCorridor(4, 3, max_steps=5, strict=True),
    "discrete": lambda: TimeLimit(Shifted(4, -1), 5),  # both spaces start at -1
    "bandit": lambda: TimeLimit(BernoulliBandit(arms=3), 5),
}


def ring() -> TabularMDP:
    """The model of Shifted(4, -1)."""
    moves = [[(s + a) % 4 for a in (-1, 0, 1)] for s in range(4)]
    table = [[[(1.0, s, float(s), False)] for s in row] for row in moves]
    return TabularMDP.from_successors(table, initial_distribution=np.eye(4)[0], time_limit=5)


@dataclass(frozen=True)
class Case:
    agent: str
    env: str
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return "-".join([self.agent, self.env, *(name for name, _ in self.options[:1])])


SMALL_PPO = (
    ("rollout_length", 8),
    ("minibatch_size", 5),
    ("num_epochs", 3),
    ("hidden_sizes", (8,)),
    ("learning_rate", 0.01),
)
FULL_PPO = (
    ("normalise_observations", True),
    ("scale_rewards", True),
    ("value_clip", 0.2),
    ("entropy_coef", 0.01),
    ("learning_rate_schedule", "linear"),
    ("clip_schedule", "linear"),
    *SMALL_PPO,
)
STOPPING_PPO = (("target_kl", 1e-4), *SMALL_PPO)
SMALL_REWARDS = (
    ("num_preferences", 8),
    ("num_rounds", 2),
    ("steps_per_round", 32),
    ("segment_length", 3),
    ("collect_steps", 24),
    ("reward_epochs", 2),
    ("reward_minibatch_size", 4),
    ("reward_hidden_sizes", (6,)),
)
SMALL_REINFORCE = (("episodes_per_update", 4), ("hidden_sizes", (8,)))
FULL_REINFORCE = (
    ("learning_rate_schedule", "linear"),
    ("entropy_coef", 0.01),
    *SMALL_REINFORCE,
)
LINEAR_REINFORCE = (("baseline", "linear"), *SMALL_REINFORCE)
SMALL_CLONING = (("updates_per_step", 2), ("minibatch_size", 8), ("hidden_sizes", (8,)))
DIFFUSION = (("method", "diffusion"), ("diffusion_steps", 4), *SMALL_CLONING)
SMALL_LSPI = (("steps_per_update", 12), ("capacity", 30), ("epsilon_steps", 60))
TEXTBOOK = (("optimiser", "sgd"), ("baseline", False), *SMALL_REINFORCE)
BOLTZMANN = (("exploration", "boltzmann"), ("temperature_start", 50.0), ("temperature_steps", 99))
ON_TABLES = [
    Case("q-learning", "discrete", (("epsilon_steps", 100),)),
    Case("q-learning", "discrete", (("trace_decay", 0.8), *BOLTZMANN)),
    Case("sarsa", "discrete", (("epsilon_steps", 100),)),
    Case("sarsa", "discrete", (("trace_decay", 0.8), ("epsilon_steps", 100))),
    Case("expected-sarsa", "discrete", BOLTZMANN),
    Case("double-q-learning", "discrete", (("epsilon_steps", 100),)),
    Case("n-step-sarsa", "discrete", (("return_steps", 3), ("epsilon_steps", 100))),
    Case("monte-carlo", "discrete", (("epsilon_steps", 100),)),
    Case("monte-carlo", "discrete", (("visit", "every"), ("epsilon_steps", 100))),
    Case("dyna-q", "discrete", (("model_memory", 2), ("epsilon_steps", 100))),
]
CASES = [
    Case("ppo", "box-discrete", FULL_PPO),
    Case("ppo", "box-discrete", STOPPING_PPO),
    Case("ppo", "box-box", FULL_PPO),
    Case("ppo", "mixed", FULL_PPO),
    Case("ppo", "discrete", SMALL_PPO),
    Case("preference-ppo", "box-discrete", (*SMALL_REWARDS, *FULL_PPO)),
    Case("preference-ppo", "box-box", (("ensemble_size", 1), *SMALL_REWARDS, *SMALL_PPO)),
    Case("preference-ppo", "discrete", (*SMALL_REWARDS, *SMALL_PPO)),
    Case("reinforce", "box-discrete", FULL_REINFORCE),
    Case("reinforce", "box-discrete", TEXTBOOK),
    Case("reinforce", "box-box", SMALL_REINFORCE),
    Case("reinforce", "mixed", SMALL_REINFORCE),
    Case("reinforce", "discrete", SMALL_REINFORCE),
    Case("reinforce", "box-discrete", LINEAR_REINFORCE),
    Case("reinforce", "discrete", LINEAR_REINFORCE),
    Case("behaviour-cloning", "box-discrete", SMALL_CLONING),
    Case("behaviour-cloning", "box-box", SMALL_CLONING),
    Case("behaviour-cloning", "box-box", DIFFUSION),
    Case("behaviour-cloning", "mixed", SMALL_CLONING),
    Case("behaviour-cloning", "discrete", SMALL_CLONING),
    Case("behaviour-cloning", "masked", SMALL_CLONING),
    Case("lspi", "discrete", SMALL_LSPI),
    Case("lspi", "box-discrete", (("features", "polynomial"), *SMALL_LSPI)),
    Case("lspi", "box-discrete", (("order", 2), *SMALL_LSPI)),
    *ON_TABLES,
    Case("ppo", "masked", FULL_PPO),
    Case("preference-ppo", "masked", (*SMALL_REWARDS, *SMALL_PPO)),
    Case("reinforce", "masked", FULL_REINFORCE),
    Case("q-learning", "masked", (("trace_decay", 0.8), *BOLTZMANN)),
    Case("expected-sarsa", "masked", (("epsilon_steps", 100),)),
    Case("dyna-q", "masked", (("model_memory", 2), ("epsilon_steps", 100))),
    Case("random", "masked"),
    Case("psrl", "discrete", (("model_steps", 4),)),
    Case("thompson", "bandit"),
    Case("thompson", "bandit", (("bandits", "same"),)),
    Case("ucb", "bandit"),
    Case("ucb", "bandit", (("bandits", "same"),)),
    Case("random", "box-discrete"),
    Case("random", "box-box"),
    Case("random", "mixed"),
    Case("random", "discrete"),
    Case("value-iteration", "discrete"),
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)
FIRST = {case.agent: case for case in reversed(CASES)}  # of each agent
each_agent = pytest.mark.parametrize(  # all cases in `make torture`
    "case",
    [
        pytest.param(case, id=str(case), marks=[] if FIRST[case.agent] is case else TORTURE)
        for case in CASES
    ],
)


def build(case: Case, indices: tuple[int, ...]) -> tuple[Any, GymBatchEnv]:
    streams = tuple(SeedStreams(0, index) for index in indices)
    masked = case.env == "masked"
    env = GymBatchEnv(ENVS[case.env], streams, NUM_ENVS, action_masks=masked)
    model = ring() if case.env == "discrete" else None
    task = Task(
        *(env.observation_space, env.action_space, streams, NUM_ENVS, 200, model),
        action_masks=masked,
    )
    kind = find_agent(case.agent)
    if AgentTraits.of(kind).takes_demonstrations:
        task = replace(task, demonstrations=demonstrations(task))
    return kind(task, kind.Config(**dict(case.options))), env


def per_seed(state: Any) -> list[dict[str, bytes]]:
    num_seeds = len(next(iter(state.values())))
    return [
        {name: np.asarray(value[s]).tobytes() for name, value in state.items()}
        for s in range(num_seeds)
    ]


def advance(agent: Any, env: GymBatchEnv, num_steps: int, obs: Any = None) -> tuple[Any, Any]:
    """What each seed did and learned, as bytes, and the observations to go on from."""
    records: list[list[bytes]] = [[] for _ in range(env.num_seeds)]
    for transition, metrics in interact(agent, env, num_steps, obs=obs):
        obs = transition.following_obs
        for s, record in enumerate(records):
            record += [np.asarray(part[s]).tobytes() for part in transition]
            # A seed without an update has NaN or 0 where others have metrics, or nothing at all.
            learned = {n: v[s] for n, v in metrics.items() if n != "num_gradient_steps"}
            if not all(np.isnan(value) for value in learned.values()):
                record += [f"{n}={float(v).hex()}".encode() for n, v in learned.items()]
    return records, obs


# --- the contract ---------------------------------------------------------------------------------


@pytest.mark.slow
@each_case
def test_actions_metrics_and_states_have_the_agreed_forms(case: Case) -> None:
    agent, env = build(case, (0, 1, 2))
    names = set()
    for transition, metrics in interact(agent, env, 40):
        space = env.action_space
        assert transition.action.shape[:2] == (3, NUM_ENVS)
        if isinstance(space, spaces.Discrete):
            assert transition.action.dtype == np.int64
            assert transition.action.shape == (3, NUM_ENVS)
            assert ((transition.action >= 0) & (transition.action < space.n)).all()
        else:
            assert transition.action.shape == (3, NUM_ENVS, 2)
        names |= set(metrics)
        assert all(np.shape(value) == (3,) for value in metrics.values())
    learns = case.agent not in ("random", "value-iteration")
    assert names - {"num_gradient_steps"} == (set(agent.metrics) if learns else set())
    state = agent.state_dict()
    for name, value in state.items():
        assert len(value) == 3, name
        parts = value if isinstance(value, list) else [value]
        assert all(isinstance(part, np.ndarray) for part in parts), name
        assert all(part.dtype.kind in "biuf" for part in parts), name


@pytest.mark.slow
@each_agent
def test_states_share_no_memory_with_the_agent(case: Case) -> None:
    agent, env = build(case, (0, 1))
    _, obs = advance(agent, env, 21)
    state = agent.state_dict()
    before = per_seed(state)
    advance(agent, env, 21, obs)
    assert per_seed(state) == before
    other, other_env = build(case, (0, 1))
    other.load_state_dict(state)
    advance(other, other_env, 10)
    assert per_seed(state) == before


@pytest.mark.slow
@each_agent
@pytest.mark.parametrize("greedy", [True, False])
def test_an_actor_acts_in_any_number_of_environments_and_changes_nothing(
    case: Case, greedy: bool
) -> None:
    agent, env = build(case, (0, 1, 2))
    advance(agent, env, 21)
    before = per_seed(agent.state_dict())
    for num_envs in (1, 7):
        actor = agent.actor(greedy=greedy)
        shape = (3, num_envs, *(env.observation_space.shape or ()))
        obs = np.full(shape, case.env != "bandit", dtype=env.observation_space.dtype)
        actions = [actor.act(obs) for _ in range(3)]
        assert all(action.shape[:2] == (3, num_envs) for action in actions)
        if greedy and case.agent != "random" and ("method", "diffusion") not in case.options:
            assert all((action == actions[0]).all() for action in actions)
            assert (actions[0] == actions[0][:, :1]).all()
    assert per_seed(agent.state_dict()) == before


@pytest.mark.slow
@each_agent
@pytest.mark.parametrize("greedy", [True, False])
@pytest.mark.parametrize("copied", [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy])
def test_a_copy_of_an_actor_continues_as_the_actor_does(
    case: Case, greedy: bool, copied: Callable[[Any], Any]
) -> None:
    agent, env = build(case, (0, 1, 2))
    advance(agent, env, 21)
    shape = (3, 5, *(env.observation_space.shape or ()))
    obs = np.zeros(shape, dtype=env.observation_space.dtype)
    actor = agent.actor(greedy=greedy)
    before = copied(actor)  # nothing was drawn yet
    for _ in range(67):  # into the second block of the noise
        actor.act(obs)
    within = copied(actor)
    for _ in range(67):
        before.act(obs)
    for _ in range(300):  # into the third and fourth
        expected = actor.act(obs).tobytes()
        assert before.act(obs).tobytes() == expected
        assert within.act(obs).tobytes() == expected


@each_case
def test_actors_state_values_in_the_form_that_was_agreed(case: Case) -> None:
    agent, env = build(case, (0, 1, 2))
    advance(agent, env, 21)
    shape = (3, 5, *(env.observation_space.shape or ()))
    obs = np.zeros(shape, dtype=env.observation_space.dtype)
    actor = agent.actor()
    if case.agent in ("random", "behaviour-cloning") or dict(case.options).get("baseline") in (
        False,
        "linear",
    ):
        with pytest.raises((AttributeError, UsageError), match=r"value|baseline=True"):
            actor.value(obs)
        return
    values = actor.value(obs)
    assert values.shape == (3, 5)
    assert values.dtype == np.float64
    if hasattr(actor, "action_values"):
        table = actor.action_values(obs)
        assert table.shape == (3, 5, 3)
        np.testing.assert_allclose(table.max(-1), values, atol=1e-9)  # of value iteration


# --- the seeds never touch ------------------------------------------------------------------------


@each_case
def test_a_seed_gets_the_same_bytes_alone_and_in_a_batch_of_5(case: Case) -> None:
    indices = (4, 0, 7, 2, 9)
    agent, env = build(case, indices)
    together, _ = advance(agent, env, 50)
    states = per_seed(agent.state_dict())
    greedy = np.random.default_rng(0).standard_normal((5, 6, *(env.observation_space.shape or ())))
    states_of = {"bandit": np.zeros((5, 6), int)}
    states_of |= dict.fromkeys(("discrete", "masked"), np.tile(np.arange(4), (5, 1)))
    obs = states_of.get(case.env, greedy.astype(np.float32))
    acted = agent.actor(greedy=False).act(obs)
    for s, index in enumerate(indices):
        own, own_env = build(case, (index,))
        alone, _ = advance(own, own_env, 50)
        assert alone[0] == together[s], f"seed {index}"
        assert own.actor(greedy=False).act(obs[s : s + 1]).tobytes() == acted[s].tobytes()
        for name, value in per_seed(own.state_dict())[0].items():
            if not name.startswith("history_"):  # a batch may keep more of the past, unused
                assert value == states[s][name], name


# --- resuming -------------------------------------------------------------------------------------

CUTS = (0, 1, 14, 16, 27)
CUT = 23  # also after a termination and a truncation


@pytest.mark.slow
@each_case
def test_a_run_that_is_saved_and_loaded_continues_as_if_it_was_not(case: Case) -> None:
    agent, env = build(case, (0, 1, 2))
    whole: list[list[bytes]] = [[] for _ in range(3)]
    obs, saved = env.reset(), {}
    for t in range(50):
        if t in CUTS:
            saved[t] = (agent.state_dict(), env.state_dict(), obs, [len(r) for r in whole])
        records, obs = advance(agent, env, 1, obs)
        for record, new in zip(whole, records, strict=True):
            record += new
    final = per_seed(agent.state_dict())
    for t, (agent_state, env_state, then, lengths) in saved.items():
        other, other_env = build(case, (0, 1, 2))
        other.load_state_dict(agent_state)
        other_env.load_state_dict(env_state)
        rest, _ = advance(other, other_env, 50 - t, then)
        assert rest == [r[length:] for r, length in zip(whole, lengths, strict=True)], t
        assert per_seed(other.state_dict()) == final, t


@pytest.mark.slow
@each_agent
@pytest.mark.parametrize("cut", [14, 21])
def test_seeds_from_different_batches_can_be_joined_and_continue(case: Case, cut: int) -> None:
    whole, env = build(case, (0, 1, 2))
    _, obs = advance(whole, env, cut)
    after, _ = advance(whole, env, 30, obs)

    parts = [build(case, (0, 2)), build(case, (1, 5))]
    results = [advance(agent, part_env, cut) for agent, part_env in parts]

    def own(part: int, row: int) -> tuple[Any, Any, Any]:
        agent, part_env = parts[part]
        cut_out = [
            {name: np.asarray(value[row]) for name, value in state.items()}
            for state in (agent.state_dict(), part_env.state_dict())
        ]
        return cut_out[0], cut_out[1], results[part][1][row]

    chosen = [own(0, 0), own(1, 0), own(0, 1)]
    joined, joined_env = build(case, (0, 1, 2))
    joined.load_state_dict(join_states([agent_state for agent_state, _, _ in chosen]))
    joined_env.load_state_dict(join_states([env_state for _, env_state, _ in chosen]))
    rest, _ = advance(joined, joined_env, 30, np.stack([then for _, _, then in chosen]))
    assert rest == after


# What is stored although nothing that follows depends on it.
UNUSED = {
    ("value-iteration", "policy"),  # made anew from the model on construction
    ("reinforce", "history_following_obs"),
    ("preference-ppo", "preferences/round"),  # but stored with them
    # Made anew from the demonstrations.
    ("behaviour-cloning", "scaling"),
    ("reinforce", "history_truncated"),  # the end of an episode is known from its times
}


# No step of the environment "discrete" terminates.
OF_ENDS = {("dyna-q", "model_terminated"), ("lspi", "samples_terminated")}


PLAIN = ("behaviour-cloning", "lspi", "psrl", "random", "thompson", "ucb", "value-iteration")


def entries(case: Case) -> list[str]:
    agent, env = build(case, (0,))
    advance(agent, env, 1)
    return sorted(agent.state_dict())


def needed() -> list[Any]:
    return [
        pytest.param(case, name, id=f"{case}-{name}")
        for case in CASES
        if case in (CASES[0], CASES[2], CASES[5], CASES[8], *ON_TABLES)
        or case.agent in PLAIN
        or case.env == "masked"
        for name in entries(case)
        if (case.agent, name) not in UNUSED and (case.env != "masked" or "mask" in name)
        if not name.startswith("ppo/")  # as in the cases of ppo itself
        if case.env != "discrete" or (case.agent, name) not in OF_ENDS
    ]


def test_an_entry_of_every_agent_is_left_out_and_the_masks_of_those_that_store_them() -> None:
    tried = [(param.values[0], param.values[1]) for param in needed()]
    assert {case.agent for case, _ in tried} | {"value-iteration"} == set(AGENTS)
    masks = {(case.agent, name) for case, name in tried if case.env == "masked"}
    assert masks == {
        *(("ppo", "rollout_action_masks"), ("dyna-q", "model_next_masks")),
        ("reinforce", "history_action_masks"),
    }


FOUR = (0, 1, 2, 3)


@functools.cache
def interrupted(case: Case) -> Any:
    """A state inside a rollout and a batch of episodes, after an update; and what followed."""
    agent, env = build(case, FOUR)
    _, obs = advance(agent, env, CUT)
    state, env_state = agent.state_dict(), env.state_dict()
    expected, _ = advance(agent, env, 24, obs)
    return state, env_state, obs, expected, per_seed(agent.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize(("case", "name"), needed())
def test_each_entry_of_a_state_is_needed(case: Case, name: str) -> None:
    state, env_state, obs, expected, final = interrupted(case)
    changed = {**state, name: [np.zeros_like(part) for part in state[name]]}
    other, other_env = build(case, FOUR)
    other_env.load_state_dict(env_state)
    try:
        parts = [{n: np.asarray(v[s]) for n, v in changed.items()} for s in range(4)]
        other.load_state_dict(join_states(parts))
        records, _ = advance(other, other_env, 24, obs)
    except (ValueError, IndexError, RuntimeError, RuntimeWarning):
        return  # noticed
    assert records != expected or per_seed(other.state_dict()) != final


@pytest.mark.long
def test_the_state_of_a_new_agent_of_another_seed_is_overwritten_completely() -> None:
    for case in CASES:
        agent, env = build(case, (0, 1))
        _, obs = advance(agent, env, 14)
        state, env_state = agent.state_dict(), env.state_dict()
        expected, _ = advance(agent, env, 30, obs)
        other, _ = build(case, (0, 1))
        _, other_env = build(case, (0, 1))
        advance(other, other_env, 23)  # it has a past of its own
        other_env.load_state_dict(env_state)
        other.load_state_dict(state)
        records, _ = advance(other, other_env, 30, obs)
        assert records == expected, str(case)


# --- global generators ----------------------------------------------------------------------------


@pytest.mark.slow
@each_agent
def test_calls_to_the_global_generators_change_nothing(case: Case) -> None:
    agent, env = build(case, (0, 1))
    expected, _ = advance(agent, env, 30)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    try:
        agent, env = build(case, (0, 1))
        obs, records = env.reset(), [[], []]  # type: ignore[var-annotated]
        for t in range(30):
            random.seed(t)
            np.random.seed(t)  # noqa: NPY002
            torch.manual_seed(t)
            new, obs = advance(agent, env, 1, obs)
            for record, part in zip(records, new, strict=True):
                record += part
        assert records == expected
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])


# --- spaces ---------------------------------------------------------------------------------------


@pytest.mark.trap("T70")
@pytest.mark.parametrize("case", [c for c in CASES if c.env == "discrete"], ids=str)
def test_a_space_that_starts_at_minus_1_receives_its_own_actions(case: Case) -> None:
    made: list[Any] = []

    def make() -> Any:
        made.append(Shifted(4, -1))
        return TimeLimit(made[-1], 5)

    streams = (SeedStreams(0, 0),)
    env = GymBatchEnv(make, streams, 4)
    task = Task(env.observation_space, env.action_space, streams, 4, 400, ring())
    kind = find_agent(case.agent)
    if AgentTraits.of(kind).takes_demonstrations:
        task = replace(task, demonstrations=demonstrations(task))
    agent = kind(task, kind.Config(**dict(case.options)))
    seen = set()
    for transition, _ in interact(agent, env, 30):
        seen |= set(transition.obs.ravel().tolist())
    received = {action for single in made for action in single.actions}
    assert received <= {-1, 0, 1}
    assert seen <= {0, 1, 2, 3}
    if case.agent != "value-iteration":
        assert received == {-1, 0, 1}
        assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize(
    "name", ["value-iteration", "psrl", *sorted({case.agent for case in ON_TABLES})]
)
@pytest.mark.parametrize("which", ["observation_space", "action_space"])
def test_a_table_for_a_box_is_rejected_naming_what_to_use(name: str, which: str) -> None:
    task = Task(spaces.Discrete(4), spaces.Discrete(3), (SeedStreams(0, 0),), 1, 100, ring())
    kind = find_agent(name)
    kind(task, kind.Config())
    with pytest.raises(UsageError) as caught:
        kind(replace(task, **{which: BOX}), kind.Config())
    message = str(caught.value)
    for part in (name, "Box", "ppo", "reinforce", "actions" if which[0] == "a" else "observations"):
        assert part in message


def test_a_number_of_episodes_that_the_environments_cannot_share_is_rejected() -> None:
    kind = find_agent("reinforce")
    task = Task(BOX, spaces.Discrete(3), (SeedStreams(0, 0),), 3, 100)
    with pytest.raises(UsageError, match=r"episodes_per_update.*multiple of the 3.*got 8"):
        kind(task, kind.Config())


def test_every_agent_has_a_case() -> None:
    assert {case.agent for case in CASES} == set(AGENTS)


@pytest.mark.parametrize("name", AGENTS)
def test_every_agent_states_its_options_metrics_and_environments(name: str) -> None:
    kind = find_agent(name)
    assert isinstance(kind.default_num_envs, int)
    assert isinstance(kind.metrics, tuple)
    assert kind.depends_on_total_steps(kind.Config()) is False


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PPO", "ppo"),
        ("q_learning", "q-learning"),
        ("Q-Learning", "q-learning"),
        ("QLearning", "q-learning"),
        ("VI", "value-iteration"),
        ("Value Iteration", "value-iteration"),
        ("reinforced", "reinforce"),
    ],
)
def test_other_spellings_of_an_agent_lead_to_ours(name: str, meant: str) -> None:
    with pytest.raises(
        UsageError, match=f"unknown agent '{name}'.*Did you mean '{meant}'"
    ) as caught:
        find_agent(name)
    assert caught.value.exit_code == 2


def test_a_name_that_is_like_none_leads_to_the_list_alone() -> None:
    with pytest.raises(UsageError, match=r"there are value-iteration, .*random\.$"):
        find_agent("xyzzy")


# --- optional members -----------------------------------------------------------------------------


class Bare:
    """An agent of a user's own that has the five methods only."""


def test_a_class_without_optional_members_has_their_defaults() -> None:
    traits: Any = AgentTraits.of(Bare)
    assert (traits.Config, traits.metrics, traits.default_num_envs) == (None, (), 1)
    assert traits.depends_on_total_steps(None) is False
    assert list(traits.remarks(None, None)) == []
    assert traits.why_no_update(None, None) == ""


def test_members_that_a_class_has_take_the_place_of_the_defaults() -> None:
    class Own(Bare):
        metrics = ("loss",)

        @staticmethod
        def depends_on_total_steps(config: Any) -> bool:
            return bool(config == "linear")

        @classmethod
        def remarks(cls, task: Any, config: Any) -> list[str]:
            return [f"{cls.__name__} on {task}"]

    traits: Any = AgentTraits.of(Own)
    assert traits.metrics == ("loss",)
    assert traits.depends_on_total_steps("linear")
    assert not traits.depends_on_total_steps("constant")
    assert traits.remarks("a task", None) == ["Own on a task"]
    assert traits.default_num_envs == 1


def test_every_agent_of_rlkit_has_a_config_and_names_its_metrics() -> None:
    for name in AGENTS:
        agent_class = find_agent(name)
        traits = AgentTraits.of(agent_class)
        assert traits.Config is agent_class.Config
        assert traits.metrics is agent_class.metrics


def test_an_actor_shows_what_it_has() -> None:
    class OnlyActs:
        def act(self, obs: Any) -> Any:
            return obs

    assert ActorTraits.of(OnlyActs()) == ActorTraits()
    actor = TableActor(np.array([[[1.0, 2.0]]]), 0.0, (SeedStreams(0, 0),))
    traits = ActorTraits.of(actor)
    assert traits.probabilities is not None
    assert traits.probabilities(np.array([[0]])).tolist() == [[[0.0, 1.0]]]
    assert None not in (traits.restart, traits.value, traits.action_values)
