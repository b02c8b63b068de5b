"""`rlkit solve`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from rlkit.cli.forms import EnvArgs, Output, parse, read_env_args
from rlkit.cli.report import announcing, print_json, under_limit
from rlkit.cli.terminal import printable
from rlkit.errors import UsageError

if TYPE_CHECKING:
    from rlkit.tabular.evaluation.proto_values import ProtoValues
    from rlkit.tabular.grids.drawing import Grid
    from rlkit.tabular.mdp import TabularMDP
    from rlkit.tabular.planning.near import NearOptimum
    from rlkit.tabular.solution import Solution

JSON_FIELDS = (
    *("discount", "start_value", "greedy_return_under_limit", "optimal_return_under_limit"),
    *("time_limit", "sweeps", "seconds", "method", "num_states", "num_transitions"),
    *("lower", "upper", "certified_error", "converged", "build_seconds"),
)
_LAKES = ("FrozenLake-v1", "FrozenLake8x8-v1")
_MOST_PRINTED = 40  # rows and columns of a map that is printed

Method = Literal[
    "auto", "value-iteration", "gauss-seidel", "policy-iteration", "modified-policy-iteration"
]


@dataclass(frozen=True, kw_only=True)
class SolveOptions:
    """The problem and the accuracy of its solution."""

    # auto: modified policy iteration for large models at a discount below 1, else value iteration
    method: Method = "auto"
    discount: float = 0.99  # gamma, in [0, 1]
    tolerance: float = 1e-9  # twice the largest error allowed in the optimal values, > 0
    max_sweeps: int | None = None  # stop after so many; the bounds that are printed still hold
    # steps of an episode, for its return: auto (the environment's own limit), none, or a number
    horizon: str = "auto"
    # also compute the best policy under a penalty for leaving this one: a run of the environment,
    # of which seed 0 counts, or uniform
    reference: str | None = None
    kl_coef: float | None = None  # that penalty of a nat of divergence, in units of reward, > 0
    env_timeout: float = 60.0  # seconds that a reset or step of the environment may take, > 0
    env_args: EnvArgs = ()  # arguments of the environment, values in JSON


@dataclass(frozen=True, kw_only=True)
class MapOptions:
    """A FrozenLake map of your own, without a time limit unless --horizon sets one."""

    map: Path | None = None  # a text file, one line of S, F, H and G for each row
    size: int | None = None  # of a random square map, >= 2
    hole_probability: float | None = None  # of each cell of the random map (0.2), in [0, 1)
    map_seed: int | None = None  # of the random map (0), >= 0
    slippery: bool = True  # whether a step may go to either side of its direction


@dataclass(frozen=True, kw_only=True)
class FigureOutput(Output):
    """What is printed and drawn."""

    figure: Path | None = None  # png, svg or pdf: the bounds sweep by sweep, and values on a map
    # compute the first K eigenvectors of the Laplacian of the graph of states, whose edges are the
    # steps of a random policy; with --figure they are drawn as small maps, and nothing else is
    proto_values: Annotated[int | None, arg(metavar="K")] = None


@dataclass(frozen=True, kw_only=True)
class Form:
    """Compute the exact optimum of an environment, model or map whose transitions are known."""

    environment: Annotated[
        str | None,
        Positional,
        arg(
            metavar="[ENV]",
            help="an environment with a transition table P, or an .npz file with a model; "
            "omitted with --map or --size",
            help_behavior_hint="",
        ),
    ] = None
    solution: SolveOptions = field(default_factory=SolveOptions)
    map: MapOptions = field(default_factory=MapOptions)
    output: FigureOutput = field(default_factory=FigureOutput)


@dataclass(frozen=True)
class Problem:
    """A named argument of `rlkit.solve`, its map, and the time that it took to build."""

    name: str
    model: str | TabularMDP
    env_args: dict[str, Any]
    grid: Callable[[], Grid | None]
    build_seconds: float = 0.0


def solve_command(args: list[str]) -> int:
    """Compute and print the exact optimum of an environment, model or map."""
    form = parse(Form, args, "solve")
    options: SolveOptions = form.solution
    _require_ranges(options)
    horizon = _horizon(options.horizon)
    _require_drawable(form.output.figure)
    number = form.output.proto_values
    if number is not None:
        from rlkit.options import require_count

        require_count("proto_values", number, at_least=1)
    problem = _problem(form.environment, read_env_args(options.env_args), form.map)
    from rlkit.solving import solve

    protos = None
    with announcing():
        if number is not None:
            problem = _with_model(problem, drawn=form.output.figure is not None)
            protos = _proto_values(problem, number)
        solution = solve(
            problem.model,
            discount=options.discount,
            tolerance=options.tolerance,
            method=options.method,
            horizon=horizon,
            max_sweeps=options.max_sweeps,
            history=form.output.figure is not None,
            reference=options.reference,
            kl_coef=options.kl_coef,
            env_args=problem.env_args,
            env_timeout=options.env_timeout,
        )
    if form.output.json:
        content = {name: getattr(solution, name) for name in JSON_FIELDS}
        content["build_seconds"] += problem.build_seconds
        if solution.near_reference is not None:
            content["near_reference"] = _near_as_data(solution.near_reference)
        content["peak_memory_mb"] = _peak_memory()
        if protos is not None:
            content["proto_eigenvalues"] = protos.eigenvalues.tolist()
            content["proto_values"] = protos.vectors.tolist()
        print_json({"environment": problem.name, **content})
    else:
        _print_solution(problem, solution)
        _print_policy(problem, solution)
        if solution.near_reference is not None:
            _print_near(solution, solution.near_reference, options.reference or "")
        if protos is not None:
            listed = ", ".join(f"{value:.6g}" for value in protos.eigenvalues)
            print(f"\neigenvalues of the proto-values: {listed}")
    if form.output.figure is not None and protos is not None:
        _draw_protos(problem, protos, form.output.figure)
    elif form.output.figure is not None:
        _draw(problem, solution, form.output.figure)
    return 0


def _with_model(problem: Problem, *, drawn: bool) -> Problem:
    """Return a problem with its model, which is read once; a figure needs a map as well."""
    if drawn and problem.grid() is None:
        raise UsageError(
            f"--figure with --proto-values: {problem.name} has no map to draw on; --json prints "
            "the vectors, as does rlkit.tabular.proto_values in Python"
        )
    from rlkit.solving import model_of

    began = time.perf_counter()
    model = model_of(problem.model, problem.env_args)
    seconds = problem.build_seconds + time.perf_counter() - began
    return replace(problem, model=model, env_args={}, build_seconds=seconds)


def _proto_values(problem: Problem, number: int) -> ProtoValues:
    from rlkit.tabular.evaluation.proto_values import proto_values

    assert not isinstance(problem.model, str)
    try:
        return proto_values(problem.model, number)
    except ValueError as error:
        raise UsageError(f"solve: {error}") from error


def _draw_protos(problem: Problem, protos: ProtoValues, path: Path) -> None:
    from rlkit.analysis.figure import save_figure
    from rlkit.tabular.grids.cell_maps import proto_value_figure

    grid = problem.grid()
    assert grid is not None
    title = f"{problem.name}: first eigenvectors of the Laplacian of the graph of states"
    save_figure(proto_value_figure(grid, *protos, title=title), path)


def _problem(environment: str | None, env_args: dict[str, Any], options: MapOptions) -> Problem:
    """Return what an ENV or the options of a map name."""
    if options.map is None and options.size is None:
        _require_no_map_options(options)
        if environment is None:
            raise UsageError(
                "solve: name an environment, an .npz file, or a map with --map or --size"
            )
        return Problem(environment, environment, env_args, lambda: _grid_of(environment, env_args))
    if options.map is not None and options.size is not None:
        raise UsageError("solve: --map and --size exclude each other")
    if environment not in (None, *_LAKES):
        raise UsageError(
            f"solve: --map and --size are maps of FrozenLake-v1, got the environment {environment}"
        )
    if env_args:
        raise UsageError("solve: --env-arg has no meaning with --map or --size; see --slippery")
    from rlkit.tabular.grids.drawing import grid_of
    from rlkit.tabular.grids.lake import frozen_lake

    began = time.perf_counter()
    try:
        name, cells = _cells(options)
        model = frozen_lake(cells, slippery=options.slippery)
    except ValueError as error:
        raise UsageError(f"solve: {error}") from error
    seconds = time.perf_counter() - began
    return Problem(name, model, {}, lambda: grid_of(cells), seconds)


def _require_no_map_options(options: MapOptions) -> None:
    given = {"--hole-probability": options.hole_probability, "--map-seed": options.map_seed}
    names = [flag for flag, value in given.items() if value is not None]
    names += [] if options.slippery else ["--no-slippery"]
    if names:
        belong = "belongs" if len(names) == 1 else "belong"
        raise UsageError(
            f"solve: {' and '.join(names)} {belong} to --map or --size, and neither is given; for "
            "an environment use --env-arg, as in --env-arg is_slippery=false"
        )


def _cells(options: MapOptions) -> tuple[str, Any]:
    """Return the name of a map and its letters; too large a map is rejected before it is made."""
    from rlkit.tabular.grids.lake import require_room
    from rlkit.tabular.grids.maps import random_map, read_map

    slips = "" if options.slippery else ", not slippery"
    if options.map is not None:
        if options.hole_probability is not None or options.map_seed is not None:
            raise ValueError("--hole-probability and --map-seed belong to --size, not to --map")
        if options.map.is_file():
            require_room(options.map.stat().st_size, slippery=options.slippery)
        return f"{options.map}{slips}", read_map(options.map)
    size = options.size or 0
    chance = 0.2 if options.hole_probability is None else options.hole_probability
    seed = 0 if options.map_seed is None else options.map_seed
    require_room(size**2, slippery=options.slippery)
    cells = random_map(size, hole_probability=chance, seed=seed)
    return f"random map {size} x {size}, hole probability {chance:g}, seed {seed}{slips}", cells


def _grid_of(environment: str, env_args: dict[str, Any]) -> Grid | None:
    if environment.endswith(".npz"):
        return None
    from rlkit.environments.resolve import find_environment
    from rlkit.tabular.grids.drawing import grid_made_by

    return grid_made_by(find_environment(environment, env_args).make)


def _print_solution(problem: Problem, solution: Solution) -> None:
    limit = solution.time_limit
    under = under_limit(limit)
    gamma = f"{solution.discount:g}"
    lines = [
        (f"V* at the start, discount {gamma}, no time limit", solution.start_value),
        (f"return of the policy greedy for discount {gamma}, {under}",
         solution.greedy_return_under_limit),
        (f"best achievable return, {under}", solution.optimal_return_under_limit),
    ]  # fmt: skip
    width = max(len(text) for text, _ in lines)
    missing = (
        "not computed (large model; set --horizon)"
        if solution.returns_omitted
        else "does not exist, or takes too many steps for float64"
    )
    print(printable(problem.name))
    for text, value in lines:
        print(f"  {text:<{width}}  {missing if value is None else f'{value:.8f}'}")
    print(f"  {_certificate(solution)}")
    unit = "evaluation" if solution.method == "policy-iteration" else "sweep"
    unit += "" if solution.sweeps == 1 else "s"
    print(f"  {solution.sweeps:,} {unit} of {_method(solution)}, {solution.seconds:.3f} s")


def _near_as_data(near: NearOptimum) -> dict[str, float]:
    """Return the optimum near a reference as plain data."""
    return {
        "kl_coef": near.plan.kl_coef,
        "start_value": near.plan.start_value,
        "error_bound": near.plan.error_bound,
        "penalised_optimum": near.of_plan.penalised_optimum,
        "penalised_return": near.of_plan.penalised_return,
        "kl": near.of_plan.kl,
        "return": near.of_plan.penalised_return + near.plan.kl_coef * near.of_plan.kl,
        "return_of_reference": near.of_reference,
    }


def _print_near(solution: Solution, near: NearOptimum, reference: str) -> None:
    """Print what is best near a reference."""
    data, gamma = _near_as_data(near), f"{solution.discount:g}"
    under = "discounted, without a limit" if solution.time_limit is None else "of an episode"
    lines = [
        (f"V at the start, discount {gamma}, no time limit", data["start_value"]),
        (f"best achievable return less the penalty, {under}", data["penalised_optimum"]),
        (f"the policy for discount {gamma}: return less the penalty", data["penalised_return"]),
        ("  its return", data["return"]),
        ("  its divergence from the reference, nats per episode", data["kl"]),
        ("return of the reference", data["return_of_reference"]),
    ]
    width = max(len(text) for text, _ in lines)
    print()
    print(printable(f"near {reference}, {near.plan.kl_coef:g} per nat and step"))
    for text, value in lines:
        print(f"  {text:<{width}}  {value:.8f}")


def _method(solution: Solution) -> str:
    """Return the name of the method in words."""
    if solution.method == "value-iteration" and solution.discount == 1.0:
        return "value iteration, after policy iteration"
    return {"gauss-seidel": "Gauss-Seidel"}.get(solution.method, solution.method.replace("-", " "))


def _certificate(solution: Solution) -> str:
    """Return one sentence about the distance to V*."""
    bounds = f"V* at the start is in [{solution.lower:.10g}, {solution.upper:.10g}]"
    allowed, error = solution.tolerance / 2, solution.certified_error
    proof = f"proven: {bounds}, and every value is within {error:.2g} of V*"
    if error <= allowed:
        return proof
    if solution.converged:
        return f"{proof}, as close as float64 comes ({allowed:.2g} was requested)"
    return f"{proof}; stopped before the {allowed:.2g} that was requested"


def _print_policy(problem: Problem, solution: Solution) -> None:
    """Print the policy on the map of the environment, if it has one that is small enough."""
    from rlkit.tabular.grids.drawing import policy_map

    grid = problem.grid()
    if grid is None:
        return
    if max(grid.letters.shape) > _MOST_PRINTED:
        print("  the map is too large to print the policy; --figure FILE draws it")
        return
    print(f"\n{policy_map(grid, solution.policy)}")


def _draw(problem: Problem, solution: Solution, path: Path) -> None:
    from rlkit.analysis.figure import save_figure
    from rlkit.tabular.grids.figures import solution_figure

    figure = solution_figure(
        solution.history,
        tolerance=solution.tolerance,
        title=f"{problem.name}\n{_method(solution)}, discount {solution.discount:g}",
        grid=problem.grid(),
        values=solution.values,
        policy=solution.policy,
    )
    save_figure(figure, path)


def _require_drawable(path: Path | None) -> None:
    if path is not None and path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"--figure {path}: the name must end in .png, .svg or .pdf")


def _horizon(text: str) -> int | str | None:
    if text in ("auto", "none"):
        return None if text == "none" else text
    if text.isdecimal() and 1 <= int(text) < 2**63:
        return int(text)
    raise UsageError(f"--horizon {text}: expected auto, none or a number of steps, at least 1")


def _require_ranges(options: SolveOptions) -> None:
    from rlkit.options import require_range

    require_range(options, "discount", low=0, high=1)
    require_range(options, "tolerance", low=0, open_low=True)
    if options.max_sweeps is not None:
        require_range(options, "max_sweeps", low=1)


def _peak_memory() -> float | None:
    """Return the largest memory that this process has had, in MB, or None if it is not known."""
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    import sys

    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(size / 1e6 if sys.platform == "darwin" else size * 1024 / 1e6)
