"""Resuming a run: each part of the state counts, and existing results are not touched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.runs import checkpoints, store
from rlkit.runs.reports import Reports, Stopped
from rlkit.training import seed_batch as training
from rlkit.training import train
from rlkit.training.run import Run, load
from rlkit.training.seed_trainer import train_seeds
from rlkit.training.specification import RunSpec
from rlkit.training.tracker import Tracker
from rlkit_envs.cartpole import BatchedCartPole
from tests.vector_envs import MaskedWalk, Walks

# For each: what is changed, after how many iterations it is stopped, so that at that moment there
# was an update, and rollouts, batches, episodes and rows are under way; and the entries that a
# resumed run does not need: `ended` is False wherever environments reset themselves, what a
# Gymnasium environment shows is played again and only compared, and a table has no gradients.
# Whether a seed ever learned is for a note only, and so is, under a time limit, how long its
# longest episode was.
NOTED = ("tracker/learned", "tracker/longest_episode")
# `random` has no metrics; the places of a user's grid are for messages.
UNMEASURED = ("tracker/num_gradient_steps", "tracker/numbers", "tracker/sums", NOTED[0])
MIDWAY: dict[str, tuple[dict[str, Any], int, set[str]]] = {
    "ppo": ({"env_args": {"max_episode_steps": 15}, "steps": 400}, 65, {"env/ended", *NOTED}),
    "ppo-normalised": ({"evaluate_every": 300}, 209, {"env/ended", NOTED[0]}),
    "reinforce": (
        {"env_args": {"max_episode_steps": 15}, "steps": 400},
        84,
        {"env/ended", *NOTED},
    ),
    "q-learning": (
        {
            "environment": "CliffWalking-v1",
            "env_args": {"max_episode_steps": 25},
            "evaluate_every": 140,
            "steps": 400,
        },
        110,
        {"env/ended", "tracker/num_gradient_steps", *NOTED},
    ),
    "ppo-probe": ({"steps": 400}, 129, {"env/ended", "env/obs", *NOTED}),
    # Cheap runs of the other grids and views; `random` draws its actions from its state.
    "random: a batched environment of a user": (
        {"environment": BatchedCartPole, "envs": 2, "steps": 200}
        | {"env_args": {"max_episode_steps": 22}},
        77,
        {"env/steps", "env/own/ended", *UNMEASURED, NOTED[1]},
    ),
    "random: a vector environment": (
        {"environment": Walks, "envs": 2, "steps": 200},
        73,
        {"env/ended", "env/obs", *UNMEASURED},
    ),
    "random: masks, in bins": (
        {"environment": MaskedWalk, "envs": 2, "steps": 200, "action_masks": True, "bins": 3}
        | {"bin_low": 0.0, "bin_high": 9.0},
        73,
        {"env/ended", "env/obs", *UNMEASURED},
    ),
}


def stop_midway(spec: RunSpec, folder: Path, iterations: int) -> dict[str, Any]:
    """Stop a run soon after so many iterations; return the entries of its checkpoint."""
    seen, observe = [0], Tracker.observe

    def counted(self: Tracker, *args: Any) -> None:
        seen[0] += 1
        observe(self, *args)

    store.prepare_folder(folder)
    reports = Reports(stop=lambda: seen[0] >= iterations)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tracker, "observe", counted)
        with pytest.raises(Stopped):
            train_seeds(spec, spec.resolve(), folder, [0], reports)
    return checkpoints.newest_checkpoint(folder, 0)[1]


def omitted(value: Any, fresh: Any) -> Any:
    return fresh


def plus_one(value: Any, fresh: Any) -> Any:
    return np.asarray(value) + np.asarray(1, dtype=np.asarray(value).dtype)


def mark_of(name: str, change: Any) -> list[pytest.MarkDecorator]:
    if change is plus_one:  # what is omitted and noticed is noticed when it is another number
        return [pytest.mark.torture]
    return [] if name.startswith("random") else [pytest.mark.slow]


MUTANTS = [
    pytest.param(name, change, marks=mark_of(name, change))
    for name in MIDWAY
    for change in (omitted, plus_one)
    if change is omitted or not name.startswith("random")
]


@pytest.mark.long
@pytest.mark.trap("T61", "T62", "T63", "T64", "F10")
@pytest.mark.parametrize(("name", "change"), MUTANTS)
def test_no_entry_of_the_state_can_be_omitted_or_altered_unnoticed(
    name: str,
    change: Callable[[Any, Any], Any],
    out: Path,
    spec_of: Callable[..., RunSpec],
    results: Any,
    reference: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changes, iterations, redundant = MIDWAY[name]
    name = name.partition(":")[0]
    spec = spec_of(name, **changes)
    expected = reference(name, seeds=1, **changes)[0]
    state = stop_midway(spec, out / "stopped", iterations)
    restore, environment = training.restore, spec.resolve()

    def noticed(entry: str) -> bool:
        owner, _, own = entry.partition("/")

        def restore_mutant(part: Any, state: Any, what: str, *, exact: bool) -> None:
            if what.startswith(f"the {owner} "):
                if owner == "env":
                    part.reset()
                state = {**state, own: change(state[own], part.state_dict()[own])}
            restore(part, state, what, exact=exact)

        folder = out / entry.replace("/", "-")
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(out / "stopped", folder)
        monkeypatch.setattr(training, "restore", restore_mutant)
        try:
            train_seeds(spec, environment, folder, [0], Reports())
        except Exception:
            return True
        return bool(results(folder)[0] != expected)

    assert not noticed("none")
    unnoticed = {entry for entry in state if "/" in entry and not noticed(entry)}
    if change is omitted:
        assert unnoticed == redundant
    else:
        # One action more than there are means all of them; nothing is learned from `following_obs`.
        assert unnoticed <= redundant | {"env/num_actions", "agent/history_following_obs"}


@pytest.mark.trap("T64")
@pytest.mark.slow
@pytest.mark.parametrize("entry", ["obs", "curve_bytes"])
def test_the_observation_and_the_length_of_the_csv_count(
    entry: str, out: Path, spec_of: Callable[..., RunSpec], results: Any, reference: Any
) -> None:
    spec = spec_of("ppo")
    state = stop_midway(spec, out, 65)
    (_, path), *_ = checkpoints.list_checkpoints(out, 0)
    steps = int(state["tracker/num_env_steps"])
    path.unlink()
    altered = {entry: state[entry] - state[entry].dtype.type(1)}
    checkpoints.save_checkpoint(out, 0, steps, {**state, **altered})
    checkpoints.adopt(out, 0, "")
    train_seeds(spec, spec.resolve(), out, [0], Reports())
    assert results(out)[0] != reference("ppo", seeds=10)[0]


@pytest.mark.trap("T67")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "reinforce", "q-learning"])
def test_a_run_that_is_extended_keeps_its_bytes_and_equals_the_longer_run(
    name: str, small: Callable[..., Run], results: Any, reference: Any
) -> None:
    first = small(name, seeds=2, steps=300)
    before = results(first.folder)
    run = small(name, seeds=2)
    assert run.folder == first.folder
    assert run.num_env_steps == 600
    direct = reference(name, seeds=10)
    every = {"ppo": 200, "reinforce": 200, "q-learning": 100}[name]
    for seed in range(2):
        csv = results(run.folder)[seed][0]
        assert csv.startswith(before[seed][0])
        header, *rows = csv.decode().splitlines()
        kept = [row for row in rows if int(row.split(",")[0]) % every == 0]
        assert "\n".join([header, *kept, ""]).encode() == direct[seed][0]


def test_a_schedule_that_spans_the_run_makes_a_longer_run_another(
    small: Callable[..., Run],
) -> None:
    short = small("ppo", seeds=1, steps=200, learning_rate_schedule="linear")
    long = small("ppo", seeds=1, steps=400, learning_rate_schedule="linear")
    assert short.folder != long.folder


def test_fewer_steps_than_there_are_says_so_and_loses_nothing(
    small: Callable[..., Run], results: Any
) -> None:
    before = results(small("q-learning", seeds=2).folder)
    notes: list[str] = []
    run = small("q-learning", seeds=2, steps=200, reports=Reports(note=notes.append))
    assert any("already has 600" in note and "up to the requested 200" in note for note in notes)
    assert results(run.folder) == before
    assert run.num_env_steps == run.steps[-1] == 200
    assert load(run.folder).num_env_steps == 600
    assert run.status == "finished"


@pytest.mark.usefixtures("figures")
def test_a_finished_run_is_not_written_to_and_says_that_it_is_finished(
    small: Callable[..., Run],
) -> None:
    def files(folder: Path) -> dict[str, tuple[int, bytes]]:
        return {
            str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
            for path in folder.rglob("*")
            if path.is_file() and path.name != ".lock"
        }

    folder = small("q-learning", seeds=2).folder
    before = files(folder)
    assert {"run.json", "learning_curve.png", "seed-000.csv"} <= before.keys()
    notes: list[str] = []
    for changes in ({}, {"seeds": 1}, {"steps": 100}, {"workers": 2}):
        run = small("q-learning", **{"seeds": 2, **changes}, reports=Reports(note=notes.append))
        assert "already finished" in notes[-1]
        assert run.status == "finished"
    assert files(folder) == before


def test_a_call_for_fewer_seeds_does_not_make_an_interrupted_run_finished(
    small: Callable[..., Run],
) -> None:
    looks = iter([False] * 20 + [True] * 100)
    with pytest.raises(train.Interrupted, match="everything is saved"):
        small("q-learning", seeds=3, reports=Reports(stop=lambda: next(looks)))
    run = small("q-learning", seeds=1)
    assert np.isfinite(run.scores).all()
    assert run.status == "interrupted"
    assert small("q-learning", seeds=3).status == "finished"


@pytest.mark.trap("F27")
def test_a_run_that_was_moved_continues_where_it_is(
    small: Callable[..., Run], out: Path, tmp_path: Path, results: Any, reference: Any
) -> None:
    small("reinforce", seeds=2, steps=200)
    out.rename(tmp_path / "elsewhere")
    run = small("reinforce", seeds=2, out=tmp_path / "elsewhere")
    assert run.folder.parent == tmp_path / "elsewhere"
    assert not out.exists()
    expected = reference("reinforce", seeds=10)
    assert results(run.folder) == {seed: expected[seed] for seed in range(2)}
