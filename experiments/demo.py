"""Train five agents on two environments with ten seeds in three minutes, beside the optimum.

Run it with `make demo`, or `python -m experiments.demo --help` for its options.
"""

from __future__ import annotations

import time
from pathlib import Path

import rlkit
from experiments.report import arguments, publish, train_all


def main() -> None:
    parser = arguments(str(__doc__).splitlines()[0], seeds=10, out="results/demo")
    parser.add_argument("--scale", type=float, default=1.0, help="fraction of the steps to train")
    args = parser.parse_args()
    started = time.monotonic()

    def steps(number: int) -> int:
        return max(1, round(number * args.scale))

    solution = rlkit.solve("FrozenLake-v1")
    print(
        "FrozenLake-v1, solved exactly: the best policy reaches the goal with probability "
        f"{solution.optimal_return_under_limit:.4f} in {solution.time_limit} steps.\n"
    )
    jobs = {
        "FrozenLake-v1": {
            "value-iteration": {"steps": steps(20_000), "evaluate_every": 1_000},
            "q-learning": {"steps": steps(120_000), "epsilon_steps": steps(100_000)},
            "reinforce": {"steps": steps(300_000)},
            "ppo": {"steps": steps(200_000)},
            "random": {"steps": steps(20_000), "evaluate_every": 1_000},
        },
        "CartPole-v1": {
            "reinforce": {"steps": steps(100_000)},
            "ppo": {"steps": steps(100_000)},
        },
    }
    for environment, settings in jobs.items():
        folder = args.out / environment
        comparison = train_all(
            settings,
            environment,
            seeds=args.seeds,
            workers=args.workers,
            out=folder / "runs",
            results=folder,
        )
        publish(comparison)
        print()
    print(f"done in {time.monotonic() - started:.0f} s; the figures are under {Path(args.out)}/")


if __name__ == "__main__":
    main()
