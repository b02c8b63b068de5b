"""The weights of a Hugging Face GPT-2 in our own transformer."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor

from rlkit.errors import UsageError
from rlkit.rlhf.transformer import GPT

# Our names of parameters to Hugging Face's, replaced in this order.
GPT2_NAMES = (
    ("unembedding", "lm_head.weight"),
    ("embedding", "wte.weight"),
    ("position_table", "wpe.weight"),
    ("blocks.", "h."),
    ("attention_norm", "ln_1"),
    ("attention.qkv", "attn.c_attn"),
    ("attention.project", "attn.c_proj"),
    ("feed_forward_norm", "ln_2"),
    ("feed_forward.expand", "mlp.c_fc"),
    ("feed_forward.contract", "mlp.c_proj"),
    ("norm.", "ln_f."),
)


def load_gpt2_weights(gpt: GPT, state: Mapping[str, Tensor]) -> None:
    """Copy the weights of a Hugging Face `GPT2LMHeadModel` or `GPT2Model`.

    Args:
        gpt: with learned positions, gelu_tanh, and the sizes of the other model.
        state: what its `state_dict()` returns.

    Raises:
        ValueError: a weight is missing or has another shape, or gpt is of another kind.
    """
    if gpt.config.positions != "learned" or gpt.config.activation != "gelu_tanh":
        raise UsageError("GPT-2 has learned positions and gelu_tanh: build the GPT with these")
    theirs = {name.removeprefix("transformer."): tensor for name, tensor in state.items()}
    for name, parameter in gpt.named_parameters():
        source = functools.reduce(lambda text, pair: text.replace(*pair), GPT2_NAMES, name)
        tensor = theirs.get(source, torch.empty(0))
        if ".c_" in source and tensor.ndim == 2:
            tensor = tensor.T  # Conv1D stores [in, out]
        if name == "unembedding":
            tensor = tensor[: gpt.num_actions]
        if tensor.shape != parameter.shape:
            raise UsageError(
                f"weight {source} of GPT-2: expected shape {tuple(parameter.shape)} for {name}, "
                f"got {tuple(tensor.shape) if source in theirs else 'nothing'}; give the GPT the "
                "sizes of the model that the weights are from"
            )
        with torch.no_grad():
            parameter.copy_(tensor)
