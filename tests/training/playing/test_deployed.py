"""The policies of a run in users' hands: observations, probabilities, values and copies."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from rlkit.errors import UsageError
from rlkit.runs import checkpoints
from rlkit.tabular.evaluation.evaluate import evaluate
from rlkit.training.playing.deployed import ActorBySeed, SingleActor, as_batch
from rlkit.training.run import Run

PROBES = Path(__file__).parents[2] / "probe_envs.py"
NAMES = ("ppo", "ppo-normalised", "reinforce", "q-learning", "random", "value-iteration")


def observations(run: Run, number: int) -> Any:
    space = run.environment.make().observation_space
    if isinstance(space, spaces.Discrete):
        return np.arange(number) % int(space.n) + int(space.start)
    draws = np.random.default_rng(0).standard_normal((number, *(space.shape or ())))
    return draws.astype(space.dtype)


# --- copies ---------------------------------------------------------------------------------------


def act_elsewhere(pair: tuple[Any, Any]) -> list[Any]:
    actor, obs = pair
    return [np.asarray(actor.act(o)).tolist() for o in obs]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("greedy", [True, False])
def test_copies_act_the_same_without_the_folder_of_the_run(
    name: str, greedy: bool, trained: Callable[..., Run]
) -> None:
    run = trained(name, seeds=1)
    obs = observations(run, 90)
    actor = run.actor(greedy=greedy)
    shutil.rmtree(run.folder)
    for o in obs[:5]:  # a stream that has begun
        actor.predict(o, deterministic=False)
    copies = [pickle.loads(pickle.dumps(actor)), copy.deepcopy(actor)]
    copies.append(pickle.loads(pickle.dumps(copies[0])))
    for deterministic in (None, True, False):
        expected = [actor.predict(o, deterministic=deterministic)[0] for o in obs]
        for other in copies:
            acted = [other.predict(o, deterministic=deterministic)[0] for o in obs]
            np.testing.assert_array_equal(acted, expected)


@pytest.mark.slow
def test_actors_can_be_sent_to_other_processes(trained: Callable[..., Run]) -> None:
    pairs = []
    for name in NAMES:
        run = trained(name, seeds=1)
        pairs += [(run.actor(greedy=greedy), observations(run, 9)) for greedy in (True, False)]
        shutil.rmtree(run.folder)
    # A process of its own that is not a copy of this one
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        elsewhere = pool.map(act_elsewhere, pairs)
    assert elsewhere == [act_elsewhere(pair) for pair in pairs]


def test_an_actor_is_of_the_moment_when_it_was_made(small: Callable[..., Run]) -> None:
    run = small("ppo", seeds=1, steps=400)
    obs = observations(run, 50)
    actor = run.actor()
    before = pickle.loads(pickle.dumps(actor))
    small("ppo", seeds=1, steps=800)
    for deterministic in (True, False):
        np.testing.assert_array_equal(
            actor.predict(obs, deterministic=deterministic)[0],
            before.predict(obs, deterministic=deterministic)[0],
        )


# --- probabilities and values ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ppo", "reinforce", "q-learning", "random", "value-iteration"])
@pytest.mark.parametrize("greedy", [True, False])
def test_actions_come_with_the_probabilities_that_are_stated(
    name: str, greedy: bool, trained: Callable[..., Run]
) -> None:
    run = trained(name, seeds=1)
    actor = run.actor(greedy=greedy)
    obs = observations(run, 3)
    single, batch = actor.probabilities(obs[1]), actor.probabilities(obs)
    space = run.environment.make().action_space
    assert single.shape == (space.n,)
    assert batch.shape == (3, space.n)
    np.testing.assert_allclose(batch[1], single, rtol=1e-5)
    np.testing.assert_allclose(batch.sum(-1), 1.0, rtol=1e-12)
    actions, _ = actor.predict(np.repeat(obs[1:2], 4000, axis=0))
    shares = np.bincount(actions - space.start, minlength=int(space.n)) / 4000
    # Five standard deviations of a share among 4000, at most 0.0079 each
    np.testing.assert_allclose(shares, single, atol=0.04)
    if greedy and name != "random":
        assert sorted(single) == [0.0] * (int(space.n) - 1) + [1.0]


def test_probabilities_are_in_the_order_of_a_space_that_starts_below_0(
    small: Callable[..., Run],
) -> None:
    run = small("ppo-probe", seeds=1, env_args={"start": -1}, learning_rate=0.1)
    actor = run.actor()
    for obs in np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32) * 5:
        assert actor.probabilities(obs).argmax() - 1 == actor.act(obs)


@pytest.mark.parametrize("name", ["q-learning", "ppo"])
def test_the_table_of_a_policy_is_evaluated_as_its_run_was(
    name: str, trained: Callable[..., Run]
) -> None:
    run = trained(name, seeds=2, environment="FrozenLake-v1")
    mdp = run.environment.mdp
    assert mdp is not None
    for seed in run.seeds:
        actor = run.actor(seed)
        np.testing.assert_array_equal(actor.policy_table()[3], actor.probabilities(3))
        result = evaluate(mdp, actor)
        assert result.expected_return == run.scores[seed]
        by_seed = evaluate(mdp, run.batch_actor([seed]))
        np.testing.assert_array_equal(by_seed.visits, result.visits)


def test_a_policy_of_real_observations_is_no_table(trained: Callable[..., Run]) -> None:
    with pytest.raises(UsageError, match="only a policy of discrete observations is a table"):
        trained("ppo", seeds=1).actor().policy_table()


def test_values_are_those_of_the_critic_with_its_statistics(trained: Callable[..., Run]) -> None:
    run = trained("ppo-normalised", seeds=1, activation="tanh")
    obs = observations(run, 4)
    actor = run.actor()
    batch_actor: Any = run.batch_actor([0])
    np.testing.assert_array_equal(actor.value(obs), batch_actor.value(obs[None])[0])
    assert isinstance(actor.value(obs[2]), float)
    assert actor.value(obs[2]) == pytest.approx(actor.value(obs)[2], rel=1e-5)
    # By hand: standardise, then the critic.
    _, state = checkpoints.newest_checkpoint(run.folder, 0)[:2]
    count, moments = state["agent/features"][0], state["agent/features"][1:]
    mean, variance = moments[:3], moments[3:] / count
    x = np.clip((obs - mean) / np.sqrt(variance + 1e-8), -10, 10)
    flat, layers = state["agent/parameters"][-(3 * 8 + 8 + 8 * 8 + 8 + 8 + 1) :], []
    for size in ((3, 8), (8,), (8, 8), (8,), (8, 1), (1,)):
        layers.append(flat[: np.prod(size)].reshape(size).astype(np.float64))
        flat = flat[np.prod(size) :]
    hidden = np.tanh(np.tanh(x @ layers[0] + layers[1]) @ layers[2] + layers[3])
    by_hand = (hidden @ layers[4] + layers[5])[:, 0]
    np.testing.assert_allclose(actor.value(obs), by_hand, rtol=1e-4, atol=1e-5)  # float32


def test_an_agent_without_an_optional_method_gets_an_error_that_names_it(
    trained: Callable[..., Run],
) -> None:
    run = trained("random", seeds=1)
    with pytest.raises(UsageError, match="value: the agent random has none"):
        run.actor().value(0)
    with pytest.raises(UsageError, match="random, which keeps no table of action values"):
        run.q_table()
    run = trained("reinforce", seeds=1, baseline=False)
    with pytest.raises(UsageError, match="without a network for the values"):
        run.actor().value(observations(run, 1)[0])
    with pytest.raises(UsageError, match="reinforce, which keeps no table"):
        run.q_table()
    run = trained("ppo-normalised", seeds=1)
    with pytest.raises(UsageError, match=r"probabilities: the actions are Box\(-2\.0, 2\.0"):
        run.actor().probabilities(observations(run, 1)[0])
    run = trained("q-learning", seeds=1)
    with pytest.raises(UsageError, match="the seeds 0 to 0, not 3"):
        run.q_table(3)


def test_actors_of_one_seed_each_are_one_actor_with_all_that_they_share() -> None:
    class Offers:
        def __init__(self, number: int) -> None:
            self.number = number

        def act(self, obs: Any) -> Any:
            return obs + self.number

        def probabilities(self, obs: Any) -> Any:
            return np.full((*obs.shape, 2), self.number)

    class OffersMore(Offers):
        def value(self, obs: Any) -> Any:
            return obs * self.number

    obs = np.array([[1, 2], [3, 4]])
    both: Any = ActorBySeed([OffersMore(1), OffersMore(10)])
    assert both.act(obs).tolist() == [[2, 3], [13, 14]]
    assert both.value(obs).tolist() == [[1, 2], [30, 40]]
    assert both.probabilities(obs)[:, 0, 0].tolist() == [1, 10]
    mixed: Any = ActorBySeed([OffersMore(1), Offers(10)])
    assert hasattr(mixed, "probabilities")
    assert not hasattr(mixed, "value")


# --- observations ---------------------------------------------------------------------------------

STATES, BOX = spaces.Discrete(4, start=-1), spaces.Box(-1.0, 1.0, (2,), np.float32)
BYTES = spaces.Box(0, 255, (2,), np.uint8)
PAIR = spaces.Tuple((spaces.Discrete(3, start=-1), spaces.Discrete(3, start=5)))
MULTI = spaces.MultiDiscrete([2, 3])


@pytest.mark.parametrize(
    ("space", "obs", "expected", "single"),
    [
        (STATES, -1, [[0]], True),
        (STATES, np.int8(2), [[3]], True),
        (STATES, np.array(2), [[3]], True),
        (STATES, 1.0, [[2]], True),
        (STATES, [0, 1, 2], [[1, 2, 3]], False),
        (STATES, np.array([], dtype=int), [[]], False),
        (BOX, [0.5, 2.0], [[[0.5, 2.0]]], True),
        (BOX, [[0.5, 2.0]], [[[0.5, 2.0]]], False),
        (BOX, np.zeros((0, 2)), [[]], False),
        (BYTES, [255, 0], [[[255, 0]]], True),
        (PAIR, (0, 7), [[5]], True),
        (PAIR, (np.array([-1, 1]), np.array([5, 6])), [[0, 7]], False),
        (PAIR, [(0, 7), (1, 5)], [[5, 6]], False),
        (MULTI, [1, 2], [[5]], True),
        (MULTI, np.array([[1, 2], [0, 1]]), [[5, 1]], False),
    ],
    ids=str,
)
def test_observations_come_as_one_or_as_a_batch(
    space: Any, obs: Any, expected: Any, single: bool
) -> None:
    batch, was_single = as_batch(obs, space)
    assert batch.tolist() == expected
    assert was_single is single
    assert batch.dtype == (space.dtype if isinstance(space, spaces.Box) else np.int64)


@pytest.mark.parametrize(
    ("space", "obs", "part"),
    [
        (STATES, 3, "whole numbers from -1 to 2, got 3"),
        (STATES, -2, "got -2"),
        (STATES, [0, 1, 7], "got 7"),
        (STATES, 0.5, "got 0.5"),
        (STATES, float("nan"), "got nan"),
        (STATES, np.uint64(2**63 + 5), "got 9223372036854775813"),
        (PAIR, (0, 8), "(0, 8) is not in Tuple"),
        (PAIR, 3, "or a batch of them"),
        (PAIR, ((0, 7), {}), "use its first part"),
        (MULTI, [[2, 0]], "is not in MultiDiscrete"),
        (STATES, 10**30, "made of numbers"),
        (STATES, None, "got NoneType"),
        (STATES, "1", "got str"),
        (STATES, [[0, 1]], "shape"),
        (STATES, (0, {"prob": 1.0}), "use its first part"),
        (BOX, (np.zeros(2, np.float32), {}), "use its first part"),
        (BOX, [0.0, float("nan")], "got nan at entry [1]"),
        (BOX, [[0.0, 0.0], [float("-inf"), 0.0]], "got -inf at entry [1, 0]"),
        (BOX, [1e300, 0.0], "float32 cannot hold"),
        (BOX, 0.0, "observations of shape (2,)"),
        (BOX, [0.0, 0.0, 0.0], "observations of shape (2,)"),
        (BOX, np.zeros((2, 2, 2)), "observations of shape (2,)"),
        (BOX, [[0.0], [0.0, 1.0]], "not an array"),
        (BOX, ["a", "b"], "made of numbers"),
        (BOX, {"x": 1.0}, "got dict"),
        (BOX, [1j, 0], "made of numbers"),
        (BYTES, [0.5, 0], "uint8 cannot hold"),
        (BYTES, [256, 0], "uint8 cannot hold"),
    ],
    ids=str,
)
def test_invalid_observations_are_rejected_in_one_sentence(space: Any, obs: Any, part: str) -> None:
    with pytest.raises(UsageError) as caught:
        as_batch(obs, space)
    message = str(caught.value)
    assert part in message
    assert str(space) in message
    assert "\n" not in message


@pytest.mark.parametrize("method", ["act", "predict", "probabilities", "value"])
def test_every_method_checks_what_it_gets(method: str, trained: Callable[..., Run]) -> None:
    actor = trained("q-learning", seeds=1).actor()
    with pytest.raises(UsageError, match="whole numbers from 0 to 15, got 16"):
        getattr(actor, method)(16)


def test_an_observation_is_seen_in_the_type_in_which_it_was_trained_on() -> None:
    class Sees:
        def act(self, obs: Any) -> Any:
            assert obs.dtype == np.float32
            return np.zeros(obs.shape[:2], dtype=np.int64)

    actor = SingleActor(
        lambda greedy: Sees(), BOX, spaces.Discrete(2), greedy=True, agent="one of our own"
    )
    assert actor.act([0.1, 0.2]) == 0
    with pytest.raises(UsageError, match="probabilities: the agent one of our own has none"):
        actor.probabilities([0.1, 0.2])
