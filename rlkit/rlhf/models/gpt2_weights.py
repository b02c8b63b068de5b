"""Copies the weights of a Hugging Face GPT-2 into our own transformer, and back; makes a GPT-2."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from rlkit.errors import UsageError
from rlkit.rlhf.models.gpt import GPT
from rlkit.rlhf.models.huggingface.folder import import_optional, silenced_transformers

# Our activations as transformers names them.
ACTIVATION_NAMES = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu"}

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
        state: its `state_dict()`.

    Raises:
        UsageError: a weight is missing or has another shape, or gpt is of another kind.
    """
    _require_gpt2(gpt)
    theirs = {name.removeprefix("transformer."): tensor for name, tensor in state.items()}
    for name, parameter in gpt.named_parameters():
        source = _gpt2_name(name)
        tensor = _transposed(source, theirs.get(source, torch.empty(0)))
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


def gpt2_state(gpt: GPT) -> dict[str, Tensor]:
    """Return a state for `GPT2LMHeadModel.load_state_dict`, with strict=False where it is tied.

    Args:
        gpt: with learned positions and gelu_tanh, and logits for all of its vocabulary or tied.

    Raises:
        UsageError: gpt is of another kind.
    """
    _require_gpt2(gpt)
    if not gpt.config.tied and gpt.num_actions < gpt.vocab_size:
        raise UsageError(
            f"GPT-2 has logits for all {gpt.vocab_size} tokens, this GPT for {gpt.num_actions}"
        )
    return _as_gpt2(gpt)


def gpt2_model(gpt: GPT, *, eos: int, pad: int) -> Any:
    """Return a new `GPT2LMHeadModel` with the logits of any GPT of ours without adapters.

    A GPT-2 has logits for all ids: those that ours only reads (from `num_actions` on) have rows of
    zeros, or their embedding where it is tied, and must be suppressed in generation.

    Args:
        gpt: with any activation; sinusoidal positions become a table of positions.
        eos: the id that ends a response.
        pad: the id that fills batches.
    """
    transformers = import_optional("transformers")
    ours = gpt.config
    config = transformers.GPT2Config(
        vocab_size=ours.vocab_size,
        n_positions=ours.context_length,
        n_embd=ours.width,
        n_layer=ours.num_layers,
        n_head=ours.num_heads,
        activation_function=ACTIVATION_NAMES[ours.activation],
        resid_pdrop=ours.dropout,
        embd_pdrop=ours.dropout,
        attn_pdrop=ours.dropout,
        tie_word_embeddings=ours.tied,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    state = _as_gpt2(gpt)
    state["transformer.wpe.weight"] = gpt.position_table.detach().clone()
    if not ours.tied:
        head = state["lm_head.weight"]
        unread = head.new_zeros(ours.vocab_size - len(head), ours.width)
        state["lm_head.weight"] = torch.cat([head, unread])
    with silenced_transformers():
        model = transformers.GPT2LMHeadModel(config).eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert set(missing) <= ({"lm_head.weight"} if ours.tied else set())
    return model


def _as_gpt2(gpt: GPT) -> dict[str, Tensor]:
    """Return the parameters of a GPT under GPT-2's names, as GPT-2 stores them."""
    state = {}
    for name, parameter in gpt.named_parameters():
        target = _gpt2_name(name)
        prefix = "" if name == "unembedding" else "transformer."
        state[prefix + target] = _transposed(target, parameter.detach()).clone()
    return state


def _gpt2_name(name: str) -> str:
    return functools.reduce(lambda text, pair: text.replace(*pair), GPT2_NAMES, name)


def _transposed(gpt2_name: str, tensor: Tensor) -> Tensor:
    """Conv1D stores [in, out]."""
    return tensor.T if ".c_" in gpt2_name and tensor.ndim == 2 else tensor


def _require_gpt2(gpt: GPT) -> None:
    if gpt.config.positions != "learned" or gpt.config.activation != "gelu_tanh":
        raise UsageError("GPT-2 has learned positions and gelu_tanh: build the GPT with these")
