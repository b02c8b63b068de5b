"""A seed has the same bytes alone, among others, added later, and with or without evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rlkit.runs import checkpoints, store
from rlkit.runs.reports import Reports, Stopped
from rlkit.training.run import Run
from rlkit.training.seed_trainer import train_seeds
from rlkit.training.specification import RunSpec

EVERY_KIND = [
    "ppo",
    "q-learning",
    "q-learning-compiled",
    "q-learning-bins",
    "lspi",
    "reinforce-linear",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            *("ppo-normalised", "reinforce", "random", "q-learning-gymnasium", "sarsa"),
            *("expected-sarsa", "double-q-learning", "n-step-sarsa", "monte-carlo", "dyna-q"),
        )
    ),
]


@pytest.mark.long
@pytest.mark.parametrize("name", EVERY_KIND)
def test_nine_seeds_added_to_one_have_the_bytes_of_a_batch_of_ten(
    name: str, small: Callable[..., Run], results: Any, reference: Any
) -> None:
    first = small(name, seeds=1)
    assert results(first.folder) == {0: reference(name, seeds=10)[0]}
    run = small(name, seeds=10)
    assert run.folder == first.folder
    assert len(run.seeds) == 10
    assert results(run.folder) == reference(name, seeds=10)


@pytest.mark.parametrize("name", EVERY_KIND)
def test_any_seed_can_be_trained_by_itself(
    name: str, out: Path, spec_of: Callable[..., RunSpec], results: Any, reference: Any
) -> None:
    spec = spec_of(name)
    store.prepare_folder(out)
    assert train_seeds(spec, spec.resolve(), out, [7], Reports()) == []
    assert results(out) == {7: reference(name, seeds=10)[7]}


@pytest.mark.trap("T49")
@pytest.mark.parametrize("name", EVERY_KIND)
def test_evaluation_changes_nothing_but_its_own_columns(
    name: str, small: Callable[..., Run], results: Any
) -> None:
    evaluated = small(name, seeds=2, evaluation_episodes=3)
    unevaluated = small(name, seeds=2, evaluation_episodes=0)
    assert evaluated.folder != unevaluated.folder
    for with_it, without in zip(evaluated.columns, unevaluated.columns, strict=True):
        assert np.isfinite(with_it["eval_return"]).all()
        assert np.isnan(without["eval_return"]).all()
        for column in with_it:
            if not column.startswith("eval_"):
                np.testing.assert_array_equal(with_it[column], without[column])
    for seed in range(2):
        _, state, _ = checkpoints.newest_checkpoint(evaluated.folder, seed)
        _, other, _ = checkpoints.newest_checkpoint(unevaluated.folder, seed)
        assert state.keys() == other.keys()
        for entry in state.keys() - {"curve_bytes"}:
            np.testing.assert_array_equal(state[entry], other[entry], err_msg=entry)


@pytest.mark.slow
def test_seeds_that_are_at_different_steps_are_brought_to_the_same_end(
    out: Path, spec_of: Callable[..., RunSpec], results: Any, reference: Any
) -> None:
    store.prepare_folder(out)
    for seed, steps in ((0, 200), (1, 400), (2, 400)):
        spec = spec_of("reinforce", steps=steps)
        train_seeds(spec, spec.resolve(), out, [seed], Reports())
    spec = spec_of("reinforce")
    assert train_seeds(spec, spec.resolve(), out, range(4), Reports()) == []
    expected = reference("reinforce", seeds=10)
    assert results(out) == {seed: expected[seed] for seed in range(4)}


def test_seeds_that_stopped_at_different_places_of_their_episodes_are_joined(
    out: Path, spec_of: Callable[..., RunSpec], results: Any, reference: Any
) -> None:
    # Trained apart, so that what each has stored of its running episodes differs in length.
    store.prepare_folder(out)
    short = spec_of("q-learning-gymnasium", steps=100)
    for seed in range(3):
        train_seeds(short, short.resolve(), out, [seed], Reports())
    lengths = [
        checkpoints.newest_checkpoint(out, seed)[1]["env/num_actions"].max() for seed in range(3)
    ]
    assert len(set(lengths)) > 1
    spec = spec_of("q-learning-gymnasium")
    train_seeds(spec, spec.resolve(), out, range(3), Reports())
    expected = reference("q-learning-gymnasium", seeds=10)
    assert results(out) == {seed: expected[seed] for seed in range(3)}


@pytest.mark.parametrize("every", [2, 16, 32, 1000])
def test_a_run_stops_when_asked_however_often_rows_are_written(
    every: int, out: Path, spec_of: Callable[..., RunSpec]
) -> None:
    store.prepare_folder(out)
    spec = spec_of("q-learning", evaluate_every=every, evaluation_episodes=0)
    with pytest.raises(Stopped, match="stopped at"):
        train_seeds(spec, spec.resolve(), out, [0], Reports(stop=lambda: True))
    steps, state, _ = checkpoints.newest_checkpoint(out, 0)
    assert 0 < steps < 600
    assert int(state["tracker/num_env_steps"]) == steps


def test_progress_is_reported_up_to_the_last_step(small: Callable[..., Run]) -> None:
    reported: list[tuple[list[int], int]] = []
    reports = Reports(progress=lambda seeds, steps: reported.append((list(seeds), steps)))
    small("q-learning", seeds=2, reports=reports)
    assert reported[-1] == ([0, 1], 600)
    together = [steps for seeds, steps in reported if seeds == [0, 1]]
    assert together == sorted(together)


@pytest.mark.trap("F58")
def test_the_number_of_steps_is_rounded_up_to_whole_steps_of_the_environments(
    small: Callable[..., Run],
) -> None:
    run = small("q-learning", seeds=1, steps=601, envs=4)
    assert run.columns[0]["num_env_steps"][-1] == 604
    assert np.isfinite(run.scores).all()


def test_a_closing_environment_that_raises_does_not_hide_the_results(
    small: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    from rlkit.environments.table import TabularBatchEnv

    def close(self: Any) -> None:
        raise OSError("the door is stuck")

    monkeypatch.setattr(TabularBatchEnv, "close", close)
    notes: list[str] = []
    run = small("q-learning", seeds=1, reports=Reports(note=notes.append))
    assert run.status == "finished"
    assert any("the door is stuck" in note for note in notes)
