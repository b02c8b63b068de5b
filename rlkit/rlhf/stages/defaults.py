"""Defaults of the stages by what is trained: a GPT on texts, or a pretrained model or its adapters.

The defaults of the configurations suit a GPT from scratch on the built-in tasks, whose published
numbers they gave. Here is what replaces them where the user has not given the option.

For a pretrained model, the rates are those by which others fine-tune models of 0.1 to 8 billion
parameters:

    sft       2e-5, 3 epochs     TRL's SFTConfig; Zephyr's (Tunstall et al. 2023)
    reward    1e-5, 1 epoch      Ouyang et al. (2022): 9e-6, one epoch, more overfits
    dpo       1e-6               TRL's DPOConfig; Rafailov et al. (2023), appendix B
    ppo, ...  1e-5               Ouyang et al. (2022): 9.65e-6; TRL's example on GPT-2: 1.41e-5

Low-rank adapters get ten times these (Schulman et al., LoRA Without Regret, 2025). Batches are as
small as a CPU needs them to be.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from rlkit.rlhf.stages.sources import ModelSource, TaskSource

Options = Mapping[str, Any]

# A GPT on files: few lines need many epochs, and the held-out part says how many. Its responses are
# longer than those of the built-in tasks and nearly certain, so that steps which suit those tasks
# throw it far from its reference: on 300 lines of characters, ppo at 7e-4 was at 54 nats after one
# update and ended in empty responses; at 1e-4 it ends at 0.8 nats. The likelihood in dpo's loss is
# per token, the rest per sequence: at 60 tokens a weight of 1 is too small to keep the chosen
# responses likely, and 70 % of responses were sentences of the language, 87 % with 10 and 2e-4.
# Small batches fit few lines better: after 300 lines, 98 % of sft's responses have the form of the
# demonstrations with 8 of characters (three files that the walk does not use: 96.6, 98.8, 98.7 %),
# 84 % with 64; pieces 98.0 % against 95.8 %, words 98.2 % against 96.4 %. Nor may it stop before
# its rate has fallen: of the characters of one file the best epoch until then had a held-out loss
# of 0.0905 and 65 % correct responses, the best of all 0.0899 and 92 %.
# Once most responses of a group are as wanted, dividing by its standard deviation makes as much
# of a reward of 0.97 beside 1.01 as of -1: grpo unlearned the ends of sentences (87 % polite, 13 %
# cut; 94 % and 4 % without it).
# Nor does grpo have its penalty in the loss: advantages are standardised over the rollout and that
# penalty is not, so that it weighs less and less as scores become alike. On the words of one file
# slips that scored 0.93 beside 0.84 of polite answers grew to 9 % of responses; in the reward, as
# in rloo, 98.3 % were polite. On three files that the walk does not use, with two seeds each, 97.1
# to 99.2 % were polite with it in the reward, 98.4 to 99.8 % with it in the loss.
PENALTY_IN_REWARD: Options = {"kl_placement": "reward", "kl_estimator": "k1"}
TEXTS: dict[str, Options] = {
    "sft": {"batch_size": 8, "min_updates": 2000, "held_out": 0.1, "patience": 30},
    "reward": {"patience": 10},
    "dpo": {
        "min_updates": 200,
        "held_out": 0.1,
        "patience": 10,
        "nll_coef": 10.0,
        "learning_rate": 2e-4,
    },
    **{name: {"learning_rate": 1e-4} for name in ("ppo", "rloo")},
    "grpo": {"learning_rate": 1e-4, "scale": False, **PENALTY_IN_REWARD},
}
_ROLLOUT = {"num_updates": 40, "batch_size": 32, "minibatch_size": 8, "num_epochs": 2}
_POLICY = {"learning_rate": 1e-5, **_ROLLOUT}
PRETRAINED: dict[str, Options] = {
    "sft": {"learning_rate": 2e-5, "num_epochs": 3, "batch_size": 8, "held_out": 0.1},
    "reward": {
        "learning_rate": 1e-5,
        "num_epochs": 1,
        "batch_size": 8,
        "min_updates": 30,
        "num_calibration": 256,
    },
    "dpo": {"learning_rate": 1e-6, "num_epochs": 3, "batch_size": 8, "held_out": 0.1},
    **dict.fromkeys(("ppo", "rloo", "grpo"), _POLICY),
}
ADAPTER_FACTOR = 10
# Of a GPT on files. Fixed positions need not be learned from few lines: after the 300 lines of the
# newcomer's walk, characters of fresh ones have a perplexity of 1.12 with them, and of 1.48 with
# learned ones. Initial weights as large as GPT-2's are for its width are learned from sooner: of
# the characters of three files that the walk does not use, 99.0, 100 and 99.9 % of sft's responses
# have the form of the demonstrations with them, 96.6, 98.8 and 98.7 % with 0.02 at a width of 64.
MODEL_OF_TEXTS: Mapping[str, Callable[[ModelSource], Any]] = {
    "positions": lambda model: "sinusoidal",
    "init_std": lambda model: 0.5 / math.sqrt(model.width),  # of a width of 768: GPT-2's 0.02
}


def default_model(task: TaskSource, model: ModelSource, given: Collection[str]) -> ModelSource:
    """Return the model of fine-tuning, with the defaults for a GPT on files.

    Args:
        task: what it is trained on.
        model: with the defaults of its class.
        given: the names of the sizes that the user chose.
    """
    if task.name or model.path is not None:
        return model
    defaults = {name: x(model) for name, x in MODEL_OF_TEXTS.items() if name not in given}
    return dataclasses.replace(model, **defaults)


def default_options(
    stage: str, task: TaskSource, model: ModelSource, given: Options
) -> dict[str, Any]:
    """Return the options of a stage: those given, and the defaults for its texts and model."""
    if task.name:
        return {**_asked_epochs(stage, given), **given}
    defaults = dict(TEXTS.get(stage, {}))
    if model.path is not None:
        defaults = {**PRETRAINED[stage], **({"patience": 2} if "patience" in TEXTS[stage] else {})}
        if model.adapter_rank is not None:
            defaults["learning_rate"] *= ADAPTER_FACTOR
    if "num_epochs" in given:
        defaults.pop("min_updates", None)
    if any(given.get(name, x) != x for name, x in PENALTY_IN_REWARD.items()):
        # Where the penalty is and how it is estimated go together: those of the configuration.
        defaults = {name: x for name, x in defaults.items() if name not in PENALTY_IN_REWARD}
    return defaults | _asked_epochs(stage, given) | dict(given)


def _asked_epochs(stage: str, given: Options) -> dict[str, Any]:
    """Return what keeps `reward`, which adds epochs on any task, to those that were asked for."""
    return {"min_updates": 1} if stage == "reward" and "num_epochs" in given else {}
