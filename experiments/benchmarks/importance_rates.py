"""How often is an option said to matter where none does?

Simulates searches of `rlkit tune` whose returns are noise: proposals, race, ranks and importances
are those of the program, and only the training is left out. The script counts the searches in
which at least one option has a p-value of at most 0.05. The proposals of a search depend on its
earlier returns, which the shuffles behind a p-value do not know; `--random` counts the same with
settings drawn at random, where a p-value is exact.

    python -m experiments.benchmarks.importance_rates --spaces q-learning --searches 100
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from rlkit.training.specification import make_spec
from rlkit.training.tuning.built_in import SPACES
from rlkit.training.tuning.importances import importances
from rlkit.training.tuning.proposals import propose
from rlkit.training.tuning.racing import TrialCurve, objective, step_of_stop
from rlkit.training.tuning.spaces import Space, read_space
from rlkit.training.tuning.trials import FINISHED, STOPPED, Trial

RESULTS = Path("results/importance_rates")
SEEDS, ROWS, BUDGET = 5, 20, 100_000
ENVIRONMENTS = {"q-learning": "FrozenLake-v1", "ppo": "CartPole-v1"}
MUST = 10.0  # percent of the searches

Returns = Callable[[np.random.Generator], np.ndarray[Any, Any]]


def noise(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return curves `[S, E]` of independent normal returns."""
    return rng.standard_normal((SEEDS, ROWS))


def failing(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return curves of seeds that reach a ceiling, but for one in five, which stays at 0."""
    works = rng.random((SEEDS, 1)) < 0.8
    rising = np.linspace(0.2, 1, ROWS) + 0.05 * rng.standard_normal((SEEDS, ROWS))
    return np.where(works, np.minimum(rising, 1), 0.0)


OBJECTIVES: dict[str, Returns] = {"normal returns": noise, "a ceiling, one in five fails": failing}


def space_of(agent: str) -> Space:
    """Return the search space of an agent."""
    spec = make_spec(agent, ENVIRONMENTS[agent], steps=BUDGET)
    return read_space(SPACES[agent], f"agent {agent}", spec.config, BUDGET)


def search(
    space: Space, returns: Returns, trials: int, seed: int, *, adaptive: bool
) -> list[Trial]:
    """Return the trials of a search whose returns do not depend on the settings."""
    rng, steps = np.random.default_rng([seed, 1]), np.linspace(BUDGET / ROWS, BUDGET, ROWS)
    done: list[Trial] = []
    for number in range(trials):
        known = [one.result for one in done] if adaptive else []
        params = propose(space, known, int(rng.integers(1 << 31)))
        same = next((one for one in done if one.params == params), None)
        if same is not None:  # the first of them, which is the same as none
            done.append(dataclasses.replace(same, number=number, same_as=same.number))
            continue
        curve = TrialCurve(steps, returns(rng))
        finished = [one.curve for one in done if one.state == FINISHED and one.curve is not None]
        stop = step_of_stop(curve, finished, budget=BUDGET, every=BUDGET // ROWS)
        rows = ROWS if stop is None else 1 + steps.tolist().index(stop)
        curve = TrialCurve(steps[:rows], curve.returns[:, :rows])
        done.append(
            Trial(
                number=number,
                params=params,
                origin="proposed",
                state=FINISHED if stop is None else STOPPED,
                steps=int(steps[rows - 1]),
                interval=objective(curve.returns[:, -1]),
                scores=tuple(curve.returns[:, -1]) if stop is None else (),
                curve=curve,
            )
        )
    return done


def smallest(seed: int, agent: str, objective: str, trials: int, *, adaptive: bool) -> float:
    """Return the smallest p-value of any option in a search; 1 where nothing is said."""
    space = space_of(agent)
    tried = search(space, OBJECTIVES[objective], trials, seed, adaptive=adaptive)
    known = importances(space, tried)
    return 1.0 if known is None else min(one.p_value for one in known.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--searches", type=int, default=100)
    parser.add_argument("--spaces", nargs="+", choices=ENVIRONMENTS, default=[*ENVIRONMENTS])
    parser.add_argument("--random", action="store_true", help="also settings drawn at random")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    with ProcessPoolExecutor(args.workers, mp_context=get_context("spawn")) as pool:
        for agent in args.spaces:
            for objective_name in OBJECTIVES:
                for adaptive in (True, False)[: 1 + args.random]:
                    about = {"agent": agent, "objective": objective_name, "trials": args.trials}
                    one = partial(smallest, **about, adaptive=adaptive)
                    p_values = np.array(list(pool.map(one, range(args.searches), chunksize=5)))
                    rows.append({**about, "proposals": "of the sampler" if adaptive else "random"})
                    rows[-1] |= {"searches": args.searches, "false": int((p_values <= 0.05).sum())}
                    print(rows[-1], flush=True)
    write(rows, args.out)


def write(rows: list[dict[str, Any]], out: Path) -> None:
    """Write the counts, and the table of the docs."""
    with (out / "false_positives.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    lines = [
        "| space | returns | proposals | searches | an option is said to matter | 95 % | must |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        low, high = stats.binomtest(row["false"], row["searches"]).proportion_ci(method="exact")
        lines.append(
            f"| {row['agent']} | {row['objective']} | {row['proposals']} | {row['searches']} "
            f"| {100 * row['false'] / row['searches']:.1f} % "
            f"| {100 * low:.1f} to {100 * high:.1f} % | <= {MUST:.0f} % |"
        )
    (out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
