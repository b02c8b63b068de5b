"""What a run of preference-ppo leaves behind."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rlkit
from rlkit.agents.preferences.store import read_lines
from rlkit.environments.views.actions import ActionLayout
from rlkit.errors import UsageError
from rlkit.runs.integrity.verify import verify_run
from rlkit.runs.record import read_record, write_record
from rlkit.runs.reports import Reports
from rlkit.training.kind import AGENT_RUN
from rlkit.training.preferences import (
    pooled_accuracy,
    preferences_of,
    reward_accuracy,
    uninformative_answers,
    write_preferences,
)
from rlkit.training.run import Run
from tests.training.small_preferences import SMALL_PREFERENCES


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("preferences")
    return rlkit.train("preference-ppo", "CartPole-v1", seeds=2, out=out, **SMALL_PREFERENCES)


def test_the_files_hold_the_preferences_of_each_seed_and_have_sums(run: Run) -> None:
    paths = write_preferences(run)
    assert [path.name for path in paths] == ["preferences-000.jsonl", "preferences-001.jsonl"]
    spaces = (run.environment.observation_space, ActionLayout(run.environment.action_space))
    for seed, path in enumerate(paths):
        read, known = read_lines(path, 10, *spaces), preferences_of(run, seed)
        assert len(known.preferred) == 40
        assert np.array_equal(read.pairs.obs, known.pairs.obs)
        assert np.array_equal(read.preferred, known.preferred)
    assert preferences_of(run, 0).pairs.obs.tobytes() != preferences_of(run, 1).pairs.obs.tobytes()
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write_preferences(run)] == before
    assert verify_run(run.folder, AGENT_RUN).problems == ()
    paths[0].write_bytes(before[0][:-9])
    assert "preferences-000.jsonl" in str(verify_run(run.folder, AGENT_RUN).problems)
    paths[0].write_bytes(before[0])


def test_accuracies_of_the_seeds_are_pooled_over_their_labels(run: Run) -> None:
    seeds, pooled = reward_accuracy(run), pooled_accuracy(run)
    assert [own.num_held_out for own in seeds.values()] == [20, 20]
    assert pooled.num_held_out == 40
    mean = np.mean([own.accuracy for own in seeds.values()])
    assert pooled.accuracy == pytest.approx(mean, abs=1e-12)
    ceilings = [own.ceiling for own in seeds.values()]
    assert pooled.ceiling.accuracy == pytest.approx(np.mean([c.accuracy for c in ceilings]))
    together = math.hypot(*(c.standard_error for c in ceilings)) / 2
    assert pooled.ceiling.standard_error == pytest.approx(together)


def test_the_last_row_has_the_accuracy_that_is_measured_from_the_checkpoint(run: Run) -> None:
    for seed, own in reward_accuracy(run).items():
        columns = run.columns[seed]
        for name, value in (
            ("held_out_accuracy", own.accuracy),
            ("bayes_accuracy", own.ceiling.accuracy),
        ):
            measured = columns[name][np.isfinite(columns[name])]
            assert measured[-1] == pytest.approx(value, abs=1e-12)


def test_a_row_after_several_rounds_has_the_numbers_of_the_last(tmp_path: Path) -> None:
    options = {**SMALL_PREFERENCES, "evaluate_every": 1200}
    run = rlkit.train("preference-ppo", "CartPole-v1", seeds=1, out=tmp_path, **options)
    (own,) = reward_accuracy(run).values()
    assert run.columns[0]["num_preferences"][-1] == 40
    assert run.columns[0]["held_out_accuracy"][-1] == own.accuracy


def test_evaluation_has_the_learned_return_beside_the_true_one(run: Run) -> None:
    rows = rlkit.evaluate(run, episodes=3)["seeds"]
    for row in rows:
        assert row["mean_return"] > 1
        assert math.isfinite(row["mean_learned_return"])
    # The reward is the learned one: of all steps of the episodes of one seed.
    actor = run.batch_actor([0])
    obs = np.zeros((1, 1, 4), np.float32)
    reward = getattr(actor, "reward")(obs, actor.act(obs))  # noqa: B009  not of every actor
    assert reward.shape == (1, 1)


def test_preferences_continue_in_another_run(run: Run, tmp_path: Path) -> None:
    file = write_preferences(run)[1]
    options = {**SMALL_PREFERENCES, "num_preferences": 0, "steps": 600}
    other = rlkit.train(
        "preference-ppo", "CartPole-v1", seeds=1, out=tmp_path, preferences=str(file), **options
    )
    assert np.array_equal(preferences_of(other).pairs.obs, preferences_of(run, 1).pairs.obs)
    assert (preferences_of(other).round == -1).all()


def test_a_labeller_is_loaded_before_a_run_begins_and_only_where_the_run_was_trained(
    tmp_path: Path,
) -> None:
    file, out = tmp_path / "labels.py", tmp_path / "runs"
    file.write_text(
        "def prefer(first, second):\n    return float(len(first.obs) > len(second.obs))\n"
    )
    options = {**SMALL_PREFERENCES, "num_rounds": 1, "steps": 500, "seeds": 1, "out": out}
    with pytest.raises(UsageError, match=r"has no 'prefers'.*Did you mean 'prefer'"):
        rlkit.train("preference-ppo", "CartPole-v1", labeller=f"{file}:prefers", **options)
    assert not out.exists()
    run = rlkit.train("preference-ppo", "CartPole-v1", labeller=f"{file}:prefer", **options)
    assert set(preferences_of(run).preferred) <= {0.0, 1.0}
    file.unlink()
    assert len(rlkit.load(run.folder).evaluate(episodes=2)["seeds"]) == 1
    changed = read_record(run.folder, AGENT_RUN)
    changed["config"] = {**changed["config"], "labeller": f"{tmp_path}/other.py:prefer"}
    (tmp_path / "other.py").write_text("raise SystemExit('this was run')\n")
    write_record(run.folder, {**changed, "status": "running"})
    (run.folder / "seed-000.csv").unlink()
    shutil.rmtree(run.folder / "checkpoints" / "seed-000")
    (outcome,) = rlkit.resume(out, reports=Reports())
    assert "the labeller" in outcome.message
    assert "--trust" in outcome.message


def test_the_policy_can_stay_near_a_reference(tmp_path: Path) -> None:
    options = {**SMALL_PREFERENCES, "num_rounds": 1, "steps": 600}
    run = rlkit.train(
        *("preference-ppo", "CartPole-v1"),
        **(options | {"seeds": 1, "out": tmp_path, "reference": "uniform", "kl_coef": 0.5}),
    )
    assert run.columns[0]["kl"][-1] > 0
    assert math.isfinite(run.columns[0]["learned_return"][-1])


def test_a_run_of_another_agent_has_no_preferences(tmp_path: Path) -> None:
    other = rlkit.train("random", "FrozenLake-v1", seeds=1, steps=50, out=tmp_path)
    with pytest.raises(UsageError, match="a run of random, which has no preferences"):
        preferences_of(other)


LABELLERS = """
def equal(first, second):
    return 0.5

def always_first(first, second):
    return 1

def by_angle(first, second):
    return float(abs(first.obs[:, 2]).mean() < abs(second.obs[:, 2]).mean())
"""


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("equal", r"all answers of each seed are alike \(equal\), so no reward can be learned"),
        ("always_first", r"all answers of each seed are alike \(the first segment\)"),
        ("by_angle", None),
    ],
)
def test_answers_that_are_all_alike_are_named(
    function: str, expected: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "labellers.py"
    file.write_text(LABELLERS)
    run = rlkit.train(
        *("preference-ppo", "CartPole-v1"),
        **{"seeds": 2, "out": tmp_path, "labeller": f"{file}:{function}", **SMALL_PREFERENCES},
    )
    sentence = uninformative_answers(run)
    assert re.match(expected, str(sentence)) if expected else sentence is None


def test_coin_flips_between_equal_returns_are_named(run: Run, tmp_path: Path) -> None:
    assert uninformative_answers(run) is None  # in CartPole the returns differ
    rare = rlkit.train(
        *("preference-ppo", "FrozenLake-v1"), seeds=2, out=tmp_path, **SMALL_PREFERENCES
    )
    assert re.match(
        r"in (9\d|100) % of the questions both segments had the same return",
        str(uninformative_answers(rare)),
    )


def test_a_function_in_place_of_its_name_is_refused_in_words() -> None:
    labeller: Any = lambda first, second: 1.0  # noqa: E731
    with pytest.raises(UsageError, match=r"is named by its file, path/to/file\.py:function"):
        rlkit.train("preference-ppo", "CartPole-v1", labeller=labeller)
