"""`rlkit rlhf sft`, `reward`, `dpo`, `ppo`, `rloo` and `grpo`: the stages that train something."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import UseAppendAction, arg

from rlkit.cli.forms import Output, given_options, make_form, parse, positional
from rlkit.cli.report import alone_on_output, print_json, report_stage, show_progress

if TYPE_CHECKING:
    from rlkit.rlhf.stages.stage_run import StageRun

CONTINUES = "Run the same command again to continue after an interruption."
POLICY_RUN = positional(Path, "RUN", "folder or name of the policy's run, or `latest`")


@dataclass(frozen=True, kw_only=True)
class PreferenceOptions:
    """What to learn from."""

    preferences: Path | None = None  # JSON Lines of pairs or labels; None = the policy's own
    adapter_rank: int | None = None  # train low-rank adapters only, >= 1; None = all weights
    # last parts of the names of layers with adapters; None = those that suit the model
    adapter_targets: tuple[str, ...] | None = None
    parent_seed: int | None = None  # start all seeds from this seed; None = seed k from seed k


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """What to maximise, and where to start."""

    # run of a reward model, or folder of a Hugging Face sequence classifier with one label
    reward: Path | None = None
    # [WEIGHT*]path/to/file.py:function(prompts, responses) -> numbers; repeat it for a sum with
    # weights, to which the score of --reward is added
    score: Annotated[tuple[str, ...], UseAppendAction, arg(metavar="[WEIGHT*]FILE:FUNCTION")] = ()
    prompts: Path | None = None  # JSON Lines of {"prompt"}; None = the policy's own
    adapter_rank: int | None = None  # train low-rank adapters only, >= 1; None = all weights
    # last parts of the names of layers with adapters; None = those that suit the model
    adapter_targets: tuple[str, ...] | None = None
    parent_seed: int | None = None  # start all seeds from this seed; None = seed k from seed k


def sft_command(args: list[str]) -> int:
    """Fine-tune a language model on demonstrations."""
    from rlkit.rlhf.stages.api import fine_tune
    from rlkit.rlhf.stages.defaults import default_model
    from rlkit.rlhf.stages.launch import RunOptions
    from rlkit.rlhf.stages.sources import ModelSource, TaskSource
    from rlkit.rlhf.training.configs import SFTConfig

    form = make_form(
        f"Fine-tune a language model on demonstrations. {CONTINUES} {_other_defaults('sft')}",
        task=TaskSource,
        model=ModelSource,
        training=SFTConfig,
        run=RunOptions,
        output=Output,
    )
    parsed = parse(form, args, "rlhf sft")
    model = default_model(parsed.task, parsed.model, given_options(parsed.model, args))
    return _run(
        parsed,
        lambda **run_options: fine_tune(
            parsed.task, model, **given_options(parsed.training, args), **run_options
        ),
    )


def reward_command(args: list[str]) -> int:
    """Train a reward model on preferences."""
    from rlkit.rlhf.stages.api import reward
    from rlkit.rlhf.training.configs import RewardConfig

    about = f"Train a reward model on preferences. {CONTINUES}"
    return _stage_command("reward", about, args, PreferenceOptions, RewardConfig, reward)


def dpo_command(args: list[str]) -> int:
    """Train a policy on preferences directly."""
    from rlkit.rlhf.stages.api import dpo
    from rlkit.rlhf.training.configs import DPOConfig

    about = f"Train a policy on preferences, without a reward model. {CONTINUES}"
    return _stage_command("dpo", about, args, PreferenceOptions, DPOConfig, dpo)


def ppo_command(args: list[str]) -> int:
    """Train a policy by PPO."""
    return _policy_command("ppo", args)


def rloo_command(args: list[str]) -> int:
    """Train a policy by RLOO."""
    return _policy_command("rloo", args)


def grpo_command(args: list[str]) -> int:
    """Train a policy by GRPO."""
    return _policy_command("grpo", args)


def _policy_command(method: str, args: list[str]) -> int:
    from rlkit.rlhf.stages.api import policy_gradient
    from rlkit.rlhf.training.configs import METHODS

    about = (
        f"Train a policy by {method.upper()} with a KL penalty. Without --reward and --score, a "
        f"built-in task's gold reward is maximised. {CONTINUES}"
    )

    def train(run: Path, **arguments: Any) -> StageRun:
        return policy_gradient(method, run, **arguments)

    return _stage_command(method, about, args, ScoreOptions, METHODS[method], train)


def _stage_command(
    command: str,
    about: str,
    args: list[str],
    inputs: type[Any],
    config: type[Any],
    stage: Callable[..., StageRun],
) -> int:
    """Run a stage that starts from the run of a policy."""
    from rlkit.rlhf.stages.launch import RunOptions

    form = make_form(
        f"{about} {_other_defaults(command)}",
        policy=POLICY_RUN,
        input=inputs,
        training=config,
        run=RunOptions,
        output=Output,
    )
    parsed = parse(form, args, f"rlhf {command}")
    return _run(
        parsed,
        lambda **run_options: stage(
            parsed.policy,
            **given_options(parsed.training, args),
            **vars(parsed.input),
            **run_options,
        ),
    )


def _other_defaults(stage: str) -> str:
    """Return the defaults of a stage where they differ from those of the built-in tasks."""
    from rlkit.rlhf.stages.defaults import MODEL_OF_TEXTS, default_options
    from rlkit.rlhf.stages.sources import ModelSource, TaskSource

    texts, scratch = TaskSource(demonstrations="FILE"), ModelSource()
    folder = ModelSource(path="FOLDER")
    adapters = replace(folder, adapter_rank=1)
    own = default_options(stage, texts, scratch, {})
    if stage == "sft":
        own |= {name: default(scratch) for name, default in MODEL_OF_TEXTS.items()}
    pretrained = default_options(stage, texts, folder, {})
    low_rank = default_options(stage, texts, adapters, {})
    changed = {name: x for name, x in low_rank.items() if pretrained[name] != x}
    return (
        "The defaults below are those of the built-in tasks. With files of your own they are "
        f"{_as_words(own)}, and with a pretrained model there {_as_words(pretrained)}, with "
        f"low-rank adapters {_as_words(changed)}."
    )


def _as_words(options: Mapping[str, Any]) -> str:
    """Return options as they are typed."""
    words = []
    for name, value in options.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words.append(f"--{flag} {value:g}" if isinstance(value, float) else f"--{flag} {value}")
    return " ".join(words)


def _run(parsed: Any, stage: Callable[..., StageRun]) -> int:
    """Run a stage with the run options of a form; print its results."""
    quiet = parsed.output.json
    with show_progress(quiet=quiet, unit="updates") as reports, alone_on_output(quiet):
        run = stage(reports=reports, **vars(parsed.run))
    if quiet:
        print_json(_summary(run))
    return report_stage(run, quiet=quiet)


def _summary(run: StageRun) -> dict[str, Any]:
    """Return the last row of each seed as plain data."""
    last = [{name: float(values[-1]) for name, values in run.curve(s).items()} for s in run.seeds]
    return {"run": str(run.folder), "stage": run.stage, "status": run.status, "final": last}
