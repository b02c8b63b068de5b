"""`rlkit rlhf demo`."""

from __future__ import annotations

import dataclasses
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rlkit.cli.forms import parse
from rlkit.cli.report import print_json

if TYPE_CHECKING:
    from rlkit.rlhf.demo import Demo


def demo_command(args: list[str]) -> int:
    from rlkit.rlhf.demo import DemoOptions, run_demo

    @dataclass(frozen=True, kw_only=True)
    class Output:
        """What is printed."""

        json: bool = False  # print one JSON object and nothing else

    form = dataclasses.make_dataclass(
        "Demo",
        [
            ("options", DemoOptions, dataclasses.field(default_factory=DemoOptions)),
            ("output", Output, dataclasses.field(default_factory=Output)),
        ],
        frozen=True,
    )
    form.__doc__ = (
        "Demonstrations, preferences from a known gold reward, a reward model, PPO at several KL "
        "coefficients and best of n, each beside what is exactly true. The same command again "
        "goes on where it was interrupted."
    )
    parsed = parse(form, args, "rlhf demo")
    started = time.monotonic()
    quiet = parsed.output.json
    demo = run_demo(parsed.options, say=lambda text: None if quiet else print(text, flush=True))
    if quiet:
        print_json(demo.summary)
    else:
        _print(demo)
        print(f"\n{demo.folder}/overoptimisation.png, summary.json", file=sys.stdout)
        print(f"done in {time.monotonic() - started:.0f} s")
    return 0


def _print(demo: Demo) -> None:
    from rich.console import Console
    from rich.table import Table

    from rlkit.rlhf.demo import rows

    table = Table(title="policies that maximise the reward model (proxy)", title_justify="left")
    columns = ("method", "setting", "gap", "log evidence", "ELBO", "KL to posterior")
    for name in (*columns, "KL, exact", "proxy", "gold"):
        table.add_column(name, justify="left" if name in ("method", "setting") else "right")
    for row in rows(demo.summary):
        table.add_row(*row)
    table.caption = (
        "gap: closed-form optimum of proxy - beta KL, minus the policy's objective; all exact\n"
        "log evidence = ELBO + KL to posterior, in nats: gap = beta times the KL to the posterior\n"
        "proxy and gold in deviations under the reference; more proxy and less gold is "
        "over-optimisation"
    )
    table.caption_justify = "left"
    Console(width=None if sys.stdout.isatty() else 110).print(table)
    peak = int(demo.tilt.gold.argmax())
    reached = f"{demo.tilt.gold[peak]:.3f} (beta = {demo.tilt.setting[peak]:.2g})"
    end = f"{demo.tilt.gold[-1]:.3f} (beta = {demo.tilt.setting[-1]:.2g})"
    if peak == len(demo.tilt.gold) - 1:
        print(f"gold of the proxy's optimum rises to {reached}: this reward model was not fooled")
    else:
        print(f"gold of the proxy's optimum peaks at {reached} and falls to {end}")
