"""What makes a run repeatable on one machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("rlkit_first", [True, False])
def test_products_before_the_import_of_rlkit_are_reported(rlkit_first: bool) -> None:
    product, imported = "torch.ones(3, 50, 50) @ torch.ones(3, 50, 50)", "import rlkit"
    lines = [
        "import torch, warnings",
        *([imported, product] if rlkit_first else [product, imported]),
    ]
    lines += ["import rlkit.determinism"]
    lines += ["if rlkit.determinism._mkl_mode() is None: raise SystemExit('no MKL')"]
    lines += ["with rlkit.determinism.prepared_torch(): pass"]
    clean = {name: value for name, value in os.environ.items() if name != "MKL_CBWR"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], env=clean, capture_output=True, text=True
    )
    if "no MKL" in done.stderr:
        pytest.skip("torch comes without MKL here")
    assert done.returncode == 0
    assert ("import rlkit first" in done.stderr) is not rlkit_first
