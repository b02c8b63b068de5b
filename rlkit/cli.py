"""The `rlkit` command: what each part of the package does, from a terminal.

Only the words of the command line are known here; nothing that needs torch is imported before a
command asks for it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rlkit.errors import RlkitError, UsageError, closest

if TYPE_CHECKING:
    from rlkit.runs.run import Run

COMMANDS = {
    "train": "train an agent on an environment, for many seeds",
    "compare": "train several agents on one environment and compare them",
    "solve": "compute the exact optimum of an environment with a known transition table",
    "evaluate": "play episodes with the final policies of a run",
    "plot": "draw the learning curves of runs",
    "watch": "record an episode of a trained policy as a gif",
    "list": "list agents, presets and native environments",
}

USAGE = """\
usage: rlkit COMMAND ...

Reinforcement learning from the Bellman equation to PPO; every curve is many seeds.

commands:
{commands}

examples:
  rlkit solve FrozenLake-v1
  rlkit train ppo CartPole-v1 --seeds 10
  rlkit compare q-learning ppo random --env FrozenLake-v1

`rlkit COMMAND --help` lists the options of a command, `rlkit train AGENT --help` those of an agent.
Exit codes: 0 done, 1 failed, 2 wrong usage, 130 or 143 stopped by a signal after saving.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    args = list(sys.argv[1:] if argv is None else argv)
    if not args or args[0] in ("-h", "--help", "help"):
        commands = "\n".join(f"  {name:<10}{text}" for name, text in COMMANDS.items())
        print(USAGE.format(commands=commands), end="")
        return 0 if args else 2
    if args[0] == "--version":
        from importlib.metadata import version

        print(f"rlkit {version('rlkit')}")
        return 0
    try:
        if args[0] not in COMMANDS:
            raise UsageError(
                f"unknown command {args[0]!r}; there are {', '.join(COMMANDS)}."
                f"{closest(args[0], COMMANDS)}"
            )
        runner: Callable[[list[str]], int] = globals()[f"_{args[0]}"]
        return runner(args[1:])
    except RlkitError as error:
        print(f"rlkit: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("rlkit: stopped at once; the last checkpoints are intact", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parse(options: type[Any], args: list[str], command: str, help_of: str = "") -> Any:
    """Read options into a dataclass; tyro prints the help and refuses what it does not know."""
    import tyro

    known = _flags(options)
    for arg in args:
        flag = arg.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in known:
            raise UsageError(
                f"{command} has no option {flag}.{closest(flag, known)} "
                f"`rlkit {help_of or command} --help` lists what there is."
            )
    return tyro.cli(
        options,
        args=args,
        prog=f"rlkit {command}",
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.AvoidSubcommands),
    )


def _flags(form: type[Any]) -> list[str]:
    """The options of a dataclass and of the dataclasses in it, as they are typed."""
    import typing

    flags = ["--help"]
    for name, kind in typing.get_type_hints(form).items():
        if dataclasses.is_dataclass(kind):
            flags += _flags(kind)  # type: ignore[arg-type]
        else:
            flags += [f"--{name}".replace("_", "-")]
            flags += [f"--no-{name}".replace("_", "-")] if kind is bool else []
    return flags


def _print_json(content: Any) -> None:
    from rlkit.runs.store import finite

    print(json.dumps(finite(content), indent=2, allow_nan=False))


def _positional(kind: Any, metavar: str, text: str) -> Any:
    import tyro

    return Annotated[kind, tyro.conf.Positional, tyro.conf.arg(metavar=metavar, help=text)]


# --- train and compare ----------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What train and compare have in common."""

    seeds: int = 10  # how many seeds; more than before adds seeds to the same run
    steps: int | None = None  # environment steps of each seed; None = the preset's
    seed: int = 0  # the experiment's seed, from which all others are drawn
    out: Path = Path("runs")  # the folder in which each run gets its own
    workers: int = 1  # processes over which the seeds are split; results are the same for any
    env_arg: tuple[str, ...] = ()  # name=value of the environment, value in JSON; may be repeated
    evaluate_every: int | None = None  # steps between rows of the curve; None = the preset's
    evaluation_episodes: int = 20  # an evaluation, where the return is not known exactly; 0 = none
    native: bool = True  # use a batched twin of the environment, or its model, where there is one
    json: bool = False  # print one JSON object and nothing else


@dataclass(frozen=True, kw_only=True)
class TrainOptions(TrainingOptions):
    """Options of `rlkit train`."""

    envs: int | None = None  # environments of each seed; None = the preset's
    allow_drift: bool = False  # go on although versions changed; marks the run not reproducible


def _train(args: list[str]) -> int:
    from rlkit.agents import AGENTS, find_agent

    words = [word for word in args if not word.startswith("-")]
    asks_help = "--help" in args or "-h" in args
    named = next((word for word in args if word in AGENTS), None)
    agent_class: Any = None
    if named is not None:
        agent_class = find_agent(named)
    elif words and not (asks_help and not words):
        find_agent(words[0])  # says that there is no such agent
    fields: list[Any] = [
        ("agent", _positional(str, "AGENT", f"one of {', '.join(AGENTS)}")),
        (
            "environment",
            _positional(str, "ENV", "a Gymnasium id, module:Id, or path/to/file.py:Class"),
        ),
        ("training", TrainOptions, dataclasses.field(default_factory=TrainOptions)),
    ]
    if named is not None:
        from rlkit.runs.specification import default_config

        after = args[args.index(named) + 1 :]
        env_name = next((word for word in after if not word.startswith("-")), "")
        config = default_config(agent_class, named, env_name, {})
        fields.append((named.replace("-", "_"), type(config), dataclasses.field(default=config)))
    form = dataclasses.make_dataclass("Train", fields, frozen=True)
    form.__doc__ = (
        "Train an agent on an environment, for many seeds. The same command again goes on where "
        "it was interrupted."
        + ("" if named else " With an AGENT before --help, its options are listed as well.")
    )
    help_of = "train AGENT" if named is None else f"train {named}"
    parsed = _parse(form, _joined_env_args(args), "train", help_of)
    options: TrainOptions = parsed.training
    from rlkit.runs.train import train

    with progress(quiet=options.json) as reports:
        run = train(
            parsed.agent,
            parsed.environment,
            seeds=options.seeds,
            steps=options.steps,
            seed=options.seed,
            envs=options.envs,
            out=options.out,
            workers=options.workers,
            env_args=_env_args(options.env_arg),
            evaluate_every=options.evaluate_every,
            evaluation_episodes=options.evaluation_episodes,
            native=options.native,
            allow_drift=options.allow_drift,
            config=None if named is None else getattr(parsed, named.replace("-", "_")),
            reports=reports,
        )
    if options.json:
        _print_json(
            {
                "run": str(run.folder),
                "status": run.status,
                "seeds": len(run.seeds),
                "num_env_steps": run.num_env_steps,
                "env_steps_per_second": run.env_steps_per_second,
                "final": run.scores.tolist(),
            }
        )
    else:
        print_runs({run.agent: run})
        print(f"\n{run.folder}/learning_curve.png")
    return _report_failures([run])


@dataclass(frozen=True, kw_only=True)
class CompareOptions(TrainingOptions):
    """Options of `rlkit compare`."""

    env: str  # a Gymnasium id, module:Id, or path/to/file.py:Class


def _compare(args: list[str]) -> int:
    from rlkit.agents import AGENTS

    form = dataclasses.make_dataclass(
        "Compare",
        [
            ("agents", _positional(tuple[str, ...], "AGENT", f"some of {', '.join(AGENTS)}")),
            ("training", CompareOptions),
        ],
        frozen=True,
    )
    form.__doc__ = (
        "Train what is missing of several agents on one environment, then compare them: "
        "summary.json, a table and two figures in the folder given by --out."
    )
    parsed = _parse(form, _joined_env_args(args), "compare")
    options: CompareOptions = parsed.training
    from rlkit.runs.compare import compare

    with progress(quiet=options.json) as reports:
        comparison = compare(
            parsed.agents,
            options.env,
            seeds=options.seeds,
            steps=options.steps,
            seed=options.seed,
            out=options.out,
            workers=options.workers,
            env_args=_env_args(options.env_arg),
            evaluate_every=options.evaluate_every,
            evaluation_episodes=options.evaluation_episodes,
            native=options.native,
            reports=reports,
        )
    if options.json:
        _print_json(comparison.summary())
    else:
        print_runs(dict(comparison.runs), comparison.optimum)
        print_pairs(comparison.pairs())
        print()
        for name in ("summary.json", "learning_curves.png", "final_performance.png"):
            print(options.out / name)
    return _report_failures(list(comparison.runs.values()))


def _joined_env_args(args: list[str]) -> list[str]:
    """Bring repeated `--env-arg a=1 --env-arg b=2` into the one list that the parser reads."""
    rest, values, i = [], [], 0
    while i < len(args):
        if args[i] in ("--env-arg", "--env_arg"):
            i += 1
            while i < len(args) and not args[i].startswith("--"):
                values.append(args[i])
                i += 1
        else:
            rest.append(args[i])
            i += 1
    return [*rest, "--env-arg", *values] if values else rest


def _env_args(pairs: Sequence[str]) -> dict[str, Any]:
    args = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--env-arg {pair!r}: expected name=value, as in is_slippery=false")
        try:
            args[name] = json.loads(text)
        except ValueError as error:
            raise UsageError(
                f"--env-arg {pair!r}: the value is not JSON ({error}); "
                f"write true, 3, [1, 2] or, for text, '{name}=\"text\"'"
            ) from error
    return args


def _report_failures(runs: Sequence[Run]) -> int:
    codes = [0]
    for run in runs:
        for seed, failure in run.record["failures"].items():
            print(f"rlkit: {run.agent}, seed {seed}: {failure['message']}", file=sys.stderr)
            codes.append(int(failure["exit_code"]))
        if run.failures:
            done = len(run.seeds) - len(run.failures)
            print(
                f"rlkit: {done} of {len(run.seeds)} seeds of {run.agent} were finished",
                file=sys.stderr,
            )
    return max(codes)


class progress:
    """A progress bar on the terminal's error stream, and notes as plain lines there."""

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        console = Console(stderr=True)
        self._bar = Progress(
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            "steps",
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        )
        self._steps: dict[int, int] = {}
        self._label: tuple[str, int] | None = None

    def __enter__(self) -> Any:
        from rlkit.runs.training import Reports

        self._bar.start()
        return Reports(progress=self._advance, note=self._note, begin=self._begin)

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def _begin(self, label: str, num_seeds: int, num_env_steps: int) -> None:
        self._steps = {}
        for task in list(self._bar.tasks):
            self._bar.remove_task(task.id)
        self._task = self._bar.add_task(f"{label}", total=num_seeds * num_env_steps)

    def _advance(self, seeds: Sequence[int], num_env_steps: int) -> None:
        self._steps.update(dict.fromkeys(seeds, num_env_steps))
        self._bar.update(self._task, completed=sum(self._steps.values()))

    def _note(self, text: str) -> None:
        print(f"rlkit: {text}", file=sys.stderr)


def print_runs(runs: dict[str, Run], optimum: float | None = None) -> None:
    """The table of results: one line an agent."""
    import numpy as np
    from rich.console import Console
    from rich.table import Table

    from rlkit.runs.run import optimum as known_optimum

    first = next(iter(runs.values()))
    best = known_optimum(first.environment) if optimum is None else optimum
    title = f"{first.environment_name}, stepped as {first.record['stepped_as']}"
    table = Table(title=title, title_justify="left")
    for name in ("agent", "seeds", "env steps", "final return", "95 % interval"):
        table.add_column(name, justify="left" if name == "agent" else "right", no_wrap=True)
    if best is not None:
        table.add_column("of optimum", justify="right", no_wrap=True)
    table.add_column("env steps/s", justify="right", no_wrap=True)
    for name, run in runs.items():
        finished = int(np.isfinite(run.scores).sum())
        cells = [name, f"{finished}" + ("" if finished == len(run.seeds) else " done")]
        cells.append(f"{run.num_env_steps:,}")
        if finished:
            interval = run.interval()
            low_high = f"{interval.low:.4g} to {interval.high:.4g}" if finished > 1 else "-"
            cells += [f"{interval.estimate:.4g}", low_high]
            if best is not None:
                share = f"{100 * interval.estimate / best:.1f} %" if best > 0 else "-"
                cells.append(share)
        else:
            cells += ["-"] * (2 if best is None else 3)
        rate = run.env_steps_per_second
        table.add_row(*cells, f"{rate:,.0f}" if rate else "-")
    if best is not None:
        table.caption = f"optimum {best:.6g}, exact, under the time limit"
        table.caption_justify = "left"
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def print_pairs(pairs: Sequence[Any]) -> None:
    for pair in pairs:
        relation = {
            "better": f"{pair.a} is better than {pair.b}",
            "worse": f"{pair.a} is worse than {pair.b}",
            "tie": f"{pair.a} and {pair.b} tie: every score is the same",
            "too few seeds": f"{pair.a} and {pair.b}: too few seeds to tell",
        }.get(pair.verdict, f"{pair.a} and {pair.b}: {pair.verdict} of a difference")
        print(f"{relation} (difference {pair.difference:+.4g}, p = {pair.p_value:.2g})")


# --- solve ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class SolveOptions:
    """Options of `rlkit solve`."""

    discount: float = 0.99  # gamma, in [0, 1]
    tolerance: float = 1e-9  # twice the error allowed in the optimal values, > 0
    env_arg: tuple[str, ...] = ()  # name=value of the environment, value in JSON; may be repeated
    json: bool = False  # print one JSON object and nothing else


def _solve(args: list[str]) -> int:
    form = dataclasses.make_dataclass(
        "Solve",
        [
            ("environment", _positional(str, "ENV", "an environment with a transition table P")),
            ("options", SolveOptions, dataclasses.field(default_factory=SolveOptions)),
        ],
        frozen=True,
    )
    form.__doc__ = "Compute the exact optimum of an environment with a known transition table."
    parsed = _parse(form, _joined_env_args(args), "solve")
    options: SolveOptions = parsed.options
    _require_discount(options)
    from rlkit.environments import find_environment
    from rlkit.solving import solve
    from rlkit.tabular.solve import policy_map

    env_args = _env_args(options.env_arg)
    solution = solve(
        parsed.environment,
        discount=options.discount,
        tolerance=options.tolerance,
        env_args=env_args,
    )
    if options.json:
        names = (
            *("discount", "start_value", "greedy_return_under_limit"),
            *("optimal_return_under_limit", "time_limit", "sweeps", "seconds"),
        )
        content = {name: getattr(solution, name) for name in names}
        _print_json({"environment": parsed.environment, **content})
        return 0
    limit = solution.time_limit
    under = "without a time limit" if limit is None else f"under the limit of {limit} steps"
    gamma = f"{solution.discount:g}"
    lines = [
        (f"V* at the start, discount {gamma}, no time limit", solution.start_value),
        (f"return of the policy greedy for discount {gamma}, {under}",
         solution.greedy_return_under_limit),
        (f"best achievable return, {under}", solution.optimal_return_under_limit),
    ]  # fmt: skip
    width = max(len(text) for text, _ in lines)
    print(parsed.environment)
    for text, value in lines:
        print(f"  {text:<{width}}  {'does not exist' if value is None else f'{value:.8f}'}")
    print(f"  {solution.sweeps} sweeps of value iteration, {solution.seconds:.3f} s")
    env = find_environment(parsed.environment, env_args).make()
    drawing = policy_map(env, solution.policy)
    env.close()
    if drawing is not None:
        print(f"\n{drawing}")
    return 0


def _require_discount(options: SolveOptions) -> None:
    from rlkit.validation import require_range

    require_range(options, "discount", low=0, high=1)
    require_range(options, "tolerance", low=0, open_low=True)


# --- evaluate, plot, watch ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of `rlkit evaluate`."""

    episodes: int = 1000  # of each seed
    greedy: bool = True  # the greedy policy, or the one that explores
    json: bool = False  # print one JSON object and nothing else


def _evaluate(args: list[str]) -> int:
    form = dataclasses.make_dataclass(
        "Evaluate",
        [
            ("run", _positional(Path, "RUN", "the folder of a run")),
            ("options", EvaluateOptions, dataclasses.field(default_factory=EvaluateOptions)),
        ],
        frozen=True,
    )
    form.__doc__ = "Play episodes with the final policies of a run, greedily."
    parsed = _parse(form, args, "evaluate")
    options: EvaluateOptions = parsed.options
    from rlkit.runs.run import load
    from rlkit.runs.specification import require_count

    require_count("episodes", options.episodes, at_least=1)
    result = load(parsed.run).evaluate(options.episodes, greedy=options.greedy)
    if options.json:
        _print_json(result)
        return 0
    print(f"{result['agent']} on {result['environment']}, {options.episodes} episodes a seed")
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


def _plot(args: list[str]) -> int:
    form = dataclasses.make_dataclass(
        "Plot",
        [
            ("runs", _positional(tuple[Path, ...], "RUN", "folders of runs")),
            ("options", PlotOptions),
        ],
        frozen=True,
    )
    form.__doc__ = "Draw the learning curves of runs into one figure."
    parsed = _parse(form, args, "plot")
    from rlkit.runs.run import load, plot_runs

    if not parsed.runs:
        raise UsageError("plot: name the folder of at least one run")
    plot_runs([load(path) for path in parsed.runs], parsed.options.out)
    print(parsed.options.out)
    return 0


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """Options of `rlkit watch`."""

    gif: Path  # the animation to write
    seed: int = 0  # which seed's policy
    episode: int = 0  # which of the evaluation's episodes
    max_steps: int = 500  # where to stop filming


def _watch(args: list[str]) -> int:
    form = dataclasses.make_dataclass(
        "Watch",
        [("run", _positional(Path, "RUN", "the folder of a run")), ("options", WatchOptions)],
        frozen=True,
    )
    form.__doc__ = "Record an episode of a trained policy as a gif."
    parsed = _parse(form, args, "watch")
    options: WatchOptions = parsed.options
    from rlkit.runs.run import load
    from rlkit.runs.watch import watch

    steps, total = watch(
        load(parsed.run),
        options.gif,
        seed=options.seed,
        episode=options.episode,
        max_steps=options.max_steps,
    )
    print(f"{options.gif}: {steps} steps, return {total:g}")
    return 0


# --- list -----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    """List agents, presets and native environments."""

    json: bool = False  # print one JSON object and nothing else


def _list(args: list[str]) -> int:
    options = _parse(ListOptions, args, "list")
    from importlib.metadata import entry_points

    from rlkit.agents import AGENTS
    from rlkit.presets import PRESETS

    native = sorted(point.name for point in entry_points(group="rlkit.native_envs"))
    if options.json:
        _print_json(
            {
                "agents": {name: text for name, (_, _, text) in AGENTS.items()},
                "presets": [
                    {"agent": agent, "environment": env, **settings}
                    for (agent, env), settings in PRESETS.items()
                ],
                "native_environments": native,
            }
        )
        return 0
    print("agents")
    for name, (_, _, text) in AGENTS.items():
        print(f"  {name:<16} {text}")
    print("\npresets (agent, environment, environment steps of a seed)")
    for (agent, env), settings in sorted(PRESETS.items(), key=lambda item: item[0][::-1]):
        print(f"  {agent:<16} {env:<18} {settings.get('steps', 0):>9,}")
    print("\nnative environments (batched twins, equal to Gymnasium's step for step)")
    for name in native:
        print(f"  {name}")
    print("\nEvery environment with a transition table P is sampled from its table.")
    return 0
