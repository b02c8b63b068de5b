"""All statistics: no global generator is used, and the import is light."""

import random

import numpy as np

from rlkit.analysis.statistics import compare_pairs, iqm_interval, mean_interval
from tests.analysis.families import DECILES


def test_global_generators_are_neither_read_nor_changed():
    def everything():
        pairs = compare_pairs({"a": DECILES, "b": list(range(9, 19))})
        return mean_interval(DECILES), iqm_interval(DECILES), pairs

    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    first = everything()
    assert np.random.random() == np.random.RandomState(1).random()  # noqa: NPY002
    assert random.random() == random.Random(1).random()
    assert everything() == first


def test_importing_the_module_does_not_import_scipy_stats():
    import subprocess
    import sys

    code = "import sys, rlkit.analysis.statistics; sys.exit('scipy.stats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
