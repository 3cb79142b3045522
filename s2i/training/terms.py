"""The terms of a loss, by their names in the log."""

from __future__ import annotations

from torch import Tensor

Terms = dict[str, Tensor | float]  # scalars


def without_history(terms: Terms) -> Terms:
    """The same numbers, for the log."""
    return {name: value.detach() if isinstance(value, Tensor) else value for name, value in terms.items()}
