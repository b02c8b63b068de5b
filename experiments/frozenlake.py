"""How close do learning agents come to the exact optimum of FrozenLake-v1?

    python -m experiments.frozenlake

The optimum is computed, not estimated, and so is every point of every curve: the probability that
the greedy policy of that moment reaches the goal within the limit of 100 steps.
"""

from __future__ import annotations

from experiments.report import arguments, publish, train_all


def main() -> None:
    args = arguments(str(__doc__).splitlines()[0], seeds=30, out="results/frozenlake").parse_args()
    settings = {
        "value-iteration": {"steps": 400_000, "evaluate_every": 20_000},
        "q-learning": {},  # the preset: 400,000 steps
        "reinforce": {"steps": 400_000, "evaluate_every": 20_000},
        "ppo": {"steps": 400_000, "evaluate_every": 20_000},
        "random": {"steps": 400_000, "evaluate_every": 20_000},
    }
    publish(
        train_all(
            settings,
            "FrozenLake-v1",
            seeds=args.seeds,
            workers=args.workers,
            out=args.runs,
            results=args.out,
        )
    )


if __name__ == "__main__":
    main()
