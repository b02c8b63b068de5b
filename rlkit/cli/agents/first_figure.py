"""Draws one figure when it is imported: processes forked afterwards find fonts and ticks loaded."""

from __future__ import annotations

import io

import numpy as np

from rlkit.analysis.learning_curves import Curve
from rlkit.analysis.plots import learning_curve_figure

_CURVE = Curve("two seeds", np.arange(3), np.array([[0.0, 1.0, 2.0], [0.0, 2.0, 1.0]]))

learning_curve_figure([_CURVE], title="a first figure").savefig(io.BytesIO())
