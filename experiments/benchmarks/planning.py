"""Are the solvers of known MDPs right, and how fast are they?

    agreement   random MDPs, dense and sparse, against quantecon's DiscreteDP; every tabular
                environment of Gymnasium against policy iteration with dense linear solves
    speed       a slippery lake against the best of quantecon's methods; a lake of a million states
                from the command to the certificate; a sweep against the memory's bandwidth

Every comparison is within one run: what is compared alternates, and the ratio is that of the
medians. Compiling is not counted.

    python -m experiments.benchmarks.planning
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from quantecon.markov import DiscreteDP
from scipy import sparse

from rlkit.maths.compiled import kernel
from rlkit.tabular.grids.lake import frozen_lake
from rlkit.tabular.grids.maps import random_map
from rlkit.tabular.mdp import TabularMDP
from rlkit.tabular.planning.modified import modified_policy_iteration
from rlkit.tabular.planning.solvers import gauss_seidel, policy_iteration, value_iteration
from rlkit.tabular.planning.sweeps import Sweeps, in_parts, threads
from rlkit.tabular.reading.model import mdp_from_env

Array = NDArray[Any]
DISCOUNTS = (0.5, 0.9, 0.95, 0.99, 0.999)
SOLVERS: dict[str, Callable[..., Any]] = {
    "value iteration": value_iteration,
    "Gauss-Seidel": gauss_seidel,
    "policy iteration": policy_iteration,
    "modified policy iteration": modified_policy_iteration,
}
# Most iterations of quantecon's methods. Its policy iteration stops when a policy repeats, which it
# need not do where actions are tied: it then changes between them without end. It is run once.
QUANTECON = {"value_iteration": 10**6, "policy_iteration": 400, "modified_policy_iteration": 10**6}
ENVIRONMENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "FrozenLake-v1": ("FrozenLake-v1", {}),
    "FrozenLake-v1, not slippery": ("FrozenLake-v1", {"is_slippery": False}),
    "FrozenLake8x8-v1": ("FrozenLake8x8-v1", {}),
    "CliffWalking-v1": ("CliffWalking-v1", {}),
    "CliffWalkingSlippery-v1": ("CliffWalkingSlippery-v1", {}),
    "Taxi-v4": ("Taxi-v4", {}),
    "Taxi-v4, rainy": ("Taxi-v4", {"is_rainy": True}),
}


# --- agreement ------------------------------------------------------------------------------------


def random_problem(seed: int) -> tuple[Array, Array, float]:
    """Return transitions [S, A, S], rewards [S, A] and a discount; every other one is sparse."""
    rng = np.random.default_rng(seed)
    num_states, num_actions = int(rng.integers(2, 60)), int(rng.integers(1, 6))
    shape = (num_states, num_actions, num_states)
    transition = rng.dirichlet(np.full(num_states, 0.5), size=shape[:2])
    if seed % 2:
        transition *= rng.random(shape) < 0.2
        transition[..., 0] += 1e-3
        transition /= transition.sum(axis=-1, keepdims=True)
    return transition, rng.normal(size=shape[:2]), DISCOUNTS[seed // 2 % len(DISCOUNTS)]


def in_quantecon(transition: Array, reward: Array, discount: float, *, pairs: bool) -> DiscreteDP:
    if not pairs:
        return DiscreteDP(reward, transition, discount)
    num_states, num_actions = reward.shape
    matrix = sparse.csr_matrix(transition.reshape(-1, num_states))
    state, action = np.divmod(np.arange(reward.size), num_actions)
    return DiscreteDP(reward.ravel(), matrix, discount, state, action)


def disagreement(seed: int) -> tuple[float, float]:
    """Return the largest difference between quantecon's V* and that of any solver.

    Returns:
        It, and its share of the largest |V*| or of 1: at discount 0.999 values exceed a thousand,
        and float64 certifies them only to about 1e-8.

    Raises:
        RuntimeError: a certificate does not hold.
    """
    transition, reward, discount = random_problem(seed)
    theirs = in_quantecon(transition, reward, discount, pairs=bool(seed % 2))
    expected = theirs.solve(method="policy_iteration").v
    size = max(1.0, float(np.abs(expected).max()))
    by_row = sparse.csr_array(transition.reshape(-1, transition.shape[0]))
    mdp = (
        TabularMDP.from_sparse(by_row, reward)
        if seed % 2
        else TabularMDP.from_arrays(transition, reward, first_axis="state")
    )
    differences = []
    for solver in SOLVERS.values():
        options = {} if solver is policy_iteration else {"tolerance": 1e-9}
        plan = solver(mdp, discount=discount, **options)
        differences.append(float(np.abs(plan.values - expected).max()))
        # Their values have rounding of their own.
        if differences[-1] > plan.error_bound + 1e-11 * size:
            raise RuntimeError(f"seed {seed}: off by {differences[-1]}, beyond {plan.error_bound}")
    return max(differences), max(differences) / size


def dense_optimum(env: Any, discount: float) -> Array:
    """Return V* of an environment's table by policy iteration with dense linear solves."""
    table = env.unwrapped.P
    num_states, num_actions = len(table), len(table[0])
    transition = np.zeros((num_states, num_actions, num_states))
    reward = np.zeros((num_states, num_actions))
    for s in range(num_states):
        for a in range(num_actions):
            for probability, to, gain, terminated in table[s][a]:
                reward[s, a] += probability * gain
                transition[s, a, to] += probability * (not terminated)
    policy, states = np.zeros(num_states, dtype=np.int64), np.arange(num_states)
    while True:
        chain = np.eye(num_states) - discount * transition[states, policy]
        values = np.linalg.solve(chain, reward[states, policy])
        q = reward + discount * transition @ values
        better = q.max(axis=1) > q[states, policy] + 1e-11 * max(1.0, np.abs(values).max())
        if not better.any():
            return values
        policy = np.where(better, q.argmax(axis=1), policy)


def environment_difference(name: str, discount: float = 0.99) -> float:
    """Return the largest difference between the dense V* and that of any solver."""
    env_id, options = ENVIRONMENTS[name]
    env = gym.make(env_id, **options)
    expected = dense_optimum(env, discount)
    env.close()
    mdp = mdp_from_env(lambda: gym.make(env_id, **options))
    plans = [solver(mdp, discount=discount) for solver in SOLVERS.values()]
    return max(float(np.abs(plan.values - expected).max()) for plan in plans)


# --- speed ----------------------------------------------------------------------------------------


def timed(function: Callable[..., Any], *args: Any, **options: Any) -> tuple[float, Any]:
    began = time.perf_counter()
    result = function(*args, **options)
    return time.perf_counter() - began, result


def lake_in_quantecon(mdp: TabularMDP, discount: float) -> DiscreteDP:
    """Return the same problem as state-action pairs; what ends leads to an extra, empty state."""
    num_states, num_actions = mdp.num_states, mdp.num_actions
    continues = sparse.csr_matrix(mdp.continuation)
    ending = sparse.csr_matrix(mdp.ending.reshape(-1, 1))
    matrix = sparse.hstack([continues, ending])
    rest = sparse.csr_matrix(([1.0], ([0], [num_states])), shape=(1, num_states + 1))
    matrix = sparse.vstack([matrix, rest], format="csr")
    state = np.append(np.repeat(np.arange(num_states), num_actions), num_states)
    action = np.append(np.tile(np.arange(num_actions), num_states), 0)
    reward = np.append(mdp.expected_reward.ravel(), 0.0)
    return DiscreteDP(reward, matrix, discount, state, action)


def compare_on_lake(
    size: int, repetitions: int, *, discount: float = 0.99, tolerance: float = 1e-6
) -> dict[str, Any]:
    """Return the seconds of rlkit's solver and of quantecon's methods on one lake."""
    mdp = frozen_lake(random_map(size, hole_probability=0.1, seed=0))
    theirs = lake_in_quantecon(mdp, discount)
    seconds: dict[str, list[float]] = {name: [] for name in ("rlkit", *QUANTECON)}
    errors: dict[str, float] = {}
    exact = modified_policy_iteration(mdp, discount=discount, tolerance=1e-10)
    for repetition in range(repetitions):
        # The sums that a model keeps are made anew, as they are by quantecon's DiscreteDP.
        fresh = frozen_lake(random_map(size, hole_probability=0.1, seed=0))
        spent, plan = timed(
            modified_policy_iteration, fresh, discount=discount, tolerance=tolerance
        )
        seconds["rlkit"].append(spent)
        errors["rlkit"] = float(np.abs(plan.values - exact.values).max())
        for method, most in QUANTECON.items():
            if method == "policy_iteration" and repetition > 0:
                continue
            spent, result = timed(theirs.solve, method=method, epsilon=tolerance, max_iter=most)
            seconds[method].append(spent)
            errors[method] = float(np.abs(result.v[:-1] - exact.values).max())
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    right = [name for name in QUANTECON if errors[name] <= tolerance / 2]
    best = min(right, key=medians.__getitem__)
    return {
        "size": size,
        "discount": discount,
        "tolerance": tolerance,
        "seconds": seconds,
        "errors": errors,
        "best_of_quantecon": best,
        "times_faster": medians[best] / medians["rlkit"],
    }


def solve_command(size: int, discount: float, repetitions: int) -> dict[str, Any]:
    """Return what `rlkit solve` reports for a lake, each time in a process of its own."""
    command = [sys.executable, "-m", "rlkit", "solve", "--size", str(size), "--json"]
    command += ["--hole-probability", "0.1", "--discount", str(discount), "--tolerance", "1e-6"]
    runs = []
    for _ in range(repetitions):
        spent, done = timed(subprocess.run, command, check=True, capture_output=True, text=True)
        runs.append({**json.loads(done.stdout), "process_seconds": spent})
    last = runs[-1]
    peak = max(run["peak_memory_mb"] for run in runs)
    same = ("method", "num_states", "num_transitions", "sweeps", "certified_error", "converged")
    times = ("build_seconds", "seconds", "process_seconds")
    return {
        "size": size,
        "discount": discount,
        "tolerance": 1e-6,
        **{name: last[name] for name in same},
        **{name: [run[name] for run in runs] for name in times},
        "peak_memory_mb": peak,
        "peak_bytes_per_transition": peak * 1e6 / last["num_transitions"],
    }


@kernel
def _triad(a: Array, b: Array, c: Array, factor: float, first: np.uint32, last: np.uint32) -> None:
    for i in range(first, last):
        a[i] = b[i] + factor * c[i]


def bandwidth(size: int, repetitions: int) -> dict[str, Any]:
    """Return the bytes per second of a sweep and of a triad, a = b + 2 c, with all threads."""
    mdp = frozen_lake(random_map(size, hole_probability=0.1, seed=0))
    values, result = np.zeros(mdp.num_states), np.zeros(mdp.num_states)
    b, c = np.ones(20_000_000), np.ones(20_000_000)
    a = np.zeros_like(b)
    num_rows, num_stored = mdp.num_states * mdp.num_actions, mdp.continuation.nnz
    # Each entry's probability and successor, each row's start and reward, each state's value,
    # result and action; the values of successors come from the cache.
    swept = 12 * num_stored + 12 * num_rows + 20 * mdp.num_states
    rates: dict[str, list[float]] = {"sweep": [], "triad": []}
    with threads(mdp) as pool:
        sweeps = Sweeps(mdp, 0.99, pool)
        for repetition in range(repetitions + 1):
            spent, _ = timed(lambda: [sweeps.optimality(values, result) for _ in range(5)])
            of_triad, _ = timed(
                lambda: [in_parts(pool, a.size, _triad, a, b, c, 2.0) for _ in range(5)]
            )
            if repetition:  # the first compiles
                rates["sweep"].append(5 * swept / spent)
                rates["triad"].append(5 * 24 * a.size / of_triad)
    medians = {name: statistics.median(rate) for name, rate in rates.items()}
    return {
        "size": size,
        "bytes_per_sweep": swept,
        "bytes_per_second": rates,
        "share": medians["sweep"] / medians["triad"],
    }


# --- the report -----------------------------------------------------------------------------------


def _times(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


def markdown_table(summary: dict[str, Any]) -> str:
    """Return all results; times are medians (least to most)."""
    rows = []
    if "agreement" in summary:
        found = summary["agreement"]
        rows.append(
            (
                f"{found['random_mdps']} random MDPs, all solvers, against quantecon",
                f"largest difference {found['largest_difference']:.1e}, relative "
                f"{found['largest_relative_difference']:.1e}; every certificate holds",
            )
        )
        rows += [
            (f"{name}, all solvers, against dense linear solves", f"{difference:.1e}")
            for name, difference in found["environments"].items()
        ]
    if "lake" in summary:
        lake = summary["lake"]
        what = f"{lake['size']} x {lake['size']} lake, discount {lake['discount']:g}"
        rows += [
            (f"{what}: {name.replace('_', ' ')}{' of quantecon' * (name != 'rlkit')}",
             f"{_times(seconds)}, error {lake['errors'][name]:.1e}")
            for name, seconds in lake["seconds"].items()
        ]  # fmt: skip
        rows.append((f"{what}: rlkit against the best", f"{lake['times_faster']:.1f} times faster"))
    for large in summary.get("large", []):
        what = f"{large['size']} x {large['size']} lake, discount {large['discount']:g}"
        rows += [
            (f"{what}: building", _times(large["build_seconds"])),
            (f"{what}: solving", _times(large["seconds"])),
            (f"{what}: the whole command", _times(large["process_seconds"])),
            (f"{what}: certified error", f"{large['certified_error']:.1e}"),
            (f"{what}: peak memory", f"{large['peak_memory_mb']:,.0f} MB, "
             f"{large['peak_bytes_per_transition']:.0f} bytes per transition"),
        ]  # fmt: skip
    if "bandwidth" in summary:
        speed = {
            k: statistics.median(v) / 1e9
            for k, v in summary["bandwidth"]["bytes_per_second"].items()
        }
        rows.append(
            (
                "memory bandwidth of a sweep against a triad",
                f"{speed['sweep']:.1f} of {speed['triad']:.1f} GB/s, "
                f"{100 * summary['bandwidth']['share']:.0f} %",
            )
        )
    lines = ["| what | result |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parts = ("agreement", "lake", "large", "bandwidth")
    parser.add_argument("--only", choices=parts, help="one part; others keep their results")
    parser.add_argument("--mdps", type=int, default=200, help="random MDPs (200)")
    parser.add_argument("--lake", type=int, default=300, help="side of the compared lake (300)")
    parser.add_argument("--large", type=int, default=1000, help="side of the large lake (1000)")
    parser.add_argument("--repetitions", type=int, default=3, help="of each time (3)")
    parser.add_argument("--out", type=Path, default=Path("results/planning"))
    options = parser.parse_args()
    path, summary = options.out / "summary.json", {}
    if options.only:
        with contextlib.suppress(FileNotFoundError):
            summary = json.loads(path.read_text())
    chosen = (options.only,) if options.only else parts
    if "agreement" in chosen:
        differences = [disagreement(seed) for seed in range(options.mdps)]
        summary["agreement"] = {
            "random_mdps": options.mdps,
            "largest_difference": max(one for one, _ in differences),
            "largest_relative_difference": max(one for _, one in differences),
            "environments": {name: environment_difference(name) for name in ENVIRONMENTS},
        }
    if "lake" in chosen:
        compare_on_lake(12, 1)  # compiles
        summary["lake"] = compare_on_lake(options.lake, options.repetitions)
    if "large" in chosen:
        solve_command(110, 0.9, 1)  # compiles
        summary["large"] = [
            solve_command(options.large, discount, options.repetitions)
            for discount in (0.99, 0.999)
        ]
    if "bandwidth" in chosen:
        summary["bandwidth"] = bandwidth(options.large, options.repetitions)
    options.out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=2) + "\n")
    table = markdown_table(summary)
    (options.out / "table.md").write_text(table)
    print(table, end="")


if __name__ == "__main__":
    main()
