"""Networks that start from the policy of another run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from rlkit.agents.networks import Features
from rlkit.errors import UsageError
from rlkit.nn.parameters import Parameters
from rlkit.nn.reference import INITS, ReferencePolicy
from rlkit.spelling import closest


class StartOptions(Protocol):
    """The options of an agent that can start from another policy."""

    @property
    def init(self) -> str: ...
    @property
    def activation(self) -> str: ...


def require_init(options: StartOptions) -> None:
    """Require that the option `init` is a way of drawing weights, or may name a run.

    Raises:
        UsageError: it is no text, or a misspelt way.
    """
    init: Any = options.init
    is_text = isinstance(init, str) and bool(init)
    hint = closest(init, INITS) if is_text and init not in INITS else ""
    if is_text and (not hint or Path(init).exists()):
        return
    raise UsageError(
        f"option init (--init): expected one of {', '.join(map(repr, INITS))} or the folder of a "
        f"run to start from, got {init!r:.80}.{hint}"
    )


def start_from(
    policy: ReferencePolicy, parameters: Parameters, features: Features, options: StartOptions
) -> None:
    """Give every seed the weights of a policy, and its standard deviations and moments.

    Args:
        policy: what to start from.
        parameters: of all seeds; "policy" and "extra" are changed, a critic is not.
        features: their moments are changed, where observations are normalised.
        options: of the agent.

    Raises:
        UsageError: the policy is no network, or one of other shapes.
    """
    if policy.kind != "network":
        raise UsageError(
            f"option init (--init): the run's policy is a {policy.kind}, and a network starts from "
            "a network only; use a run of ppo, reinforce or behaviour-cloning"
        )
    arrays = policy.arrays
    layers = [torch.from_numpy(arrays[f"layer {i}"]) for i in range(_num_layers(arrays))]
    own = parameters["policy"]
    given, wanted = _described(layers, policy.activation), _described(own, options.activation, 1)
    if given != wanted:
        hidden = " ".join(str(len(bias)) for bias in layers[1:-1:2])
        fitting = f"--hidden-sizes {hidden} --activation {policy.activation}"
        raise UsageError(
            f"option init (--init): the policy to start from is {given}, and this agent's is "
            f"{wanted}; train with {fitting}"
        )
    if ("moments" in arrays) != bool(features.state_dict()):
        how, flag = ("with", "") if "moments" in arrays else ("without", "no-")
        raise UsageError(
            f"option init (--init): the policy to start from was trained {how} normalised "
            f"observations, unlike this agent; train with --{flag}normalise-observations"
        )
    extra = [torch.from_numpy(arrays["log_std"])] if "log_std" in arrays else []
    with torch.no_grad():
        for mine, array in zip([*own, *parameters["extra"]], [*layers, *extra], strict=True):
            mine.copy_(array.expand_as(mine))
    if "moments" in arrays:
        moments = arrays["moments"]
        features.load_state_dict({"features": moments[None].repeat(len(parameters.matrix), axis=0)})


def _num_layers(arrays: Any) -> int:
    return sum(name.startswith("layer ") for name in arrays)


def _described(layers: Sequence[Tensor], activation: str, axis: int = 0) -> str:
    """Return the widths of a perceptron and its activation, as a noun."""
    widths = [layers[0].shape[axis], *(bias.shape[axis] for bias in layers[1::2])]
    between = f" with {activation}" if len(widths) > 2 else ""
    return f"a network of {' x '.join(map(str, widths))}{between}"
