"""Checks made before a policy is trained, and validation of scores."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from rlkit.errors import UsageError
from rlkit.rlhf.data.task import LanguageTask
from rlkit.rlhf.models.language_model import LanguageModel
from rlkit.rlhf.models.lora import LoRALinear


def require_same_vocabulary(
    policy: LanguageModel, reference: LanguageModel | None, task: LanguageTask
) -> None:
    """Require models with one vocabulary, in which padding differs from EOS."""
    if task.pad == task.eos:
        raise UsageError(
            f"pad and eos are the same id, {task.eos}: then the end of a response looks like "
            "padding, and the policy never learns to stop; give them different ids"
        )
    if reference is None:
        return
    sizes = [(model.vocab_size, model.num_actions) for model in (policy, reference)]
    if sizes[0] != sizes[1]:
        raise UsageError(
            f"the reference has a different vocabulary from the policy: {sizes[1][0]} tokens, "
            f"{sizes[1][1]} of them actions, expected {sizes[0][0]} and {sizes[0][1]}; give the "
            "model that the policy starts from, or one with its tokenizer"
        )


def require_reference(
    policy: LanguageModel, reference: LanguageModel | None, critic_trunk: LanguageModel | None
) -> None:
    """Require a reference that stays constant, and from which the policy starts."""
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
            "the policy's adapters are trained already, so without them it is not the model that "
            "training starts from; give reference=copy.deepcopy(policy)"
        )


def checked_scores(scores: ArrayLike, num_sequences: int) -> Tensor:
    """Return scores as a tensor [B]; rejects anything but one finite number per response."""
    array = np.asarray(scores, dtype=np.float32)
    if array.shape != (num_sequences,):
        raise UsageError(
            f"the score returned an array of shape {array.shape}, expected ({num_sequences},): one "
            "number for each response"
        )
    if not np.isfinite(array).all():
        row = int(np.flatnonzero(~np.isfinite(array))[0])
        raise UsageError(
            f"the score of response {row} of {num_sequences} is {array[row]}, expected a finite "
            "number; correct the score function, since one such score ruins the whole policy"
        )
    return torch.as_tensor(array)
