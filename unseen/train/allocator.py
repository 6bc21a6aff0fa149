"""Memory that a step frees is kept for the next step, which asks for the same again.

By default glibc hands large blocks back to the kernel at once and fetches them anew, page by page: a tenth of a
training step of a small ViT. Elsewhere (musl, macOS, Windows) nothing is changed.
"""

import ctypes
import platform

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # malloc.h
_LARGEST_MMAP_THRESHOLD = 4 * 1024 * 1024 * 8  # glibc refuses more on 64 bits
_KEPT = 2**30  # bytes at the top of the heap that are not given back


def keep_freed_memory() -> bool:
    """Ask glibc to reuse freed blocks; whether it was there and agreed."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    wishes = ((_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, 2**26))
    return all(mallopt(option, value) == 1 for option, value in wishes)
