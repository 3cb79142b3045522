"""Memory that a training frees in one step stays with it for the next."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

# mallopt's parameters, from malloc.h.
TRIM_THRESHOLD = -1  # bytes at the end of the heap above which they are given back; -1: never
MMAP_MAX = -4  # blocks that the system may be asked for one by one, and that go back to it when freed


def keep_freed_memory() -> None:
    """Let the C library keep what this process frees for what it needs next.

    By default glibc asks the system for blocks of more than 32 MB one by one and gives them back at once. The
    system hands out their pages singly, each filled with zeros when it is first touched: step after step, for
    the same maps. With maps of such a size that is a good part of a step (recipes/benchmark).

    The process then holds until it ends what it has held at most. Other threads than the first give blocks
    of more than 64 MB back as before. Libraries without glibc's `mallopt` (musl, macOS, Windows) are left as
    they are.
    """
    set_malloc({MMAP_MAX: 0, TRIM_THRESHOLD: -1})


def set_malloc(parameters: Mapping[int, int]) -> None:
    """Set parameters of `mallopt` in this process; nothing where the C library has none."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # TypeError: Windows has no such library
        return
    for parameter, value in parameters.items():
        mallopt(parameter, value)
