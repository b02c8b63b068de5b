"""What do tables in bins, linear features and least squares reach on CartPole and FrozenLake?

python -m experiments.least_squares
"""

from __future__ import annotations

from typing import Any

import rlkit
from experiments.report import arguments, publish
from rlkit.cli.report import show_progress
from rlkit.training.comparing.comparison import Comparison

# The presets of CartPole were chosen on the seeds of experiment 0; these played no part in that.
SEED = 1

# The name in the table -> the agent and what differs from its preset.
RUNS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "CartPole-v1": {
        "lspi": ("lspi", {}),
        "q-learning-bins": ("q-learning", {}),
        "reinforce": ("reinforce", {"steps": 50_000}),
        "reinforce-linear": ("reinforce", {"steps": 50_000, "baseline": "linear"}),
        "random": ("random", {"steps": 20_000}),
    },
    "FrozenLake-v1": {
        "value-iteration": ("value-iteration", {"steps": 50_000}),
        "lspi": ("lspi", {}),
        "q-learning": ("q-learning", {}),
        "random": ("random", {"steps": 50_000}),
    },
}


def main() -> None:
    args = arguments(str(__doc__).splitlines()[0], seeds=30, out="results/least_squares")
    options = args.parse_args()
    for environment, contenders in RUNS.items():
        runs = {}
        with show_progress(quiet=False) as reports:
            for name, (agent, changes) in contenders.items():
                runs[name] = rlkit.train(
                    agent,
                    environment,
                    seeds=options.seeds,
                    seed=SEED,
                    workers=options.workers,
                    out=options.runs,
                    reports=reports,
                    **changes,
                )
        results = options.out / environment.partition("-")[0].lower()
        results.mkdir(parents=True, exist_ok=True)
        publish(Comparison(runs, results))


if __name__ == "__main__":
    main()
