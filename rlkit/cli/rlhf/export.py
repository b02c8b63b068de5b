"""`rlkit rlhf export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from rlkit.cli.forms import make_form, parse, positional
from rlkit.cli.terminal import printable
from rlkit.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is written, and where."""

    # new folder to write; nothing is overwritten
    to: Annotated[Path | None, arg(metavar="FOLDER", help_behavior_hint="(required)")] = None
    merge: bool = False  # the whole model, with its adapters added to its weights (the default)
    adapter: bool = False  # the low-rank adapters alone, as a folder of peft
    # float32, bfloat16 or float16; None = that of the pretrained model's folder
    dtype: str | None = None
    run_seed: int = 0  # seed of RUN, >= 0
    # updates of RUN after which to export it, which must be those of a checkpoint; None = the end
    at: int | None = None
    # run the code that RUN names although it was not trained on this machine from that code
    trust: bool = False


def export_command(args: list[str]) -> int:
    """Write a policy or a reward model as a folder of Hugging Face, and print its name."""
    about = (
        "Write a trained policy as a causal language model, or a reward model as a sequence "
        "classifier with one label, in a folder that transformers (or peft) loads. The folder is "
        "read again and compared with the run before it gets its name."
    )
    run = positional(Path, "RUN", "folder or name of the run, or `latest`")
    parsed = parse(make_form(about, run=run, export=ExportOptions), args, "rlhf export")
    options = dict(vars(parsed.export))
    to = options.pop("to")
    if to is None:
        raise UsageError("rlhf export: name the folder to write: --to FOLDER")
    if options.pop("merge") and options["adapter"]:
        raise UsageError("rlhf export: give --merge or --adapter, not both")
    from rlkit.rlhf.exporting.export import export

    print(printable(export(parsed.run, to, **options)))
    return 0
