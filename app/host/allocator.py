"""The C library's allocator, told what this service's memory looks like.

Pictures are buffers of hundreds of kilobytes that live for milliseconds. As it comes, glibc fetches each from the
kernel, which clears it page by page, and keeps an arena for every thread, between which pictures of changing sizes
leave more and more holes. One arena and a high threshold keep those buffers and use them again.
"""

import ctypes

# mallopt(3)
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST_KEPT = 4 << 20
"""Bytes: an upload, or 1280 x 720 pixels decoded. Larger ones come from, and go back to, the kernel."""
_FREE_KEPT = 16 << 20


def give_back() -> None:
    """Give free memory back to the kernel, where the C library can: a model's weights are held several times while it
    is loaded, and would stay taken.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def keep_buffers() -> bool:
    """Set glibc up so; False on another C library, which is left as it is. To be called before threads start."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = {_ARENA_MAX: 1, _MMAP_THRESHOLD: _LARGEST_KEPT, _TRIM_THRESHOLD: _FREE_KEPT}
    taken = [mallopt(option, value) for option, value in wanted.items()]
    return taken == [1, 1, 1]
