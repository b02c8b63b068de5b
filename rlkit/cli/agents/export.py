"""`rlkit export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rlkit.cli.forms import make_form, parse, positional
from rlkit.cli.report import announcing
from rlkit.cli.terminal import note, printable
from rlkit.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is written, and where; at least one."""

    card: Path | None = None  # .md: a model card with the mean over seeds and its interval
    # .npz: final scores [seeds, environments] by agent, for the package rliable
    rliable: Path | None = None
    # .npz: the curve as Stable-Baselines3's evaluation callback stores it, a column for each seed
    evaluations: Path | None = None
    # .safetensors: what the agent of one seed ended with; needs the extra `hf`
    safetensors: Path | None = None
    # .onnx: the greedy policy of one seed, from the environment's own observations to its actions,
    # checked against the actor on 1,000 observations; needs the extra `onnx`
    onnx: Path | None = None
    # a folder: mean and interval of each metric for TensorBoard, in a folder of the name of each
    # run; needs the extra `tensorboard`
    tensorboard: Path | None = None
    tensorboard_seeds: bool = False  # with --tensorboard: also write a scalar for each seed
    seed: int = 0  # of --safetensors and --onnx, >= 0
    # run the code that the run names although it was not trained here from the present source
    trust: bool = False
    # your own agent that trained the run, path/to/file.py:Class or module:Class, where it is no
    # longer where it was
    agent: str | None = None


def export_command(args: list[str]) -> int:
    """Write finished runs in the formats of other programs."""
    about = "Write finished runs in the formats of other programs."
    several = "folders of runs; several for --rliable and --tensorboard"
    runs = positional(tuple[Path, ...], "RUN", several)
    parsed = parse(make_form(about, runs=runs, export=ExportOptions), args, "export")
    if not parsed.runs:
        raise UsageError("export: name at least one run")
    from rlkit.training.exporting.export import export

    with announcing():
        for path in export(parsed.runs, **vars(parsed.export), note=note):
            print(printable(path))
    return 0
