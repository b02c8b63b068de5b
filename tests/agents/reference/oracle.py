"""Policies recomputed with torch.distributions in double precision."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import distributions as oracle

from rlkit.nn.reference import ReferencePolicy

SPACES: dict[str, Any] = {
    "categorical": spaces.Discrete(3),
    "Gaussian": spaces.Box(-1, 1, (2,)),
    "joint": spaces.MultiDiscrete([2, 3, 3]),
    "mixed": spaces.Tuple((spaces.Discrete(3), spaces.Box(-1, 1, (2,)))),
}
NUM_OUTPUTS = {"categorical": 3, "Gaussian": 2, "joint": 8, "mixed": 5}
OBSERVED = spaces.Box(-np.inf, np.inf, (4,))


def drawn_reference(name: str, seed: int = 0, *, normalised: bool = False) -> ReferencePolicy:
    """A network with one hidden layer, and a normaliser of its own if wanted."""
    rng = np.random.default_rng(seed)
    shapes = [(4, 6), (6,), (6, NUM_OUTPUTS[name]), (NUM_OUTPUTS[name],)]
    arrays = {f"layer {i}": rng.normal(size=s).astype(np.float32) for i, s in enumerate(shapes)}
    if name in ("Gaussian", "mixed"):
        arrays["log_std"] = rng.normal(size=2).astype(np.float32)
    if normalised:  # count, means, sums of squares
        arrays["moments"] = np.array([8.0, *range(4), *(8.0 * np.arange(1, 5) ** 2)])
    return ReferencePolicy("network", arrays, "tanh")


def outputs_of(policy: ReferencePolicy, obs: Any) -> torch.Tensor:
    """The outputs of a drawn reference for raw observations [..., 4]."""
    x = np.asarray(obs, dtype=np.float64)
    if "moments" in policy.arrays:
        x = (x - np.arange(4)) / np.arange(1, 5)
    w = [np.asarray(policy.arrays[f"layer {i}"], dtype=np.float64) for i in range(4)]
    return torch.from_numpy(np.tanh(x @ w[0] + w[1]) @ w[2] + w[3])


def parts_of(name: str, outputs: torch.Tensor, log_std: Any) -> list[tuple[Any, slice]]:
    """The distribution of each part of an action, and its columns."""
    outputs = outputs.double()
    if name == "categorical":
        return [(oracle.Categorical(logits=outputs), slice(0, 1))]
    if name == "joint":
        return [
            (oracle.Categorical(logits=outputs[..., :2]), slice(0, 1)),
            (oracle.Categorical(logits=outputs[..., 2:5]), slice(1, 2)),
            (oracle.Categorical(logits=outputs[..., 5:]), slice(2, 3)),
        ]
    std = torch.exp(torch.as_tensor(np.asarray(log_std, dtype=np.float64)))
    if name == "Gaussian":
        return [(oracle.Independent(oracle.Normal(outputs, std), 1), slice(0, 2))]
    normal = oracle.Independent(oracle.Normal(outputs[..., 3:], std), 1)
    return [(oracle.Categorical(logits=outputs[..., :3]), slice(0, 1)), (normal, slice(1, 3))]


def log_prob_of(name: str, outputs: torch.Tensor, log_std: Any, actions: Any) -> torch.Tensor:
    rows = torch.as_tensor(np.asarray(actions))
    if name == "categorical":
        rows = rows[..., None]
    total = torch.zeros(outputs.shape[:-1], dtype=torch.float64)
    for part, columns in parts_of(name, outputs, log_std):
        own = rows[..., columns]
        total = total + part.log_prob(own if part.event_shape else own[..., 0])
    return total


def kl_of(name: str, p: Any, p_log_std: Any, q: Any, q_log_std: Any) -> torch.Tensor:
    pairs = zip(parts_of(name, p, p_log_std), parts_of(name, q, q_log_std), strict=True)
    total = torch.zeros(p.shape[:-1], dtype=torch.float64)
    for (one, _), (other, _) in pairs:
        total = total + oracle.kl_divergence(one, other)
    return total
