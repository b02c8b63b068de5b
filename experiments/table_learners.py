"""How close do the learners of tables come to the exact optimum, and in how many steps?

    python -m experiments.table_learners

On FrozenLake-v1 and CliffWalking-v1, with 30 seeds each and the preset of each agent. Every return
is computed, not estimated: of the greedy policy, under the time limit where there is one.
"""

from __future__ import annotations

from typing import Any

from experiments.report import arguments, publish, train_all

AGENTS = ("q-learning", "sarsa", "expected-sarsa")
BUDGETS: dict[str, dict[str, Any]] = {
    "FrozenLake-v1": {"steps": 400_000, "evaluate_every": 20_000},
    "CliffWalking-v1": {"steps": 50_000, "evaluate_every": 2_500},
}


def main() -> None:
    question = str(__doc__).splitlines()[0]
    args = arguments(question, seeds=30, out="results/table_learners").parse_args()
    for environment, budget in BUDGETS.items():
        publish(
            train_all(
                dict.fromkeys(AGENTS, budget),
                environment,
                seeds=args.seeds,
                workers=args.workers,
                out=args.runs,
                results=args.out / environment,
            )
        )


if __name__ == "__main__":
    main()
