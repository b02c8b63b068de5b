"""How far are Thompson sampling, UCB1 and epsilon-greedy from the Bayes-optimal agent?

    python -m experiments.bandits

Each seed plays one bandit with two arms, whose means are drawn uniformly. All agents play the same
bandits. Regret counts the means of the arms, not the rewards: after t pulls it is the sum of
max_k mean_k - mean_(arm pulled). Its least expectation is exact: t E[max_k mean_k], here 2/3 t,
minus the Bayes-optimal return of t pulls.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rlkit.agent import Task
from rlkit.agents import find_agent
from rlkit.analysis.figure import DASHES, PALETTE, legend_below, new_figure, save_figure
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.loop import interact
from rlkit.seeding import SeedStreams
from rlkit.tabular import bayes_optimal_return
from rlkit_envs.bandit import BernoulliBandit

Array = NDArray[Any]
# Epsilon-greedy is Q-learning in one state that looks no step ahead and averages its rewards.
GREEDY = {"discount": 0.0, "step_size_power": 1.0}
AGENTS: dict[str, tuple[str, dict[str, Any]]] = {
    "thompson": ("thompson", {}),
    "ucb (c = 2)": ("ucb", {}),
    "ucb (c = 0.2)": ("ucb", {"exploration": 0.2}),
    "q-learning (epsilon 0.1)": (
        "q-learning",
        {**GREEDY, "epsilon_start": 0.1, "epsilon_end": 0.1},
    ),
    "q-learning (epsilon 0)": ("q-learning", {**GREEDY, "epsilon_start": 0.0, "epsilon_end": 0.0}),
}
PRIORS = [[1.0, 1.0], [1.0, 1.0]]
BEST_MEAN = 2 / 3  # E max of two uniform means


def play(
    agent: str, options: Mapping[str, Any], make: Callable[[], gym.Env[Any, Any]], num: int, t: int
) -> tuple[Array, Array]:
    """Let an agent play the first episode of an environment for so many seeds and steps.

    Returns:
        actions and rewards, `[num, t]`.
    """
    streams = tuple(SeedStreams(0, index) for index in range(num))
    env = GymBatchEnv(make, streams, 1)
    agent_class = find_agent(agent)
    task = Task(env.observation_space, env.action_space, streams, 1, t)
    learner = agent_class(task, agent_class.Config(**options))
    actions, rewards = np.empty((num, t), dtype=np.int64), np.empty((num, t))
    for i, (transition, _) in enumerate(interact(learner, env, t)):
        actions[:, i], rewards[:, i] = transition.action[:, 0], transition.reward[:, 0]
    env.close()
    return actions, rewards


def first_episodes(env: Any, num: int, read: Callable[[Any], Array]) -> Array:
    """Return what `read` finds in an environment at the start of the first episode of each seed."""
    values = []
    for index in range(num):
        env.reset(seed=SeedStreams(0, index).episode_seed("env", 0, 0))
        values.append(read(env))
    return np.array(values)


def regret(means: Array, actions: Array) -> Array:
    """Return the regret of each seed up to each pull, `[S, T]`."""
    lost = means.max(axis=1, keepdims=True) - np.take_along_axis(means, actions, axis=1)
    return np.cumsum(lost, axis=1)


def least_regret(pulls: int) -> float:
    """Return the expected regret of the Bayes-optimal agent of so many pulls."""
    return pulls * BEST_MEAN - bayes_optimal_return(PRIORS, pulls)


def regret_figure(regrets: Mapping[str, Array], optimum: Mapping[int, float]) -> Figure:
    """Draw the mean regret of each agent with its 95 % band, and the least possible.

    Args:
        regrets: `[S, T]` of each agent.
        optimum: the least expected regret by the number of pulls.
    """
    figure, axes = new_figure(5.4, 4.6)
    for k, (name, values) in enumerate(regrets.items()):
        x, mean = np.arange(1, values.shape[1] + 1), values.mean(axis=0)
        reach = 1.96 * values.std(axis=0, ddof=1) / np.sqrt(len(values))
        label = f"{name}: {mean[-1]:.2f}"
        axes.plot(x, mean, color=PALETTE[k], linestyle=DASHES[k % len(DASHES)], label=label)
        axes.fill_between(x, mean - reach, mean + reach, color=PALETTE[k], alpha=0.2, linewidth=0)
    least = list(optimum.values())
    label = f"Bayes-optimal for each number of pulls, exact: {least[-1]:.2f}"
    axes.plot(list(optimum), least, color="0.1", linestyle=(0, (6, 3)), label=label)
    number = len(next(iter(regrets.values())))
    last = next(iter(regrets.values())).shape[1]
    figure.suptitle(
        f"Two Bernoulli arms with uniform means, {number:,} bandits\n"
        f"(in the legend: regret after {last} pulls)",
        fontsize=10,
    )
    axes.set_xlabel("pulls")
    axes.set_ylabel("cumulative regret to the best arm")
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    legend_below(figure, axes)
    return figure


def markdown_table(regrets: Mapping[str, Array], optimum: Mapping[int, float]) -> str:
    """Return regrets with 95 % intervals and returns at some numbers of pulls."""
    points = [t for t in (10, 50, 100) if t in optimum]
    head = [f"regret, {t} pulls" for t in points] + [
        f"return, {points[-1]} pulls",
        "of the optimum",
    ]
    lines = ["| agent | " + " | ".join(head) + " |", "| --- " * (len(head) + 1) + "|"]
    best = points[-1] * BEST_MEAN - optimum[points[-1]]
    for name, values in regrets.items():
        cells = []
        for t in points:
            own = values[:, t - 1]
            reach = 1.96 * own.std(ddof=1) / np.sqrt(len(own))
            cells.append(f"{own.mean():.2f} ± {reach:.2f}")
        total = points[-1] * BEST_MEAN - values[:, points[-1] - 1].mean()
        cells += [f"{total:.2f}", f"{100 * total / best:.1f} %"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    exact = [f"{optimum[t]:.2f}" for t in points] + [f"{best:.2f}", "100 %"]
    lines.append("| Bayes-optimal, exact | " + " | ".join(exact) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--bandits", type=int, default=5000, help="bandits per agent (5000)")
    parser.add_argument("--pulls", type=int, default=100, help="of each bandit (100)")
    parser.add_argument("--out", type=Path, default=Path("results/bandits"))
    args = parser.parse_args()
    means = first_episodes(BernoulliBandit(), args.bandits, lambda env: env.means)
    regrets = {}
    for name, (agent, options) in AGENTS.items():
        actions, _ = play(agent, options, BernoulliBandit, args.bandits, args.pulls)
        regrets[name] = regret(means, actions)
    grid = {1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, args.pulls}
    optimum = {t: least_regret(t) for t in sorted(grid) if t <= args.pulls}
    save_figure(regret_figure(regrets, optimum), args.out / "regret.png")
    table = markdown_table(regrets, optimum)
    (args.out / "table.md").write_text(table)
    header = ",".join(["pulls", *regrets])
    columns = np.column_stack(
        [np.arange(1, args.pulls + 1), *(r.mean(0) for r in regrets.values())]
    )
    np.savetxt(args.out / "regret.csv", columns, "%.6g", ",", header=header, comments="")
    print(table, end="")


if __name__ == "__main__":
    main()
