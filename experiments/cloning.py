"""How well do clones act, and what happens where an expert has two ways?

    python -m experiments.cloning

FrozenLake: the exact return of clones beside that of their expert, the optimal policy, by the
number of demonstrated episodes.

Two ways: an expert passes a disc above or below, equally often. A Gaussian policy learns the mean
of both ways, which leads into the disc; a diffusion policy samples one of them. The table has the
shares of both sides, those of the demonstrations among them, and the figure the paths.

`--quick` trains fewer seeds, less and only on 100 episodes of FrozenLake.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Circle

import rlkit
from experiments.report import arguments
from rlkit.analysis.figure import save_figure
from rlkit.cli.report import show_progress
from rlkit.determinism import prepared_torch
from rlkit.evaluation import play_many
from rlkit.nn.demonstrations import Demonstrations
from rlkit.seeding import SeedStreams
from rlkit.training.cloning.played import Recording
from rlkit.training.run import Run
from rlkit_envs.two_ways import (
    ACROSS,
    CENTRE,
    NUM_STEPS,
    RADIUS,
    STEP,
    TwoWays,
    expert_action,
)

EPISODES = (1, 3, 10, 100)  # of FrozenLake
NUM_PATHS, NUM_PLAYED = 400, 10_000  # paths that are demonstrated, and played by each policy
METHODS = ("gaussian", "diffusion")
DRAWN = 60  # paths in each panel


class Paths(NamedTuple):
    """Episodes among two ways: the places of each, and which side it passed the disc on."""

    places: Sequence[np.ndarray]  # [steps, 2] of each
    sides: np.ndarray  # 1 = above, -1 = below, 0 = hit

    def shares(self) -> dict[str, float]:
        """Return the shares of both sides and of hits."""
        names = {"above": 1, "below": -1, "hit": 0}
        return {name: float((self.sides == side).mean()) for name, side in names.items()}


def demonstrate(num_paths: int, rng: np.random.Generator) -> tuple[Demonstrations, Paths]:
    """Return paths of the expert, which passes above and below in turn."""
    env = TwoWays()
    observations, actions, places = [], [], []
    for number in range(num_paths):
        side = 1 if number % 2 else -1
        place, _ = env.reset()
        path, ended = [place], False
        while not ended:
            action = expert_action(place, side, rng)
            observations.append(place)
            actions.append(action)
            place, _, ended, _, _ = env.step(action)
            path.append(place)
        places.append(np.stack(path))
    episodes = np.repeat(np.arange(num_paths), [len(path) - 1 for path in places])
    demonstrations = Demonstrations(np.stack(observations), np.stack(actions), episodes, 1.0)
    return demonstrations, Paths(places, sides_of(places))


def sides_of(places: Sequence[np.ndarray]) -> np.ndarray:
    """Return on which side each path passed the disc; 0 where it ended before x = 1."""
    middle = [path[min(5, len(path) - 1), 1] for path in places]
    arrived = np.array([len(path) == NUM_STEPS + 1 for path in places])
    return np.where(arrived, np.sign(middle), 0).astype(int)


def paths_of(run: Run, seed: int, num_paths: int = NUM_PLAYED) -> Paths:
    """Play a policy of a run."""
    recording = Recording(run.batch_actor([seed]))
    streams = (SeedStreams(0, seed),)
    with prepared_torch():
        played = play_many(recording, run.environment, streams, num_paths, kind="gymnasium")
    observations, actions, numbers = recording.episodes(played.lengths[0])
    places = []
    for number in range(num_paths):
        own = numbers == number
        path, last = observations[own], actions[own][-1]
        end = path[-1] + np.array([STEP, ACROSS * np.clip(last[0], -1.0, 1.0)])
        places.append(np.vstack([path, end]))
    return Paths(places, np.where(played.returns[0] > 0, sides_of(places), 0))


def figure_of(panels: dict[str, Paths]) -> Figure:
    """Draw the paths of the demonstrations and of each policy."""
    figure = Figure(figsize=(9.0, 3.2), layout="constrained")
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True)
    colours = {1: "tab:blue", -1: "tab:orange", 0: "tab:red"}
    for ax, (name, paths) in zip(axes, panels.items(), strict=True):
        ax.add_patch(Circle(CENTRE, RADIUS, color="0.8"))
        for path, side in list(zip(paths.places, paths.sides, strict=True))[:DRAWN]:
            ax.plot(*path.T, color=colours[int(side)], alpha=0.35, linewidth=0.8)
        shares = paths.shares()
        text = ", ".join(f"{100 * share:.0f} % {side}" for side, share in shares.items())
        ax.set_title(f"{name}\n{text}", fontsize=9)
        ax.set_xlabel("x")
        ax.set_aspect("equal")
    axes[0].set_ylabel("y")
    return figure


def two_ways(args: Any) -> tuple[str, Figure]:
    """Train both kinds of clones; return the table of their shares and the figure."""
    demonstrations, expert = demonstrate(NUM_PATHS, np.random.default_rng(0))
    panels = {"demonstrations": expert}
    seeds, steps = (2, 20) if args.quick else (args.seeds, 50)
    lines = [
        "| policy | seeds | above | below | hits the disc | largest distance of a seed's shares |",
        "| --- | --- | --- | --- | --- | --- |",
        f"| demonstrations | | {_cells(expert.shares())} | |",
    ]
    for method in METHODS:
        with show_progress(quiet=False) as reports:
            run = rlkit.train(
                "behaviour-cloning",
                TwoWays,
                seeds=seeds,
                steps=steps,
                evaluate_every=steps,
                demonstrations=demonstrations,
                method=method,
                out=args.runs,
                workers=args.workers,
                reports=reports,
            )
        own = [paths_of(run, seed) for seed in run.seeds]
        panels[f"{method} clone"] = own[0]
        mean = {
            name: float(np.mean([paths.shares()[name] for paths in own]))
            for name in expert.shares()
        }
        far = max(
            abs(paths.shares()[name] - share)
            for paths in own
            for name, share in expert.shares().items()
        )
        lines.append(f"| {method} | {seeds} | {_cells(mean)} | {100 * far:.1f} points |")
    return "\n".join(lines) + "\n", figure_of(panels)


def _cells(shares: dict[str, float]) -> str:
    return " | ".join(f"{100 * share:.1f} %" for share in shares.values())


def frozen_lake(args: Any) -> str:
    """Return the exact returns of clones of the optimal policy as a table."""
    with show_progress(quiet=False) as reports:
        expert = rlkit.train(
            "value-iteration", "FrozenLake-v1", seeds=1, out=args.runs, reports=reports
        )
        lines = [
            "| demonstrated episodes | seeds | exact return | lowest | expert's |",
            "| --- | --- | --- | --- | --- |",
        ]
        for episodes in EPISODES[-1:] if args.quick else EPISODES:
            run = rlkit.train(
                "behaviour-cloning",
                "FrozenLake-v1",
                seeds=2 if args.quick else args.seeds,
                demonstrations=expert,
                episodes=episodes,
                out=args.runs,
                workers=args.workers,
                reports=reports,
            )
            known = dict(run.references)["expert"]
            lines.append(
                f"| {episodes} | {len(run.seeds)} | {run.scores.mean():.4f} | "
                f"{run.scores.min():.4f} | {known:.4f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = arguments("How well do clones act?", seeds=10, out="results/cloning")
    parser.add_argument("--quick", action="store_true", help="fewer seeds, less training")
    args = parser.parse_args()
    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    table = frozen_lake(args)
    (out / "frozenlake.md").write_text(table)
    print(table)
    table, figure = two_ways(args)
    (out / "two_ways.md").write_text(table)
    save_figure(figure, out / "two_ways.png")
    print(table)
    print(*(out / name for name in ("frozenlake.md", "two_ways.md", "two_ways.png")), sep="\n")


if __name__ == "__main__":
    main()
