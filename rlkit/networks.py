"""Networks, optimisers and gradient clipping with a seed axis.

The parameters of S seeds are one matrix [S, P]; a layer is a batched product over the seeds. The
seeds never touch: row s of every result is the same bytes alone or among others, which is why a
product with an inner or outer width of 1, for which a BLAS takes other routines when there is a
single matrix, is written as a multiplication and a sum.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]
Init = Callable[[np.random.Generator, int, int, float], Array]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    # In place: the product's result is not needed again, and memory traffic is what costs.
    "tanh": torch.tanh_,
    "relu": torch.relu_,
}


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Affine map of each seed, y_s = x_s W_s + b_s.

    Args:
        x: [S, B, in], or int64 [S, B]: index i in 0..in-1 stands for the i-th unit vector, whose
            product with the weights is their row i. Only that row is read.
        weight: [S, in, out]
        bias: [S, out]

    Returns:
        [S, B, out]
    """
    if not x.is_floating_point():
        # The gradient of a row is the sum over its decisions in their order, whatever S is.
        return weight[_seed_column(len(x)), x].add_(bias.unsqueeze(1))
    if weight.shape[1] == 1:
        return x * weight + bias.unsqueeze(1)
    if weight.shape[2] == 1:
        return (x * weight.transpose(1, 2)).sum(-1, keepdim=True) + bias.unsqueeze(1)
    return torch.baddbmm(bias.unsqueeze(1), x, weight)


@functools.cache
def _seed_column(num_seeds: int) -> Tensor:
    """The seeds 0..S-1 as a column [S, 1]; kept, since making it costs as much as using it."""
    with torch.inference_mode(False):  # it outlives the mode that the caller happens to be in
        return torch.arange(num_seeds, device="cpu").unsqueeze(1)


def mlp(x: Tensor, layers: Sequence[Tensor], *, activation: str) -> Tensor:
    """Multi-layer perceptron of each seed: linear layers with an activation between them.

    Args:
        x: [S, B, in], or int64 [S, B] for unit vectors; see `linear`.
        layers: weight [S, in, out] and bias [S, out] of each layer in turn.
        activation: a key of `ACTIVATIONS`.

    Returns:
        [S, B, out]
    """
    act = ACTIVATIONS[activation]
    last = len(layers) - 2
    for i in range(0, last, 2):
        x = act(linear(x, layers[i], layers[i + 1]))
    return linear(x, layers[last], layers[last + 1])


def orthogonal(rng: np.random.Generator, num_in: int, num_out: int, gain: float) -> Array:
    """Random matrix [in, out] with orthonormal rows or columns, times `gain` (Saxe et al. 2014).

    The signs are fixed by the diagonal of R, which makes the distribution uniform (Haar).
    """
    tall = rng.standard_normal((max(num_in, num_out), min(num_in, num_out)))
    q, r = np.linalg.qr(tall)
    q *= np.sign(np.diagonal(r))
    return gain * (q if num_in >= num_out else q.T)


def xavier_uniform(rng: np.random.Generator, num_in: int, num_out: int, gain: float) -> Array:
    """Matrix [in, out] of U(-a, a), a = gain sqrt(6 / (in + out)) (Glorot, Bengio 2010)."""
    bound = gain * math.sqrt(6.0 / (num_in + num_out))
    return rng.uniform(-bound, bound, (num_in, num_out))


INITS: dict[str, Init] = {"orthogonal": orthogonal, "xavier": xavier_uniform}


def init_mlp(
    rng: np.random.Generator,
    sizes: Sequence[int],
    *,
    init: str,
    hidden_gain: float,
    output_gain: float,
) -> list[Array]:
    """Draw the weights of one seed's perceptron; biases are zero.

    Args:
        rng: the seed's stream for initialisation.
        sizes: widths from input to output.
        init: a key of `INITS`.
        hidden_gain: gain of all layers but the last.
        output_gain: gain of the last layer.

    Returns:
        weight [in, out] and bias [out] of each layer in turn.
    """
    arrays: list[Array] = []
    for i, (num_in, num_out) in enumerate(itertools.pairwise(sizes)):
        gain = output_gain if i == len(sizes) - 2 else hidden_gain
        arrays += [INITS[init](rng, num_in, num_out, gain), np.zeros(num_out)]
    return arrays


class Parameters:
    """The named parameters of S seeds: one matrix [S, P], and a differentiable view of each array.

    Args:
        seeds: for each seed, a mapping from a name to the arrays it holds (the same shapes in all).
    """

    def __init__(self, seeds: Iterable[Mapping[str, Sequence[Array]]]) -> None:
        rows: list[Array] = []
        shapes: dict[str, list[tuple[int, ...]]] = {}
        for seed in seeds:  # each is in double precision, so only one is kept at a time
            shapes = {name: [np.shape(a) for a in arrays] for name, arrays in seed.items()}
            flat = [np.ravel(a).astype(np.float32) for arrays in seed.values() for a in arrays]
            rows.append(np.concatenate(flat))
        self.matrix = torch.from_numpy(np.stack(rows))
        self._views: dict[str, list[Tensor]] = {}
        start = 0
        for name, of_arrays in shapes.items():
            self._views[name] = []
            for shape in of_arrays:
                size = math.prod(shape)
                part = self.matrix[:, start : start + size]
                self._views[name].append(part.view(len(rows), *shape).requires_grad_())
                start += size

    def row(self, s: int) -> Parameters:
        """The parameters of one seed, as a Parameters with S = 1 that shares their memory."""
        one = object.__new__(Parameters)
        one.matrix = self.matrix[s : s + 1]
        one._views = {
            name: [view.detach()[s : s + 1].requires_grad_() for view in views]
            for name, views in self._views.items()
        }
        return one

    def __getitem__(self, name: str) -> list[Tensor]:
        return self._views[name]

    def gradient(self, losses: Tensor) -> Tensor:
        """Gradient [S, P] of each seed's loss [S] with respect to its own parameters."""
        views = [view for views in self._views.values() for view in views]
        parts = torch.autograd.grad(losses, views, torch.ones_like(losses))
        return torch.cat([part.flatten(1) for part in parts], dim=1)

    def detached(self) -> dict[str, list[Tensor]]:
        """A copy of all arrays that later updates do not change."""
        return {name: [v.detach().clone() for v in views] for name, views in self._views.items()}

    def finite(self) -> Array:
        """Whether all parameters of each seed are finite, bool [S]."""
        finite: Array = torch.isfinite(self.matrix).all(dim=1).numpy()
        return finite


def clip_gradient_norm(gradient: Tensor, max_norm: float) -> Tensor:
    """Scale each seed's gradient, in place, to a norm of at most `max_norm`.

    Args:
        gradient: [S, P]; changed.
        max_norm: of the joint gradient of all parameters of a seed.

    Returns:
        the norms before, [S]
    """
    norm: Tensor = torch.linalg.vector_norm(gradient, dim=1)
    gradient.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0).unsqueeze(1))
    return norm


class Adam:
    """Adam with bias correction (Kingma and Ba 2015, algorithm 1) for each seed by itself.

        m <- beta1 m + (1 - beta1) g        v <- beta2 v + (1 - beta2) g^2
        theta <- theta - rate * (m / (1 - beta1^k)) / (sqrt(v / (1 - beta2^k)) + eps)

    `eps` stands outside the root of the corrected v, as in torch.
    """

    def __init__(self, matrix: Tensor, *, eps: float = 1e-8) -> None:
        self._betas, self._eps = (0.9, 0.999), eps
        self._m, self._v = torch.zeros_like(matrix), torch.zeros_like(matrix)
        self._num_steps = np.zeros(len(matrix), dtype=np.int64)

    @torch.no_grad()
    def step(
        self,
        matrix: Tensor,
        gradient: Tensor,
        learning_rate: float,
        *,
        seeds: NDArray[np.int64] | None = None,
    ) -> None:
        """Update the parameters [S, P] in place, of all seeds or of those listed only."""
        if seeds is not None:
            part = Adam(matrix[seeds], eps=self._eps)
            part.load_state_dict({name: a[seeds] for name, a in self.state_dict().items()})
            updated = matrix[seeds]
            part.step(updated, gradient[seeds], learning_rate)
            matrix[seeds], self._m[seeds], self._v[seeds] = updated, part._m, part._v
            self._num_steps[seeds] = part._num_steps
            return
        self._num_steps += 1
        beta1, beta2 = self._betas
        corrections = 1.0 - np.array([[beta1], [beta2]]) ** self._num_steps
        factors = np.stack([-learning_rate / corrections[0], 1.0 / np.sqrt(corrections[1])])
        rate, root = torch.from_numpy(factors.astype(np.float32)).unsqueeze(2).unbind()
        self._m.lerp_(gradient, 1.0 - beta1)
        self._v.mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
        denominator = self._v.sqrt().mul_(root).add_(self._eps)
        matrix.addcdiv_(self._m * rate, denominator)

    def state_dict(self) -> dict[str, Array]:
        return {
            "adam_m": self._m.numpy().copy(),
            "adam_v": self._v.numpy().copy(),
            "adam_num_steps": self._num_steps.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        self._m.copy_(torch.from_numpy(state["adam_m"]))
        self._v.copy_(torch.from_numpy(state["adam_v"]))
        self._num_steps[:] = state["adam_num_steps"]


class GradientDescent:
    """Plain gradient descent, theta <- theta - rate * g."""

    @torch.no_grad()
    def step(
        self,
        matrix: Tensor,
        gradient: Tensor,
        learning_rate: float,
        *,
        seeds: NDArray[np.int64] | None = None,
    ) -> None:
        """Update the parameters [S, P] in place, of all seeds or of those listed only."""
        rows = slice(None) if seeds is None else seeds
        matrix[rows] -= learning_rate * gradient[rows]

    def state_dict(self) -> dict[str, Array]:
        return {}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        pass


Optimiser = Adam | GradientDescent


def make_optimiser(name: str, matrix: Tensor, *, eps: float = 1e-8) -> Optimiser:
    """Return the optimiser called "adam" or "sgd" for parameters [S, P]."""
    return Adam(matrix, eps=eps) if name == "adam" else GradientDescent()


_MKL_FREE = 1  # MKL_CBWR_OFF: any order of summation


def _mkl_mode() -> int | None:
    """The mode of reproducibility that MKL runs in; None where torch has no MKL."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        return int(library.mkl_serv_cbwr_get(-1))
    except (OSError, AttributeError):
        return None


@contextlib.contextmanager
def prepared_torch() -> Iterator[None]:
    """Set torch up for many small products: one thread, and memory that is kept for reuse.

    One thread, because more would change sums for large batches; the number before comes back at
    the end. By default glibc gives every block above 128 KiB back to the system when it is freed
    and gets it again, page by page, at the next allocation, which costs up to a third of a training
    step. Warns where products came before `import rlkit`, which then cannot choose MKL's mode.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
        m_trim_threshold, m_mmap_threshold = -1, -3
        libc.mallopt(m_mmap_threshold, 1 << 25)
        libc.mallopt(m_trim_threshold, 1 << 30)
    except (OSError, AttributeError):  # another C library: slower, otherwise the same
        pass
    if _mkl_mode() == _MKL_FREE:
        warnings.warn(
            "torch multiplied matrices before rlkit was imported, so the last digits of a seed may "
            "depend on the seeds beside it; import rlkit first, or start Python with MKL_CBWR=AUTO",
            stacklevel=3,
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
