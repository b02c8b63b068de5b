"""The final policies of seeds: their tables of values, and their returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rlkit.errors import RlkitError, UsageError
from rlkit.evaluation import exact_returns
from rlkit.runs import checkpoints
from rlkit.runs.integrity.sums import identity_of
from rlkit.tabular.solution import solve
from rlkit.training.playing import policies
from rlkit.training.run import Run, load


@pytest.mark.slow
def test_evaluation_with_a_known_model_is_exact_and_samples_agree(
    trained: Callable[..., Run],
) -> None:
    run = trained("q-learning", seeds=3, steps=20_000, evaluate_every=20_000, epsilon_steps=10_000)
    result = run.evaluate(episodes=2000)
    exact = [row["exact_return"] for row in result["seeds"]]
    np.testing.assert_array_equal(exact, run.scores)
    assert result["mean"] == pytest.approx(np.mean(exact), rel=1e-12)
    for row in result["seeds"]:
        # Five standard errors of a share among 2000 episodes.
        assert abs(row["mean_return"] - row["exact_return"]) < 5 * 0.5 / np.sqrt(2000)
    assert np.mean(exact) > 0.05  # more than random play, 0.014


@pytest.mark.slow
def test_evaluation_without_a_model_samples_and_changes_nothing(
    trained: Callable[..., Run], results: Any
) -> None:
    run = trained("ppo", seeds=2)
    before = results(run.folder)
    first, again = run.evaluate(episodes=5), load(run.folder).evaluate(episodes=5)
    assert first == again
    assert [row["exact_return"] for row in first["seeds"]] == [None, None]
    assert first["mean"] == pytest.approx(
        np.mean([row["mean_return"] for row in first["seeds"]]), rel=1e-12
    )
    assert run.evaluate(episodes=5, greedy=False) != first
    assert results(run.folder) == before


def test_the_best_policies_have_the_best_returns_of_the_curve(trained: Callable[..., Run]) -> None:
    run = trained("q-learning-compiled", seeds=4, steps=4000, evaluate_every=250, keep_best=True)
    best, final = run.evaluate(2, which="best"), run.evaluate(2)
    assert best["which"] == "best"
    assert "which" not in final
    highest = [row["exact_return"] for row in best["seeds"]]
    np.testing.assert_array_equal(highest, run.curve.max(axis=1))
    assert any(highest != run.scores)
    assert [row["env_steps"] for row in best["seeds"]] == [
        run.steps[np.argmax(curve)] for curve in run.curve
    ]
    assert best["mean_over"] == [0, 1, 2, 3]
    mdp = run.environment.mdp
    assert mdp is not None
    actor = run.batch_actor(run.seeds, which="best")
    known = exact_returns(actor, mdp, 4)
    assert known is not None
    np.testing.assert_array_equal(known.returns, highest)
    table = run.agent_state(0, which="best")["q"]
    assert table.shape == run.agent_state(0)["q"].shape
    assert run.actor(0, which="best").act(0) in range(4)


def test_the_best_policies_play_other_episodes_than_those_that_chose_them(
    trained: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained("random-probe", seeds=2, keep_best=True)
    play_many = policies.play_many

    def numbered(*args: Any, **options: Any) -> Any:
        played = play_many(*args, **options)
        return played._replace(returns=np.tile(np.arange(played.returns.shape[1]), (2, 1)))

    monkeypatch.setattr(policies, "play_many", numbered)
    assert run.record["evaluation_episodes"] == 1
    for which, mean in (("final", 1.0), ("best", 2.0)):  # of the episodes 0 to 2, and 1 to 3
        rows = run.evaluate(3, which=which)["seeds"]  # type: ignore[arg-type]
        assert [row["mean_return"] for row in rows] == [mean, mean]


def test_best_policies_that_were_not_kept_are_asked_for_in_vain(
    trained: Callable[..., Run],
) -> None:
    run = trained("random")
    with pytest.raises(UsageError, match=r"trained without keep_best=True \(--keep-best\)"):
        run.actor(0, which="best")
    with pytest.raises(UsageError, match="""expected "final" or "best", got 'latest'"""):
        run.actor(0, which="latest")  # type: ignore[arg-type]
    kept = trained("random-probe", seeds=2, keep_best=True)
    ((_, path),) = checkpoints.list_best(kept.folder, 1)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RlkitError, match=r"the best policy of seed 1 .* is damaged"):
        kept.actor(1, which="best")


def test_a_missing_seed_is_rejected(trained: Callable[..., Run]) -> None:
    run = trained("random", seeds=2)
    for seed in (2, -1):
        with pytest.raises(UsageError, match="has the seeds 0 to 1, not"):
            run.actor(seed)


@pytest.mark.slow
def test_the_table_of_q_learning_is_what_its_values_and_actions_come_from(
    trained: Callable[..., Run],
) -> None:
    run = trained("q-learning", seeds=1, steps=3000)
    table, actor = run.q_table(), run.actor()
    assert table.shape == (16, 4)
    assert table.any()
    states = np.arange(16)
    np.testing.assert_array_equal(actor.value(states), table.max(axis=1))
    np.testing.assert_array_equal(actor.predict(states)[0], table.argmax(axis=1))
    table[:] = 0.0  # a copy
    assert run.q_table().any()
    assert actor.value(states).any()


def test_the_values_of_value_iteration_are_optimal_and_consistent(
    trained: Callable[..., Run],
) -> None:
    run = trained("value-iteration", seeds=1, discount=0.95)
    table, actor = run.q_table(), run.actor()
    values = actor.value(np.arange(16))
    mdp = run.environment.mdp
    assert mdp is not None
    np.testing.assert_allclose(values, solve(mdp, discount=0.95).values, atol=1e-9)
    # The Bellman equation, state by state, written out.
    for s in range(16):
        for a in range(4):
            successors = zip(
                mdp.padded().probability[s, a],
                mdp.padded().next_state[s, a],
                mdp.padded().reward[s, a],
                mdp.padded().terminated[s, a],
                strict=True,
            )
            q = sum(p * (r + 0.95 * (0.0 if end else values[n])) for p, n, r, end in successors)
            assert table[s, a] == pytest.approx(q, abs=1e-9)
    np.testing.assert_allclose(table.max(axis=1), values, atol=1e-8)


def test_an_exact_return_comes_from_the_probabilities_of_an_actor(
    trained: Callable[..., Run],
) -> None:
    run = trained("q-learning", seeds=1, steps=3000)
    actor, mdp = run.actor(), run.environment.mdp
    assert mdp is not None

    class InTheTermsOfTheLoop:
        def act(self, obs: Any) -> Any:
            raise AssertionError

        def probabilities(self, obs: Any) -> Any:
            return actor.probabilities(obs[0])[None]

    exact = exact_returns(InTheTermsOfTheLoop(), mdp, 1)
    assert exact is not None
    np.testing.assert_allclose(exact.returns, run.scores)
    env = gym.make("FrozenLake-v1")
    obs, _ = env.reset(seed=0)
    assert env.action_space.contains(actor.act(obs))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {**state, "agent/q": state["agent/q"] * np.nan}, "has NaN in 'agent/q'"),
        (lambda state: {k: v for k, v in state.items() if k != "agent/q"}, "continuing the agent"),
        (lambda state: {**state, "agent/q": state["agent/q"][:1]}, r"'q' of shape \(1, 4\)"),
    ],
    ids=["NaN", "missing", "shape"],
)
def test_a_checkpoint_that_cannot_be_played_is_one_sentence(
    change: Callable[[Any], Any], message: str, trained_folder: Callable[..., Path]
) -> None:
    folder = trained_folder("q-learning", seeds=1)
    steps, state, _ = checkpoints.newest_checkpoint(folder, 0)
    checkpoints.save_checkpoint(folder, 0, steps, change(state))
    checkpoints.adopt(folder, 0, identity_of(folder))
    for use in (lambda: load(folder).evaluate(2), lambda: load(folder).actor()(np.int64(0))):
        with pytest.raises(RlkitError, match=message):
            use()
