"""`rlkit rlhf demo`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rlkit.cli.forms import Output, make_form, parse
from rlkit.cli.report import print_json
from rlkit.cli.tables import new_table, print_table

if TYPE_CHECKING:
    from rlkit.rlhf.demo import Demo


def demo_command(args: list[str]) -> int:
    """Run the demonstration and print its results."""
    from rlkit.rlhf.demo import DemoOptions, run_demo

    about = (
        "Run all stages on a task with a known gold reward: demonstrations, preferences, a reward "
        "model, then PPO at several KL coefficients and best of n, each beside its exact optimum. "
        "Run the same command again to continue after an interruption."
    )
    parsed = parse(make_form(about, demo=DemoOptions, output=Output), args, "rlhf demo")
    started = time.monotonic()
    quiet = parsed.output.json
    demo = run_demo(parsed.demo, say=lambda text: None if quiet else print(text, flush=True))
    if quiet:
        print_json(demo.summary)
    else:
        _print_policies(demo)
        _print_peak(demo)
        print(f"\n{demo.folder}/overoptimisation.png, summary.json")
        print(f"finished in {time.monotonic() - started:.0f} s")
    return 0


def _print_policies(demo: Demo) -> None:
    from rlkit.rlhf.demo import rows

    columns = ["method", "setting", "gap", "log evidence", "ELBO", "KL to posterior"]
    columns += ["KL, exact", "proxy", "gold"]
    table = new_table("policies that maximise the reward model (proxy)", columns, left=2)
    for row in rows(demo.summary):
        table.add_row(*row)
    table.caption = (
        "gap: closed-form optimum of proxy - beta KL, minus the policy's objective; all exact\n"
        "log evidence = ELBO + KL to posterior, in nats: gap = beta times the KL to the posterior\n"
        "proxy and gold in standard deviations under the reference; more proxy and less gold is "
        "over-optimisation"
    )
    table.caption_justify = "left"
    print_table(table)


def _print_peak(demo: Demo) -> None:
    """Print where the gold reward of the proxy's optimum is largest."""
    tilt = demo.frontiers["tilt"]
    peak, end = int(tilt.gold.argmax()), len(tilt.gold) - 1
    at_peak, at_end = (f"{tilt.gold[i]:.3f} (beta = {tilt.setting[i]:.2g})" for i in (peak, end))
    if peak == end:
        print(f"gold of the proxy's optimum rises to {at_peak}: this reward model was not fooled")
    else:
        print(f"gold of the proxy's optimum peaks at {at_peak} and falls to {at_end}")
