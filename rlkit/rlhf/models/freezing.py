"""Makes a model constant."""

from __future__ import annotations

from typing import Any


def frozen(model: Any) -> Any:
    """The model, in evaluation mode and without gradients."""
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model
