"""Masked inputs of losses, and means over the elements under a mask."""

import math
from collections.abc import Sequence

from torch import Tensor

from rlkit.maths.shapes import require_flags, require_shape

__all__ = ["fill_masked", "masked_mean"]


def fill_masked(mask: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Return tensors with 0 wherever `mask` is False, whatever they held there, NaN included.

        y = x where m, else 0

    Apply it to every input of a loss before the loss is computed. The gradient at a masked element
    is exactly 0.

    Args:
        mask: True = a decision of the policy, boolean, any shape.
        tensors: tensors of the same shape.

    Returns:
        The masked tensors in the order given.

    Raises:
        ValueError: a shape differs or the mask is not boolean.
    """
    require_flags("fill_masked", mask.shape, mask=mask)
    for i, x in enumerate(tensors):
        require_shape("fill_masked", mask.shape, **{f"tensor {i}": x})
    return tuple(x.masked_fill(~mask, 0.0) for x in tensors)


def masked_mean(
    x: Tensor, mask: Tensor | None = None, *, dim: int | Sequence[int], keepdim: bool = False
) -> Tensor:
    """Return the mean over some dimensions of the elements under a mask.

        mean(x) = Σ_{i: m_i} x_i / max(1, Σ_i [m_i])

    Reduced dimensions are moved to the end and made contiguous before the sum, since the order in
    which torch adds depends on the layout. So a seed has the same bits alone and among others,
    wherever its axis is.

    Args:
        x: any shape.
        mask: True = counts, boolean, same shape; None = all count.
        dim: the dimension or dimensions to reduce.
        keepdim: keep the reduced dimensions with size 1.

    Returns:
        x without the reduced dimensions. Where no element counts, the mean and its gradient are 0.

    Raises:
        ValueError: the shapes differ, the mask is not boolean, or there is nothing to reduce.
    """
    if mask is None and not keepdim and x.ndim == 2 and dim in (1, (1,)) and x.numel():
        return x.contiguous().sum(-1) / x.shape[1]  # the common case, thousands of times per run
    if mask is not None:
        require_flags("masked_mean", x.shape, mask=mask)
    dims = [dim] if isinstance(dim, int) else sorted(dim)
    if not all(-x.ndim <= d < x.ndim for d in dims):
        raise ValueError(f"masked_mean: expected dim within {x.ndim} dimensions, got {dim}")
    dims = sorted({d % x.ndim for d in dims})
    kept = [d for d in range(x.ndim) if d not in dims]
    size = math.prod(x.shape[d] for d in dims)
    if not dims or size == 0:
        raise ValueError(
            f"masked_mean: expected at least one element along dim {dim}, got {tuple(x.shape)}"
        )

    order, leading = [*kept, *dims], [x.shape[d] for d in kept]

    def rows(tensor: Tensor) -> Tensor:
        if order != sorted(order):
            tensor = tensor.permute(order)
        return tensor.reshape(*leading, size).contiguous()

    if mask is None:
        mean = rows(x).sum(-1) / size
    else:
        total = rows(x.masked_fill(~mask, 0.0)).sum(-1)
        mean = total / rows(mask).sum(-1).clamp(min=1)
    if keepdim:
        return mean.reshape([1 if d in dims else x.shape[d] for d in range(x.ndim)])
    return mean
