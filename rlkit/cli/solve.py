"""`rlkit solve`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from rlkit.cli.forms import joined_env_args, parse, positional, read_env_args
from rlkit.cli.report import print_json
from rlkit.cli.terminal import printable


@dataclass(frozen=True, kw_only=True)
class SolveOptions:
    """Options of `rlkit solve`."""

    discount: float = 0.99  # gamma, in [0, 1]
    tolerance: float = 1e-9  # twice the error allowed in the optimal values, > 0
    env_arg: tuple[str, ...] = ()  # name=value of the environment, value in JSON; may be repeated
    json: bool = False  # print one JSON object and nothing else


def solve_command(args: list[str]) -> int:
    form = dataclasses.make_dataclass(
        "Solve",
        [
            ("environment", positional(str, "ENV", "an environment with a transition table P")),
            ("options", SolveOptions, dataclasses.field(default_factory=SolveOptions)),
        ],
        frozen=True,
    )
    form.__doc__ = "Compute the exact optimum of an environment with a known transition table."
    parsed = parse(form, joined_env_args(args), "solve")
    options: SolveOptions = parsed.options
    _require_discount(options)
    from rlkit.environments.resolve import find_environment
    from rlkit.solving import solve
    from rlkit.tabular.gridmap import policy_map

    env_args = read_env_args(options.env_arg)
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
        print_json({"environment": parsed.environment, **content})
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
    print(printable(parsed.environment))
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
    from rlkit.options import require_range

    require_range(options, "discount", low=0, high=1)
    require_range(options, "tolerance", low=0, open_low=True)
