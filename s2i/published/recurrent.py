"""Recurrent layers as torch names them, both directions in one module, into ours."""

from __future__ import annotations

from s2i.errors import InputError
from s2i.published.weights import Weights


def move_recurrent(weights: Weights, published: str, ours: str, gates: int) -> tuple[int, int]:
    """Move a bidirectional GRU (3 gates) or LSTM (4) to a `Bidirectional`.

    Returns:
        hidden units of each direction, layers. Raises InputError for the other kind, or one direction.
    """
    rows, hidden = weights.shape(f"{published}.weight_hh_l0", 2)
    if rows != gates * hidden:
        raise InputError(
            f"expected {gates} gates of {hidden} units in {published} of {weights.origin},"
            f" found {rows} rows: the encoder was trained with another RNN_TYPE than the published one"
        )
    layers = weights.count(published + ".weight_hh_l{}")
    for layer in range(layers):
        for suffix, direction in (("", "onward"), ("_reverse", "back")):
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                weights.move(f"{published}.{name}_l{layer}{suffix}", f"{ours}.{direction}.{layer}.{name}_l0")
    return hidden, layers
