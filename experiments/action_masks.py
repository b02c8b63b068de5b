"""Do action masks speed up learning, and is a masked action ever taken?

    python -m experiments.action_masks

In a corridor of 10 places each place has 20 actions, of which 18 are masked: one moves right, one
left, and which ones differs from place to place. Each agent learns it with and without masks. What
counts is the number of environment steps until the greedy policy takes the shortest way in that and
all later evaluations; a seed that does not get there counts with its whole budget.

Then random and Q-learning act for a million steps each in Gymnasium's Taxi, and every action is
compared with the mask that Taxi has for the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import rlkit
from experiments.report import arguments
from rlkit.agent import Task
from rlkit.agents import find_agent
from rlkit.cli.report import show_progress
from rlkit.environments.gymnasium_adapter import GymBatchEnv
from rlkit.loop import interact
from rlkit.seeding import SeedStreams

Array = NDArray[Any]

CORRIDOR = "rlkit_envs.masked_corridor:MaskedCorridor"
OPTIMUM = -9.0  # nine steps to the right
EVERY = 100  # environment steps between evaluations
# agent -> budget and options
AGENTS: dict[str, dict[str, Any]] = {
    "q-learning": {
        "steps": 30_000,
        "discount": 1.0,
        "step_size": 0.5,
        "epsilon_start": 0.1,
        "epsilon_end": 0.1,
    },
    "ppo": {
        "steps": 20_000,
        "envs": 2,
        "rollout_length": 50,
        "learning_rate": 0.003,
        "scale_rewards": True,
    },
    "reinforce": {"steps": 60_000, "learning_rate": 0.02},
}


def steps_to_optimum(steps: Array, curve: Array, budget: int) -> Array:
    """Return the step of each seed from which on all its evaluations are optimal, `[S]`.

    Args:
        steps: of the evaluations, `[E]`.
        curve: returns, `[S, E]`.
        budget: what a seed counts that does not get there.
    """
    below = curve < OPTIMUM
    last_below = curve.shape[1] - 1 - below[:, ::-1].argmax(axis=1)
    first = np.where(below.any(axis=1), last_below + 1, 0)
    reached = first < curve.shape[1]
    return np.where(reached, steps[np.minimum(first, curve.shape[1] - 1)], budget)


def learn(agent: str, options: Mapping[str, Any], masks: bool, args: Any) -> Array:
    """Return the steps to the optimum of each seed."""
    with show_progress(quiet=False) as reports:
        run = rlkit.train(
            agent,
            CORRIDOR,
            seeds=args.seeds,
            workers=args.workers,
            out=args.runs,
            evaluate_every=EVERY,
            evaluation_episodes=1,  # the corridor and the policy are deterministic
            action_masks=masks,
            reports=reports,
            **options,
        )
    return steps_to_optimum(run.steps, run.curve, options["steps"])


def masked_actions_in_taxi(agent: str, num_steps: int, num_seeds: int = 10) -> int:
    """Return how many of `num_steps` actions in Taxi its mask forbids; the agent gets the masks."""
    streams = tuple(SeedStreams(0, index) for index in range(num_seeds))

    def make() -> gym.Env[Any, Any]:
        return gym.make("Taxi-v4", disable_env_checker=True)

    env = GymBatchEnv(make, streams, 1, action_masks=True)
    task = Task(
        *(env.observation_space, env.action_space, streams, 1, num_steps // num_seeds),
        action_masks=True,
    )
    kind = find_agent(agent)
    taxi: Any = make().unwrapped
    allowed = np.array([taxi.action_mask(state) for state in range(500)]).astype(bool)
    num_masked = 0
    for transition, _ in interact(kind(task, kind.Config()), env, num_steps // num_seeds):
        num_masked += int((~allowed[transition.obs, transition.action]).sum())
    env.close()
    return num_masked


def table(steps: Mapping[str, tuple[Array, Array]]) -> str:
    """Return the medians with and without masks as a Markdown table."""
    lines = [
        "| agent | seeds | steps without masks | steps with masks | ratio |",
        "| --- | --- | --- | --- | --- |",
    ]
    for agent, (without, within) in steps.items():
        budget = AGENTS[agent]["steps"]
        median, masked = np.median(without), np.median(within)
        at_least = "at least " if median == budget else ""
        lines.append(
            f"| {agent} | {len(without)} | {at_least}{median:,.0f} | {masked:,.0f} | "
            f"{at_least}{median / masked:.1f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = arguments(str(__doc__).splitlines()[0], seeds=10, out="results/action_masks")
    parser.add_argument("--checked", type=int, default=1_000_000, help="steps in Taxi per agent")
    args = parser.parse_args()
    steps = {
        agent: (learn(agent, options, False, args), learn(agent, options, True, args))
        for agent, options in AGENTS.items()
    }
    taken = {
        agent: masked_actions_in_taxi(agent, args.checked) for agent in ("random", "q-learning")
    }
    write_steps(args.out, steps)
    checks = [f"{agent},{args.checked},{number}" for agent, number in taken.items()]
    (args.out / "taxi.csv").write_text("\n".join(["agent,steps,masked_actions", *checks, ""]))
    print(table(steps))
    print((args.out / "taxi.csv").read_text())


def write_steps(folder: Path, steps: Mapping[str, tuple[Array, Array]]) -> None:
    """Write the steps of each seed, and the table."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        f"{agent},{kind},{seed},{number:.0f}"
        for agent, both in steps.items()
        for kind, numbers in zip(("without", "with"), both, strict=True)
        for seed, number in enumerate(numbers)
    ]
    (folder / "steps.csv").write_text("\n".join(["agent,masks,seed,steps_to_optimum", *rows, ""]))
    (folder / "table.md").write_text(table(steps))


if __name__ == "__main__":
    main()
