"""The posterior of a run of PSRL: read from its checkpoint, and drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rlkit.cli import main
from rlkit.errors import UsageError
from rlkit.training.playing.posterior import final_posterior, plot_posterior, value_samples
from rlkit.training.run import Run, load
from rlkit.training.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("psrl")
    return train("psrl", "FrozenLake-v1", seeds=2, steps=1500, evaluate_every=500, out=out)


def test_the_posterior_holds_every_step_of_the_seed(run: Run) -> None:
    first, second = (final_posterior(load(run.folder), seed) for seed in (0, 1))
    assert first.visits.sum() == second.visits.sum() == 1500
    assert (first.visits != second.visits).any()
    state = run.agent_state(1)
    np.testing.assert_array_equal(state["counts"].sum(axis=-1), second.visits)


def test_sampled_values_are_those_of_the_plans_of_sampled_models(run: Run) -> None:
    posterior = final_posterior(run, 1)
    values = value_samples(posterior, np.random.default_rng(0), discount=0.9, models=3)
    assert values.shape == (3, 16)
    rng = np.random.default_rng(0)
    for own in values:
        transition, reward = posterior.sample(rng)
        # The Bellman equation of that very model.
        backup = (reward + 0.9 * transition[..., :16] @ own).max(axis=-1)
        np.testing.assert_allclose(backup, own, atol=1e-9)


def test_the_figure_is_the_same_each_time_and_the_command_writes_it(
    run: Run, tmp_path: Path
) -> None:
    figure = plot_posterior(run, tmp_path / "python.png", seed=1)
    assert "posterior of seed 1 after 1,500 steps" in figure.get_suptitle()
    path = tmp_path / "command.png"
    assert main(["plot", str(run.folder), "--posterior", "1", "--out", str(path)]) == 0
    assert path.read_bytes() == (tmp_path / "python.png").read_bytes()


def test_runs_without_a_posterior_or_a_map_and_unknown_seeds_are_rejected(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = train("random", "FrozenLake-v1", seeds=1, steps=100, out=tmp_path)
    with pytest.raises(UsageError, match="of random, which keeps no posterior of the model; psrl"):
        plot_posterior(other)
    with pytest.raises(UsageError, match="has the seeds 0 to 1, not 5"):
        plot_posterior(run, seed=5)
    with pytest.raises(UsageError, match="models"):
        plot_posterior(run, models=1)
    bandit = train("psrl", "rlkit_envs.bandit:BernoulliBandit-v0", seeds=1, steps=60, out=tmp_path)
    with pytest.raises(UsageError, match="has no map to draw a posterior on"):
        plot_posterior(bandit)
    two = [str(run.folder), str(other.folder)]
    assert main(["plot", *two, "--posterior", "0", "--out", str(tmp_path / "a.png")]) == 2
    assert "--posterior draws one run, got 2" in capsys.readouterr().err
    both = [str(run.folder), "--posterior", "0", "--regret", "--out", str(tmp_path / "a.png")]
    assert main(["plot", *both]) == 2
    assert "choose one" in capsys.readouterr().err
