"""Sets torch up so that the bytes of a seed do not depend on the other seeds."""

from __future__ import annotations

import contextlib
import ctypes
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

_MKL_FREE = 1  # MKL_CBWR_OFF: sums in any order


def _mkl_mode() -> int | None:
    """Return MKL's mode of reproducibility; None if torch has no MKL."""
    try:
        library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"))
        return int(library.mkl_serv_cbwr_get(-1))
    except (OSError, AttributeError):
        return None


@contextlib.contextmanager
def prepared_torch() -> Iterator[None]:
    """Set torch up for many small products: one thread, and memory that is kept for reuse.

    One thread, because more would change sums for large batches; the number of threads is restored
    at the end. By default glibc returns every block above 128 KiB to the system when it is freed,
    and allocates it again page by page, which costs up to a third of a training step. Warn if
    torch multiplied matrices before `import rlkit`, which then cannot choose MKL's mode.
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
