"""Converts modules and optimisers into plain arrays and back, bit for bit, for checkpoints.

Entries are named prefix/name, so that the parts of a stage share one flat dictionary:

    state = trained_state(policy, "policy") | optimiser_state(optimiser, "adam")
    load_trained_state(policy, state, "policy"); load_optimiser_state(optimiser, state, "adam")

All arrays are copies: later training does not change a state, nor the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Array = NDArray[Any]


def trained_state(module: nn.Module, prefix: str) -> dict[str, Array]:
    """Return the parts of a module that training changes: trained parameters, and buffers.

    Frozen parameters, such as those below an adapter, are omitted: they are restored otherwise.

    Args:
        module: tied parameters are stored once.
        prefix: of the names of the entries, without a slash at its end.

    Raises:
        ValueError: an entry has a type that numpy lacks (bfloat16), or is not a tensor.
    """
    return {
        _join(prefix, name): _to_array(tensor, _join(prefix, name))
        for name, tensor in _trained(module).items()
    }


def load_trained_state(module: nn.Module, state: Mapping[str, Array], prefix: str) -> None:
    """Put a module, in place, into the state that `trained_state` returned.

    Args:
        module: keeps its tensors, so an optimiser or a tied layer still refers to them.
        state: entries with other prefixes are ignored.
        prefix: as given to `trained_state`.

    Raises:
        ValueError: the entries are not those of this module in name, shape or type; then nothing
            is changed.
    """
    _copy_into(_trained(module), state, prefix)


def optimiser_state(optimiser: torch.optim.Adam, prefix: str) -> dict[str, Array]:
    """Return the state of Adam or AdamW: moments, step counters and learning rates.

    Args:
        optimiser: parameters that have had no gradient yet have no entry.
        prefix: of the names of the entries, without a slash at its end.

    Returns:
        prefix/learning_rate [G], of each group of parameters, and prefix/i/name for the i-th
        parameter in the order of the groups: `step` [], `exp_avg` and `exp_avg_sq` of its shape.
    """
    rates = [float(group["lr"]) for group in optimiser.param_groups]
    state: dict[str, Array] = {_join(prefix, "learning_rate"): np.array(rates, dtype=np.float64)}
    for i, (parameter, _) in enumerate(_parameters(optimiser)):
        for name, value in optimiser.state.get(parameter, {}).items():
            key = _join(prefix, f"{i}/{name}")
            state[key] = _to_array(value, key)
    return state


def load_optimiser_state(
    optimiser: torch.optim.Adam, state: Mapping[str, Array], prefix: str
) -> None:
    """Put Adam or AdamW into the state that `optimiser_state` returned.

    Args:
        optimiser: over the same parameters in the same groups; its other options are its own.
        state: entries with other prefixes are ignored.
        prefix: as given to `optimiser_state`.

    Raises:
        ValueError: the entries are not those of this optimiser; then nothing is changed.
    """
    own = _part(state, prefix)
    rates = own.pop("learning_rate", np.zeros(0))
    groups = optimiser.param_groups
    if rates.shape != (len(groups),):
        raise ValueError(
            f"{_join(prefix, 'learning_rate')} has the shape {rates.shape}, but the optimiser has "
            f"{len(groups)} groups of parameters"
        )
    loaded: dict[Tensor, dict[str, Tensor]] = {}
    for i, (parameter, group) in enumerate(_parameters(optimiser)):
        names = ["step", "exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * bool(group["amsgrad"])
        moments = {name: own.pop(key) for name in names if (key := f"{i}/{name}") in own}
        if moments:
            _require_names(_join(prefix, str(i)), set(moments), set(names))
            # Where torch itself keeps the counter.
            on_device = group.get("capturable") or group.get("fused")
            step = torch.from_numpy(np.array(moments.pop("step")))
            if step.ndim:
                raise ValueError(f"{_join(prefix, f'{i}/step')} has the shape {step.shape}, not ()")
            loaded[parameter] = {"step": step.to(parameter.device) if on_device else step}
            for name, value in moments.items():
                array = _require_form(_join(prefix, f"{i}/{name}"), value, parameter)
                moment = torch.empty_like(parameter, requires_grad=False)
                loaded[parameter][name] = moment.copy_(torch.from_numpy(array))
    _require_names(prefix, set(own), set())
    optimiser.state.clear()
    optimiser.state.update(loaded)
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = float(rate)


def _parameters(optimiser: torch.optim.Optimizer) -> list[tuple[Tensor, dict[str, Any]]]:
    return [(parameter, group) for group in optimiser.param_groups for parameter in group["params"]]


def _join(prefix: str, name: str) -> str:
    if not prefix or prefix.endswith("/"):
        raise ValueError(f"prefix {prefix!r}: expected a name, without a slash at its end")
    return f"{prefix}/{name}"


def _part(state: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    start = _join(prefix, "")
    return {
        name.removeprefix(start): value for name, value in state.items() if name.startswith(start)
    }


def _to_array(value: Any, key: str) -> Array:
    if not isinstance(value, Tensor):
        raise ValueError(f"{key} is {type(value).__name__}, and only tensors can be stored")
    try:
        array: Array = value.detach().cpu().numpy().copy()
    except TypeError as error:
        raise ValueError(
            f"{key} is of the type {value.dtype}, which numpy does not have"
        ) from error
    return array


def _require_names(prefix: str, names: set[str], expected: set[str]) -> None:
    if names != expected:
        raise ValueError(
            f"the state of {prefix!r} lacks {sorted(expected - names)} and has "
            f"{sorted(names - expected)}, which does not belong there"
        )


def _require_form(key: str, value: Array, like: Tensor) -> Array:
    """Return a writable copy of an entry, which must have the shape and type of a tensor."""
    array: Array = np.array(value)
    expected = torch.empty(0, dtype=like.dtype).numpy().dtype
    if array.shape != tuple(like.shape) or array.dtype != expected:
        raise ValueError(
            f"{key} is {array.dtype} {array.shape}, expected {expected} {tuple(like.shape)}"
        )
    return array


def _copy_into(tensors: Mapping[str, Tensor], state: Mapping[str, Array], prefix: str) -> None:
    """Fill tensors in place, all or none."""
    own = _part(state, prefix)
    _require_names(prefix, set(own), set(tensors))
    arrays = {
        name: _require_form(_join(prefix, name), own[name], tensor)
        for name, tensor in tensors.items()
    }
    with torch.no_grad():
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(arrays[name]))


def _trained(module: nn.Module) -> dict[str, Tensor]:
    stored = module.state_dict()  # without buffers that are computed
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    buffers = {name: b for name, b in module.named_buffers() if name in stored}
    return {**trained, **buffers}
