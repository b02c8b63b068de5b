"""Tuning from bad settings: is what comes out as good as the presets, and how much does it take?

    python -m experiments.tuning

Writes results/tuning: the studies, their figures and the table of the page docs/tuning.md. It takes
about a quarter of an hour on two cores; `--trials` and `--only` make it shorter. With `--runs` the
same command continues where it was interrupted.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rlkit
from rlkit.agents.ppo import PPOConfig
from rlkit.agents.tabular.q_learning import QLearningConfig
from rlkit.cli.report import note, show_progress
from rlkit.training.tuning.study import Study
from rlkit.training.tuning.trials import Trial

# Where the searches start: each option is legal, and together they hardly learn.
SEARCHES: dict[str, dict[str, Any]] = {
    "q-learning": {
        "environment": "FrozenLake-v1",
        "config": QLearningConfig(
            discount=0.9,
            step_size=0.02,
            step_size_power=1.0,
            epsilon_start=0.1,
            epsilon_end=0.005,
            epsilon_steps=40_000,
        ),
        "trials": 40,
        "seeds": 5,
    },
    "ppo": {
        "environment": "CartPole-v1",
        "config": PPOConfig(
            rollout_length=1024,
            num_epochs=2,
            minibatch_size=512,
            learning_rate=1e-5,
            discount=0.9,
            gae_lambda=0.8,
        ),
        "trials": 16,
        "seeds": 5,
        "workers": 2,
    },
}
COLUMNS = (
    *("search", "trials", "steps of trials", "without stopping", "steps of the final", "start"),
    *("best trial", "confirmed", "preset", "best trial - confirmed", "tuned - preset"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", choices=SEARCHES, help="one of the searches")
    parser.add_argument("--trials", type=int, help="trials of each search")
    parser.add_argument("--steps", type=int, help="environment steps per seed, for a quick look")
    parser.add_argument("--out", type=Path, default=Path("results/tuning"))
    parser.add_argument("--runs", type=Path, help="a folder that keeps the runs")
    options = parser.parse_args()
    rows = []
    for agent, search in SEARCHES.items():
        if options.only in (None, agent):
            given = {"trials": options.trials, "steps": options.steps}
            changes = {name: value for name, value in given.items() if value is not None}
            rows.append(run(agent, search | changes, options.out / agent, options.runs))
    text = "\n".join(
        [f"| {' | '.join(COLUMNS)} |", f"| --- |{' ---: |' * (len(COLUMNS) - 1)}"]
        + [f"| {' | '.join(row[name] for name in COLUMNS)} |" for row in rows]
    )
    (options.out / "table.md").write_text(f"{text}\n")
    print(text)


def run(agent: str, search: Mapping[str, Any], out: Path, runs: Path | None) -> dict[str, str]:
    """Search, keep what was written beside the runs, and return the row of the table."""

    def each(trial: Trial) -> None:
        mean = "" if trial.interval is None else f", mean {trial.interval.estimate:.4g}"
        note(f"{agent}, trial {trial.number}: {trial.state} at {trial.steps:,} steps{mean}")

    with tempfile.TemporaryDirectory() as folder, show_progress(quiet=False) as reports:
        study = rlkit.tune(agent, **search, out=runs or folder, each=each, reports=reports)
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        for path in sorted(study.folder.iterdir()):
            if path.is_file() and path.suffix in (".json", ".csv", ".png"):
                shutil.copy(path, out)
        print(study.preset)
        return row(study)


def row(study: Study) -> dict[str, str]:
    """Return what the table says about a search."""
    assert study.comparison is not None
    assert study.best is not None
    assert study.best.interval is not None
    fresh = {
        name: f"{one.estimate:.4g} ({one.low:.4g} to {one.high:.4g})"
        for name, one in study.comparison.intervals().items()
    }
    over = study.overstatement()
    assert over is not None
    pairs = {(pair.a, pair.b): pair for pair in study.comparison.pairs()}
    against = pairs["tuned", "preset"]
    states = [trial.state for trial in study.trials]
    return {
        "search": f"{study.spec.agent_name}, {study.environment_name}",
        "trials": f"{len(states)}, {states.count('stopped')} stopped",
        "steps of trials": f"{study.env_steps:,}",
        "without stopping": f"{study.env_steps_without_race:,}",
        "steps of the final": f"{study.env_steps_of_final:,}",
        "start": fresh["start"],
        "best trial": f"{study.best.interval.estimate:.4g}",
        "confirmed": fresh["tuned"],
        "preset": fresh["preset"],
        "best trial - confirmed": f"{over.difference:.2g} ({over.low:.2g} to {over.high:.2g})",
        "tuned - preset": f"{against.difference:.2g}, {against.verdict}",
    }


if __name__ == "__main__":
    main()
