"""How close do the learners of tables come to the exact optimum, and in how many steps?

    python -m experiments.table_learners

All of them on FrozenLake-v1 and CliffWalking-v1, Q-learning on FrozenLake8x8-v1, with 30 seeds each
and the preset of each agent. Every return is computed, not estimated: of the greedy policy, under
the time limit where there is one.
"""

from __future__ import annotations

from typing import Any

from experiments.report import arguments, publish, train_all

TEMPORAL_DIFFERENCE = (
    *("q-learning", "double-q-learning", "dyna-q"),
    *("sarsa", "expected-sarsa", "n-step-sarsa"),
)
# Agents and the options that differ from their presets. Episodes on CliffWalking-v1 have no time
# limit, and Monte Carlo learns at their ends only.
SETTINGS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "FrozenLake-v1": (
        (*TEMPORAL_DIFFERENCE, "monte-carlo"),
        {"steps": 400_000, "evaluate_every": 20_000},
    ),
    "CliffWalking-v1": (TEMPORAL_DIFFERENCE, {"steps": 50_000, "evaluate_every": 2_500}),
    "FrozenLake8x8-v1": (("q-learning",), {}),
}


def main() -> None:
    parser = arguments(str(__doc__).splitlines()[0], seeds=30, out="results/table_learners")
    parser.add_argument("--only", choices=SETTINGS, help="one environment; default all")
    args = parser.parse_args()
    for environment in [args.only] if args.only else SETTINGS:
        agents, options = SETTINGS[environment]
        publish(
            train_all(
                dict.fromkeys(agents, options),
                environment,
                seeds=args.seeds,
                workers=args.workers,
                out=args.runs,
                results=args.out / environment,
            )
        )


if __name__ == "__main__":
    main()
