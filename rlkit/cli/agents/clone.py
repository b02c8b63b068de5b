"""`rlkit clone`: imitate demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rlkit.cli.agents.train import ENVIRONMENT, TrainingOptions
from rlkit.cli.forms import Output, make_form, parse, positional
from rlkit.cli.report import (
    announcing,
    print_json,
    print_runs,
    report_failures,
    show_progress,
)

if TYPE_CHECKING:
    from rlkit.training.run import Run

AGENT = "behaviour-cloning"
_ABOUT = (
    "Imitate demonstrations by supervised learning, for many seeds: those that the policy of a run "
    "plays, those of a file, or those of a local Minari dataset. A csv has a header with the "
    "columns observation (or observation_0, observation_1, ...), action (likewise) and, if known, "
    "episode and reward; .jsonl has one object with these keys per line; .npz the arrays "
    "observations, actions, episodes, rewards. It is `rlkit train behaviour-cloning ENV "
    "--demonstrations DATA`. Run the same command again to continue after an interruption."
)
_DATA = "the folder of a run, a file (.csv, .jsonl, .npz), or minari:NAME"


@dataclass(frozen=True, kw_only=True)
class CloneOptions(TrainingOptions):
    """How seeds are trained and evaluated."""

    # environment steps per seed, >= 1, each with --updates-per-step gradient steps; None = 50
    steps: int | None = None
    envs: int | None = None  # environments per seed, >= 1; None = 1
    # continue even if versions have changed, which marks the run as not reproducible
    allow_drift: bool = False
    # a name by which the run is found as well as by its folder, and which no other run may have
    name: str | None = None


def clone_command(args: list[str]) -> int:
    """Imitate demonstrations."""
    from rlkit.agents import find_agent

    agent = find_agent(AGENT)
    form = make_form(
        _ABOUT,
        data=positional(str, "DATA", _DATA),
        environment=positional(str, "ENV", ENVIRONMENT),
        training=CloneOptions,
        cloning=agent.Config(),
        output=Output,
    )
    parsed = parse(form, args, "clone")
    from rlkit.training.train import train

    with show_progress(quiet=parsed.output.json) as reports, announcing():
        run = train(
            AGENT,
            parsed.environment,
            **parsed.training.arguments(),
            demonstrations=parsed.data,
            config=parsed.cloning,
            reports=reports,
        )
    if parsed.output.json:
        print_json(_summary(run))
    else:
        print_runs({run.agent: run}, run.optimum)
        if (expert := expert_return(run)) is not None:
            print(f"the expert returns {expert:.6g}")
        print(f"\n{run.folder}/learning_curve.png")
    return report_failures([run])


def expert_return(run: Run) -> float | None:
    """Return the mean return of what a run imitates, where it is known."""
    return dict(run.references).get("expert")


def _summary(run: Run) -> dict[str, Any]:
    held_out = [own["held_out_loss"] for own in run.columns if "held_out_loss" in own]
    return {
        "run": str(run.folder),
        "status": run.status,
        "seeds": len(run.seeds),
        "num_env_steps": run.num_env_steps,
        "final": run.scores.tolist(),
        "expert_return": expert_return(run),
        "held_out_loss": [float(own[-1]) if len(own) else None for own in held_out],
    }
