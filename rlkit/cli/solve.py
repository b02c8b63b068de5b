"""`rlkit solve`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlkit.cli.forms import EnvArgs, Output, make_form, parse, positional, read_env_args
from rlkit.cli.report import print_json
from rlkit.cli.terminal import printable

if TYPE_CHECKING:
    from rlkit.tabular.solution import Solution

JSON_FIELDS = (
    *("discount", "start_value", "greedy_return_under_limit", "optimal_return_under_limit"),
    *("time_limit", "sweeps", "seconds"),
)


@dataclass(frozen=True, kw_only=True)
class SolveOptions:
    """The problem and the accuracy of its solution."""

    discount: float = 0.99  # gamma, in [0, 1]
    tolerance: float = 1e-9  # twice the largest error allowed in the optimal values, > 0
    env_args: EnvArgs = ()  # arguments of the environment, values in JSON


def solve_command(args: list[str]) -> int:
    """Compute and print the exact optimum of an environment."""
    form = make_form(
        "Compute the exact optimum of an environment with a known transition table.",
        environment=positional(str, "ENV", "an environment with a transition table P"),
        solution=SolveOptions,
        output=Output,
    )
    parsed = parse(form, args, "solve")
    options: SolveOptions = parsed.solution
    _require_ranges(options)
    from rlkit.solving import solve

    env_args = read_env_args(options.env_args)
    solution = solve(
        parsed.environment,
        discount=options.discount,
        tolerance=options.tolerance,
        env_args=env_args,
    )
    if parsed.output.json:
        content = {name: getattr(solution, name) for name in JSON_FIELDS}
        print_json({"environment": parsed.environment, **content})
    else:
        _print_solution(parsed.environment, solution)
        _draw_policy(parsed.environment, env_args, solution)
    return 0


def _print_solution(environment: str, solution: Solution) -> None:
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
    print(printable(environment))
    for text, value in lines:
        print(f"  {text:<{width}}  {'does not exist' if value is None else f'{value:.8f}'}")
    print(f"  {solution.sweeps} sweeps of value iteration, {solution.seconds:.3f} s")


def _draw_policy(environment: str, env_args: dict[str, Any], solution: Solution) -> None:
    """Print the policy on the map of the environment, if it has one."""
    from rlkit.environments.resolve import find_environment
    from rlkit.tabular.grids.drawing import policy_map

    env = find_environment(environment, env_args).make()
    drawing = policy_map(env, solution.policy)
    env.close()
    if drawing is not None:
        print(f"\n{drawing}")


def _require_ranges(options: SolveOptions) -> None:
    from rlkit.options import require_range

    require_range(options, "discount", low=0, high=1)
    require_range(options, "tolerance", low=0, open_low=True)
