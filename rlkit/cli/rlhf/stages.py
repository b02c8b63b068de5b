"""`rlkit rlhf`: the stages from demonstrations to a policy that was trained on preferences."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlkit.cli.forms import parse, positional
from rlkit.cli.report import print_json, progress, report_stage
from rlkit.errors import UsageError
from rlkit.spelling import closest

# command -> (module of this package, what it does)
COMMANDS = {
    "demo": ("demo", "the whole way on a task with a known optimum, in two minutes"),
    "sft": ("stages", "fine-tune a language model on demonstrations"),
    "reward": ("stages", "train a reward model on preferences"),
    "ppo": ("stages", "train a policy by PPO with a KL penalty"),
    "rloo": ("stages", "train a policy by RLOO with a KL penalty"),
    "grpo": ("stages", "train a policy by GRPO with a KL penalty"),
    "dpo": ("stages", "train a policy on preferences directly"),
    "best-of-n": ("evaluate", "what the best of n samples is worth, without training"),
    "sample": ("evaluate", "print responses of a policy"),
    "evaluate": ("evaluate", "measure a policy, or a reward model"),
    "chat": ("evaluate", "type prompts, see policy and reference side by side"),
}

USAGE = """\
usage: rlkit rlhf COMMAND ...

Reinforcement learning from human feedback on one ordinary machine, with an answer key.

commands:
{commands}

examples:
  rlkit rlhf demo
  rlkit rlhf sft enumerable
  rlkit rlhf reward runs/sft-enumerable-...  --num-pairs 3000
  rlkit rlhf ppo runs/sft-enumerable-... --reward runs/reward-enumerable-... --kl-coef 0.3
  rlkit rlhf sft --demonstrations mine.jsonl --tokenizer bpe

`rlkit rlhf COMMAND --help` lists the options of a command. A RUN is the folder of an earlier stage.
"""


def rlhf_command(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help", "help"):
        commands = "\n".join(f"  {name:<11}{text}" for name, (_, text) in COMMANDS.items())
        print(USAGE.format(commands=commands), end="")
        return 0 if args else 2
    name = args[0].replace("_", "-")
    if name not in COMMANDS:
        raise UsageError(
            f"unknown command 'rlhf {args[0]}'; there are {', '.join(COMMANDS)}."
            f"{closest(args[0], COMMANDS)}"
        )
    module = importlib.import_module(f"rlkit.cli.rlhf.{COMMANDS[name][0]}")
    command = getattr(module, f"{name.replace('-', '_')}_command")
    return int(command(args[1:]))


@dataclass(frozen=True, kw_only=True)
class StageOptions:
    """What all stages have in common."""

    seeds: int = 1  # how many seeds; more than before adds seeds to the same run
    seed: int = 0  # the experiment's seed, from which all others are drawn
    out: Path = Path("runs")  # the folder in which each run gets its own
    workers: int = 1  # processes over which the seeds are split; results are the same for any
    allow_drift: bool = False  # go on although versions changed; marks the run not reproducible
    json: bool = False  # print one JSON object and nothing else


@dataclass(frozen=True, kw_only=True)
class SFTOptions:
    """What to learn from, and which model."""

    demonstrations: Path | None = None  # JSON-lines of {"prompt", "response"}
    prompts: Path | None = None  # JSON-lines of {"prompt"} for later stages
    preferences: Path | None = None  # JSON-lines for later stages: the tokenizer reads it as well
    tokenizer: str = "char"  # char, word or bpe, trained on all of these files
    vocab_size: int | None = None  # of a bpe tokenizer
    max_new_tokens: int | None = None  # longest response, EOS included; None = that of the files
    model: Path | None = None  # local folder of a Hugging Face model; None = our own transformer
    width: int = 64  # of our own transformer's states
    num_layers: int = 2  # blocks of it
    num_heads: int = 2  # of each attention; width is a multiple of it
    dropout: float = 0.0  # in [0, 1); above 0 the memory of attention is quadratic in the length
    positions: str = "learned"  # learned or sinusoidal
    activation: str = "gelu"  # of feed-forward layers: gelu, gelu_tanh or relu
    tied: bool = False  # whether the embedding of the tokens also makes the logits
    init_std: float = 0.02  # deviation of the initial weights; small models learn faster with 0.08
    # Most tokens of a prompt with its response; None = those of the longest in the files, so give
    # more if longer prompts may come later.
    context_length: int | None = None


@dataclass(frozen=True, kw_only=True)
class PreferenceOptions:
    """Where preferences come from."""

    preferences: Path | None = None  # JSON-lines of pairs or labels; None = the policy's own
    parent_seed: int | None = None  # seed of RUN for all seeds; None = seed k starts from seed k


@dataclass(frozen=True, kw_only=True)
class ScoreOptions:
    """What is maximised."""

    reward: Path | None = None  # run of a reward model
    score: str | None = None  # path/to/file.py:function(prompts, responses) -> numbers
    prompts: Path | None = None  # JSON-lines of {"prompt"}; None = the policy's own
    adapter_rank: int | None = None  # train low-rank adapters only; None = all weights
    parent_seed: int | None = None  # seed of the runs for all seeds; None = seed k from seed k


def sft_command(args: list[str]) -> int:
    from rlkit.rlhf.stages.api import sft
    from rlkit.rlhf.stages.sources import ModelSource
    from rlkit.rlhf.training.configs import SFTConfig

    task = ("task", positional(str, "TASK", "enumerable, grammar, or left out with files"), "")
    parsed = _parsed("sft", "Fine-tune a language model.", args, [task], SFTOptions, SFTConfig)
    sources: SFTOptions = parsed.sources
    size = {
        name: getattr(sources, name)
        for name in (
            *("width", "num_layers", "num_heads", "dropout", "positions"),
            *("activation", "tied", "init_std", "context_length"),
        )
    }
    path = None if sources.model is None else str(sources.model.resolve())
    names = ("demonstrations", "prompts", "preferences", "tokenizer", "vocab_size")
    given = {name: getattr(sources, name) for name in (*names, "max_new_tokens")}
    return _run(
        parsed, lambda **how: sft(parsed.task, **given, model=ModelSource(path=path, **size), **how)
    )


def reward_command(args: list[str]) -> int:
    from rlkit.rlhf.stages.api import reward
    from rlkit.rlhf.training.configs import RewardConfig

    parsed = _parsed(
        "reward", "Train a reward model.", args, [_run_argument()], PreferenceOptions, RewardConfig
    )
    return _run(parsed, lambda **how: reward(parsed.run, **vars(parsed.sources), **how))


def dpo_command(args: list[str]) -> int:
    from rlkit.rlhf.stages.api import dpo
    from rlkit.rlhf.training.configs import DPOConfig

    about = "Train a policy on preferences, without a reward model."
    parsed = _parsed("dpo", about, args, [_run_argument()], PreferenceOptions, DPOConfig)
    return _run(parsed, lambda **how: dpo(parsed.run, **vars(parsed.sources), **how))


def ppo_command(args: list[str]) -> int:
    return _policy_command("ppo", args)


def rloo_command(args: list[str]) -> int:
    return _policy_command("rloo", args)


def grpo_command(args: list[str]) -> int:
    return _policy_command("grpo", args)


def _policy_command(method: str, args: list[str]) -> int:
    from rlkit.rlhf.stages.api import policy_gradient
    from rlkit.rlhf.training.configs import METHODS

    about = (
        f"Train a policy by {method.upper()} with a KL penalty. Without --reward and --score a "
        "built-in task's gold reward is maximised."
    )
    parsed = _parsed(method, about, args, [_run_argument()], ScoreOptions, METHODS[method])
    return _run(
        parsed, lambda **how: policy_gradient(method, parsed.run, **vars(parsed.sources), **how)
    )


def _run_argument() -> tuple[str, Any]:
    return "run", positional(Path, "RUN", "folder of the policy's run")


def _parsed(
    command: str,
    about: str,
    args: list[str],
    words: Sequence[tuple[Any, ...]],
    sources: type[Any],
    config: type[Any],
) -> Any:
    fields: list[Any] = [
        (w[0], w[1], dataclasses.field(default=w[2])) if len(w) > 2 else w for w in words
    ]
    fields += [
        (name, kind, dataclasses.field(default_factory=kind))
        for name, kind in (("stage", StageOptions), ("sources", sources), ("config", config))
    ]
    form = dataclasses.make_dataclass(command, fields, frozen=True)
    form.__doc__ = f"{about} The same command again goes on where it was interrupted."
    return parse(form, args, f"rlhf {command}")


def _run(parsed: Any, stage: Any) -> int:
    options: StageOptions = parsed.stage
    with progress(quiet=options.json, unit="updates") as reports:
        how = {name: value for name, value in vars(options).items() if name != "json"}
        run = stage(config=parsed.config, reports=reports, **how)
    if options.json:
        print_json(summary(run))
        return report_stage(run, quiet=True)
    return report_stage(run)


def summary(run: Any) -> dict[str, Any]:
    """A run of a stage as plain data: the last row of each seed."""
    last = [{name: float(values[-1]) for name, values in run.curve(s).items()} for s in run.seeds]
    return {"run": str(run.folder), "stage": run.stage, "status": run.status, "final": last}
