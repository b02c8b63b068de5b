"""`rlkit evaluate`, `rlkit plot` and `rlkit watch`, for finished runs of agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rlkit.cli.agents.exact import ExactAnswers, require_exact_options
from rlkit.cli.forms import Output, make_form, parse, positional
from rlkit.cli.report import announcing, print_json
from rlkit.cli.terminal import printable
from rlkit.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from rlkit.training.run import Run

RUN = positional(Path, "RUN", "the folder or the name of a run, or `latest`")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Which episodes are played."""

    episodes: int = 1000  # episodes per seed, >= 1
    greedy: bool = True  # play the greedy policy, not the exploring one
    # play the final policies, or that of each seed's best evaluation, which --keep-best kept; the
    # best play other episodes than those they were chosen by
    which: Literal["final", "best"] = "final"
    env_timeout: float = 60.0  # seconds that a reset or step of the environment may take, > 0
    # run the code that the run names although it was not trained here from the present source
    trust: bool = False
    # your own agent that trained the run, path/to/file.py:Class or module:Class, where it is no
    # longer where it was
    agent: str | None = None
    # compute, where the transitions are known, the share of time in each state under the time
    # limit, success and length of an episode, and the mixing time: -1 / ln |lambda_2| steps for the
    # second largest modulus of an eigenvalue of the chain in which a new episode follows each
    # ending, without a time limit; in that time the distance to the long run shrinks by a factor e
    visits: bool = False
    # compute the value of the policies at this discount from the start, in [0, 1], without a limit
    discount: float | None = None
    figure: Path | None = None  # with --visits: draw the shares on the map; .png, .pdf or .svg


def evaluate_command(args: list[str]) -> int:
    """Play episodes with the policies of a run, and print their returns."""
    about = "Play episodes with the final policies of a run, or the best ones that it kept."
    form = make_form(about, run=RUN, evaluation=EvaluateOptions, output=Output)
    parsed = parse(form, args, "evaluate")
    options: EvaluateOptions = parsed.evaluation
    from rlkit.options import require_count
    from rlkit.training.run import load

    require_count("episodes", options.episodes, at_least=1)
    require_exact_options(options.visits, options.discount, options.figure)
    run = load(parsed.run, agent=options.agent, trust=options.trust)
    answers = None
    with announcing():
        result = run.evaluate(
            options.episodes,
            greedy=options.greedy,
            which=options.which,
            env_timeout=options.env_timeout,
        )
        if options.visits or options.discount is not None:
            answers = ExactAnswers(run, visits=options.visits, discount=options.discount)
            answers.add_to(result, greedy=options.greedy, which=options.which)
    if answers is not None and options.figure is not None:
        answers.draw(options.figure)
    if parsed.output.json:
        print_json(result)
        return 0
    _print_evaluation(result, options.episodes)
    if result["episodes_cut"]:
        print(f"{result['episodes_cut']} episodes were cut: the environment has no time limit")
    if answers is not None:
        answers.print_rows(result["seeds"])
    return 0


def _print_evaluation(result: Mapping[str, Any], episodes: int) -> None:
    """Print the returns of each seed, which seeds are not at the end, and the estimates."""
    target, rows = result["env_steps"], result["seeds"]
    num_seeds = len(rows) + len(result["missing"])
    best = "which" in result
    at_end = len(result["mean_over"]) if best else sum(row["env_steps"] >= target for row in rows)
    played = printable(f"{result['agent']} on {result['environment']}")
    played += ", the policy of the best evaluation of each seed" if best else ""
    share = f"{at_end} of {num_seeds} seeds"
    which = "" if at_end == num_seeds else f", {share} were trained to the end"
    print(f"{played}, {episodes} episodes per seed{which}")
    for row in rows:
        exact = row["exact_return"]
        known = "" if exact is None else f"   exact {exact:.6f}"
        for kind, which in (("learned", "the learned"), ("own", "its own")):
            if f"mean_{kind}_return" in row:
                known += f"   in {which} reward {row[f'mean_{kind}_return']:.4f}"
        early = best or row["env_steps"] < target
        at = f"   at {row['env_steps']:,} of {target:,} environment steps" if early else ""
        print(
            f"  seed {row['seed']:>3}   {row['mean_return']:>10.4f} "
            f"± {row['std_return']:.4f} over episodes{known}{at}"
        )
    for seed, reason in result["missing"].items():
        print(f"  seed {seed:>3}   no policy: {printable(reason)}")
    low, high = result["interval"]
    over = "" if at_end == num_seeds else f" of {len(result['mean_over'])} of {num_seeds} seeds"
    interval = f"95 % {low:.6g} to {high:.6g}" if low == low else "one seed has no interval"
    print(f"mean{over} {result['mean']:.6g} ({interval}), IQM {result['iqm']:.6g}")
    _print_penalised([row for row in rows if "gap" in row])


def _print_penalised(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print how far policies near a reference are from the best ones."""
    if not rows:
        return
    print("\nnear the reference, exact, of the exploring policies:")
    for row in rows:
        print(
            f"  seed {row['seed']:>3}   return less {row['kl_coef']:.4g} per nat "
            f"{row['penalised_return']:.6f}   optimum {row['penalised_optimum']:.6f}   "
            f"gap {row['gap']:.6f}   KL {row['kl']:.4f} nats per episode"
        )
    gaps = sorted(row["gap"] for row in rows)
    print(f"median gap {(gaps[(len(gaps) - 1) // 2] + gaps[len(gaps) // 2]) / 2:.6g}")


@dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """What is drawn, and where the figure is written."""

    out: Path  # file to write: .png, .pdf or .svg
    # instead of curves, draw the posterior of one seed of a run of psrl on the map of its grid
    # world: V and policy of the mean model, visits, standard deviations; the number is the seed
    posterior: int | None = None
    # draw regret instead of returns: the exact optimum minus the return of each row; in bandits,
    # which have one observation, summed over all episodes of training until the row
    regret: bool = False
    # with --posterior: run the code that the run names although it was not trained here from the
    # present source; curves need no code
    trust: bool = False


def plot_command(args: list[str]) -> int:
    """Draw the learning curves of runs into one figure."""
    form = make_form(
        "Draw the learning curves of runs into one figure; of runs of `rlkit rlhf`, score, KL, "
        "length and losses over updates.",
        runs=positional(tuple[Path, ...], "RUN", "folders or names of runs"),
        figure=PlotOptions,
    )
    parsed = parse(form, args, "plot")
    from rlkit.analysis.figure import save_figure
    from rlkit.runs.places import require_place, writing

    out: Path = parsed.figure.out
    if not parsed.runs:
        raise UsageError("plot: name the folder of at least one run")
    require_place(out, "--out", (".png", ".pdf", ".svg"))
    figure = _stages_figure(parsed.runs, parsed.figure) or _agents_figure(
        parsed.runs, parsed.figure
    )
    with writing(out, "--out"):
        save_figure(figure, out)
    print(out)
    return 0


def _stages_figure(paths: Sequence[Path], options: PlotOptions) -> Figure | None:
    """Return the figure of runs of `rlkit rlhf`; None where the first is not one."""
    from rlkit.runs.latest import kind_of

    are_stages = [kind_of(path) == "stage" for path in paths]
    if any(are_stages) and not all(are_stages):
        stage, other = paths[are_stages.index(True)], paths[are_stages.index(False)]
        raise UsageError(
            f"plot: {stage} is a run of `rlkit rlhf` and {other} is not, and their axes differ: "
            "draw each kind in a figure of its own"
        )
    if not are_stages[0]:
        return None
    if options.posterior is not None or options.regret:
        raise UsageError("plot: --posterior and --regret are for runs of agents; omit them")
    from rlkit.rlhf.stages.figures import plot_stages
    from rlkit.rlhf.stages.stage_run import load_stage_run

    return plot_stages([load_stage_run(path) for path in paths])


def _agents_figure(paths: Sequence[Path], options: PlotOptions) -> Figure:
    from rlkit.training.figures import plot_runs
    from rlkit.training.run import load

    runs = [load(path, trust=options.trust) for path in paths]
    if options.posterior is None:
        return plot_runs(runs, regret=options.regret)
    if options.regret:
        raise UsageError("plot: --posterior and --regret are different figures; choose one")
    return _posterior_figure(runs, options.posterior)


def _posterior_figure(runs: Sequence[Run], seed: int) -> Figure:
    from rlkit.training.playing.posterior import plot_posterior

    if len(runs) != 1:
        raise UsageError(f"plot: --posterior draws one run, got {len(runs)}")
    return plot_posterior(runs[0], seed=seed)


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """Which episode is recorded, and where it is written."""

    gif: Path  # file to write: .gif
    seed: int = 0  # seed of the run whose policy plays, >= 0
    episode: int = 0  # which of the episodes of `rlkit evaluate`, >= 0
    max_steps: int = 500  # steps after which recording stops, >= 1
    # the final policy, or that of the seed's best evaluation, which --keep-best kept
    which: Literal["final", "best"] = "final"
    env_timeout: float = 60.0  # seconds that a reset or step of the environment may take, > 0
    # run the code that the run names although it was not trained here from the present source
    trust: bool = False
    # your own agent that trained the run, path/to/file.py:Class or module:Class, where it is no
    # longer where it was
    agent: str | None = None


def watch_command(args: list[str]) -> int:
    """Record an episode of a trained policy as a gif."""
    about = "Record an episode of a trained policy as a gif."
    parsed = parse(make_form(about, run=RUN, film=WatchOptions), args, "watch")
    options: WatchOptions = parsed.film
    from rlkit.training.playing.film import watch
    from rlkit.training.run import load

    steps, total = watch(
        load(parsed.run, agent=options.agent, trust=options.trust),
        options.gif,
        seed=options.seed,
        episode=options.episode,
        max_steps=options.max_steps,
        which=options.which,
        env_timeout=options.env_timeout,
    )
    print(f"{options.gif}: {steps} steps, return {total:g}")
    return 0
