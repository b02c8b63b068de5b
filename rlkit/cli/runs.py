"""`rlkit evaluate`, `rlkit plot` and `rlkit watch`: what a finished run can show."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from rlkit.cli.forms import parse, positional
from rlkit.cli.report import print_json
from rlkit.cli.terminal import printable
from rlkit.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of `rlkit evaluate`."""

    episodes: int = 1000  # of each seed
    greedy: bool = True  # the greedy policy, or the one that explores
    json: bool = False  # print one JSON object and nothing else


def evaluate_command(args: list[str]) -> int:
    form = dataclasses.make_dataclass(
        "Evaluate",
        [
            ("run", positional(Path, "RUN", "the folder of a run")),
            ("options", EvaluateOptions, dataclasses.field(default_factory=EvaluateOptions)),
        ],
        frozen=True,
    )
    form.__doc__ = "Play episodes with the final policies of a run, greedily."
    parsed = parse(form, args, "evaluate")
    options: EvaluateOptions = parsed.options
    from rlkit.options import require_count
    from rlkit.training.run import load

    require_count("episodes", options.episodes, at_least=1)
    result = load(parsed.run).evaluate(options.episodes, greedy=options.greedy)
    if options.json:
        print_json(result)
        return 0
    played = printable(f"{result['agent']} on {result['environment']}")
    print(f"{played}, {options.episodes} episodes per seed")
    for row in result["seeds"]:
        exact = row["exact_return"]
        known = "" if exact is None else f"   exact {exact:.6f}"
        print(
            f"  seed {row['seed']:>3}   {row['mean_return']:>10.4f} "
            f"± {row['std_return']:.4f} over episodes{known}"
        )
    low, high = result["interval"]
    print(f"mean {result['mean']:.6g} (95 % {low:.6g} to {high:.6g}), IQM {result['iqm']:.6g}")
    if result["episodes_cut"]:
        print(f"{result['episodes_cut']} episodes were cut: the environment has no time limit")
    return 0


@dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """Options of `rlkit plot`."""

    out: Path  # the figure to write: .png, .pdf or .svg


def plot_command(args: list[str]) -> int:
    form = dataclasses.make_dataclass(
        "Plot",
        [
            ("runs", positional(tuple[Path, ...], "RUN", "folders of runs")),
            ("options", PlotOptions),
        ],
        frozen=True,
    )
    form.__doc__ = "Draw the learning curves of runs into one figure."
    parsed = parse(form, args, "plot")
    from rlkit.analysis.plots import save_figure
    from rlkit.runs.places import require_place, writing
    from rlkit.training.figures import plot_runs
    from rlkit.training.run import load

    out: Path = parsed.options.out
    if not parsed.runs:
        raise UsageError("plot: name the folder of at least one run")
    require_place(out, "--out", (".png", ".pdf", ".svg"))
    figure = plot_runs([load(path) for path in parsed.runs])
    with writing(out, "--out"):
        save_figure(figure, out)
    print(out)
    return 0


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """Options of `rlkit watch`."""

    gif: Path  # the animation to write
    seed: int = 0  # which seed's policy
    episode: int = 0  # which of the evaluation's episodes
    max_steps: int = 500  # where to stop filming


def watch_command(args: list[str]) -> int:
    form = dataclasses.make_dataclass(
        "Watch",
        [("run", positional(Path, "RUN", "the folder of a run")), ("options", WatchOptions)],
        frozen=True,
    )
    form.__doc__ = "Record an episode of a trained policy as a gif."
    parsed = parse(form, args, "watch")
    options: WatchOptions = parsed.options
    from rlkit.training.playing.film import watch
    from rlkit.training.run import load

    steps, total = watch(
        load(parsed.run),
        options.gif,
        seed=options.seed,
        episode=options.episode,
        max_steps=options.max_steps,
    )
    print(f"{options.gif}: {steps} steps, return {total:g}")
    return 0
