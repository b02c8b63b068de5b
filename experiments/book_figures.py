"""Figures of Sutton and Barto (2018), drawn as in the book and checked against what it says.

    python -m experiments.book_figures              # all of them
    python -m experiments.book_figures --only 7.2

    6.6 (example 6.6)   cliff walking: Sarsa takes the safe path, Q-learning the edge
    7.2                 n-step TD on a random walk of 19 states: error against alpha, for each n
    8.2                 the Dyna maze: steps per episode with 0, 5 and 50 planning steps

The figures and a table of numbers go to results/book. A statement of the book that a result
contradicts ends the script with an AssertionError.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from experiments.episodes import play_episodes
from rlkit.analysis.figure import DASHES, PALETTE, legend_below, new_figure, save_figure
from rlkit_envs.dyna_maze import DynaMaze
from rlkit_envs.random_walk import RandomWalk

Array = NDArray[Any]
Rows = list[tuple[str, ...]]


class Drawn(NamedTuple):
    """What a figure leaves behind beside its picture."""

    name: str
    rows: Rows  # of its table, the first is the head


# --- 6.6: cliff walking ---


def cliff_walking(out: Path) -> Drawn:
    """Draw the sum of rewards per episode of Sarsa and Q-learning, 500 runs of 500 episodes."""
    options = {"discount": 1.0, "step_size": 0.5, "epsilon_start": 0.1, "epsilon_end": 0.1}
    figure, axes = new_figure(5.2, 3.6)
    rows: Rows = [("agent", "sum of rewards, last 100 episodes", "steps of the greedy path", "row")]
    rewards, paths = {}, {}
    for k, name in enumerate(("sarsa", "q-learning")):
        played = play_episodes(
            name, lambda: gym.make("CliffWalking-v1"), num_seeds=500, num_episodes=500, **options
        )
        mean = played.returns.mean(axis=0)
        axes.plot(
            np.arange(1, 501), mean, color=PALETTE[k], linewidth=1.0, label=f"{name} (500 runs)"
        )
        rewards[name] = mean[-100:].mean()
        paths[name] = _greedy_path(played.tables.mean(axis=0))
        highest = min(state // 12 for state in paths[name])
        rows.append((name, f"{rewards[name]:.1f}", str(len(paths[name]) - 1), str(highest)))
    axes.set_ylim(-100, 0)
    axes.set_xlabel("episodes")
    axes.set_ylabel("sum of rewards during episode")
    axes.set_title("Cliff walking (Sutton and Barto, example 6.6)", fontsize=10)
    legend_below(figure, axes)
    save_figure(figure, out / "cliff_walking.png")
    # Q-learning falls off the cliff now and then; Sarsa learned to keep away from it.
    assert -30.0 < rewards["sarsa"] < -20.0, rewards
    assert -60.0 < rewards["q-learning"] < -40.0, rewards
    assert len(paths["q-learning"]) - 1 == 13, "Q-learning's path is the shortest one"
    assert min(state // 12 for state in paths["q-learning"]) == 2, "along the edge, row 2"
    assert min(state // 12 for state in paths["sarsa"]) == 0, "as far from the cliff as possible"
    assert len(paths["sarsa"]) - 1 == 17, "the safe path"
    return Drawn("cliff_walking", rows)


def _greedy_path(table: Array) -> list[int]:
    """Return the states from the start to the goal under the greedy policy."""
    env = gym.make("CliffWalking-v1")
    state, _ = env.reset()
    path, terminated = [int(state)], False
    while not terminated and len(path) < 100:
        state, _, terminated, _, _ = env.step(int(table[state].argmax()))
        path.append(int(state))
    return path


# --- 7.2: n-step TD on a random walk ---

STEPS = tuple(2**k for k in range(10))  # n


def _alphas(n: int) -> Array:
    """Return step sizes, closer together near 0 for long returns, whose best ones are small."""
    return np.linspace(0.0, 1.0, 26)[1:] if n < 16 else np.linspace(0.0, 1.0, 26)[1:] ** 2


def random_walk(out: Path) -> Drawn:
    """Draw the RMS error over the states and the first 10 episodes against alpha, 100 runs."""
    figure, axes = new_figure(5.6, 4.6)
    best: dict[int, tuple[float, float]] = {}
    exact = RandomWalk().values
    for k, n in enumerate(STEPS):
        alphas = _alphas(n)
        errors = np.array([_walk_error(n, alpha, exact) for alpha in alphas])
        start = np.sqrt((exact**2).mean())  # at alpha = 0 nothing is learned
        style = {"color": PALETTE[k % len(PALETTE)], "linestyle": DASHES[k // len(PALETTE)]}
        axes.plot([0, *alphas], [start, *errors], linewidth=1.2, label=f"n = {n}", **style)
        best[n] = (float(errors.min()), float(alphas[errors.argmin()]))
    axes.set_xlim(0, 1)
    axes.set_ylim(0.25, 0.55)
    axes.set_xlabel("step size alpha")
    axes.set_ylabel("RMS error, first 10 episodes")
    axes.set_title("n-step TD on a random walk (Sutton and Barto, figure 7.2)", fontsize=10)
    legend_below(figure, axes)
    save_figure(figure, out / "random_walk.png")
    rows: Rows = [("n", "least RMS error", "at alpha")]
    rows += [(str(n), f"{error:.3f}", f"{alpha:.2f}") for n, (error, alpha) in best.items()]
    # The best is an intermediate n, 4 in the book's figure, at an alpha of about 0.4.
    order = sorted(best, key=lambda n: best[n])
    assert order[0] == 4, best
    assert 0.3 <= best[4][1] <= 0.5, best
    assert best[1][0] > best[2][0] > best[4][0] < best[8][0] < best[16][0] < best[64][0], best
    assert best[512][0] > 0.45, best
    return Drawn("random_walk", rows)


def _walk_error(n: int, alpha: float, exact: Array) -> float:
    """Return the RMS error after each of 10 episodes, averaged over them and 100 runs."""
    played = play_episodes(
        "n-step-sarsa",
        RandomWalk,
        num_seeds=100,
        num_episodes=10,
        keep_tables=True,
        return_steps=n,
        step_size=float(alpha),
        discount=1.0,
    )
    errors = played.each_table[..., 0] - exact  # there is one action: Q(s, 0) = V(s)
    return float(np.sqrt((errors**2).mean(axis=-1)).mean())


# --- 8.2: the Dyna maze ---


def dyna_maze(out: Path) -> Drawn:
    """Draw the steps per episode with 0, 5 and 50 planning steps, 30 runs of 50 episodes."""
    options = {"discount": 0.95, "step_size": 0.1, "epsilon_start": 0.1, "epsilon_end": 0.1}
    figure, axes = new_figure(5.2, 3.6)
    rows: Rows = [("planning steps", "steps of episode 2", "of episode 5", "of the last 10")]
    lengths = {}
    for k, number in enumerate((0, 5, 50)):
        played = play_episodes(
            "dyna-q", DynaMaze, num_seeds=30, num_episodes=50, planning_steps=number, **options
        )
        mean = lengths[number] = played.lengths.mean(axis=0)
        label = f"{number} planning steps" if number else "0 planning steps (direct RL only)"
        axes.plot(np.arange(2, 51), mean[1:], color=PALETTE[k], linewidth=1.2, label=label)
        last = mean[-10:].mean()
        rows.append((str(number), f"{mean[1]:.0f}", f"{mean[4]:.0f}", f"{last:.1f}"))
    axes.axhline(14, color="0.4", linewidth=0.8, linestyle=(0, (5, 3)), label="shortest path: 14")
    axes.set_xlim(1, 50)
    axes.set_ylim(0, 800)
    axes.set_yticks((14, 200, 400, 600, 800))
    axes.set_xlabel("episodes")
    axes.set_ylabel("steps per episode")
    axes.set_title("The Dyna maze (Sutton and Barto, figure 8.2)", fontsize=10)
    legend_below(figure, axes)
    save_figure(figure, out / "dyna_maze.png")
    # "the n = 0 agent took about 25 episodes to reach (epsilon-)optimal performance, whereas the
    # n = 5 agent took about five episodes, and the n = 50 agent took only three".
    reached = {number: _first_below(mean, 22.0) for number, mean in lengths.items()}
    assert reached[50] <= 5, reached
    assert 4 <= reached[5] <= 9, reached
    assert 15 <= reached[0] <= 35, reached
    assert lengths[0][1] > 2 * lengths[5][1] > 2 * lengths[50][1], lengths
    return Drawn("dyna_maze", rows)


def _first_below(lengths: Array, limit: float) -> int:
    """Return the first episode, from 1, after which three in a row are below a limit."""
    below = lengths < limit
    return int(np.flatnonzero(below[:-2] & below[1:-1] & below[2:])[0]) + 1


FIGURES: dict[str, Callable[[Path], Drawn]] = {
    "6.6": cliff_walking,
    "7.2": random_walk,
    "8.2": dyna_maze,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--only", choices=FIGURES, help="the figure to draw; default all")
    parser.add_argument("--out", type=Path, default=Path("results/book"))
    args = parser.parse_args()
    for number in [args.only] if args.only else FIGURES:
        drawn = FIGURES[number](args.out)
        lines = [f"| {' | '.join(row)} |" for row in drawn.rows]
        lines.insert(1, "|" + " --- |" * len(drawn.rows[0]))
        (args.out / f"{drawn.name}.md").write_text("\n".join(lines) + "\n")
        print("\n".join(lines))


if __name__ == "__main__":
    main()
