"""Widths of layers that a network's options give."""

from __future__ import annotations

from collections.abc import Sequence


def check_widths(**widths: int | Sequence[int]) -> None:
    """Raises ValueError for a width, or one of several, that isn't a whole number of 1 or more.

    Args:
        widths: by the names of their options.
    """
    for name, given in widths.items():
        several = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
        if not all(isinstance(each, int) and not isinstance(each, bool) and each >= 1 for each in several):
            raise ValueError(f"{name} of 1 or more, not {given!r}")
