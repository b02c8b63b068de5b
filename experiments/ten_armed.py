"""Figure 2.2 of Sutton and Barto (2018): epsilon-greedy on the ten-armed testbed.

    python -m experiments.ten_armed

Each of 2,000 seeds plays a bandit of its own for 1,000 steps: ten arms with true values from a
standard normal distribution, and rewards with standard deviation 1 around them. The agent is
Q-learning in one state, with sample averages and no discounted future.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from numpy.typing import NDArray

from experiments.bandits import GREEDY, first_episodes, play
from rlkit.analysis.figure import PALETTE, legend_below, new_figure, save_figure

EPSILONS = (0.1, 0.01, 0.0)
Array = NDArray[Any]


class TenArmed(gym.Env[np.int64, np.int64]):
    """A bandit of the testbed; each reset draws another one."""

    observation_space = spaces.Discrete(1)
    action_space = spaces.Discrete(10)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.values = self.np_random.standard_normal(10)
        return np.int64(0), {}

    def step(self, action: np.int64) -> Any:
        reward = self.values[action] + self.np_random.standard_normal()
        return np.int64(0), float(reward), False, False, {}


def testbed_figure(rewards: Mapping[str, Array], optimal: Mapping[str, Array]) -> Figure:
    """Draw the two panels of the book against the step.

    Args:
        rewards: the average reward of each method, `[T]`.
        optimal: the share of bandits in which it took the best arm, `[T]`.
    """
    figure, left = new_figure(8.8, 3.4)
    parts = GridSpec(1, 2, figure=figure)
    left.set_subplotspec(parts[0])
    right = figure.add_subplot(parts[1])
    right.spines[["top", "right"]].set_visible(False)
    right.grid(color="0.92", linewidth=0.7)
    for k, name in enumerate(rewards):
        steps = np.arange(1, len(rewards[name]) + 1)
        left.plot(steps, rewards[name], color=PALETTE[k], linewidth=0.9, label=name)
        right.plot(steps, 100 * optimal[name], color=PALETTE[k], linewidth=0.9)
    left.set_ylabel("average reward")
    right.set_ylabel("% optimal action")
    right.set_ylim(0, 100)
    for axes in (left, right):
        axes.set_xlabel("steps")
    figure.suptitle("The ten-armed testbed (Sutton and Barto, figure 2.2)", fontsize=10)
    legend_below(figure, left)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--bandits", type=int, default=2000, help="bandits per method (2000)")
    parser.add_argument("--steps", type=int, default=1000, help="of each bandit (1000)")
    parser.add_argument("--out", type=Path, default=Path("results/book"))
    args = parser.parse_args()
    best = first_episodes(TenArmed(), args.bandits, lambda env: env.values).argmax(axis=1)
    rewards, optimal = {}, {}
    for epsilon in EPSILONS:
        options = {**GREEDY, "epsilon_start": epsilon, "epsilon_end": epsilon}
        actions, reward = play("q-learning", options, TenArmed, args.bandits, args.steps)
        name = f"epsilon = {epsilon:g}" if epsilon else "greedy, epsilon = 0"
        rewards[name] = reward.mean(axis=0)
        optimal[name] = (actions == best[:, None]).mean(axis=0)
    save_figure(testbed_figure(rewards, optimal), args.out / "ten_armed.png")
    last = max(1, args.steps // 10)
    lines = [f"| method | average reward, last {last} steps | optimal action, last {last} steps |"]
    lines.append("| --- | --- | --- |")
    for name in rewards:
        share = f"{100 * optimal[name][-last:].mean():.0f} %"
        lines.append(f"| {name} | {rewards[name][-last:].mean():.2f} | {share} |")
    (args.out / "ten_armed.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
