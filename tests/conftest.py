"""One thread, as in a run: set before torch is imported, and without importing it here."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
