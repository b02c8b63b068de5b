"""How often is a true transition table refused, and how often a false one?

`rlkit.tabular.reading.fit` compares the frequencies of a probe with a table. Here many probes are
simulated, with the table's own sampler and the schedule of `rlkit.tabular.reading.probe`:

    false alarms   on every tabular environment of Gymnasium the table is true; counted is how often
                   it would be refused, at the threshold in use and at larger ones, where a few
                   thousand probes suffice to see that the p-values mean what they say
    power          FrozenLake-v1 steps otherwise than its table says; counted is how often it shows

Every line is printed and written to a csv.

    python -m experiments.benchmarks.table_fit --probes 2000 --power-probes 200
"""

import argparse
import csv
import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.toy_text.frozen_lake import generate_random_map
from numba import njit
from numpy.typing import NDArray

from rlkit.environments.table import _cumulative
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.reading.fit import FALSE_ALARMS, Rows, strongest
from rlkit.tabular.reading.outcomes import tally
from rlkit.tabular.reading.probe import (
    EXPLORATION,
    LONG,
    NUM_PARTS,
    RESETS,
    SHORT,
    STEPS,
    Record,
    best_policy,
)
from rlkit.tabular.reading.published import read_table
from rlkit.tabular.reading.verdict import subsets

Array = NDArray[Any]
LEVELS = (1e-2, 1e-3, FALSE_ALARMS)


def made(name: str, **options: Any) -> Callable[[], gym.Env[Any, Any]]:
    return functools.partial(gym.make, name, disable_env_checker=True, **options)


ENVIRONMENTS = {
    "FrozenLake-v1": made("FrozenLake-v1"),
    "FrozenLake8x8-v1": made("FrozenLake8x8-v1"),
    "FrozenLake-v1, not slippery": made("FrozenLake-v1", is_slippery=False),
    "FrozenLake-v1, success rate 0.8": made("FrozenLake-v1", success_rate=0.8),
    "FrozenLake-v1, random 8x8 map": made("FrozenLake-v1", desc=generate_random_map(8, seed=1)),
    "FrozenLake-v1, random 30x30 map": made("FrozenLake-v1", desc=generate_random_map(30, seed=2)),
    "CliffWalking-v1": made("CliffWalking-v1"),
    "CliffWalkingSlippery-v1": made("CliffWalkingSlippery-v1"),
    "Taxi-v4": made("Taxi-v4"),
    "Taxi-v4, rainy": made("Taxi-v4", is_rainy=True),
}


@njit(cache=True)
def _simulate(
    early: Array,
    late: Array,
    changes_after: int,
    start: Array,
    next_state: Array,
    terminated: Array,
    best: Array,
    limit: int,
    num_parts: int,
    steps: int,
    resets: int,
    short: int,
    long: int,
    exploration: float,
    rng: np.random.Generator,
) -> Any:
    """Play the probe's schedule on tables of cumulative probabilities; k in place of the reward."""
    num_actions = next_state.shape[1]
    total = num_parts * steps
    out = np.empty((total, 5), dtype=np.int64)  # state, action, k, elapsed, part
    starts = np.empty((num_parts * (resets + steps), 2), dtype=np.int64)
    spent = np.zeros(4, dtype=np.int64)
    n_starts, t = 0, 0
    for part in range(num_parts):
        for _ in range(resets):
            starts[n_starts] = np.searchsorted(start, rng.random(), side="right"), part
            n_starts += 1
        end = t + steps
        while t < end:
            kind = spent.argmin()
            explores = 1.0 if kind < 2 else exploration
            length = short if kind == 0 else long
            s = np.searchsorted(start, rng.random(), side="right")
            starts[n_starts] = s, part
            n_starts += 1
            elapsed, still, over = 0, 0, False
            while t < end and not over and elapsed < length and (kind > 1 or still < short):
                random = rng.random() < explores
                a = int(rng.random() * num_actions) if random else best[s]
                cumulative = early[s, a] if elapsed < changes_after else late[s, a]
                k = np.searchsorted(cumulative, rng.random(), side="right")
                out[t] = s, a, k, elapsed, part
                over = terminated[s, a, k] or elapsed + 1 == limit
                still = still + 1 if next_state[s, a, k] == s else 0
                s = next_state[s, a, k]
                elapsed += 1
                t += 1
                spent[kind] += 1
    return out, starts[:n_starts]


class Simulator:
    """Probes of an environment that claims one model and is another.

    Args:
        claim: the published table.
        truth: what happens, and `late` what happens after `changes_after` steps of an episode.
    """

    def __init__(
        self,
        claim: TabularMDP,
        truth: Array | None = None,
        late: Array | None = None,
        changes_after: int = 0,
        start: Array | None = None,
    ) -> None:
        self.claim = claim
        early = claim.probability if truth is None else truth
        self.early, self.late = _cumulative(early), _cumulative(early if late is None else late)
        self.start = _cumulative(claim.initial_distribution if start is None else start)
        self.changes_after = changes_after
        self.best = best_policy(claim)
        # Every pair and every outcome once gives the cells; a probe then only counts them.
        s, a, k = np.nonzero(claim.probability > 0)
        states = np.flatnonzero(claim.initial_distribution)
        self.outcomes = tally(claim, _record(claim, s, a, k, np.zeros_like(s), states))
        self.cell = np.full(claim.probability.shape, -1)
        self.cell[s, a, k] = self.outcomes.cell[: s.size]
        self.start_cell = np.full(claim.num_states, -1)
        self.start_cell[states] = self.outcomes.cell[s.size :]
        self.table = Rows(self.outcomes.first, self.outcomes.probability)

    def p_value(self, seed: int) -> float:
        """The strongest evidence of one probe against the claim, corrected; 0 if impossible."""
        mdp = self.claim
        limit = -1 if mdp.time_limit is None else mdp.time_limit
        played, starts = _simulate(
            *(self.early, self.late, self.changes_after, self.start),
            *(mdp.padded().next_state, mdp.padded().terminated, self.best, limit),
            *(NUM_PARTS, STEPS, RESETS, SHORT, LONG, EXPLORATION),
            np.random.default_rng(seed),
        )
        s, a, k, elapsed, part = played.T
        record = _record(mdp, s, a, k, elapsed, starts[:, 0], part, starts[:, 1])
        cell = np.append(self.cell[s, a, k], self.start_cell[record.start])
        if (cell < 0).any():
            return 0.0
        outcomes = dataclasses.replace(self.outcomes, cell=cell)
        misfit = strongest(self.table, cell, subsets(outcomes, record))
        return 1.0 if misfit is None else misfit.p_value


def _record(
    mdp: TabularMDP,
    s: Array,
    a: Array,
    k: Array,
    elapsed: Array,
    starts: Array,
    part: Array | None = None,
    start_part: Array | None = None,
) -> Record:
    return Record(
        state=s,
        action=a,
        next_state=mdp.padded().next_state[s, a, k],
        reward=mdp.padded().reward[s, a, k],
        terminated=mdp.padded().terminated[s, a, k],
        truncated=np.zeros(s.size, dtype=bool),
        elapsed=elapsed,
        part=np.zeros_like(s) if part is None else part,
        start=starts,
        start_part=np.zeros_like(starts) if start_part is None else start_part,
    )


def claim_of(make: Callable[[], gym.Env[Any, Any]]) -> TabularMDP:
    env = make()
    mdp = read_table(env)
    env.close()
    return mdp


def slipping(mdp: TabularMDP, intended: float, aside: float) -> Array:
    """FrozenLake's table with other chances to go where one wants, and to either side."""
    slippery = (mdp.padded().probability > 0).sum(axis=-1, keepdims=True) == 3
    return np.where(slippery, [aside, intended, aside], mdp.padded().probability)


def faults() -> dict[str, Simulator]:
    """FrozenLake-v1 as something else than it claims to be."""
    lake = claim_of(made("FrozenLake-v1"))
    several = [list("SSFF"), list("FHFH"), list("SFFH"), list("HSFG")]
    open_lake = claim_of(made("FrozenLake-v1", desc=["".join(row) for row in several]))
    starts = np.flatnonzero(open_lake.initial_distribution)
    slips = [(0.9, 0.05), (0.5, 0.25), (0.4, 0.3), (0.36, 0.32), (0.35, 0.325)]
    tests = {f"slip {i:g}, {j:g}, {j:g}": Simulator(lake, slipping(lake, i, j)) for i, j in slips}
    for i, j in slips[:3]:
        for steps in (25, 50, 80):
            late = slipping(lake, i, j)
            tests[f"the same from step {steps + 1} on: {i:g}, {j:g}, {j:g}"] = Simulator(
                lake, None, late, steps
            )
    for share in (0.5, 0.35, 0.3, 0.28):
        start = np.where(open_lake.initial_distribution > 0, (1 - share) / 3, 0.0)
        start[starts[0]] = share
        tests[f"four starts, one with chance {share:g} for 0.25"] = Simulator(
            open_lake, start=start
        )
    for rare in (0.01, 0.003, 0.001):
        start = lake.initial_distribution * (1 - rare)
        start[1] = rare
        tests[f"a further start with chance {rare:g}"] = Simulator(lake, start=start)
    return tests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--probes", type=int, default=2_000, help="for each true table")
    parser.add_argument("--power-probes", type=int, default=200, help="for each false table")
    parser.add_argument("--only", default="", help="part of a name; others are left out")
    parser.add_argument("--out", type=Path, default=Path("results/table_fit"))
    options = parser.parse_args()
    simulators = {name: Simulator(claim_of(make)) for name, make in ENVIRONMENTS.items()}
    true, rows = set(simulators), []
    print(f"{'table':<52} {'probes':>7}  refused at p < " + "  ".join(f"{x:g}" for x in LEVELS))
    for name, simulator in (simulators | faults()).items():
        if options.only not in name:
            continue
        began = time.perf_counter()
        num = options.probes if name in true else options.power_probes
        p = np.array([simulator.p_value(seed) for seed in range(num)])
        counts = [int((p < level).sum()) for level in LEVELS]
        shares = "  ".join(f"{count / num:.3g}" for count in counts)
        print(f"{name:<52} {num:>7}  {shares}   ({time.perf_counter() - began:.0f} s)", flush=True)
        rows.append((name, "true" if name in true else "false", num, *counts))
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "refusals.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["table", "is", "probes", *(f"refused at {x:g}" for x in LEVELS)])
        writer.writerows(rows)


if __name__ == "__main__":
    main()
