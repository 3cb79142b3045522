"""SpecAugment (Park et al., 2019): masks of time and of frequency, the mean in their place."""

from __future__ import annotations

from torch import Tensor

MASKS = 2  # of each kind
LARGEST_SHARE = 0.2  # of the utterance that a mask of time may cover, their p


def mask_bands(normalised: Tensor, widths: list[int], places: list[float], axis: int) -> None:
    """Zero some bands of a normalised log-mel (T, M), in place.

    Args:
        widths: frames or bins of each mask; places: where each lies, in [0, 1).
        axis: 0 masks time, 1 frequency.
    """
    size = normalised.shape[axis]
    for width, place in zip(widths, places, strict=True):
        kept = min(width, int(LARGEST_SHARE * size) if axis == 0 else size)
        start = int(place * (size - kept + 1))
        normalised.narrow(axis, start, kept).zero_()
