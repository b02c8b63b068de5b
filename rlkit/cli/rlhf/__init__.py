"""`rlkit rlhf`: the stages from demonstrations to a policy that was trained on preferences."""

from __future__ import annotations

from rlkit.cli.commands import Command, run_command

COMMANDS = {
    "demo": Command(
        "rlkit.cli.rlhf.demo", "all stages on a task with a known optimum, in 2 minutes"
    ),
    "sft": Command("rlkit.cli.rlhf.stages", "fine-tune a language model on demonstrations"),
    "reward": Command("rlkit.cli.rlhf.stages", "train a reward model on preferences"),
    "ppo": Command("rlkit.cli.rlhf.stages", "train a policy by PPO with a KL penalty"),
    "rloo": Command("rlkit.cli.rlhf.stages", "train a policy by RLOO with a KL penalty"),
    "grpo": Command("rlkit.cli.rlhf.stages", "train a policy by GRPO with a KL penalty"),
    "dpo": Command("rlkit.cli.rlhf.stages", "train a policy on preferences directly"),
    "best-of-n": Command(
        "rlkit.cli.rlhf.evaluate", "score the best of n samples, without training"
    ),
    "sample": Command("rlkit.cli.rlhf.evaluate", "print responses of a policy"),
    "evaluate": Command("rlkit.cli.rlhf.evaluate", "measure a policy or a reward model"),
    "export": Command("rlkit.cli.rlhf.export", "write a model that transformers or peft loads"),
    "chat": Command("rlkit.cli.rlhf.chat", "type prompts, see policy and reference side by side"),
}

USAGE = """\
usage: rlkit rlhf COMMAND ...

Reinforcement learning from human feedback on one ordinary machine, checked by exact optima.

commands:
{commands}

examples:
  rlkit rlhf demo
  rlkit rlhf sft enumerable
  rlkit rlhf reward runs/sft-enumerable-... --num-pairs 3000
  rlkit rlhf ppo runs/sft-enumerable-... --reward runs/reward-enumerable-... --kl-coef 0.3
  rlkit rlhf sft --demonstrations mine.jsonl --tokenizer bpe

`rlkit rlhf COMMAND --help` lists the options of a command. A RUN is the folder of an earlier stage,
the name that --name gave it, `latest`, or `latest:sft` for the newest run of a stage.
"""


def rlhf_command(args: list[str]) -> int:
    """Run a command of `rlkit rlhf`."""
    return run_command(COMMANDS, USAGE, args, "rlhf ")
