"""Makes torch give the same bytes for a seed, whatever it is computed with."""

from __future__ import annotations

import contextlib
import ctypes
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch

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
