"""What is refused before a policy is trained, and scores that cannot be trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from rlkit.errors import UsageError
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.models.lora import LoRALinear


def require_same_vocabulary(
    policy: LanguageModel, reference: LanguageModel | None, task: LanguageTask
) -> None:
    """Refuse models that do not speak of the same tokens."""
    if task.pad == task.eos:
        raise UsageError(
            f"pad and eos are the same id, {task.eos}: then the end of a response cannot be told "
            "from padding, and the policy never learns to stop; give them different ids"
        )
    if reference is None:
        return
    sizes = [(model.vocab_size, model.num_actions) for model in (policy, reference)]
    if sizes[0] != sizes[1]:
        raise UsageError(
            f"the reference has another vocabulary than the policy: {sizes[1][0]} tokens, "
            f"{sizes[1][1]} of them actions, expected {sizes[0][0]} and {sizes[0][1]}; the "
            "reference must be the model that the policy starts from, or one with its tokenizer"
        )


def require_reference(policy: Any, reference: Any, critic_trunk: Any) -> None:
    """Refuse a reference that would move with the policy, or is not where the policy starts."""
    models = {"policy": policy, "reference": reference, "critic_trunk": critic_trunk}
    owner: dict[int, str] = {}
    for name, model in models.items():
        for parameter in () if model is None else model.parameters():
            other = owner.setdefault(id(parameter), name)
            if other != name:
                raise UsageError(
                    f"{other} and {name} share parameters, so training one changes the other; "
                    f"give copy.deepcopy(...) as {name}"
                )
    ups = [layer.up for layer in policy.modules() if isinstance(layer, LoRALinear)]
    ups += [weight for name, weight in policy.named_parameters() if ".lora_B." in name]  # peft's
    if reference is None and any(bool(up.any()) for up in ups):
        raise UsageError(
            "the policy's adapters are trained already, so with its adapters off it is not the "
            "policy that it starts from; give reference=copy.deepcopy(policy)"
        )


def checked_scores(scores: Any, num_sequences: int) -> Tensor:
    """Scores as a tensor [B]; refuses what is not one finite number for each response."""
    found = np.asarray(scores, dtype=np.float32)
    if found.shape != (num_sequences,):
        raise UsageError(
            f"the score returned an array of shape {found.shape}, expected ({num_sequences},): one "
            "number for each response"
        )
    if not np.isfinite(found).all():
        row = int(np.flatnonzero(~np.isfinite(found))[0])
        raise UsageError(
            f"the score of response {row} of {num_sequences} is {found[row]}, expected a finite "
            "number; mend the score, since a single one would spoil the whole policy"
        )
    return torch.as_tensor(found)
